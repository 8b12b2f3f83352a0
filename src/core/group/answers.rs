//! Answers to what was agreed on, confirmed or refused.

use super::desk::{Asker, Fate};
use super::machine::Group;
use crate::core::ledger::{Applied, Refusal};
use crate::time::Time;
use crate::wire::{
    Admission, Body, ErrorCode, Lease, LeaseAction, LedgerEntry, MembersAction, RaftId, Setting, SettingsAnswer,
};

impl Group {
    /// An entry is agreed on: who asked for it is answered.
    pub(super) fn answer_agreed(&mut self, entry: &LedgerEntry, applied: &Applied, now: Time) {
        for fate in self.desk.agreed(entry.index, entry.term) {
            match fate {
                // Another leader's entry took its place: this one was not done, and is asked for again.
                Fate::Displaced(asker) => self.dispatch(asker, now),
                Fate::Agreed(asker) => self.answer_done(asker, entry.index, applied, now),
            }
        }
    }

    fn answer_done(&mut self, asker: Asker, index: u64, applied: &Applied, now: Time) {
        if let Applied::Refused(refusal) = applied {
            return self.refused_or_waits(asker, refusal, now);
        }
        let Asker { reply, body, .. } = asker;
        match (&body, applied) {
            (Body::Settings(query), _) => {
                let setting =
                    Setting { name: query.name.clone().unwrap_or_default(), value: query.value.clone(), index };
                let answer = SettingsAnswer { index, local: false, settings: vec![setting] };
                self.answer(reply, Body::SettingsAnswer(Box::new(answer)));
            }
            (Body::Lease(_), Applied::Granted(lease)) => self.answer(reply, Body::LeaseAnswer(Box::new(lease.clone()))),
            (Body::Lease(request), _) => {
                let free = || Lease {
                    name: request.name.clone(),
                    holder: None,
                    fence: 0,
                    ttl: std::time::Duration::ZERO,
                    tick: 0,
                };
                let lease = self.ledger().lease(&request.name).unwrap_or_else(free);
                self.answer(reply, Body::LeaseAnswer(Box::new(lease)));
            }
            (Body::LoanAction(action), _) => self.loan_done(reply, action, index),
            (Body::Members(_), Applied::Admitted(raft_id)) => {
                if let Some(admission) = self.admission(*raft_id) {
                    self.answer(reply, Body::Admission(Box::new(admission)));
                }
            }
            (Body::Members(action), _) => {
                let word = if matches!(**action, MembersAction::Remove { .. }) { "REMOVE" } else { "MEMBERS" };
                self.members_done(reply, word, Some(index), "it is agreed on".to_owned());
            }
            _ => {}
        }
    }

    /// What a new member must know.
    fn admission(&self, raft_id: RaftId) -> Option<Admission> {
        let seat = self.seat.as_ref()?;
        let (group_id, key) = (seat.membership.group_id.clone(), seat.membership.key.clone());
        Some(Admission {
            group_id,
            raft_id,
            key,
            members: self.members().into_iter().map(|(member, _)| member).collect(),
        })
    }

    /// It is refused now; who waits for a lease waits on.
    pub(super) fn refused_or_waits(&mut self, asker: Asker, refusal: &Refusal, now: Time) {
        let waits = match (&asker.body, refusal) {
            (Body::Lease(request), Refusal::Held(_)) => {
                matches!(&request.action, LeaseAction::Acquire { wait, .. } if !wait.is_zero())
            }
            _ => false,
        };
        let leads = self.seat.as_ref().is_some_and(|seat| seat.leads());
        // The time to wait for the lease itself, without that for the leader.
        let until =
            Time::from_micros(asker.until.as_micros().saturating_sub(crate::time::micros(super::desk::PATIENCE)));
        if waits && leads && until > now {
            return self.desk.await_lease(Asker { until, ..asker });
        }
        self.refused(asker, refusal);
    }

    pub(super) fn refused(&mut self, asker: Asker, refusal: &Refusal) {
        let (code, detail) = match refusal {
            Refusal::Held(lease) => {
                let holder = lease.holder.as_deref().unwrap_or("nobody");
                (ErrorCode::Held, format!("`{}` is held by `{holder}` with fence {}", lease.name, lease.fence))
            }
            Refusal::Over { lease: Some(lease) } => {
                let holder = lease.holder.as_deref().unwrap_or("nobody");
                let detail =
                    format!("that grant is over; `{}` is held by `{holder}` now, fence {}", lease.name, lease.fence);
                (ErrorCode::Over, detail)
            }
            Refusal::Over { lease: None } => (ErrorCode::Over, "that grant is over; nobody holds the lease".to_owned()),
            Refusal::Claimed { tick } => (ErrorCode::Claimed, format!("tick {tick} was claimed before")),
            Refusal::Full(why) => (ErrorCode::Busy, why.clone()),
            Refusal::Contradicts(why) => (ErrorCode::BadField, why.clone()),
        };
        self.refuse(&asker, code, &detail);
    }

    /// A majority has confirmed that this node leads, and led when it was asked.
    pub(super) fn confirmed(&mut self, mark: u64, _index: u64, now: Time) {
        let Some(asker) = self.desk.confirmed(mark) else { return };
        match &asker.body {
            Body::Settings(query) if query.name.is_none() || query.value.is_none() => self.show_settings(&asker, false),
            Body::LeaseQuestion { after, .. } => {
                let after = after.clone();
                self.show_leases(asker.reply, after.as_deref(), false);
            }
            Body::Lease(request) => match &request.action {
                LeaseAction::Renew { holder, fence } => {
                    let (name, holder, fence) = (request.name.clone(), holder.clone(), *fence);
                    self.renew(asker, &name, &holder, fence, now);
                }
                _ => self.lead(asker, true, now),
            },
            // What was to be refused is judged again, by the ledger as it is now.
            _ => self.lead(asker, true, now),
        }
    }

    fn renew(&mut self, asker: Asker, name: &str, holder: &str, fence: u64, now: Time) {
        let Some(seat) = &mut self.seat else { return };
        let lease = seat.ledger.lease(name);
        let held = lease.clone().filter(|lease| lease.fence == fence && lease.holder.as_deref() == Some(holder));
        match held {
            Some(lease) if seat.clock.renewed(name, fence, now).is_ok() => {
                self.answer(asker.reply, Body::LeaseAnswer(Box::new(lease)));
            }
            _ => self.refused(asker, &Refusal::Over { lease }),
        }
    }

    /// Whoever asked for another leader is told whether that one leads.
    pub(super) fn answer_transfer(&mut self, leader: Option<RaftId>) {
        let Some((asker, wanted)) = self.desk.take_transfer() else { return };
        let who = leader.map(|leader| self.called(leader)).unwrap_or_default();
        if leader == Some(wanted) {
            return self.members_done(asker.reply, "LEAD", None, format!("{who} leads now"));
        }
        let detail = format!("{who} leads now, and not the one that was asked for; ask again");
        self.refuse(&asker, ErrorCode::Busy, &detail);
    }
}
