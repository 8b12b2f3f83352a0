//! The engine: one member of one group. See the module's contract.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::time::Duration;

use raft::eraftpb::{Entry, HardState, Message, MessageType};
use raft::{RawNode, ReadOnlyOption, StateRole};

use crate::core::rng::Rng;
use crate::core::{GroupWrite, StoredGroup};
use crate::time::Time;
use crate::wire::{
    Agree, AgreeAnswer, AgreeAnswerKind, AgreeKind, Command, Elect, ElectKind, Envelope, GroupId, GroupRole,
    LedgerEntry, LedgerItem, RaftId, SnapshotHead, VoterChange, VoterSets,
};

use super::check::{Sight, Verdict, judge_change, unlawful_sets};
use super::clock::{Clock, ELECTION_TICKS, MAX_ELECTION_TICKS};
use super::convert::{conf_change_of, head_of, letter_of, made_by_the_crate, message_of, sets_of, weight_of};
use super::log::Log;
use super::outbox::Outbox;
use super::pieces::{Progress, Receiving, Sending};
use super::reads::Reads;
use super::{Effect, Letter, LogTicket, Pace, Refused, Standing};

/// Bytes of entries in one APPEND, unless one entry is longer.
const APPEND_BYTES: u64 = 16 << 10;
/// Bytes of proposals that are not agreed on yet.
const MAX_UNCOMMITTED: u64 = 4 << 20;
/// How long the index up to which the log is agreed on may be newer in memory than on disk while nothing else is written.
const COMMIT_OWED: Duration = Duration::from_secs(1);

/// What waits for a write.
pub(super) struct Waiting {
    /// The crate's number of what was written.
    number: u64,
    pub(super) ticket: LogTicket,
    letters: Vec<Outgoing>,
}

/// What the crate wants sent.
enum Outgoing {
    Letter(RaftId, Letter),
    Snapshot(RaftId),
}

