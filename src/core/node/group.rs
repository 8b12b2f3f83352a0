//! The group: what members and clients say of it, and what it wants done.

use std::time::Duration;

use super::Node;
use crate::core::election::Letter;
use crate::core::group::{AgreementConfig, Effect, Entropy, Group, GroupStanding, GroupView, Own, is_handed_on};
use crate::core::{LinkId, LoadConfig, LogLevel, Output, StoredGroup};
use crate::time::Time;
use crate::wire::{Address, Body, ErrorAnswer, ErrorCode, GroupPresence, Permille, RequestId, SettingName};

impl Node {
    /// Takes part in agreement, with what is stored of the group. Called once, before the first input, on a master. `entropy` comes
    /// from the operating system: keys and challenges are drawn from it.
    ///
    /// # Errors
    /// Where the settings are out of range, or what is stored contradicts itself. The node agrees on nothing then.
    pub fn agree(
        &mut self,
        settings: AgreementConfig,
        stored: StoredGroup,
        entropy: [u8; 32],
        seed: u64,
        now: Time,
    ) -> Result<(), String> {
        settings.check().map_err(|error| error.to_string())?;
        let own = Own {
            server_id: self.identity.server_id.clone(),
            name: self.identity.name.clone(),
            address: self.own_address(),
            group: self.config.group.clone(),
        };
        let times = (self.config.timeout, self.config.forget);
        let group = Group::new(settings, own, times, stored, Entropy::new(entropy), seed, now)?;
        self.group = Some(Box::new(group));
        self.registry.ask_doubles();
        self.carry_out(now);
        Ok(())
    }

    /// What heartbeats say of the group.
    pub(super) fn group_presence(&self) -> GroupPresence {
        self.group.as_ref().map(|group| group.presence().clone()).unwrap_or_default()
    }

    /// What this node is in its group; `None` where it takes no part in agreement.
    pub fn group_standing(&self) -> Option<GroupStanding> {
        self.group.as_ref().map(|group| group.standing())
    }

    /// The group in a few words, for people; `None` where this node takes no part in agreement.
    pub fn group_summary(&self, now: Time) -> Option<String> {
        self.group.as_ref().map(|group| group.summary(now))
    }

    /// A look at its seat in a group, for who checks the laws of agreement; `None`: it has none.
    pub(crate) fn group_view(&self) -> Option<GroupView> {
        self.group.as_ref().and_then(|group| group.view_of_seat())
    }

    /// The text of its ledger, as a snapshot would hold it; `None`: it has no seat in a group.
    pub(crate) fn ledger_text(&self) -> Option<String> {
        self.group.as_ref().and_then(|group| group.ledger_text())
    }

    /// Makes snapshots of the ledger after so many entries, 1 or more, so that short runs meet them. Default 4096.
    pub(crate) fn snapshot_every(&mut self, entries: u64) {
        if let Some(group) = &mut self.group {
            group.snapshot_every(entries);
        }
    }

    /// Where others can call this node, as far as it knows without a link: as advertised, else as bound; bound to a wildcard, this
    /// end of a link to another master.
    pub(super) fn own_address(&self) -> Address {
        let bound = Address::of(self.config.bind);
        if let Some(advertise) = &self.config.advertise {
            return advertise.clone();
        }
        let link = self.registry.native_links().find(|_| bound.is_wildcard());
        link.map_or(bound, |link| self.address_on(link))
    }

    /// Looks at the peers for the group, if it is time to.
    pub(super) fn look_for_group(&mut self, now: Time) {
        if self.stopped || !self.group.as_ref().is_some_and(|group| group.wants_look(now)) {
            return;
        }
        let (mut view, address) = (self.registry.masters_seen(), self.own_address());
        let load = self.load.report();
        view.own_load = (load.pending, load.workers);
        if let Some(group) = &mut self.group {
            group.look(view, address, now);
        }
    }

    /// Something happened to a peer or a link to it.
    pub(super) fn group_may_see(&mut self, now: Time) {
        if let Some(group) = &mut self.group {
            group.look_soon(now);
        }
    }

