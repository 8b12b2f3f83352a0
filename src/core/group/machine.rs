//! The life of a membership: search, seat, and what ends it.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use super::desk::Desk;
use super::founding::{Search, View};
use super::proof::{Countered, Failed, Me};
use super::seat::{SNAPSHOT_EVERY, Seat};
use super::secret::Entropy;
use super::{AgreementConfig, Effect};
use crate::core::election::{self, Engine, Letter, LogTicket, Pace};
use crate::core::ledger::{Applied, Ledger};
use crate::core::links::Reply;
use crate::core::rng::Rng;
use crate::core::{GroupWrite, LinkId, LogLevel, StoredGroup};
use crate::time::{Seconds, Time};
use crate::wire::{
    Address, Body, ErrorAnswer, ErrorCode, EventKind, GroupId, GroupPresence, GroupRole, LedgerEntry, Message, Proof,
    RaftId, Refuses, RequestId, ServerId, SettingName, SnapshotHead,
};

/// The registry is looked at as often as this at least.
const LOOK: Duration = Duration::from_millis(250);

/// A write that takes longer is named as the cause of what waits for it.
const SLOW: Duration = Duration::from_millis(500);

/// The group of this node. See the module's documentation.
#[derive(Debug)]
pub(in crate::core) struct Group {
    pub(super) settings: AgreementConfig,
    pub(super) timeout: Duration,
    pub(super) forget: Duration,
    pub(super) own_id: ServerId,
    pub(super) name: String,
    pub(super) address: Address,
    pub(super) group: String,
    pub(super) state_id: GroupId,
    pub(super) entropy: Entropy,
    /// Drawn now: what tells this process from others that have its id.
    pub(super) run: String,
    pub(super) rng: Rng,
    pub(super) view: View,
    pub(super) search: Search,
    /// The group that this node was told to leave, and does not join again by itself.
    pub(super) given_up: Option<GroupId>,
    /// The operator has told this node to leave: once it is removed it stays without a group.
    pub(super) leaving: bool,
    /// It has left by the operator's word: it neither founds nor joins until it is told to join, or started again.
    pub(super) stays_out: bool,
    pub(super) seat: Option<Box<Seat>>,
    pub(super) desk: Desk,
    pub(super) next_ticket: LogTicket,
    /// When to ask again to be taken in, and where it was asked.
    pub(super) asked: Option<(LinkId, Time)>,
    /// Why there is no group yet.
    pub(super) waits_for: String,
    /// What the disk said last, while it is ill.
    pub(super) trouble: Option<String>,
    /// What the engine has given to the disk and not heard of, and since when.
    pub(super) writing: VecDeque<(LogTicket, Time)>,
    pub(super) said: GroupPresence,
    pub(super) look_at: Time,
    pub(super) watched: BTreeSet<Address>,
    /// Entries behind a snapshot at which the next one is made.
    pub(super) snapshot_every: u64,
    pub(super) effects: VecDeque<Effect>,
}

/// Who a node is, for its group.
#[derive(Clone, Debug)]
pub(in crate::core) struct Own {
    pub(in crate::core) server_id: ServerId,
    pub(in crate::core) name: String,
    /// Where it listens, as far as it knows.
    pub(in crate::core) address: Address,
    /// The name of its group.
    pub(in crate::core) group: String,
}

impl Group {
    /// A group as it was stored. Fails where what is stored contradicts itself; nothing was begun then.
    pub(in crate::core) fn new(
        settings: AgreementConfig,
        own: Own,
        (timeout, forget): (Duration, Duration),
        stored: StoredGroup,
        entropy: Entropy,
        seed: u64,
        now: Time,
    ) -> Result<Group, String> {
        let Own { server_id, name, address, group } = own;
        let mut entropy = entropy;
        let run = entropy.challenge();
        let search = Search::new(server_id.clone(), group.clone(), settings.expect, timeout, now);
        let mut new = Group {
            settings,
            timeout,
            forget,
            own_id: server_id,
            name,
            address,
            group,
            state_id: stored.state_id.clone(),
            entropy,
            run,
            rng: Rng::new(seed),
            view: View::default(),
            search,
            given_up: None,
            leaving: false,
            stays_out: false,
            seat: None,
            desk: Desk::default(),
            next_ticket: LogTicket(1),
            asked: None,
            waits_for: "it has just started".to_owned(),
            trouble: None,
            writing: VecDeque::new(),
            said: GroupPresence::default(),
            look_at: now,
            watched: BTreeSet::new(),
            snapshot_every: SNAPSHOT_EVERY,
            effects: VecDeque::new(),
        };
        if stored.membership.is_some() {
            new.sit(stored, now)?;
        }
        Ok(new)
    }

