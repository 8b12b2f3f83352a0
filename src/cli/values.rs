//! Values of options: durations, percentages, peers, hosts. Each reads itself from the command line and from TOML.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;
use std::time::Duration;

use serde::de::{self, Deserialize, Deserializer, Visitor};

use crate::wire::{Address, Dialect, Durability, Host, MAX_NAME_BYTES, Permille, is_valid_name};

/// UDP port of discovery where none is named: the classroom's.
pub(super) const DISCOVERY_PORT: u16 = 5000;

/// Longest duration that an option takes: beyond it, a slip is likelier than an intention.
const MAX_SECONDS: f64 = 366.0 * 86_400.0;

/// A duration: `2`, `2.5` (seconds), `500ms`, `2s`, `1m` or `1h`; in TOML also a plain number of seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span(pub(super) Duration);

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Span, String> {
        let expected = || "expected seconds such as 2 or 0.5, or a number with ms, s, m or h such as 500ms".to_owned();
        let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let factor = match unit {
            "ms" => 0.001,
            "" | "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return Err(expected()),
        };
        let number: f64 = number.parse().map_err(|_| expected())?;
        Span::from_seconds(number * factor)
    }
}

impl Span {
    fn from_seconds(seconds: f64) -> Result<Span, String> {
        if !(0.0..=MAX_SECONDS).contains(&seconds) {
            return Err("expected a duration from 0 to one year".to_owned());
        }
        // Whole microseconds, as the core counts.
        Ok(Span(Duration::from_micros((seconds * 1e6).round() as u64)))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} s", self.0.as_secs_f64())
    }
}

/// A percentage, 0 to 100, with at most one decimal that counts: `70`, `62.5`, `70%`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Percent(pub(super) Permille);

impl FromStr for Percent {
    type Err = String;

    fn from_str(text: &str) -> Result<Percent, String> {
        let plain = text.strip_suffix('%').unwrap_or(text).trim_end();
        plain.parse().map_err(|_| ()).and_then(Percent::from_number).map_err(|()| Percent::expected())
    }
}

impl Percent {
    fn from_number(percent: f64) -> Result<Percent, ()> {
        if !(0.0..=100.0).contains(&percent) {
            return Err(());
        }
        Ok(Percent(Permille::new((percent * 10.0).round() as u64)))
    }

    fn expected() -> String {
        "expected a percentage from 0 to 100".to_owned()
    }
}

/// A peer of `--peer`: `HOST:PORT`, with `,dialect=NAME` and `,workers=PORT` behind it where the operator knows more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Peer {
    /// Whom to call.
    pub(super) address: Address,
    /// What it speaks, where the operator says so.
    pub(super) dialect: Option<Dialect>,
    /// The port on which it serves workers, where that is another one. 1 to 65535.
    pub(super) workers: Option<u16>,
}

impl FromStr for Peer {
    type Err = String;

    fn from_str(text: &str) -> Result<Peer, String> {
        let mut parts = text.split(',');
        let address = parts.next().unwrap_or_default();
        let address: Address = address.parse().map_err(|error| format!("{error}"))?;
        if address.is_wildcard() {
            return Err(format!(
                "`{address}` is where one listens, not where one calls; expected a host's own address"
            ));
        }
        let names = || Dialect::ALL.map(Dialect::as_str).join(", ");
        let mut peer = Peer { address, dialect: None, workers: None };
        for hint in parts {
            let twice = match hint.split_once('=') {
                Some(("dialect", name)) => {
                    let dialect = Dialect::parse(name)
                        .ok_or_else(|| format!("no dialect is called `{name}`; expected one of {}", names()))?;
                    peer.dialect.replace(dialect).is_some()
                }
                Some(("workers", port)) => {
                    let number = port.parse().ok().filter(|port| *port != 0);
                    let number = number.ok_or_else(|| format!("workers=`{port}`: expected a port, 1 to 65535"))?;
                    peer.workers.replace(number).is_some()
                }
                _ => return Err(format!("`,{hint}` is not known; expected ,dialect=NAME or ,workers=PORT")),
            };
            if twice {
                return Err(format!("`,{hint}`: said twice; expected once"));
            }
        }
        Ok(peer)
    }
}

/// Peers as one value holds them: one, several separated by spaces (`NODE_PEER`), or none.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(super) struct Peers(pub(super) Vec<Peer>);

impl FromStr for Peers {
    type Err = String;

    fn from_str(text: &str) -> Result<Peers, String> {
        text.split_whitespace().map(str::parse).collect::<Result<_, _>>().map(Peers)
    }
}

/// Where to listen: an IP address, or `localhost`, which is 127.0.0.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BindHost(pub(super) IpAddr);

impl FromStr for BindHost {
    type Err = String;