/// One member of one group.
pub(crate) struct Engine {
    pub(super) me: RaftId,
    pub(super) group_id: GroupId,
    pub(super) pace: Pace,
    pub(super) raw: RawNode<Log>,
    pub(super) rng: Rng,
    pub(super) clock: Clock,
    pub(super) now: Time,
    /// When time was last counted.
    pub(super) ticked: Time,
    /// The drawn election timeout, in ticks, without what lateness adds.
    pub(super) drawn: u64,
    /// Term, role and leader when it was drawn.
    pub(super) drawn_for: (u64, StateRole, u64),
    /// When the next heartbeats are due from a leader.
    pub(super) beat: Time,
    pub(super) last_ticket: LogTicket,
    pub(super) written: LogTicket,
    pub(super) waiting: VecDeque<Waiting>,
    /// Items of entries that the crate has, and that are not in the log yet, by index and term.
    pub(super) stash: BTreeMap<(u64, u64), LedgerItem>,
    /// The text of the snapshot that is being stepped.
    pub(super) stashed_text: Option<(SnapshotHead, String)>,
    /// The hard state that was last given to be written.
    pub(super) hard: (u64, u64, u64),
    /// The write of the last term or vote.
    pub(super) vote_ticket: LogTicket,
    /// Since when the commit in memory is newer than the one given to be written.
    pub(super) commit_owed: Option<Time>,
    /// The question of an election that was last said.
    pub(super) asked: Option<(bool, u64)>,
    /// What of the commit in memory was looked through for changes of voters.
    pub(super) looked_through: u64,
    /// What a leader says at the end of the turn.
    pub(super) outbox: Outbox,
    /// Who votes from which applied index on, since the snapshot.
    pub(super) members: VecDeque<(u64, VoterSets)>,
    pub(super) applied: u64,
    pub(super) reads: Reads,
    /// The term in which `reads` and `sendings` were begun.
    pub(super) leads: Option<u64>,
    pub(super) sendings: BTreeMap<RaftId, Sending>,
    pub(super) receiving: Option<Receiving>,
    /// When each member was last heard by this leader.
    pub(super) heard: BTreeMap<RaftId, Time>,
    pub(super) standing: Standing,
    pub(super) effects: VecDeque<Effect>,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (standing, view) = (self.standing, self.view());
        f.debug_struct("Engine")
            .field("me", &self.me)
            .field("standing", &standing)
            .field("view", &view)
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// The engine of a membership, as a restart finds it. Everything of `stored` is durable; its first write gets `first_ticket`. The ledger is that of the stored snapshot when
    /// [`Effect::Apply`] begins with what is known to be agreed on behind it. `seed` is another at each start.
    ///
    /// # Errors
    ///
    /// What contradicts itself in `stored`, in one sentence.
    pub(crate) fn new(
        stored: &StoredGroup,
        pace: Pace,
        seed: u64,
        first_ticket: LogTicket,
        now: Time,
    ) -> Result<Engine, String> {
        let membership = stored.membership.as_ref().ok_or("the stored group has no membership")?;
        let (me, group_id) = (membership.raft_id, membership.group_id.clone());
        if me.0 == 0 {
            return Err("the stored raft id is 0; expected 1 or more".to_owned());
        }
        let (log, hard, applied) = load(stored)?;
        let config = raft::Config {
            id: me.0,
            election_tick: ELECTION_TICKS as usize,
            // Heartbeats are sent by our own time: they go on where late ticks do not count.
            heartbeat_tick: ELECTION_TICKS as usize - 1,
            min_election_tick: ELECTION_TICKS as usize,
            max_election_tick: MAX_ELECTION_TICKS as usize,
            applied,
            max_size_per_msg: APPEND_BYTES,
            max_inflight_msgs: 256,
            check_quorum: true,
            pre_vote: true,
            read_only_option: ReadOnlyOption::Safe,
            skip_bcast_commit: false,
            max_uncommitted_size: MAX_UNCOMMITTED,
            ..raft::Config::default()
        };
        let members = log.snapshot_parts().0.members.clone();
        let lone = members.voters == [me] && members.voters_outgoing.is_empty();
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        let raw = RawNode::new(&config, log, &logger).map_err(|error| error.to_string())?;
        let before = LogTicket(first_ticket.0.saturating_sub(1));
        let mut engine = Engine {
            me,
            group_id,
            pace,
            rng: Rng::new(seed),
            clock: Clock::new(pace, now),
            now,
            ticked: now,
            drawn: ELECTION_TICKS,
            drawn_for: (0, StateRole::Leader, 0),
            beat: now,
            last_ticket: before,
            written: before,
            waiting: VecDeque::new(),
            stash: BTreeMap::new(),
            stashed_text: None,
            hard: (hard.term, hard.vote, hard.commit),
            vote_ticket: before,
            commit_owed: None,
            looked_through: hard.commit,
            outbox: Outbox::default(),
            asked: None,
            members: VecDeque::from([(applied, members)]),
            applied,
            reads: Reads::default(),
            leads: None,
            sendings: BTreeMap::new(),
            receiving: None,
            heard: BTreeMap::new(),
            standing: Standing { role: GroupRole::None, term: 0, leader: None },
            effects: VecDeque::new(),
            raw,
        };
        engine.draw(false);
        engine.settle();
        let alone =
            engine.members.back().is_some_and(|(_, sets)| sets.voters == [me] && sets.voters_outgoing.is_empty());
        if lone && alone {
            // Nobody else could lead: there is nothing to wait for.
            let _ = engine.raw.campaign();
            engine.draw(false);
            engine.settle();
        }
        Ok(engine)
    }