    /// Takes the seat that is stored.
    pub(super) fn sit(&mut self, stored: StoredGroup, now: Time) -> Result<(), String> {
        let Some(membership) = stored.membership.clone() else { return Err("no membership is stored".to_owned()) };
        let ledger = match &stored.snapshot {
            Some((_, text)) => Ledger::restored(text)?,
            None => Ledger::default(),
        };
        let pace = Pace { heartbeat: self.settings.heartbeat, election: self.settings.election };
        let engine = Engine::new(&stored, pace, self.rng.next(), self.next_ticket, now)?;
        let text = format!(
            "group {}: `{}`, member {} at term {}; {} entries behind the snapshot of {}",
            membership.group_id.short(),
            self.group,
            membership.raft_id,
            stored.term,
            stored.entries.len(),
            stored.snapshot.as_ref().map_or(0, |(head, _)| head.index),
        );
        self.log(LogLevel::Info, text);
        self.seat = Some(Box::new(Seat::new(membership, engine, ledger, now)));
        self.all_settings();
        self.carry_out(now);
        Ok(())
    }

    pub(super) fn ledger(&self) -> &Ledger {
        static NONE: std::sync::LazyLock<Ledger> = std::sync::LazyLock::new(Ledger::default);
        self.seat.as_ref().map_or(&*NONE, |seat| &seat.ledger)
    }

    /// How long a member may be gone until it is removed: as agreed, or as this node's own options say.
    pub(in crate::core) fn forget_after(&mut self, forget: Duration) {
        self.forget = forget;
    }

    /// What heartbeats say of it.
    pub(in crate::core) fn presence(&self) -> &GroupPresence {
        &self.said
    }

    /// When [`Group::tick`] is due.
    pub(in crate::core) fn deadline(&self) -> Option<Time> {
        // When to ask again to be taken in is seen to by the next look.
        let seat = self.seat.as_ref();
        let engine = seat.and_then(|seat| seat.engine.deadline());
        let clock = seat.and_then(|seat| seat.clock.deadline());
        [Some(self.look_at), engine, clock, self.desk.deadline()].into_iter().flatten().min()
    }

    /// Whether it wants to [`Group::look`] now.
    pub(in crate::core) fn wants_look(&self, now: Time) -> bool {
        self.look_at <= now
    }

    /// Something has happened that a look may show.
    pub(in crate::core) fn look_soon(&mut self, now: Time) {
        self.look_at = self.look_at.min(now);
    }

    /// What is to be done, until `None`.
    pub(in crate::core) fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// Does what is due.
    pub(in crate::core) fn tick(&mut self, now: Time) {
        if let Some(seat) = &mut self.seat {
            seat.engine.tick(now);
        }
        self.expire_leases(now);
        self.answer_overdue(now);
        self.carry_out(now);
    }

    /// This process did not run for `lost`.
    pub(in crate::core) fn excuse(&mut self, lost: Duration) {
        if let Some(seat) = &mut self.seat {
            seat.engine.delayed(lost);
            seat.policy.excuse(lost);
            seat.clock.excuse(lost);
        }
    }

    /// Every write up to this one is durable.
    pub(in crate::core) fn written(&mut self, through: LogTicket, now: Time) {
        while self.writing.front().is_some_and(|(ticket, _)| *ticket <= through) {
            self.writing.pop_front();
        }
        if let Some(seat) = &mut self.seat {
            seat.engine.written(through, now);
        }
        self.carry_out(now);
    }

    /// The disk refuses, and why; or it is well again.
    pub(in crate::core) fn troubled(&mut self, reason: Option<String>) {
        match (&reason, &self.trouble) {
            (Some(reason), None) => {
                let text = format!("the ledger cannot be written: {reason}; this node agrees on nothing until it can");
                self.log(LogLevel::Warn, text);
            }
            (None, Some(_)) => self.log(LogLevel::Info, "the ledger can be written again".to_owned()),
            _ => {}
        }
        self.trouble = reason;
    }

