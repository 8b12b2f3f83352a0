//! Discovery by UDP (sprint 2.1): one JSON object a datagram. Keys in upper or lower case.

use std::borrow::Cow;
use std::net::SocketAddr;

use serde::Deserialize;
use serde_json::Value;

use super::encode::Object;
use super::{Address, Datagram, Host, MAX_DATAGRAM_BYTES, MAX_QUOTE, MasterOffer, ServerId, quote};

/// Why a datagram says nothing. Nobody answers it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Undecodable {
    /// It is of another conversation, or noise. Not worth a line in the log.
    #[error("it is no datagram of discovery")]
    Noise,
    /// It is of discovery, and not well-formed. The text is a warning for people: what it is and what is wrong.
    #[error("{0}")]
    Bad(String),
}

/// Appends a datagram. `MASTER_IP` is the host of the offer's address.
pub fn encode_datagram(datagram: &Datagram, out: &mut Vec<u8>) {
    match datagram {
        Datagram::Discovery { worker } => {
            Object::begin(out).text("TYPE", "DISCOVERY").worker_uuid(Some(worker)).end();
        }
        Datagram::Reply(offer) => {
            Object::begin(out).text("TYPE", "DISCOVERY_REPLY").offer(offer).text("STATUS", "AVAILABLE").end();
        }
        Datagram::Find => Object::begin(out).text("TASK", "FIND_MASTER").end(),
        Datagram::Found(offer) => Object::begin(out).text("TASK", "MASTER_FOUND").offer(offer).end(),
    }
}

impl<'o> Object<'o> {
    fn offer(self, offer: &MasterOffer) -> Object<'o> {
        self.text("MASTER_NAME", &offer.name)
            .text("MASTER_IP", &offer.address.host.to_string())
            .number("MASTER_PORT", u64::from(offer.address.port))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
struct Read<'a> {
    #[serde(borrow, alias = "type")]
    r#type: Option<Cow<'a, str>>,
    #[serde(borrow, alias = "task")]
    task: Option<Cow<'a, str>>,
    #[serde(alias = "worker_uuid")]
    worker_uuid: Option<Value>,
    #[serde(alias = "master_name")]
    master_name: Option<Value>,
    #[serde(alias = "master_ip")]
    master_ip: Option<Value>,
    #[serde(alias = "master_port")]
    master_port: Option<Value>,
    #[serde(alias = "status")]
    status: Option<Value>,
}

/// Reads a datagram of at most [`MAX_DATAGRAM_BYTES`] that came from `from`. A reply without `MASTER_IP`, or with one
/// where nobody can be called, means its sender.
pub fn decode_datagram(bytes: &[u8], from: SocketAddr) -> Result<Datagram, Undecodable> {
    if bytes.len() > MAX_DATAGRAM_BYTES {
        return Err(Undecodable::Noise);
    }
    let read: Read = serde_json::from_slice(bytes).map_err(|_| Undecodable::Noise)?;
    let word = read.r#type.as_deref().or(read.task.as_deref()).unwrap_or_default();
    match word.to_ascii_uppercase().as_str() {
        "DISCOVERY" => {
            let worker = read.worker_uuid.as_ref().and_then(text).and_then(ServerId::new);
            let worker = worker.ok_or_else(|| {
                Undecodable::Bad(format!("DISCOVERY from {from}: `WORKER_UUID` is missing or no id; it is ignored"))
            })?;
            Ok(Datagram::Discovery { worker })
        }
        "DISCOVERY_REPLY" => offer(&read, from, "DISCOVERY_REPLY").map(Datagram::Reply),
        "FIND_MASTER" => Ok(Datagram::Find),
        "MASTER_FOUND" => offer(&read, from, "MASTER_FOUND").map(Datagram::Found),
        _ => Err(Undecodable::Noise),
    }
}

