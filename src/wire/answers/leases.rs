//! Agreed settings and named leases, as they are told.

use std::time::Duration;

use crate::wire::decode::group::{count, name};
use crate::wire::parts::{Fault, Parts};
use crate::wire::{Body, Json, Lease, LeasesAnswer, MAX_LINE_BYTES, ServerId, Setting, SettingsAnswer};

/// Items in one line at most: the shortest fill it.
const MAX_ITEMS: usize = MAX_LINE_BYTES / 16;

/// The answer to `SETTINGS`.
pub(in crate::wire) fn settings(text: &str) -> Option<SettingsAnswer> {
    let setting = |parts: &Parts| {
        Ok(Setting {
            name: name(parts, "NAME")?,
            value: parts.value("VALUE")?.map(Json::trusted),
            index: count(parts, "INDEX")?,
        })
    };
    let parts = Parts::read(text).ok()?;
    Some(SettingsAnswer {
        index: count(&parts, "INDEX").ok()?,
        local: parts.mark("LOCAL").ok()?,
        settings: parts.objects("SETTINGS", MAX_ITEMS, setting).ok()?,
    })
}

/// An answer to `LEASE`.
pub(in crate::wire) fn leases(text: &str) -> Option<Body> {
    let parts = Parts::read(text).ok()?;
    if !parts.has_any(&["LEASES"]) {
        return lease(&parts).ok().map(|lease| Body::LeaseAnswer(Box::new(lease)));
    }
    Some(Body::LeasesAnswer(Box::new(LeasesAnswer {
        index: count(&parts, "INDEX").ok()?,
        local: parts.mark("LOCAL").ok()?,
        leases: parts.objects("LEASES", MAX_ITEMS, lease).ok()?,
        more: parts.mark("MORE").ok()?,
    })))
}

fn lease(parts: &Parts) -> Result<Lease, Fault> {
    let longest = Duration::from_millis(u64::MAX);
    Ok(Lease {
        name: name(parts, "NAME")?,
        holder: parts.maybe("HOLDER", "an id", |text| Some(ServerId::new(text)?.as_str().to_owned()))?,
        fence: count(parts, "FENCE")?,
        ttl: parts.maybe_millis("TTL_MS", Duration::ZERO..=longest)?.unwrap_or_default(),
        tick: count(parts, "TICK")?,
    })
}