    /// What is wrong with the disks, for who waits: this one refuses or is slow, or those of members that are heard.
    pub(super) fn disk_trouble(&self, now: Time) -> Option<String> {
        if let Some(reason) = &self.trouble {
            return Some(format!("the disk refuses: {reason}"));
        }
        if let Some((_, since)) = self.writing.front().filter(|(_, since)| *since + SLOW <= now) {
            return Some(format!("the disk is slow: a write has been under way for {} s", Seconds(now.since(*since))));
        }
        let seat = self.seat.as_ref().filter(|seat| seat.leads())?;
        let last = seat.engine.view().last;
        let progress = seat.engine.progress();
        let behind = seat.voters().into_iter().filter(|id| {
            let heard = seat.heard.get(id).is_some_and(|at| *at + SLOW > now);
            heard && progress.iter().any(|member| member.id == *id && member.matched < last)
        });
        let behind: Vec<String> = behind.map(|id| self.called(id)).collect();
        (!behind.is_empty()).then(|| format!("heard, but has not written it: {}", behind.join(", ")))
    }

    /// A link is gone.
    pub(in crate::core) fn closed(&mut self, link: LinkId, now: Time) {
        if let Some(seat) = &mut self.seat {
            let party = seat.proofs.party(link).map(|party| party.raft_id);
            seat.proofs.closed(link);
            if let Some(raft_id) = party.filter(|_| link.is_outbound()) {
                seat.engine.unreachable(raft_id);
            }
        }
        if self.asked.is_some_and(|(asked, _)| asked == link) {
            self.asked = None;
        }
        for asker in self.desk.closed(link) {
            self.lost_leader(asker, now);
        }
        self.look_soon(now);
        self.carry_out(now);
    }

    /// Looks at the peers: searches for a group, proves itself to members, and, as leader, sees who votes.
    pub(in crate::core) fn look(&mut self, view: View, address: Address, now: Time) {
        self.look_at = now + LOOK;
        (self.view, self.address) = (view, address);
        match &self.seat {
            Some(_) => self.look_at_members(now),
            None => self.search(now),
        }
        self.carry_out(now);
        self.say();
    }

    /// What heartbeats say, and whether that is news that others wait for.
    fn say(&mut self) {
        let now_said = match &self.seat {
            Some(seat) => GroupPresence {
                group_id: Some(seat.membership.group_id.clone()),
                term: seat.standing.term,
                leader: seat.standing.leader.and_then(|id| seat.ledger.member(id)).map(|it| it.server_id.clone()),
                founder: None,
                sees: seat.ledger.members().count() as u64,
            },
            None => self.search.presence(&self.view, self.stays_out),
        };
        let news = now_said.group_id != self.said.group_id
            || now_said.founder != self.said.founder
            || now_said.sees != self.said.sees;
        if news {
            self.effects.push_back(Effect::Hurry);
        }
        self.said = now_said;
    }

    /// A member must be reachable.
    pub(super) fn watch(&mut self, address: Address) {
        if !address.is_wildcard() && address != self.address && self.watched.insert(address.clone()) {
            self.effects.push_back(Effect::Watch(address));
        }
    }

