//! Where a borrower is: which of the addresses that a request suggests is believed.
//!
//! `request_help` has no field for it, so that everybody does it otherwise (course-protocol.md, "Requester's address"). In this order:
//!
//! 1. the address in the payload, if its host is that of the connection, or of a configured peer or a member (design.md, section 14);
//! 2. the host of the connection, with the port in the payload where that says no host;
//! 3. where this node itself calls the peer that asks;
//! 4. the host of the connection, with the port of an address whose host is not believed;
//! 5. the configured peer or member at the host of the connection, if it is the only one there; of several, that with our own port number.
//!
//! So a worker is only ever sent to a host that asked for it, or that the operator has named.

use std::net::IpAddr;

use super::Neighbour;
use crate::wire::{Address, Host, LoanRequest};

/// Where the borrower is called. `None`: it did not say, and nobody is known there.
pub(in crate::core) fn of_borrower(
    request: &LoanRequest,
    from: IpAddr,
    known: Option<&Neighbour>,
    trusted: &[Address],
    own_port: u16,
) -> Option<Address> {
    let from = from.to_canonical();
    let at = |port: u16| Address { host: Host::Ip(from), port };
    if let Some(said) = &request.address {
        if said.is_wildcard() || is_here(&said.host, from) {
            return Some(at(said.port));
        }
        let configured = known.map(|peer| &peer.address).into_iter().chain(trusted).any(|one| one.host == said.host);
        if configured {
            return Some(said.clone());
        }
    }
    if let Some(port) = request.port.filter(|port| *port != 0 && request.address.is_none()) {
        return Some(at(port));
    }
    if let Some(peer) = known {
        return Some(peer.address.clone());
    }
    if let Some(said) = &request.address {
        return Some(at(said.port));
    }
    let mut there = trusted.iter().filter(|one| is_here(&one.host, from));
    match (there.next(), there.next()) {
        (Some(only), None) => Some(only.clone()),
        (Some(_), Some(_)) => Some(at(own_port)),
        (None, _) => None,
    }
}

/// Whether a host is that of the connection.
fn is_here(host: &Host, from: IpAddr) -> bool {
    match host {
        Host::Ip(ip) => ip.to_canonical() == from,
        Host::Name(name) => name == "localhost" && from.is_loopback(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::ServerId;

    fn address(text: &str) -> Address {
        text.parse().unwrap()
    }

    fn request(said: Option<&str>, port: Option<u16>) -> LoanRequest {
        let address = said.map(address);
        LoanRequest {
            master: None,
            name: None,
            address,
            port,
            load: 150,
            capacity: 100,
            needed: 1,
            native: None,
            dialect: None,
        }
    }

    fn neighbour(at: &str) -> Neighbour {
        Neighbour {
            peer: ServerId::new("A").unwrap(),
            name: "a".into(),
            address: address(at),
            link: None,
            native: false,
            alive: true,
            saturated: false,
            score: 0,
            member: false,
            services: Vec::new(),
            asks_back: false,
        }
    }

    fn found(request: LoanRequest, known: Option<&str>, trusted: &[&str]) -> Option<String> {
        let trusted: Vec<Address> = trusted.iter().map(|one| address(one)).collect();
        let from = "10.0.0.7".parse().unwrap();
        of_borrower(&request, from, known.map(neighbour).as_ref(), &trusted, 9101).map(|address| address.to_string())
    }

    #[test]
    fn an_address_in_the_payload_counts_if_its_host_is_the_connections_or_configured() {
        assert_eq!(found(request(Some("10.0.0.7:21201"), None), Some("10.0.0.7:5"), &[]).unwrap(), "10.0.0.7:21201");
        assert_eq!(found(request(Some("10.0.0.9:21201"), None), None, &["10.0.0.9:1"]).unwrap(), "10.0.0.9:21201");
        assert_eq!(found(request(Some("lab-7:21201"), None), None, &["lab-7:1"]).unwrap(), "lab-7:21201");
        assert_eq!(found(request(Some("0.0.0.0:21201"), None), None, &[]).unwrap(), "10.0.0.7:21201");
    }

    #[test]
    fn a_worker_is_never_sent_to_a_host_that_is_only_claimed() {
        assert_eq!(found(request(Some("10.6.6.6:21201"), None), None, &[]).unwrap(), "10.0.0.7:21201");
        assert_eq!(found(request(Some("localhost:21201"), None), None, &[]).unwrap(), "10.0.0.7:21201");
        assert_eq!(found(request(Some("10.6.6.6:21201"), None), Some("10.0.0.7:9105"), &[]).unwrap(), "10.0.0.7:9105");
    }

    #[test]
    fn a_port_alone_is_one_of_the_connections_host() {
        assert_eq!(found(request(None, Some(21201)), Some("10.0.0.7:5"), &[]).unwrap(), "10.0.0.7:21201");
        assert_eq!(found(request(None, Some(0)), None, &[]), None);
    }

    #[test]
    fn who_says_nothing_is_where_it_is_known_to_be() {
        assert_eq!(found(request(None, None), Some("10.0.0.7:9105"), &[]).unwrap(), "10.0.0.7:9105");
        assert_eq!(found(request(None, None), None, &["10.0.0.7:9106", "10.0.0.8:1"]).unwrap(), "10.0.0.7:9106");
        assert_eq!(found(request(None, None), None, &["10.0.0.7:1", "10.0.0.7:2"]).unwrap(), "10.0.0.7:9101");
        assert_eq!(found(request(None, None), None, &["10.0.0.8:1"]), None);
    }

    #[test]
    fn localhost_is_this_machine_only_on_it() {
        let from = "127.0.0.1".parse().unwrap();
        let found = of_borrower(&request(Some("localhost:7000"), None), from, None, &[], 9101);
        assert_eq!(found, Some(address("127.0.0.1:7000")));
    }
}