    fn from_str(text: &str) -> Result<BindHost, String> {
        if text.eq_ignore_ascii_case("localhost") {
            return Ok(BindHost(IpAddr::V4(Ipv4Addr::LOCALHOST)));
        }
        match text.parse() {
            Ok(Host::Ip(ip)) => Ok(BindHost(ip)),
            _ => Err("expected an IP address of this machine, such as 127.0.0.1 or ::1, or localhost".to_owned()),
        }
    }
}

/// What others are told to call: `HOST` or `HOST:PORT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Advertise {
    /// The host.
    pub(super) host: Host,
    /// The port; `None` is the one that the node listens on.
    pub(super) port: Option<u16>,
}

impl FromStr for Advertise {
    type Err = String;

    fn from_str(text: &str) -> Result<Advertise, String> {
        let (host, port) = match (text.parse::<Address>(), text.parse::<Host>()) {
            (Ok(address), _) => (address.host, Some(address.port)),
            (Err(_), Ok(host)) => (host, None),
            (Err(_), Err(_)) => {
                return Err("expected HOST or HOST:PORT, such as node-a.lab or 192.168.1.7:9101".to_owned());
            }
        };
        if matches!(host, Host::Ip(ip) if ip.is_unspecified()) {
            return Err(format!("{host} is where one listens, not where one calls; expected a host's own address"));
        }
        Ok(Advertise { host, port })
    }
}

/// `--supervisor`: `HOST:PORT`, `tcp://HOST:PORT` or `tls://HOST:PORT`. Port 443 means TLS unless `tcp://` is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Supervisor {
    /// Whom to call.
    pub(super) address: Address,
    /// Over TLS.
    pub(super) tls: bool,
}

impl FromStr for Supervisor {
    type Err = String;

    fn from_str(text: &str) -> Result<Supervisor, String> {
        let (said, address) = match text.split_once("://") {
            None => (None, text),
            Some(("tcp", address)) => (Some(false), address),
            Some(("tls", address)) => (Some(true), address),
            Some((scheme, _)) => {
                return Err(format!(
                    "`{scheme}://` is not known; expected HOST:PORT, tcp://HOST:PORT or tls://HOST:PORT"
                ));
            }
        };
        let address: Address = address.parse().map_err(|error| format!("{error}"))?;
        if address.is_wildcard() {
            return Err(format!(
                "`{address}` is where one listens, not where one calls; expected a host's own address"
            ));
        }
        let tls = said.unwrap_or(address.port == 443);
        Ok(Supervisor { address, tls })
    }
}

/// A name or a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Label(pub(super) String);

impl FromStr for Label {
    type Err = String;

    fn from_str(text: &str) -> Result<Label, String> {
        if !is_valid_name(text) {
            return Err(format!("expected 1 to {MAX_NAME_BYTES} bytes without control characters"));
        }
        Ok(Label(text.to_owned()))
    }
}

/// A number of bytes: `65536`, or with K, M, G or T for powers of 1024: `512M`, `2G`, `1.5GiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bytes(pub(super) u64);

impl FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Bytes, String> {
        let expected = || "expected bytes such as 1048576, or a number with K, M, G or T such as 512M or 2G".to_owned();
        let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let unit = unit.to_ascii_uppercase();
        let shift = match unit.strip_suffix("IB").or(unit.strip_suffix('B')).unwrap_or(&unit) {
            "" => 0,
            "K" => 10,
            "M" => 20,
            "G" => 30,
            "T" => 40,
            _ => return Err(expected()),
        };
        // Whole numbers exactly; parts of a unit may be rounded to a byte.
        if let Ok(number) = number.parse::<u64>() {
            return number.checked_mul(1 << shift).map(Bytes).ok_or_else(expected);
        }
        let number: f64 = number.parse().map_err(|_| expected())?;
        Bytes::from_number(number * f64::from(1_u32 << (shift / 2)).powi(2))
    }
}

impl Bytes {
    fn from_number(number: f64) -> Result<Bytes, String> {
        if (0.0..9e15).contains(&number) {
            Ok(Bytes(number.round() as u64))
        } else {
            Err("expected a number of bytes from 0 to 9 million GB".to_owned())
        }
    }
}

/// `--durability`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Durable(pub(super) Durability);

impl FromStr for Durable {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Durable, &'static str> {
        Durability::parse(text).map(Durable).ok_or("expected fsync, os or memory")
    }
}

/// `--discovery`: a UDP port, or whether at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Discovery(pub(super) Option<u16>);

impl FromStr for Discovery {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Discovery, &'static str> {
        match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" => Ok(Discovery(Some(DISCOVERY_PORT))),
            "false" | "no" | "off" => Ok(Discovery(None)),
            port => match port.parse() {
                Ok(port @ 1..) => Ok(Discovery(Some(port))),
                _ => Err("expected a UDP port from 1 to 65535, true or false"),
            },
        }
    }
}

