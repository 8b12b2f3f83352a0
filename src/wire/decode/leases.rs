//! SETTINGS and LEASE: requests, with exact errors.

use std::time::Duration;

use crate::wire::parts::{Fault, Parts};
use crate::wire::{
    Body, DEFAULT_LEASE_TTL, Json, LEASE_TTL, LeaseAction, LeaseRequest, MAX_LEASE_WAIT, MAX_SETTING_BYTES, MAX_TERM,
    ServerId, SettingsQuery, is_valid_name,
};

use super::group::name;
use super::{ID_FORM, NAME_FORM};

const ACTIONS: &str = "ACQUIRE, RENEW, RELEASE or TICK";

/// `SETTINGS`.
pub(super) fn settings(text: &str) -> Result<Body, Fault> {
    let parts = Parts::read(text)?;
    let query = SettingsQuery {
        name: parts.maybe("NAME", NAME_FORM, |text| is_valid_name(&text).then(|| text.into_owned()))?,
        value: parts.raw("VALUE")?.map(setting).transpose()?,
        local: parts.mark("LOCAL")?,
    };
    if query.value.is_some() && query.name.is_none() {
        return Err(Fault::missing("NAME", NAME_FORM));
    }
    Ok(Body::Settings(Box::new(query)))
}

fn setting(raw: &str) -> Result<Json, Fault> {
    if raw.len() > MAX_SETTING_BYTES {
        let why = format!("it has {} bytes; expected at most {MAX_SETTING_BYTES}", raw.len());
        return Err(Fault::bad("VALUE", why));
    }
    Ok(Json::trusted(raw))
}

/// `LEASE`.
pub(super) fn lease(text: &str) -> Result<Body, Fault> {
    let parts = Parts::read(text)?;
    let actions = format!("one of {ACTIONS}");
    let Some(word) = parts.maybe("ACTION", &actions, |text| Some(text.into_owned()))? else {
        if parts.has_any(&["NAME", "HOLDER", "FENCE", "TTL_MS", "WAIT_MS", "TICK"]) {
            return Err(Fault::missing("ACTION", &actions));
        }
        let after = parts.maybe("AFTER", "a string, the `NAME` of a lease", |text| Some(text.into_owned()))?;
        return Ok(Body::LeaseQuestion { local: parts.mark("LOCAL")?, after });
    };
    let fence = || parts.number("FENCE", 1..=MAX_TERM);
    let action = match word.as_str() {
        "ACQUIRE" => LeaseAction::Acquire {
            holder: holder(&parts)?,
            ttl: parts.maybe_millis("TTL_MS", LEASE_TTL.0..=LEASE_TTL.1)?.unwrap_or(DEFAULT_LEASE_TTL),
            wait: parts.maybe_millis("WAIT_MS", Duration::ZERO..=MAX_LEASE_WAIT)?.unwrap_or_default(),
        },
        "RENEW" => LeaseAction::Renew { holder: holder(&parts)?, fence: fence()? },
        "RELEASE" => LeaseAction::Release { holder: holder(&parts)?, fence: fence()? },
        "TICK" => {
            LeaseAction::Tick { holder: holder(&parts)?, fence: fence()?, tick: parts.number("TICK", 1..=MAX_TERM)? }
        }
        _ => {
            let why = format!("there is no \"{}\"; expected {actions}", super::quote(&word));
            return Err(Fault::bad("ACTION", why));
        }
    };
    Ok(Body::Lease(Box::new(LeaseRequest { name: name(&parts, "NAME")?, action })))
}

/// A `HOLDER` has the form of an id.
pub(in crate::wire) fn holder(parts: &Parts) -> Result<String, Fault> {
    parts.text("HOLDER", ID_FORM, |text| Some(ServerId::new(text)?.as_str().to_owned()))
}