    /// A member, or who claims to be one, proves itself, or answers a proof.
    pub(in crate::core) fn proof(
        &mut self,
        link: LinkId,
        id: Option<RequestId>,
        proof: &Proof,
        reply: Option<Reply>,
        now: Time,
    ) {
        let Some(seat) = &mut self.seat else {
            if let Some(reply) = reply {
                let error = ErrorAnswer::new("HELLO", ErrorCode::NoGroup, "this node has no group yet");
                self.effects.push_back(Effect::Answer { reply, body: Body::Error(Box::new(error)) });
            }
            return;
        };
        let me = Me { own: &seat.membership, server_id: &self.own_id, run: &self.run };
        let said = match proof {
            Proof::Challenge { raft_id, server_id, .. } => {
                let refuses = if seat.was_removed(*raft_id) {
                    Some(Refuses::Gone)
                } else {
                    seat.twins.is_doubled(server_id).then_some(Refuses::Twins)
                };
                seat.proofs.challenged(link, proof, refuses, me, &mut self.entropy, now).map(Some)
            }
            // It proves a seat that it has no more; it hears nothing that could pass for a word of its group.
            Proof::Counter { raft_id, group_id, .. } if *group_id == me.own.group_id && seat.was_removed(*raft_id) => {
                Err(Failed::Wrong)
            }
            Proof::Counter { server_id, run, .. } => match seat.proofs.countered(link, proof, me) {
                Ok(Countered::Member(response)) if *server_id == self.own_id => {
                    let is_copy = *run != self.run;
                    self.found_double(link, is_copy, now);
                    Ok(is_copy.then_some(response))
                }
                Ok(Countered::Member(response)) => Ok(Some(response)),
                Ok(Countered::Gone) => {
                    seat.refused = true;
                    Ok(None)
                }
                Ok(Countered::Twins(response)) => {
                    let by = server_id.clone();
                    self.told_of_twin(by, now);
                    Ok(Some(response))
                }
                Err(failed) => Err(failed),
            },
            Proof::Response { proof } => match seat.proofs.responded(link, proof, me) {
                Ok(responded) => match self.has_proved(responded, now) {
                    true => Ok(Some(Proof::Proved)),
                    false => Err(Failed::Twins),
                },
                Err(failed) => Err(failed),
            },
            Proof::Proved => Ok(None),
        };
        match (said, reply) {
            (Ok(Some(said)), Some(reply)) => {
                self.effects.push_back(Effect::Answer { reply, body: Body::Proof(Box::new(said)) });
            }
            (Ok(Some(said)), None) => {
                let message = Message { id, body: Body::Proof(Box::new(said)) };
                self.effects.push_back(Effect::Send { link, message });
            }
            (Err(failed), Some(reply)) => {
                let detail = match failed {
                    Failed::OtherGroup(_) => "this node is in another group".to_owned(),
                    Failed::Wrong => "the proof does not fit the key of this group".to_owned(),
                    Failed::Twins => "the id of this node is at two addresses at once".to_owned(),
                    Failed::Busy => "too many prove themselves at the moment".to_owned(),
                };
                let code = if failed == Failed::Busy { ErrorCode::Busy } else { ErrorCode::NotAMember };
                let error = ErrorAnswer::new("HELLO", code, detail);
                self.effects.push_back(Effect::Answer { reply, body: Body::Error(Box::new(error)) });
            }
            (Ok(None), _) | (Err(_), None) => {}
        }
        self.carry_out(now);
    }

    /// A member reads nothing of the group from this node on this link: it has another seat than the one that was proved to, or this
    /// node is removed. It is asked anew, and then says so.
    pub(in crate::core) fn unproved(&mut self, link: LinkId) {
        if let Some(seat) = &mut self.seat {
            seat.proofs.closed(link);
        }
    }

    /// What a member says in an election or of the log. Tells whether the link may say so; if not, nothing was read.
    pub(in crate::core) fn letter(&mut self, link: LinkId, letter: Letter, now: Time) -> bool {
        let Some(seat) = &mut self.seat else { return false };
        let (from, group_id) = (letter.envelope().from, &letter.envelope().group_id);
        let proved = seat
            .proofs
            .party(link)
            .is_some_and(|party| party.raft_id == from && !seat.twins.is_doubled(&party.server_id));
        if !proved || *group_id != seat.membership.group_id || seat.was_removed(from) {
            return false;
        }
        seat.heard.insert(from, now);
        if seat.twin_until.is_some() {
            // It was said to this node's id, and there are two of it.
            return true;
        }
        if let Err(refused) = seat.engine.step(letter, now) {
            self.log(LogLevel::Debug, format!("member {from} said what was dropped: {refused}"));
        }
        self.carry_out(now);
        true
    }

    pub(super) fn write(&mut self, write: GroupWrite) {
        let ticket = self.next_ticket;
        self.next_ticket = LogTicket(ticket.0 + 1);
        self.effects.push_back(Effect::Write { ticket, write });
    }