impl<'de> Deserialize<'de> for Discovery {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Discovery, D::Error> {
        struct Read;
        impl Visitor<'_> for Read {
            type Value = Discovery;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a UDP port, true or false")
            }
            fn visit_bool<E: de::Error>(self, on: bool) -> Result<Discovery, E> {
                Ok(Discovery(on.then_some(DISCOVERY_PORT)))
            }
            fn visit_i64<E: de::Error>(self, port: i64) -> Result<Discovery, E> {
                self.visit_str(&port.to_string())
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Discovery, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Read)
    }
}

/// What is wrong with a port.
const PORT: &str = "expected a port from 0 to 65535";

/// A port of the command line.
pub(super) fn parse_port(text: &str) -> Result<u16, &'static str> {
    text.parse().map_err(|_| PORT)
}

/// A number of jobs.
pub(super) fn parse_jobs(text: &str) -> Result<u64, &'static str> {
    text.parse().map_err(|_| "expected a whole number of jobs")
}

/// A whole number.
pub(super) fn parse_count(text: &str) -> Result<u32, &'static str> {
    text.parse().map_err(|_| "expected a whole number")
}

/// A port of TOML.
pub(super) fn port<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u16>, D::Error> {
    let number = i64::deserialize(deserializer)?;
    let port = u16::try_from(number).map_err(|_| de::Error::custom(PORT))?;
    Ok(Some(port))
}

/// The peers of TOML: one string, or a list of them.
pub(super) fn peers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<Peers>>, D::Error> {
    struct Read;
    impl<'de> Visitor<'de> for Read {
        type Value = Vec<Peers>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a peer such as \"127.0.0.1:9102\", or a list of them")
        }
        fn visit_str<E: de::Error>(self, text: &str) -> Result<Vec<Peers>, E> {
            text.parse().map(|peers| vec![peers]).map_err(E::custom)
        }
        fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<Vec<Peers>, A::Error> {
            let mut all = Vec::new();
            while let Some(peers) = list.next_element()? {
                all.push(peers);
            }
            Ok(all)
        }
    }
    deserializer.deserialize_any(Read).map(Some)
}

/// Values that TOML writes as a string.
macro_rules! from_toml_string {
    ($($kind:ident),*) => {$(
        impl<'de> Deserialize<'de> for $kind {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<$kind, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }
    )*};
}
from_toml_string!(BindHost, Advertise, Label, Peers, Durable, Supervisor);