    /// Whether a message is one of the group. What it says is done then.
    pub(super) fn group_says(&mut self, link: LinkId, id: Option<RequestId>, body: Body, now: Time) {
        if self.group.is_none() || self.stopped {
            return self.no_group(link, id, &body);
        }
        let letter = match body {
            Body::Elect(elect) => Letter::Elect(*elect),
            Body::ElectVote(vote) => Letter::Vote(*vote),
            Body::Agree(agree) => Letter::Agree(*agree),
            Body::AgreeAnswer(answer) => Letter::Answer(*answer),
            Body::Proof(proof) => {
                let asks = matches!(*proof, crate::wire::Proof::Challenge { .. } | crate::wire::Proof::Response { .. });
                let reply = (asks && !link.is_outbound()).then(|| self.links.take(link, id.clone()));
                if let Some(group) = &mut self.group {
                    group.proof(link, id, &proof, reply, now);
                }
                return;
            }
            other => return self.group_asked(link, id, other, now),
        };
        let task = if matches!(letter, Letter::Elect(_) | Letter::Vote(_)) { "ELECT" } else { "AGREE" };
        let asks = matches!(letter, Letter::Elect(_) | Letter::Agree(_));
        let read = self.group.as_mut().is_some_and(|group| group.letter(link, letter, now));
        if !read && asks && !link.is_outbound() {
            let detail = "only members that have proved the key of the group on this connection may say this";
            let error = ErrorAnswer::new(task, ErrorCode::NotAMember, detail);
            self.answer(link, id, Body::Error(Box::new(error)));
        }
    }

    /// Questions and requests, of people, programs and members.
    fn group_asked(&mut self, link: LinkId, id: Option<RequestId>, body: Body, now: Time) {
        let Some(group) = &mut self.group else { return };
        let answer = match &body {
            Body::ElectQuestion => Body::ElectAnswer(Box::new(group.elect_answer(now))),
            Body::LedgerQuestion => Body::LedgerAnswer(Box::new(group.ledger_answer())),
            Body::MembersQuestion => match group.members_answer() {
                Some(answer) => Body::MembersAnswer(Box::new(answer)),
                None => Body::Error(Box::new(group.no_group())),
            },
            _ => {
                let reply = self.links.take(link, id);
                self.links.touch(link);
                if let Some(group) = &mut self.group {
                    group.asked(link, reply, body, now);
                }
                return;
            }
        };
        self.answer(link, id, answer);
    }

    /// A node that takes no part in agreement, a worker or one that stops, says so.
    fn no_group(&mut self, link: LinkId, id: Option<RequestId>, body: &Body) {
        if link.is_outbound() || matches!(body, Body::ElectVote(_) | Body::AgreeAnswer(_)) {
            return;
        }
        let task = match body {
            Body::Elect(_) | Body::ElectQuestion => "ELECT",
            Body::Agree(_) | Body::LedgerQuestion => "AGREE",
            Body::Proof(_) => "HELLO",
            Body::Members(_) | Body::MembersQuestion => "MEMBERS",
            Body::Settings(_) => "SETTINGS",
            Body::LoanAction(_) => "LOANS",
            _ => "LEASE",
        };
        let error = if self.stopped {
            Self::stopping(task)
        } else if let Some(error) = self.not_a_master(task) {
            error
        } else {
            ErrorAnswer::new(task, ErrorCode::NoGroup, "this node takes no part in agreement")
        };
        self.answer(link, id, Body::Error(Box::new(error)));
    }

    /// Whether an answer on a link that this node opened is for the group. It is handed over then.
    pub(super) fn group_answered(&mut self, link: LinkId, id: Option<&RequestId>, body: &Body, now: Time) -> bool {
        let Some(group) = &mut self.group else { return false };
        match (id, body) {
            (Some(id), _) if is_handed_on(id) => group.answered(link, id, body.clone(), now),
            (_, Body::Admission(admission)) => group.admitted(link, id, (**admission).clone(), now),
            // The challenge is said again at its time.
            (Some(id), Body::Error(_)) if id.as_str() == "proof" => {}
            (_, Body::Error(error))
                if error.code == ErrorCode::NotAMember && matches!(&*error.task, "ELECT" | "AGREE") =>
            {
                group.unproved(link);
            }
            (_, Body::Error(error)) => return group.not_admitted(id, error),
            _ => return false,
        }
        true
    }

    /// Carries out what the group wants done. Returns whether there was anything.
    pub(super) fn carry_out_group(&mut self, now: Time) -> bool {
        let mut any = false;
        while let Some(effect) = self.group.as_mut().and_then(|group| group.poll_effect()) {
            any = true;
            match effect {
                Effect::Send { link, message } => self.send(link, message),
                Effect::Close(link) => {
                    self.forget_link(link, "another process has its id", now);
                    self.outputs.push_back(Output::Close { link });
                }
                Effect::Answer { reply, body } if reply.link == LinkId::OWN => {
                    self.group_answered_itself(reply.turn, &body, now);
                }
                Effect::Answer { reply, body } => self.reply(&reply, body),
                Effect::Write { ticket, write } => self.outputs.push_back(Output::WriteGroup { ticket, write }),
                Effect::Watch(address) => self.registry.watch(&address, now),
                Effect::Unwatch(address) => {
                    if !self.config.peers.contains(&address) {
                        self.registry.unwatch(&address);
                    }
                }
                Effect::Itself(link) => self.registry.is_self(link, now),
                Effect::Hurry => self.registry.hurry(now),
                Effect::Event { kind, server_id, detail } => self.event(kind, server_id, None, detail),
                Effect::Log { level, text } => self.log(level, text),
                Effect::Setting { name, value } => self.go_by(name, value),
                Effect::Adopted(adoptions) => self.adopted(adoptions, now),
            }
        }
        any
    }

