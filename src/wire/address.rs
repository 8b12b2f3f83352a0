//! Addresses: a host, by name or number, and a port.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use super::MAX_HOST_BYTES;

/// Where a node can be reached: `host:port`, with IPv6 in brackets (`[::1]:9101`).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    /// The host.
    pub host: Host,
    /// The TCP port, 1 to 65535.
    pub port: u16,
}

/// A host by number or by name.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Host {
    /// An IPv4 or IPv6 address.
    Ip(IpAddr),
    /// A name, lower case, 1 to 253 bytes of letters, digits, `-`, `_` and `.`.
    Name(String),
}

/// Why a text is not an address. Nothing was changed by the attempt.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// There is no `:port` at its end.
    #[error("`{0}` has no port; expected host:port, such as 127.0.0.1:9102 or [::1]:9102")]
    NoPort(String),
    /// The port is not a number from 1 to 65535.
    #[error("`{0}` has a bad port; expected a number from 1 to 65535")]
    BadPort(String),
    /// The host is empty or has characters that no host has.
    #[error("`{0}` has a bad host; expected a name, an IPv4 address, or an IPv6 address in brackets")]
    BadHost(String),
}

impl Address {
    /// The address of a socket.
    pub fn of(socket: SocketAddr) -> Address {
        Address { host: Host::Ip(socket.ip().to_canonical()), port: socket.port() }
    }

    /// The address as a number, if it is one.
    pub fn socket(&self) -> Option<SocketAddr> {
        match self.host {
            Host::Ip(ip) => Some(SocketAddr::new(ip, self.port)),
            Host::Name(_) => None,
        }
    }

    /// Whether this is `0.0.0.0` or `::`, where one can listen but not call.
    pub fn is_wildcard(&self) -> bool {
        matches!(self.host, Host::Ip(ip) if ip.is_unspecified())
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Address, AddressError> {
        let (host, port) = text.rsplit_once(':').ok_or_else(|| AddressError::NoPort(text.to_owned()))?;
        // `::1` is a host without a port, not the host `:` at port 1.
        if host.contains(':') && !(host.starts_with('[') && host.ends_with(']')) {
            return Err(AddressError::NoPort(text.to_owned()));
        }
        let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        let port = port.parse().ok().filter(|port| digits && *port != 0);
        let port = port.ok_or_else(|| AddressError::BadPort(text.to_owned()))?;
        let host = host.parse().map_err(|_| AddressError::BadHost(text.to_owned()))?;
        Ok(Address { host, port })
    }
}

impl FromStr for Host {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Host, AddressError> {
        let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        if let Some(bare) = bare {
            let ip = bare.parse().map_err(|_| AddressError::BadHost(text.to_owned()))?;
            return Ok(Host::Ip(IpAddr::V6(ip)));
        }
        if let Ok(ip) = text.parse::<IpAddr>() {
            return Ok(Host::Ip(ip));
        }
        let name_like = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        // A dotted number that is no IPv4 address (`256.0.0.1`, `1.2.3`) is a slip, not a name.
        let numeric = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        if text.is_empty() || text.len() > MAX_HOST_BYTES || numeric || !text.bytes().all(name_like) {
            return Err(AddressError::BadHost(text.to_owned()));
        }
        Ok(Host::Name(text.to_ascii_lowercase()))
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Ip(ip) => write!(f, "{ip}"),
            Host::Name(name) => f.write_str(name),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]:{}", self.port),
            host => write!(f, "{host}:{}", self.port),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_addresses_read_back() {
        for text in ["127.0.0.1:9102", "[::1]:9102", "node-b.lab:1", "localhost:65535"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        assert_eq!("LocalHost:1".parse::<Address>().unwrap().to_string(), "localhost:1");
    }

    #[test]
    fn bad_addresses_say_what_is_wrong() {
        let error = |text: &str| text.parse::<Address>().unwrap_err();
        assert!(matches!(error("127.0.0.1"), AddressError::NoPort(_)));
        assert!(matches!(error("::1"), AddressError::NoPort(_)));
        assert!(matches!(error("a:0"), AddressError::BadPort(_)));
        assert!(matches!(error("a:65536"), AddressError::BadPort(_)));
        assert!(matches!(error("a:+1"), AddressError::BadPort(_)));
        assert!(matches!(error("a:"), AddressError::BadPort(_)));
        assert!(matches!(error(":1"), AddressError::BadHost(_)));
        assert!(matches!(error("a b:1"), AddressError::BadHost(_)));
        assert!(matches!(error("256.0.0.1:1"), AddressError::BadHost(_)));
        assert!(matches!(error("[::g]:1"), AddressError::BadHost(_)));
    }
}