    /// What is to be done next. The engine is asked until there is nothing.
    pub(crate) fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When [`Engine::tick`] is to be called at the latest; `None`: something else must happen first.
    pub(crate) fn deadline(&self) -> Option<Time> {
        let sendings = self.sendings.values().map(Sending::again_at).min();
        let owed = self.commit_owed.map(|since| since + COMMIT_OWED);
        let beat = match self.raw.raft.state {
            StateRole::Leader => (self.raw.raft.prs().iter().count() > 1).then_some(self.beat),
            // Silence is counted a heartbeat at a time, so that a late loop is told from a silent leader. Learners count it too, until they
            // would vote again: a candidate may know that they do before they know it.
            _ if self.raw.raft.promotable()
                || (self.raw.raft.leader_id != 0 && self.raw.raft.election_elapsed < ELECTION_TICKS as usize) =>
            {
                let left = (self.timeout() as u64).saturating_sub(self.raw.raft.election_elapsed as u64).max(1);
                Some(self.clock.after(left).min(self.ticked + self.pace.heartbeat))
            }
            _ => None,
        };
        let turn = (!self.outbox.is_empty()).then_some(self.now);
        [sendings, owed, beat, turn].into_iter().flatten().min()
    }

    /// Time has passed. Letters that have come are stepped first.
    pub(crate) fn tick(&mut self, now: Time) {
        self.observe(now);
        self.ticked = self.now;
        for _ in 0..self.clock.due(now) {
            // Who has not written what it heard cannot promise a vote, and a lone voter would lead with a log that it may lose.
            if self.raw.raft.state != StateRole::Leader && !self.persisted() {
                continue;
            }
            self.set_timeout();
            self.raw.tick();
            let again = self.raw.raft.state != StateRole::Leader && self.raw.raft.election_elapsed == 0;
            self.draw(again);
        }
        if self.raw.raft.state == StateRole::Leader && now >= self.beat {
            self.beat = now + self.pace.heartbeat;
            self.raw.ping();
        }
        if self.commit_owed.is_some_and(|since| now.since(since) >= COMMIT_OWED) {
            self.write_hard(self.raw.raft.hard_state());
        }
        let due: Vec<RaftId> = self.sendings.keys().copied().collect();
        for to in due {
            let Some(sending) = self.sendings.get_mut(&to) else { continue };
            let progress = sending.tick(now);
            self.go_on_sending(to, progress);
        }
        self.settle();
    }

    /// The loop was late by this when it last ran: elections go by time in which this process could have heard.
    pub(crate) fn delayed(&mut self, by: Duration) {
        self.clock.delayed(by, self.now);
    }

    /// A letter has come, on a link whose other end has proved to be `FROM`.
    ///
    /// # Errors
    ///
    /// [`Refused::Unlawful`]: it was dropped.
    pub(crate) fn step(&mut self, letter: Letter, now: Time) -> Result<(), Refused> {
        self.observe(now);
        if self.sight().judge(&letter)? == Verdict::Drop {
            return Ok(());
        }
        if self.raw.raft.state == StateRole::Leader && letter.envelope().term == self.raw.raft.term {
            self.heard.insert(letter.envelope().from, now);
        }
        match letter {
            Letter::Agree(Agree {
                envelope,
                kind: AgreeKind::Snapshot { last_index, last_term, members, offset, data, done },
            }) => {
                let head = SnapshotHead { index: last_index, term: last_term, members };
                self.take_piece(&envelope, head, (offset, &data, done));
            }
            Letter::Answer(AgreeAnswer { envelope, kind: AgreeAnswerKind::Piece { last_index, next } }) => {
                if let Some(sending) = self.sendings.get_mut(&envelope.from) {
                    let progress = sending.wanted(last_index, next, now);
                    self.go_on_sending(envelope.from, progress);
                }
            }
            letter => {
                self.take_letter(letter)?;
            }
        }
        self.settle();
        Ok(())
    }