fn offer(read: &Read, from: SocketAddr, what: &str) -> Result<MasterOffer, Undecodable> {
    let bad = |why: &str| Undecodable::Bad(format!("{what} from {from}: {why}; the reply is dropped"));
    let shown = |value: &Value| quote(&value.to_string(), MAX_QUOTE);
    let found = |value: &Option<Value>| value.as_ref().filter(|value| !value.is_null()).cloned();

    let port = found(&read.master_port).ok_or_else(|| bad("`MASTER_PORT` is missing"))?;
    let number = text(&port).and_then(|text| text.parse::<u16>().ok()).filter(|port| *port != 0);
    let form = "expected a number from 1 to 65535";
    let port = number.ok_or_else(|| bad(&format!("`MASTER_PORT` is {}; {form}", shown(&port))))?;

    let ip = match found(&read.master_ip) {
        None => None,
        Some(ip) => {
            let host = text(&ip).and_then(|text| text.parse::<Host>().ok());
            Some(host.ok_or_else(|| bad(&format!("`MASTER_IP` is {}; expected an address", shown(&ip))))?)
        }
    };
    let address = match ip {
        Some(host) => Address { host, port },
        None => Address::of(SocketAddr::new(from.ip(), port)),
    };
    let address = if address.is_wildcard() { Address::of(SocketAddr::new(from.ip(), port)) } else { address };

    let name = found(&read.master_name).as_ref().and_then(text).and_then(ServerId::new);
    let name = name.ok_or_else(|| bad("`MASTER_NAME` is missing or no name"))?;
    if let Some(status) = found(&read.status)
        && !text(&status).is_some_and(|status| status.eq_ignore_ascii_case("AVAILABLE"))
    {
        return Err(bad(&format!("`STATUS` is {}; expected \"AVAILABLE\"", shown(&status))));
    }
    Ok(MasterOffer { name: name.as_str().to_owned(), address })
}