    /// A setting is agreed on, or none is any more: then this node goes by its own options again.
    fn go_by(&mut self, name: SettingName, value: Option<u64>) {
        match name {
            SettingName::Capacity | SettingName::Release | SettingName::Hold | SettingName::CpuThreshold => match value
            {
                Some(value) => drop(self.agreed.insert(name, value)),
                None => drop(self.agreed.remove(&name)),
            },
            SettingName::Forget => {
                let forget = value.map_or(self.config.forget, Duration::from_millis).max(self.config.timeout);
                if let Some(group) = &mut self.group {
                    group.forget_after(forget);
                }
                return;
            }
            SettingName::Cap
            | SettingName::Cooldown
            | SettingName::Grace
            | SettingName::Keep
            | SettingName::Lease
            | SettingName::Lend => return self.go_by_policy(name, value),
        }
        let load = self.load_agreed();
        match load.check() {
            Ok(()) => self.load.configure(load),
            Err(error) => self.log(LogLevel::Warn, format!("the agreed setting {name} is not gone by: {error}")),
        }
    }

    /// This node's own options of the load, and what is agreed on before them. Worked out from these alone each time, so that members go by
    /// the same whenever they were started, and in whatever order it was agreed on.
    fn load_agreed(&self) -> LoadConfig {
        let agreed = |name: SettingName| self.agreed.get(&name).copied();
        let mut load = self.config.load.clone();
        load.capacity = agreed(SettingName::Capacity).unwrap_or(load.capacity);
        load.release = agreed(SettingName::Release).unwrap_or(load.release);
        load.hold = agreed(SettingName::Hold).map_or(load.hold, Duration::from_millis);
        load.cpu_threshold = agreed(SettingName::CpuThreshold).map_or(load.cpu_threshold, Permille::new);
        // A capacity that is agreed on may lie below the release of this node's own options.
        load.release = load.release.min(load.capacity);
        load
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{Config, Identity, Input, QueueConfig};
    use crate::wire::{Durability, EventKind, ServerId, ServiceName, Submit};

    fn node() -> Node {
        let identity = Identity { server_id: ServerId::new("master").unwrap(), name: "m".to_owned() };
        let queue = QueueConfig { durability: Durability::Memory, ..QueueConfig::default() };
        Node::new(Config { queue, ..Config::default() }, identity, 1, Time::ZERO).unwrap()
    }

    fn limits(node: &Node) -> (u64, u64) {
        let config = node.load.config();
        (config.capacity, config.release)
    }

    #[test]
    fn settings_count_alike_whatever_was_agreed_on_before() {
        let mut node = node();
        assert_eq!(limits(&node), (100, 60));
        for (capacity, expected) in [(Some(5), (5, 5)), (Some(200), (200, 60)), (Some(5), (5, 5)), (None, (100, 60))] {
            node.go_by(SettingName::Capacity, capacity);
            assert_eq!(limits(&node), expected);
        }
        // In either order.
        node.go_by(SettingName::Release, Some(80));
        node.go_by(SettingName::Capacity, Some(70));
        assert_eq!(limits(&node), (70, 70));
        node.go_by(SettingName::Capacity, Some(90));
        assert_eq!(limits(&node), (90, 80));
        node.go_by(SettingName::Hold, Some(7));
        node.go_by(SettingName::Release, None);
        assert_eq!((limits(&node), node.load.config().hold), ((90, 60), Duration::from_millis(7)));
        node.go_by(SettingName::Capacity, None);
        node.go_by(SettingName::Hold, None);
        assert_eq!(*node.load.config(), node.config.load);
    }

    #[test]
    fn events_name_the_limits_that_hold() {
        let mut node = node();
        node.go_by(SettingName::Capacity, Some(5));
        node.go_by(SettingName::Hold, Some(0));
        let at = std::net::SocketAddr::from(([127, 0, 0, 1], 9101));
        node.handle(Input::LinkOpened { link: LinkId(2), local: at, remote: at }, Time::ZERO);
        for _ in 0..6 {
            let job = Submit::new(ServiceName::new("nobody").unwrap(), ServiceName::run(), crate::wire::Json::null());
            let message = crate::wire::Message::plain(Body::Submit(Box::new(job)));
            node.handle(Input::Message { link: LinkId(2), message }, Time::ZERO);
        }
        let told = std::iter::from_fn(|| node.poll_output()).find_map(|output| match output {
            Output::Event(event) if event.kind == EventKind::Saturated => Some(event.detail),
            _ => None,
        });
        assert_eq!(told.as_deref(), Some("6 pending, above the capacity of 5 for 0.0 s"));
    }
}
