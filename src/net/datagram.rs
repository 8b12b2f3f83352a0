//! TEMPORARY: what helper WIRE offers as `wire::{Undecodable, decode_datagram, encode_datagram}`, until the branches meet. Goes away then.

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::wire::{Address, Datagram, Host, MasterOffer, ServerId};

#[derive(Debug, thiserror::Error)]
pub(super) enum Undecodable {
    #[error("it is no datagram of discovery")]
    Noise,
    #[error("{0}")]
    Bad(String),
}

impl From<&str> for Undecodable {
    fn from(text: &str) -> Undecodable {
        Undecodable::Bad(text.to_owned())
    }
}

pub(super) fn decode_datagram(bytes: &[u8], from: SocketAddr) -> Result<Datagram, Undecodable> {
    let value: Value = serde_json::from_slice(bytes).map_err(|_| Undecodable::Noise)?;
    let text = |name: &str| value.get(name).and_then(Value::as_str);
    let address = || {
        let host = match text("MASTER_IP") {
            Some(ip) => Host::Ip(ip.parse().map_err(|_| "MASTER_IP is no address")?),
            None => Address::of(from).host,
        };
        let port = value.get("MASTER_PORT").ok_or("MASTER_PORT is missing")?;
        let port = port.as_u64().and_then(|port| u16::try_from(port).ok()).ok_or("MASTER_PORT is no port")?;
        Ok::<Address, Undecodable>(Address { host, port })
    };
    match (text("TYPE"), text("TASK")) {
        (Some("DISCOVERY"), _) => {
            let worker = text("WORKER_UUID").and_then(ServerId::new).ok_or("WORKER_UUID is missing")?;
            Ok(Datagram::Discovery { worker })
        }
        (Some("DISCOVERY_REPLY"), _) => {
            let name = text("MASTER_NAME").ok_or("MASTER_NAME is missing")?.to_owned();
            Ok(Datagram::Reply(MasterOffer { name, address: address()? }))
        }
        (_, Some("FIND_MASTER")) => Ok(Datagram::Find),
        (_, Some("MASTER_FOUND")) => {
            let name = text("MASTER_NAME").unwrap_or_default().to_owned();
            Ok(Datagram::Found(MasterOffer { name, address: address()? }))
        }
        _ => Err(Undecodable::Noise),
    }
}

pub(super) fn encode_datagram(datagram: &Datagram, out: &mut Vec<u8>) {
    let value = match datagram {
        Datagram::Discovery { worker } => json!({"TYPE": "DISCOVERY", "WORKER_UUID": worker.as_str()}),
        Datagram::Reply(offer) => json!({
            "TYPE": "DISCOVERY_REPLY", "MASTER_NAME": offer.name, "MASTER_IP": offer.address.host.to_string(),
            "MASTER_PORT": offer.address.port, "STATUS": "AVAILABLE",
        }),
        Datagram::Find => json!({"TASK": "FIND_MASTER"}),
        Datagram::Found(offer) => json!({
            "TASK": "MASTER_FOUND", "MASTER_NAME": offer.name, "MASTER_IP": offer.address.host.to_string(),
            "MASTER_PORT": offer.address.port,
        }),
    };
    out.extend_from_slice(value.to_string().as_bytes());
}