    /// Proposes a change of the ledger: index and term that its entry has if it is agreed on. Another entry at that index means that it never will be.
    /// The others hear of it at the next [`Engine::tick`], which is due at once, or at whatever comes before it: all that is proposed in one turn of the
    /// loop is one letter to each.
    ///
    /// # Errors
    ///
    /// This member does not lead, or cannot take more at the moment.
    pub(crate) fn propose(&mut self, command: Command, now: Time) -> Result<(u64, u64), Refused> {
        self.look_at_clock(now);
        self.must_lead()?;
        // What is applied here is what the others read, and what a restart reads.
        let item = LedgerItem::Command(Box::new(command.rounded()));
        let data = weight_of(&item).to_vec();
        let sent = self.effects.len();
        let offered = self.offer(item, |raw| raw.propose(Vec::new(), data));
        self.hold_back(sent);
        offered
    }

    /// Proposes a change of who votes, one at a time; joint where it changes more than one. As [`Engine::propose`].
    ///
    /// # Errors
    ///
    /// As [`Engine::propose`]; and what the change contradicts.
    pub(crate) fn change(&mut self, change: VoterChange, now: Time) -> Result<(u64, u64), Refused> {
        self.observe(now);
        self.must_lead()?;
        judge_change(&change, &self.members_now(), self.me)?;
        if self.raw.raft.has_pending_conf() || !self.raw.raft.apply_to_current_term() {
            return Err(Refused::NotNow("a change of voters may be under way"));
        }
        let conf_change = conf_change_of(&change);
        self.offer(LedgerItem::Change(change), |raw| raw.propose_conf_change(Vec::new(), conf_change))
    }

    /// Asks whether this member still leads, to read what is agreed on up to now: [`Effect::Read`] or [`Effect::ReadLost`] with this mark
    /// answers.
    ///
    /// # Errors
    ///
    /// This member does not lead.
    pub(crate) fn read(&mut self, mark: u64, now: Time) -> Result<(), Refused> {
        self.observe(now);
        self.must_lead()?;
        self.reads.ask(mark);
        self.settle();
        Ok(())
    }

    /// Hands leadership over. If it comes to nothing within [`Pace::election`], this member goes on to lead.
    ///
    /// # Errors
    ///
    /// This member does not lead, or that one cannot.
    pub(crate) fn transfer(&mut self, to: RaftId, now: Time) -> Result<(), Refused> {
        self.observe(now);
        self.must_lead()?;
        if to == self.me {
            return Ok(());
        }
        if !self.members_now().voters.contains(&to) {
            return Err(Refused::Unlawful(format!("{to} does not vote")));
        }
        if self.raw.raft.lead_transferee.is_some() {
            return Err(Refused::NotNow("leadership is being handed over"));
        }
        if !self.is_heard(to) {
            return Err(Refused::NotNow("the member that shall lead is silent"));
        }
        self.raw.transfer_leader(to.0);
        self.settle();
        Ok(())
    }

    /// Every write up to this ticket is durable.
    pub(crate) fn written(&mut self, through: LogTicket, now: Time) {
        self.observe(now);
        self.written = self.written.max(through.min(self.last_ticket));
        self.settle();
    }

    /// The ledger's text when it was applied up to `index`: it takes the place of the entries. Nothing happens if there is a newer snapshot, or `index` was
    /// not handed out.
    pub(crate) fn compact(&mut self, index: u64, text: String, now: Time) {
        self.observe(now);
        let log = self.raw.store();
        if index <= log.snapshot_parts().0.index || index > self.applied {
            return;
        }
        let Some(term) = log.term_at(index) else { return };
        while self.members.get(1).is_some_and(|(since, _)| *since <= index) {
            self.members.pop_front();
        }
        let members = self.members.front().map(|(_, sets)| sets.clone()).unwrap_or_default();
        let head = SnapshotHead { index, term, members };
        self.raw.mut_store().compact(head.clone(), &text);
        self.write(GroupWrite::Snapshot { head, text });
        self.settle();
    }

    /// What was last sent to this member did not reach it.
    pub(crate) fn unreachable(&mut self, id: RaftId) {
        self.end_turn();
        self.raw.report_unreachable(id.0);
        self.settle();
    }

