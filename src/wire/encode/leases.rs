//! Agreed settings and named leases.

use crate::wire::{Lease, LeaseAction, LeaseRequest, LeasesAnswer, SettingsAnswer, SettingsQuery};

use super::object::Object;

impl<'o> Object<'o> {
    pub(super) fn settings_query(self, query: &SettingsQuery) -> Object<'o> {
        let line = self.maybe("NAME", query.name.as_deref());
        let line = match &query.value {
            Some(value) => line.json("VALUE", value),
            None => line,
        };
        line.mark("LOCAL", query.local)
    }

    pub(super) fn settings_answer(self, answer: &SettingsAnswer) -> Object<'o> {
        let line = self.number("INDEX", answer.index).mark("LOCAL", answer.local);
        let (line, _) = line.list("SETTINGS", usize::MAX, &answer.settings, |setting, out| {
            let entry = Object::begin(out).text("NAME", &setting.name);
            let entry = match &setting.value {
                Some(value) => entry.json("VALUE", value),
                None => entry,
            };
            entry.number("INDEX", setting.index).close();
        });
        line
    }

    pub(super) fn lease_question(self, local: bool, after: Option<&str>) -> Object<'o> {
        self.mark("LOCAL", local).maybe("AFTER", after)
    }

    pub(super) fn leases_answer(self, answer: &LeasesAnswer) -> Object<'o> {
        let line = self.number("INDEX", answer.index).mark("LOCAL", answer.local);
        line.page("LEASES", &answer.leases, answer.more, |entry, lease| entry.lease(lease))
    }

    pub(super) fn lease(self, lease: &Lease) -> Object<'o> {
        self.text("NAME", &lease.name)
            .maybe("HOLDER", lease.holder.as_deref())
            .number("FENCE", lease.fence)
            .millis("TTL_MS", lease.ttl)
            .number("TICK", lease.tick)
    }

    pub(super) fn lease_request(self, request: &LeaseRequest) -> Object<'o> {
        let line = self.text("ACTION", request.action.word()).text("NAME", &request.name);
        match &request.action {
            LeaseAction::Acquire { holder, ttl, wait } => {
                let line = line.text("HOLDER", holder).millis("TTL_MS", *ttl);
                if wait.is_zero() { line } else { line.millis("WAIT_MS", *wait) }
            }
            LeaseAction::Renew { holder, fence } | LeaseAction::Release { holder, fence } => {
                line.text("HOLDER", holder).number("FENCE", *fence)
            }
            LeaseAction::Tick { holder, fence, tick } => {
                line.text("HOLDER", holder).number("FENCE", *fence).number("TICK", *tick)
            }
        }
    }
}
