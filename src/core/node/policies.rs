//! Policies of lending that the group has agreed on: they go before this node's own options, for as long as they are agreed on.

use std::time::Duration;

use super::Node;
use super::loans::Desk;
use crate::core::LogLevel;
use crate::core::loans::Lend;
use crate::wire::SettingName;

impl Node {
    /// The group has agreed on a policy, or on none any more: then this node goes by its own option again.
    pub(super) fn go_by_policy(&mut self, name: SettingName, value: Option<u64>) {
        let Some(desk) = &mut self.desk else { return };
        let Desk { own, policies, .. } = desk.as_mut();
        let workers = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
        let span = |own: Duration| value.map_or(own, Duration::from_millis);
        match name {
            SettingName::Keep => policies.keep = value.map_or(own.keep, workers),
            SettingName::Cap => policies.cap = value.map_or(own.cap, |cap| Some(workers(cap)).filter(|cap| *cap > 0)),
            SettingName::Cooldown => policies.cooldown = span(own.cooldown),
            SettingName::Lease => policies.lease = span(own.lease),
            SettingName::Grace => policies.grace = span(own.grace),
            SettingName::Lend => {
                let agreed = value.and_then(|at| Lend::ALL.get(usize::try_from(at).ok()?).copied());
                policies.lend = agreed.unwrap_or(own.lend);
            }
            _ => return,
        }
        let policies = policies.clone();
        match policies.check() {
            Ok(()) => desk.loans.configure(policies),
            Err(error) => self.log(LogLevel::Warn, format!("the agreed setting {name} is not gone by: {error}")),
        }
    }
}