    fn observe(&mut self, now: Time) {
        self.end_turn();
        self.look_at_clock(now);
    }

    fn look_at_clock(&mut self, now: Time) {
        self.now = self.now.max(now);
        self.clock.observe(self.now);
    }

    /// What waits for the end of the turn is said.
    pub(super) fn end_turn(&mut self) {
        self.effects.extend(self.outbox.take().map(|(to, letter)| Effect::Send { to, letter }));
    }

    /// Letters that were to be sent since there were `sent` effects wait for the end of the turn.
    fn hold_back(&mut self, sent: usize) {
        for effect in self.effects.split_off(sent) {
            match effect {
                Effect::Send { to, letter } => self.outbox.put(to, letter, APPEND_BYTES),
                other => self.effects.push_back(other),
            }
        }
    }

    fn must_lead(&self) -> Result<(), Refused> {
        match self.raw.raft.state {
            StateRole::Leader => Ok(()),
            _ => Err(Refused::NotLeader),
        }
    }

    /// Whether all of the log is durable.
    pub(super) fn persisted(&self) -> bool {
        self.raw.raft.raft_log.persisted == self.raw.raft.raft_log.last_index()
    }

    pub(super) fn is_heard(&self, id: RaftId) -> bool {
        self.heard.get(&id).is_some_and(|at| self.now.since(*at) <= self.pace.election * 2)
    }

    pub(super) fn members_now(&self) -> VoterSets {
        self.members.back().map(|(_, sets)| sets.clone()).unwrap_or_default()
    }