    /// Carries out what the engine wants done, until it wants nothing.
    pub(super) fn carry_out(&mut self, now: Time) {
        while let Some(effect) = self.seat.as_mut().and_then(|seat| seat.engine.poll_effect()) {
            match effect {
                election::Effect::Send { to, letter } => self.post(to, letter),
                election::Effect::Write { ticket, write } => {
                    self.next_ticket = self.next_ticket.max(LogTicket(ticket.0 + 1));
                    self.writing.push_back((ticket, now));
                    self.effects.push_back(Effect::Write { ticket, write });
                }
                election::Effect::Apply(entry) => self.apply(&entry, now),
                election::Effect::Install { head, text } => self.install(&head, &text, now),
                election::Effect::Read { mark, index } => self.confirmed(mark, index, now),
                election::Effect::ReadLost { mark } => {
                    if let Some(asker) = self.desk.confirmed(mark) {
                        self.dispatch(asker, now);
                    }
                }
                election::Effect::Role(standing) => self.stand(standing, now),
            }
        }
    }

    /// Sends a letter: questions on the link that this node dialled, answers on the one on which was asked.
    fn post(&mut self, to: RaftId, letter: Letter) {
        let Some(seat) = &mut self.seat else { return };
        let is_answer = matches!(letter, Letter::Vote(_) | Letter::Answer(_));
        let doubled = seat.ledger.member(to).is_some_and(|member| seat.twins.is_doubled(&member.server_id));
        let link = seat.proofs.link_to(to, !is_answer).filter(|_| !doubled && seat.twin_until.is_none());
        let Some(link) = link else {
            return seat.engine.unreachable(to);
        };
        let body = match letter {
            Letter::Elect(elect) => Body::Elect(Box::new(elect)),
            Letter::Vote(vote) => Body::ElectVote(Box::new(vote)),
            Letter::Agree(agree) => Body::Agree(Box::new(agree)),
            Letter::Answer(answer) => Body::AgreeAnswer(Box::new(answer)),
        };
        self.effects.push_back(Effect::Send { link, message: Message::plain(body) });
    }

    fn apply(&mut self, entry: &LedgerEntry, now: Time) {
        let Some(seat) = &mut self.seat else { return };
        let applied = seat.ledger.apply(entry);
        seat.clock.applied(entry, &applied, now);
        if seat.ledger.index() >= seat.engine.view().snapshot + self.snapshot_every {
            let (index, text) = (seat.ledger.index(), seat.ledger.text());
            seat.engine.compact(index, text, now);
        }
        self.in_force(&applied, now);
        self.answer_agreed(entry, &applied, now);
    }

    /// What an entry has brought about here, whoever asked for it.
    fn in_force(&mut self, applied: &Applied, now: Time) {
        let Some(seat) = &mut self.seat else { return };
        let leads = seat.leads();
        match applied {
            Applied::Freed { name, .. } if leads => self.next_for_lease(name, now),
            Applied::Changed { name } => {
                if let Some(name) = SettingName::parse(name) {
                    self.setting(name);
                }
            }
            Applied::Admitted(raft_id) => {
                let member = seat.ledger.member(*raft_id);
                let detail = member.map(|it| format!("member {raft_id} is `{}` at {}", it.name, it.address));
                let server_id = member.map(|it| it.server_id.clone());
                self.event(EventKind::MemberAdmitted, server_id, detail.unwrap_or_default());
                self.look_soon(now);
            }
            Applied::Settled => self.look_soon(now),
            Applied::Removed(gone) => {
                let gone: Vec<String> = gone.iter().map(RaftId::to_string).collect();
                self.event(EventKind::MemberRemoved, None, format!("member {} is removed", gone.join(", ")));
                self.look_soon(now);
            }
            Applied::Adopted(adopted) => {
                let adopted = adopted.clone();
                self.effects.push_back(Effect::Adopted(adopted));
            }
            Applied::Granted(_) | Applied::Freed { .. } | Applied::Done | Applied::Refused(_) => {}
        }
    }

    fn install(&mut self, head: &SnapshotHead, text: &str, now: Time) {
        let Some(seat) = &mut self.seat else { return };
        match Ledger::restored(text) {
            Ok(ledger) => {
                seat.ledger = ledger;
                self.all_settings();
                self.look_soon(now);
            }
            // The engine has taken it and goes on; what it holds cannot be read by this version. To go on would be to guess.
            Err(why) => {
                let text =
                    format!("the snapshot of index {} cannot be read: {why}; this node leaves the group", head.index);
                self.log(LogLevel::Warn, text);
                self.give_up("its ledger could not be read", now);
            }
        }
    }

