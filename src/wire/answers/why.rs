//! What a node tells of its reasons.

use crate::wire::decode::ID_FORM;
use crate::wire::parts::{Fault, Parts};
use crate::wire::{Decision, MAX_LINE_BYTES, ServerId, WhyAnswer};

/// Decisions in one line at most: the shortest fill it.
const MOST: usize = MAX_LINE_BYTES / 16;

/// An answer to `WHY`.
pub(in crate::wire) fn why(text: &str) -> Option<WhyAnswer> {
    let parts = Parts::read(text).ok()?;
    answer(&parts).ok()
}

fn answer(parts: &Parts) -> Result<WhyAnswer, Fault> {
    let words = |parts: &Parts, key: &str| parts.text(key, "a string", |text| Some(text.into_owned()));
    let decision = |one: &Parts| {
        Ok(Decision {
            seq: one.number("SEQ", 1..=u64::MAX)?,
            age: one.maybe_millis("AGE_MS", std::time::Duration::ZERO..=std::time::Duration::MAX)?.unwrap_or_default(),
            about: words(one, "ABOUT")?,
            text: words(one, "TEXT")?,
        })
    };
    Ok(WhyAnswer {
        server_id: parts.text("SERVER_ID", ID_FORM, ServerId::new)?,
        why: if parts.has_any(&["WHY"]) { Some(words(parts, "WHY")?) } else { None },
        decisions: parts.objects("DECISIONS", MOST, decision)?,
        more: parts.mark("MORE")?,
    })
}