    fn sight(&self) -> Sight<'_> {
        static NOBODY: VoterSets = VoterSets {
            voters: Vec::new(),
            learners: Vec::new(),
            voters_outgoing: Vec::new(),
            learners_next: Vec::new(),
            auto_leave: false,
        };
        Sight {
            me: self.me,
            group_id: &self.group_id,
            term: self.raw.raft.term,
            leader: RaftId(self.raw.raft.leader_id),
            committed: self.raw.raft.raft_log.committed,
            log: self.raw.store(),
            persisted: self.persisted(),
            asked: self.asked,
            members: self.members.back().map_or(&NOBODY, |(_, sets)| sets),
        }
    }

    pub(super) fn envelope(&self, to: RaftId, term: u64) -> Envelope {
        Envelope { group_id: self.group_id.clone(), from: self.me, to, term }
    }

    /// The timeout in force, in ticks.
    fn timeout(&self) -> usize {
        (self.drawn + self.clock.stretch()).min(MAX_ELECTION_TICKS - 1) as usize
    }

    fn set_timeout(&mut self) {
        let timeout = self.timeout();
        self.raw.raft.set_randomized_election_timeout(timeout);
    }

    /// Draws a new election timeout from our own seed where the crate has drawn one from its chance, which nobody could repeat: whenever term, role or leader change, or
    /// `again`.
    pub(super) fn draw(&mut self, again: bool) {
        let raft = &self.raw.raft;
        let now = (raft.term, raft.state, raft.leader_id);
        if again || now != self.drawn_for {
            if now.1 == StateRole::Leader && now != self.drawn_for {
                self.beat = self.now + self.pace.heartbeat;
            }
            self.drawn_for = now;
            self.drawn = ELECTION_TICKS + self.rng.below(ELECTION_TICKS);
        }
        self.set_timeout();
    }

    pub(super) fn take_letter(&mut self, letter: Letter) -> Result<(), Refused> {
        let Some(message) = message_of(&letter) else { return Ok(()) };
        let (from, index) = (RaftId(message.from), message.index);
        let acknowledged = message.get_msg_type() == MessageType::MsgAppendResponse && !message.reject;
        if let Letter::Agree(Agree { kind: AgreeKind::Append { entries, .. }, .. }) = letter {
            self.stash.extend(entries.into_iter().map(|entry| ((entry.index, entry.term), entry.what)));
        }
        let before = self.raw.raft.election_elapsed;
        let leader = (message.term, message.from);
        let stepped = self.raw.step(message);
        let raft = &self.raw.raft;
        if raft.election_elapsed < before || (raft.term, raft.leader_id) == leader {
            // Silence begins now, and not when time was last counted.
            self.clock.restart(self.now);
        }
        self.draw(false);
        if acknowledged && self.sendings.get(&from).is_some_and(|sending| sending.index() <= index) {
            self.go_on_sending(from, Progress::Done);
        }
        self.take_ready_all();
        self.stash.clear();
        match stepped {
            Err(raft::Error::StepPeerNotFound) => Err(Refused::Unlawful(format!("FROM is {from}, which is no member"))),
            _ => Ok(()),
        }
    }

    fn offer(
        &mut self,
        item: LedgerItem,
        propose: impl FnOnce(&mut RawNode<Log>) -> raft::Result<()>,
    ) -> Result<(u64, u64), Refused> {
        if self.raw.raft.lead_transferee.is_some() {
            return Err(Refused::NotNow("leadership is being handed over"));
        }
        let (index, term) = (self.raw.raft.raft_log.last_index() + 1, self.raw.raft.term);
        self.stash.insert((index, term), item);
        if propose(&mut self.raw).is_err() {
            self.stash.clear();
            return Err(Refused::NotNow("too much is outstanding"));
        }
        self.take_ready_all();
        self.stash.clear();
        self.settle();
        Ok((index, term))
    }

    pub(super) fn write(&mut self, write: GroupWrite) {
        self.last_ticket = LogTicket(self.last_ticket.0 + 1);
        self.effects.push_back(Effect::Write { ticket: self.last_ticket, write });
    }

    fn write_hard(&mut self, hard: HardState) {
        let vote = (hard.vote != 0).then_some(RaftId(hard.vote));
        self.write(GroupWrite::Vote { term: hard.term, vote, commit: hard.commit });
        if (hard.term, hard.vote) != (self.hard.0, self.hard.1) {
            self.vote_ticket = self.last_ticket;
        }
        self.hard = (hard.term, hard.vote, hard.commit);
        self.commit_owed = None;
    }

    /// Brings everything to rest.
    fn settle(&mut self) {
        loop {
            self.take_ready_all();
            if self.raw.raft.state == StateRole::Leader
                && self.raw.raft.commit_to_current_term()
                && let Some(context) = self.reads.begin()
            {
                self.raw.read_index(context.into_bytes());
                continue;
            }
            break;
        }
        let raft = &self.raw.raft;
        let leads = (raft.state == StateRole::Leader).then_some(raft.term);
        if leads != self.leads {
            // What was begun in another term, or while it led, is void.
            self.effects.extend(self.reads.lose().into_iter().map(|mark| Effect::ReadLost { mark }));
            self.sendings.retain(|_, _| false);
            self.heard.clear();
            self.leads = leads;
        }
        if leads.is_some() {
            self.receiving = None;
            self.sendings.retain(|to, _| self.raw.raft.prs().get(to.0).is_some());
            let ready = self.reads.ready(self.applied);
            self.effects.extend(ready.into_iter().map(|(mark, index)| Effect::Read { mark, index }));
        }
        if self.receiving.as_ref().is_some_and(|receiving| !receiving.is_of(self.raw.raft.term)) {
            self.receiving = None;
        }
        let standing = self.stand();
        if standing != self.standing {
            self.standing = standing;
            self.effects.push_back(Effect::Role(standing));
        }
    }

    pub(super) fn stand(&self) -> Standing {
        let raft = &self.raw.raft;
        let role = match raft.state {
            StateRole::Leader => GroupRole::Leader,
            StateRole::Candidate | StateRole::PreCandidate => GroupRole::Candidate,
            StateRole::Follower if raft.promotable() => GroupRole::Follower,
            StateRole::Follower => GroupRole::Learner,
        };
        Standing { role, term: raft.term, leader: (raft.leader_id != 0).then_some(RaftId(raft.leader_id)) }
    }

    pub(super) fn take_ready_all(&mut self) {
        loop {
            if self.waiting.front().is_some_and(|waiting| waiting.ticket <= self.written) {
                let Some(waiting) = self.waiting.pop_front() else { break };
                self.raw.on_persist_ready(waiting.number);
                self.advance_applied();
                self.draw(false);
                self.send_all(waiting.letters);
            } else if self.raw.has_ready() {
                self.take_ready();
                self.draw(false);
            } else {
                break;
            }
        }
    }

    fn take_ready(&mut self) {
        let mut ready = self.raw.ready();
        let before = self.last_ticket;
        if !ready.snapshot().is_empty() {
            self.install(head_of(ready.snapshot()));
        }
        let entries: Vec<LedgerEntry> = ready.take_entries().iter().map(|entry| self.found(entry)).collect();
        if !entries.is_empty() {
            self.raw.mut_store().append(entries.clone());
            self.write(GroupWrite::Append(entries));
        }
        // After the entries: an index that was agreed on never stands on disk before the entry that was.
        if let Some(hard) = ready.hs().cloned() {
            let voted = (hard.term, hard.vote) != (self.hard.0, self.hard.1);
            let changed = self.agrees_on_change(hard.commit);
            if voted || changed || self.last_ticket != before {
                self.write_hard(hard);
                if changed {
                    // Nobody may hear that it votes no more, and go, before this member knows for good that it can do without it.
                    self.vote_ticket = self.last_ticket;
                }
            } else if hard.commit != self.hard.2 {
                self.commit_owed = self.commit_owed.or(Some(self.now));
            }
        }
        // A leader speaks while it writes its entries, but not before its own vote is durable: a lone voter that forgot it would lead
        // twice in one term.
        let at_once = self.vote_ticket <= self.written;
        let said = self.letters(ready.take_messages());
        let mut letters = self.letters(ready.take_persisted_messages());
        let (number, ticket) = (ready.number(), self.last_ticket);
        let committed = ready.take_committed_entries();
        let reads = ready.take_read_states();
        self.raw.advance_append_async(ready);
        if at_once {
            self.send_all(said);
        } else {
            letters.extend(said);
        }
        self.waiting.push_back(Waiting { number, ticket, letters });
        for read in reads {
            self.reads.proved(&read.request_ctx, read.index);
        }
        self.apply(&committed);
    }

    /// Whether a change of who votes is agreed on by a commit that reaches so far, and was not by the one that was last written.
    fn agrees_on_change(&mut self, commit: u64) -> bool {
        let is_change =
            |index| self.raw.store().get(index).is_some_and(|entry| matches!(entry.what, LedgerItem::Change(_)));
        // Where there is one it is written at once: what was looked through before and is not written has none.
        let found = (self.looked_through + 1..=commit).any(is_change);
        self.looked_through = self.looked_through.max(commit);
        found
    }

    /// Our entry of one that the crate appends.
    fn found(&mut self, entry: &Entry) -> LedgerEntry {
        let (index, term) = (entry.index, entry.term);
        let what = made_by_the_crate(entry).or_else(|| self.stash.remove(&(index, term)));
        LedgerEntry { index, term, what: what.expect("the crate appends what it was given") }
    }

    fn install(&mut self, head: SnapshotHead) {
        let (_, text) = self.stashed_text.take().expect("the crate installs what it was given");
        self.raw.mut_store().install(head.clone(), &text);
        self.members = VecDeque::from([(head.index, head.members.clone())]);
        self.applied = head.index;
        self.write(GroupWrite::Snapshot { head: head.clone(), text: text.clone() });
        self.effects.push_back(Effect::Install { head, text });
    }

    fn apply(&mut self, committed: &[Entry]) {
        for entry in committed {
            let Some(entry) = self.raw.store().get(entry.index).cloned() else { continue };
            if let LedgerItem::Change(change) = &entry.what {
                // What the sets forbid changes nothing, here as everywhere.
                if let Ok(state) = self.raw.apply_conf_change(&conf_change_of(change)) {
                    self.members.push_back((entry.index, sets_of(&state)));
                }
            }
            self.applied = entry.index;
            self.effects.push_back(Effect::Apply(entry));
        }
        self.advance_applied();
        let raft = &mut self.raw.raft;
        if raft.state == StateRole::Leader && !raft.promotable() {
            // It has no vote any more: another leads.
            raft.become_follower(raft.term, 0);
        }
    }

    /// Tells the crate what is applied: of a snapshot only once it is durable.
    fn advance_applied(&mut self) {
        let log = &self.raw.raft.raft_log;
        if log.applied < self.applied && self.applied <= log.persisted {
            let last = log.last_index();
            self.raw.advance_apply_to(self.applied);
            let raft = &mut self.raw.raft;
            if raft.raft_log.last_index() > last {
                // The end of a joint change, which the crate would keep to itself until the next heartbeat is answered. Until the others have it,
                // a majority of those who voted before is needed too: of a founder alone, the founder.
                raft.bcast_append();
            }
        }
    }

    fn letters(&self, mut messages: Vec<Message>) -> Vec<Outgoing> {
        messages.sort_by_key(|message| message.to);
        let find = |index: u64, term: u64| self.raw.store().get(index).filter(|entry| entry.term == term).cloned();
        let letter = |message: Message| {
            let to = RaftId(message.to);
            if message.get_msg_type() == MessageType::MsgSnapshot {
                return Some(Outgoing::Snapshot(to));
            }
            letter_of(&message, self.envelope(to, message.term), find).map(|letter| Outgoing::Letter(to, letter))
        };
        messages.into_iter().filter_map(letter).collect()
    }

    fn send_all(&mut self, letters: Vec<Outgoing>) {
        for outgoing in letters {
            match outgoing {
                Outgoing::Letter(to, letter) => {
                    if let Letter::Elect(Elect { envelope, kind: ElectKind::Vote { pre, .. } }) = &letter {
                        self.asked = Some((*pre, envelope.term));
                    }
                    self.effects.push_back(Effect::Send { to, letter });
                }
                Outgoing::Snapshot(to) if self.raw.raft.state == StateRole::Leader => {
                    let (head, text) = self.raw.store().snapshot_parts();
                    let again = self.pace.heartbeat * 4;
                    self.sendings.insert(to, Sending::new(head.clone(), text.clone(), again, self.now));
                    self.go_on_sending(to, Progress::Send);
                }
                Outgoing::Snapshot(_) => {}
            }
        }
    }
}

/// The log, the hard state and the applied index of what is stored.
fn load(stored: &StoredGroup) -> Result<(Log, HardState, u64), String> {
    let nothing = || (SnapshotHead { index: 0, term: 0, members: VoterSets::default() }, String::new());
    let (head, text) = stored.snapshot.clone().unwrap_or_else(nothing);
    if head.index > 0
        && let Some(why) = unlawful_sets(&head.members)
    {
        return Err(format!("the stored snapshot is of no group: {why}"));
    }
    let mut before = (head.index, head.term);
    for entry in &stored.entries {
        if entry.index != before.0 + 1 || entry.term < before.1.max(1) {
            return Err(format!(
                "the stored entry {} of term {} does not follow on entry {}",
                entry.index, entry.term, before.0
            ));
        }
        before = (entry.index, entry.term);
    }
    // A crash can come between the entries and the term that was written after them.
    let term = stored.term.max(before.1);
    let vote = if term == stored.term { stored.vote.map_or(0, |id| id.0) } else { 0 };
    let commit = stored.commit.clamp(head.index, before.0);
    let hard = HardState { term, vote, commit, ..HardState::default() };
    let applied = head.index;
    Ok((Log::new(head, &text, stored.entries.clone(), hard.clone()), hard, applied))
}