    fn setting(&mut self, name: SettingName) {
        let value = self.ledger().agreed(name);
        self.effects.push_back(Effect::Setting { name, value });
    }

    fn all_settings(&mut self) {
        SettingName::ALL.into_iter().for_each(|name| self.setting(name));
    }

    /// What this member is has changed.
    fn stand(&mut self, standing: election::Standing, now: Time) {
        let Some(seat) = &mut self.seat else { return };
        let old = std::mem::replace(&mut seat.standing, standing);
        let led = old.role == GroupRole::Leader;
        let leads = seat.leads();
        seat.leaderless = match standing.leader {
            Some(_) => None,
            None => seat.leaderless.or(Some(now)),
        };
        if leads && !led {
            seat.clock.lead(&seat.ledger, now);
            seat.policy.begin();
            seat.pending = None;
        }
        if led && !leads {
            seat.clock.resign();
            for asker in self.desk.take_lease_waiters() {
                self.dispatch(asker, now);
            }
        }
        if standing.leader.is_some() && (old.leader != standing.leader || old.term != standing.term) {
            self.told_leader(standing);
            for asker in self.desk.take_held() {
                self.dispatch(asker, now);
            }
            self.answer_transfer(standing.leader);
            self.look_soon(now);
        }
        self.say();
    }

    fn told_leader(&mut self, standing: election::Standing) {
        let Some(seat) = &self.seat else { return };
        let Some(leader) = standing.leader else { return };
        let (voters, members) = (seat.voters().len(), seat.ledger.members().count());
        let spare = voters.saturating_sub(1) / 2;
        let who = match seat.ledger.member(leader) {
            _ if leader == seat.membership.raft_id => "this node".to_owned(),
            Some(member) => format!("{} at {}", member.name, member.address),
            None => format!("member {leader}"),
        };
        let server_id = seat.ledger.member(leader).map(|member| member.server_id.clone());
        let detail = match voters {
            // Who has just been taken in hears of its leader before it has the ledger.
            0 => format!("{who} leads at term {}; the ledger is on its way", standing.term),
            _ => format!("{who} leads at term {}; {voters} of {members} vote, {spare} spare", standing.term),
        };
        self.event(EventKind::Leader, server_id, detail);
    }

    pub(super) fn event(&mut self, kind: EventKind, server_id: Option<ServerId>, detail: String) {
        self.effects.push_back(Effect::Event { kind, server_id, detail });
    }

    pub(super) fn log(&mut self, level: LogLevel, text: String) {
        self.effects.push_back(Effect::Log { level, text });
    }

    pub(super) fn send(&mut self, link: LinkId, message: Message) {
        self.effects.push_back(Effect::Send { link, message });
    }

    pub(super) fn answer(&mut self, reply: Reply, body: Body) {
        self.effects.push_back(Effect::Answer { reply, body });
    }

    /// The name of a member, for people.
    pub(super) fn called(&self, raft_id: RaftId) -> String {
        match self.ledger().member(raft_id) {
            Some(member) => format!("{} at {}", member.name, member.address),
            None => format!("member {raft_id}"),
        }
    }

    /// Why nothing can be agreed on, in one sentence.
    pub(super) fn no_quorum_text(&self, missing: &[RaftId]) -> String {
        let voters = self.seat.as_ref().map_or(0, |seat| seat.voters().len());
        let needed = voters / 2 + 1;
        let there = voters - missing.len().min(voters);
        let who: Vec<String> = missing.iter().map(|id| self.called(*id)).collect();
        let two = if voters == 2 { "; two cannot decide alone: either may be the one that is cut off" } else { "" };
        format!(
            "{} of {voters} voters are missing ({}), and {needed} are needed: {} more{two}",
            missing.len(),
            who.join(", "),
            needed.saturating_sub(there),
        )
    }

    /// Panics if the group contradicts itself.
    pub(in crate::core) fn check_invariants(&self) {
        let Some(seat) = &self.seat else { return };
        seat.proofs.check_invariants();
        seat.engine.check_invariants();
        assert!(
            seat.standing.leader.is_some() != seat.leaderless.is_some(),
            "either somebody leads, or since some time nobody does"
        );
    }

    /// The time that peers that do not answer are waited for, for people.
    pub(super) fn timeout_text(&self) -> String {
        format!("{} s", Seconds(self.timeout))
    }
}