/// A string, or a number that somebody meant as one.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn from() -> SocketAddr {
        "192.0.2.7:5000".parse().unwrap()
    }

    fn read(text: &str) -> Result<Datagram, Undecodable> {
        decode_datagram(text.as_bytes(), from())
    }

    fn reply(name: &str, address: &str) -> Datagram {
        Datagram::Reply(MasterOffer { name: name.to_owned(), address: address.parse().unwrap() })
    }

    fn written(datagram: &Datagram) -> String {
        let mut out = Vec::new();
        encode_datagram(datagram, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_classrooms_datagrams_read_as_they_were_recorded() {
        let worker = ServerId::new("W-61CC").unwrap();
        assert_eq!(
            read("{\"TYPE\": \"DISCOVERY\", \"WORKER_UUID\": \"W-61CC\"}\n"),
            Ok(Datagram::Discovery { worker: worker.clone() })
        );
        assert_eq!(read(r#"{"type":"discovery","worker_uuid":"W-61CC"}"#), Ok(Datagram::Discovery { worker }));
        let line = "{\"TYPE\": \"DISCOVERY_REPLY\", \"MASTER_NAME\": \"MASTER_8\", \"MASTER_IP\": \"127.0.0.1\", \
                    \"MASTER_PORT\": 20301, \"STATUS\": \"AVAILABLE\"}\n";
        assert_eq!(read(line), Ok(reply("MASTER_8", "127.0.0.1:20301")));
        assert_eq!(read(r#"{"TASK":"FIND_MASTER","WORKER_UUID":"W"}"#), Ok(Datagram::Find));
        let found = MasterOffer { name: "M".to_owned(), address: "10.0.0.1:5000".parse().unwrap() };
        assert_eq!(
            read(r#"{"TASK":"MASTER_FOUND","MASTER_NAME":"M","MASTER_IP":"10.0.0.1","MASTER_PORT":"5000"}"#),
            Ok(Datagram::Found(found))
        );
    }

    #[test]
    fn ours_stand_to_the_byte() {
        let worker = ServerId::new("W").unwrap();
        assert_eq!(written(&Datagram::Discovery { worker }), "{\"TYPE\":\"DISCOVERY\",\"WORKER_UUID\":\"W\"}\n");
        assert_eq!(
            written(&reply("MASTER_1", "127.0.0.1:9101")),
            "{\"TYPE\":\"DISCOVERY_REPLY\",\"MASTER_NAME\":\"MASTER_1\",\"MASTER_IP\":\"127.0.0.1\",\
             \"MASTER_PORT\":9101,\"STATUS\":\"AVAILABLE\"}\n"
        );
        assert_eq!(written(&Datagram::Find), "{\"TASK\":\"FIND_MASTER\"}\n");
    }

    #[test]
    fn a_reply_without_an_address_means_its_sender() {
        for ip in ["", r#""MASTER_IP":null,"#, r#""MASTER_IP":"0.0.0.0","#] {
            let line = format!(r#"{{"TYPE":"DISCOVERY_REPLY",{ip}"MASTER_NAME":"M","MASTER_PORT":9101}}"#);
            assert_eq!(read(&line), Ok(reply("M", "192.0.2.7:9101")), "{line}");
        }
    }

    #[test]
    fn s21_ct05_a_reply_without_a_port_is_a_warning_that_names_it() {
        for (fields, why) in [
            (r#""MASTER_NAME":"M","MASTER_IP":"10.0.0.1""#, "`MASTER_PORT` is missing"),
            (r#""MASTER_NAME":"M","MASTER_PORT":0"#, "`MASTER_PORT` is 0"),
            (r#""MASTER_NAME":"M","MASTER_PORT":70000"#, "`MASTER_PORT` is 70000"),
            (r#""MASTER_NAME":"M","MASTER_PORT":[]"#, "`MASTER_PORT` is []"),
            (r#""MASTER_NAME":"M","MASTER_PORT":1,"MASTER_IP":"no where""#, "`MASTER_IP` is \"no where\""),
            (r#""MASTER_PORT":1"#, "`MASTER_NAME` is missing"),
            (r#""MASTER_NAME":"\u001b[2J","MASTER_PORT":1"#, "`MASTER_NAME` is missing or no name"),
            (r#""MASTER_NAME":"M","MASTER_PORT":1,"STATUS":"FULL""#, "`STATUS` is \"FULL\""),
        ] {
            let Err(Undecodable::Bad(warning)) = read(&format!(r#"{{"TYPE":"DISCOVERY_REPLY",{fields}}}"#)) else {
                panic!("{fields}")
            };
            assert!(warning.starts_with("DISCOVERY_REPLY from 192.0.2.7:5000") && warning.contains(why), "{warning}");
        }
        assert!(matches!(read(r#"{"TYPE":"DISCOVERY"}"#), Err(Undecodable::Bad(_))));
    }

    #[test]
    fn what_is_not_of_discovery_is_noise() {
        for text in ["", "{", "[]", "5", "{}", r#"{"TYPE":"NOTIFY"}"#, r#"{"TASK":"HEARTBEAT"}"#, "M-SEARCH * HTTP/1.1"]
        {
            assert_eq!(read(text), Err(Undecodable::Noise), "{text}");
        }
        let long = format!(r#"{{"TASK":"FIND_MASTER","x":"{}"}}"#, "x".repeat(MAX_DATAGRAM_BYTES));
        assert_eq!(read(&long), Err(Undecodable::Noise));
    }

    proptest! {
        #[test]
        fn what_was_encoded_decodes_to_the_same(
            kind in 0..4,
            id in "[a-zA-Z0-9 ç\"\\\\-]{1,40}",
            ip in any::<std::net::IpAddr>().prop_filter("somebody can be called there", |ip| !ip.is_unspecified()),
            port in 1..=u16::MAX,
        ) {
            let offer = MasterOffer { name: id.clone(), address: Address { host: Host::Ip(ip), port } };
            let datagram = match kind {
                0 => Datagram::Discovery { worker: ServerId::new(id).unwrap() },
                1 => Datagram::Reply(offer),
                2 => Datagram::Find,
                _ => Datagram::Found(offer),
            };
            let bytes = written(&datagram);
            prop_assert!(bytes.len() <= MAX_DATAGRAM_BYTES && bytes.ends_with('\n'));
            prop_assert_eq!(decode_datagram(bytes.as_bytes(), from()), Ok(datagram));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = decode_datagram(&bytes, from());
        }
    }
}