/// Values that TOML writes as a number or a string.
macro_rules! from_toml_number {
    ($kind:ident, $what:literal, $from_number:expr) => {
        impl<'de> Deserialize<'de> for $kind {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<$kind, D::Error> {
                struct Read;
                impl Visitor<'_> for Read {
                    type Value = $kind;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($what)
                    }
                    fn visit_i64<E: de::Error>(self, number: i64) -> Result<$kind, E> {
                        self.visit_f64(number as f64)
                    }
                    fn visit_f64<E: de::Error>(self, number: f64) -> Result<$kind, E> {
                        $from_number(number).map_err(E::custom)
                    }
                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$kind, E> {
                        text.parse().map_err(E::custom)
                    }
                }
                deserializer.deserialize_any(Read)
            }
        }
    };
}
from_toml_number!(Span, "seconds, or a string such as \"500ms\"", Span::from_seconds);
from_toml_number!(Bytes, "bytes, or a string such as \"512M\"", Bytes::from_number);
from_toml_number!(Percent, "a percentage from 0 to 100", |number| Percent::from_number(number)
    .map_err(|()| Percent::expected()));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_seconds_unless_a_unit_says_otherwise() {
        let micros = |text: &str| text.parse::<Span>().unwrap().0.as_micros();
        assert_eq!(micros("2"), 2_000_000);
        assert_eq!(micros("0.5"), 500_000);
        assert_eq!(micros("500ms"), 500_000);
        assert_eq!(micros("2s"), 2_000_000);
        assert_eq!(micros("1.5m"), 90_000_000);
        assert_eq!(micros("1h"), 3_600_000_000);
        assert_eq!(micros("0"), 0);
        for text in ["", "s", "-1", "+1", "1e3", "1 s", "2 days", "1.2.3", "nan", "inf", "9999999h", "1S"] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
    }

    #[test]
    fn bytes_are_powers_of_1024() {
        let bytes = |text: &str| text.parse::<Bytes>().map(|bytes| bytes.0);
        assert_eq!(bytes("65536"), Ok(65_536));
        assert_eq!(bytes("512M"), Ok(512 << 20));
        assert_eq!(bytes("2g"), Ok(2 << 30));
        assert_eq!(bytes("1.5GiB"), Ok(3 << 29));
        assert_eq!(bytes("0.5K"), Ok(512));
        assert_eq!(bytes("1.5M"), Ok(3 << 19));
        assert_eq!(bytes("1TB"), Ok(1 << 40));
        for text in ["", "M", "-1", "1X", "1 G", "99999999999999999999", "18446744073709551615K", "1.2.3"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn discovery_is_a_port_or_a_word() {
        let port = |text: &str| text.parse::<Discovery>().map(|discovery| discovery.0);
        assert_eq!((port("true"), port("OFF"), port("6000")), (Ok(Some(5000)), Ok(None), Ok(Some(6000))));
        assert!(port("0").is_err() && port("65536").is_err() && port("").is_err());
    }

    #[test]
    fn percentages_have_one_decimal() {
        assert_eq!("70".parse(), Ok(Percent(Permille::new(700))));
        assert_eq!("62.5%".parse(), Ok(Percent(Permille::new(625))));
        assert_eq!("0".parse(), Ok(Percent(Permille::new(0))));
        for text in ["", "-1", "100.1", "x", "NaN"] {
            assert!(text.parse::<Percent>().is_err(), "{text}");
        }
    }

    #[test]
    fn peers_are_addresses_with_an_optional_dialect() {
        let peer: Peer = "localhost:9102,dialect=2025-2".parse().unwrap();
        assert_eq!((peer.address.to_string().as_str(), peer.dialect), ("localhost:9102", Some(Dialect::Gen2025_2)));
        assert_eq!("[::1]:9102".parse::<Peer>().unwrap().dialect, None);
        let error = |text: &str| text.parse::<Peer>().unwrap_err();
        assert!(error("localhost").contains("has no port"));
        assert!(error("a:1,dialect=latin").contains("native, seed, 2025-2, 2026-1"));
        assert!(error("a:1,tongue=seed").contains("expected ,dialect=NAME or ,workers=PORT"));
        let peer: Peer = "lab:9101,workers=9102,dialect=2025-2".parse().unwrap();
        assert_eq!((peer.dialect, peer.workers), (Some(Dialect::Gen2025_2), Some(9102)));
        assert!(error("a:1,workers=0").contains("1 to 65535") && error("a:1,workers=x").contains("1 to 65535"));
        assert!(error("a:1,workers=5,workers=6").contains("expected once"));
        assert!(error("0.0.0.0:9102").contains("not where one calls"));
        assert_eq!(" a:1  b:2 ".parse::<Peers>().unwrap().0.len(), 2);
        assert_eq!("".parse::<Peers>().unwrap().0.len(), 0);
    }

    #[test]
    fn a_supervisor_is_called_over_tls_where_its_port_or_its_scheme_says_so() {
        let read = |text: &str| text.parse::<Supervisor>().map(|it| (it.address.to_string(), it.tls));
        assert_eq!(read("lab:8000"), Ok(("lab:8000".to_owned(), false)));
        assert_eq!(read("lab:443"), Ok(("lab:443".to_owned(), true)));
        assert_eq!(read("tcp://lab:443"), Ok(("lab:443".to_owned(), false)));
        assert_eq!(read("tls://[::1]:8443"), Ok(("[::1]:8443".to_owned(), true)));
        assert!(read("https://lab:443").unwrap_err().contains("tls://HOST:PORT"));
        assert!(read("lab").unwrap_err().contains("has no port"));
        assert!(read("tls://0.0.0.0:443").unwrap_err().contains("not where one calls"));
        assert!(read("").is_err() && read("tls://").is_err());
    }

    #[test]
    fn hosts_to_listen_on_are_numbers_or_localhost() {
        let ip = |text: &str| text.parse::<BindHost>().unwrap().0.to_string();
        assert_eq!(ip("localhost"), "127.0.0.1");
        assert_eq!(ip("::1"), "::1");
        assert_eq!(ip("[::1]"), "::1");
        assert!("node-a.lab".parse::<BindHost>().unwrap_err().contains("or localhost"));
    }

    #[test]
    fn an_advertised_host_may_come_without_its_port() {
        let read = |text: &str| text.parse::<Advertise>().map(|it| (it.host.to_string(), it.port));
        assert_eq!(read("node-a.lab"), Ok(("node-a.lab".to_owned(), None)));
        assert_eq!(read("192.168.1.7:9101"), Ok(("192.168.1.7".to_owned(), Some(9101))));
        assert_eq!(read("fe80::1"), Ok(("fe80::1".to_owned(), None)));
        assert_eq!(read("[fe80::1]:9"), Ok(("fe80::1".to_owned(), Some(9))));
        assert!(read("0.0.0.0").is_err() && read("a b").is_err() && read("a:0").is_err());
    }
}
