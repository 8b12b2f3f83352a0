//! Fields of foreign programs: keys in any letter case, in the payload or beside it, numbers as strings, addresses whole or in two.
//!
//! What is missing or wrong is told as one sentence for the log, since nobody is answered.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::wire::parts::{Parts, Twice};
use crate::wire::{Address, Host, RequestId, ServerId};

/// What is wrong with a line, for the log.
pub(in crate::wire) type Why = &'static str;

/// A field stands twice in the line.
pub(super) const STANDS_TWICE: Why = "a field stands twice in it";

#[derive(Deserialize)]
struct Word<'a>(#[serde(borrow)] Cow<'a, str>);

/// The fields of an object, and of those around it where it does not have them itself.
pub(super) struct Loose<'a>(pub(super) Vec<Parts<'a>>);

impl<'a> Loose<'a> {
    /// The text of the first of these that is there.
    pub(super) fn value(&self, keys: &[&str]) -> Result<Option<&'a str>, Why> {
        for key in keys {
            for parts in &self.0 {
                if let Some(raw) = parts.any_case(key).map_err(|Twice| STANDS_TWICE)? {
                    return Ok(Some(raw));
                }
            }
        }
        Ok(None)
    }

    /// The first of these, as what `read` makes of it; `why` if it makes nothing of it.
    pub(super) fn maybe<T>(
        &self,
        keys: &[&str],
        read: impl FnOnce(&'a str) -> Option<T>,
        why: Why,
    ) -> Result<Option<T>, Why> {
        self.value(keys)?.map(|raw| read(raw).ok_or(why)).transpose()
    }

    /// The same where one of them must be there.
    pub(super) fn need<T>(&self, keys: &[&str], read: impl FnOnce(&'a str) -> Option<T>, why: Why) -> Result<T, Why> {
        self.maybe(keys, read, why)?.ok_or(why)
    }

    /// An address: the first of `whole`, or a host and its port. What is none counts as not said.
    pub(super) fn address(&self, whole: &[&str], halves: &[(&str, &str)]) -> Result<Option<Address>, Why> {
        for key in whole {
            if let Some(address) = self.value(&[key])?.and_then(address) {
                return Ok(Some(address));
            }
        }
        for (host, port) in halves {
            if let (Some(host), Some(port)) = (self.value(&[host])?, self.value(&[port])?)
                && let (Some(host), Some(port)) = (text(host).and_then(|text| text.parse().ok()), self::port(port))
            {
                return Ok(Some(Address { host, port }));
            }
        }
        Ok(None)
    }

    /// The first of these that is a port.
    pub(super) fn port(&self, keys: &[&str]) -> Result<Option<u16>, Why> {
        Ok(self.value(keys)?.and_then(port))
    }
}

/// A string, or a number as the text that it is.
pub(super) fn text(raw: &str) -> Option<Cow<'_, str>> {
    match raw.as_bytes().first()? {
        b'"' => serde_json::from_str(raw).ok().map(|Word(text)| text),
        b'0'..=b'9' | b'-' => Some(Cow::Borrowed(raw)),
        _ => None,
    }
}

/// The id of a master or of a worker.
pub(super) fn id(raw: &str) -> Option<ServerId> {
    text(raw).and_then(ServerId::new)
}

/// The mark of a request.
pub(super) fn mark(raw: &str) -> Option<RequestId> {
    text(raw).and_then(RequestId::new)
}

/// A whole number that is not negative, be it a string, or have a fraction of zero.
pub(super) fn whole(raw: &str) -> Option<u64> {
    let text = text(raw)?;
    let text = text.trim();
    let text = match text.split_once('.') {
        Some((whole, zeros)) if !zeros.is_empty() && zeros.bytes().all(|byte| byte == b'0') => whole,
        _ => text,
    };
    // What Rust reads and JSON does not: a plus sign.
    text.parse().ok().filter(|_| !text.starts_with('+'))
}

fn port(raw: &str) -> Option<u16> {
    whole(raw).and_then(|port| u16::try_from(port).ok()).filter(|port| *port != 0)
}

/// An address: a string host:port, or an object of `ip` and `port`.
pub(super) fn address(raw: &str) -> Option<Address> {
    if raw.starts_with('{') {
        let parts = Loose(vec![Parts::read(raw).ok()?]);
        let host = parts.value(&["ip", "host", "address"]).ok()??;
        let host: Host = text(host)?.parse().ok()?;
        return Some(Address { host, port: parts.port(&["port"]).ok()?? });
    }
    text(raw)?.trim().parse().ok()
}

/// At most so many items of a list.
pub(super) fn list(raw: &str, most: usize) -> Option<Vec<&str>> {
    let items: Vec<&RawValue> = serde_json::from_str(raw).ok()?;
    Some(items.into_iter().take(most).map(RawValue::get).collect())
}

/// The ids in a list, at most so many: strings, or objects that have one. What is none is left out.
pub(super) fn ids(raw: &str, most: usize) -> Option<Vec<ServerId>> {
    Some(list(raw, most)?.into_iter().filter_map(worker).collect())
}

/// A worker in a list: its id, or an object that has it.
pub(super) fn worker(raw: &str) -> Option<ServerId> {
    if !raw.starts_with('{') {
        return id(raw);
    }
    Loose(vec![Parts::read(raw).ok()?]).value(&WORKER_KEYS).ok()?.and_then(id)
}

/// The names of a worker's id, in an object that is about it.
const WORKER_KEYS: [&str; 3] = ["id", "worker_uuid", "worker_id"];
