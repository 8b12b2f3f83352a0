//! Granters and holders of one lease against each other: clocks that run apart, pauses, lost and late answers, changes of
//! leaders. Whoever may rely on the lease by its own clock must be who holds it by the ledger, at every moment.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Log, id, member};
use crate::core::ledger::{Applied, HeldLease, LeaseClock, Ledger, NotRenewed};
use crate::core::rng::Rng;
use crate::time::Time;
use crate::wire::{Command, LedgerEntry, LedgerItem};

const NAME: &str = "backup";
const MASTERS: usize = 3;
const HOLDERS: usize = 3;

/// A mistake in the arithmetic that the simulation must find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    /// A leader takes a renewal without asking a quorum whether it still leads.
    Unconfirmed,
    /// A new leader does not let the terms run again.
    NoNewTerms,
    /// A holder counts from the answer.
    FromAnswer,
    /// A holder stops when its term ends, not at 80 %.
    StopsAtEnd,
    /// An EXPIRE ends a grant although its holder was heard since.
    ExpiresUnheard,
    /// A renewal counts although its EXPIRE is on its way.
    RenewsEnding,
}

/// A clock of its own pace: it counts pauses too.
#[derive(Clone, Copy)]
struct Pace {
    permille: u64,
    offset: u64,
}

impl Pace {
    fn at(self, real: u64) -> Time {
        Time::from_micros(self.offset + real * self.permille / 1000)
    }
}

struct Master {
    pace: Pace,
    paused_until: u64,
    /// The term in which it believes to lead.
    leads: Option<u64>,
    ledger: Ledger,
    clock: LeaseClock,
    /// Entries of the log that it has applied.
    applied: usize,
}

struct Holder {
    pace: Pace,
    paused_until: u64,
    /// What it relies on, and the fence.
    lease: Option<(HeldLease, u64)>,
    last_sent: Time,
    /// Answers to what was sent before do not count.
    released: Time,
    /// How often it has released. A RELEASE may be overtaken by what is asked for after it, and would end that: so who
    /// asks again does it under another name.
    lives: u64,
}

impl Holder {
    fn name(&self, nth: usize) -> String {
        format!("{nth}.{}", self.lives)
    }
}

#[derive(Clone)]
enum Mail {
    Ask {
        to: usize,
        holder: usize,
        name: String,
        ttl: Duration,
        sent: Time,
    },
    Renew {
        to: usize,
        holder: usize,
        fence: u64,
        sent: Time,
    },
    Release {
        to: usize,
        fence: u64,
    },
    /// A majority has acknowledged this leader since the renewal came, if it still leads.
    Confirm {
        master: usize,
        term: u64,
        holder: usize,
        fence: u64,
        sent: Time,
    },
    Commit {
        term: u64,
        proposer: usize,
        command: Command,
        asker: Option<(usize, Time)>,
    },
    Answer {
        holder: usize,
        fence: u64,
        ttl: Duration,
        sent: Time,
    },
    Learn {
        master: usize,
        leads: Option<u64>,
    },
}

struct World {
    rng: Rng,
    fault: Fault,
    now: u64,
    seq: u64,
    mail: BTreeMap<(u64, u64), Mail>,
    masters: Vec<Master>,
    holders: Vec<Holder>,
    /// Who leads in truth.
    leader: usize,
    term: u64,
    log: Vec<LedgerEntry>,
    truth: Log,
    /// Who waits for which entry.
    askers: BTreeMap<usize, (usize, usize, Time)>,
    /// Terms that were ended by a leader, for the proof that something happens.
    expired: u64,
    renewed: u64,
}

impl World {
    fn new(seed: u64, fault: Fault) -> World {
        let mut rng = Rng::new(seed);
        let mut pace = || Pace { permille: 900 + 100 * rng.below(3), offset: rng.below(1 << 40) };
        let paces: Vec<Pace> = (0..MASTERS + HOLDERS).map(|_| pace()).collect();
        let mut truth = Log { ledger: Ledger::default(), index: 0 };
        let found = Command::Found { group_id: id(1), group: "default".into(), member: member(1, 1) };
        let found = truth.entry(found);
        truth.ledger.apply(&found);
        let master = |pace: &Pace| Master {
            pace: *pace,
            paused_until: 0,
            leads: None,
            ledger: Ledger::default(),
            clock: LeaseClock::default(),
            applied: 0,
        };
        let holder = |pace: &Pace| Holder {
            pace: *pace,
            paused_until: 0,
            lease: None,
            last_sent: Time::ZERO,
            released: Time::ZERO,
            lives: 0,
        };
        let mut world = World {
            rng,
            fault,
            now: 0,
            seq: 0,
            mail: BTreeMap::new(),
            masters: paces[..MASTERS].iter().map(master).collect(),
            holders: paces[MASTERS..].iter().map(holder).collect(),
            leader: 0,
            term: 1,
            log: vec![found],
            truth,
            askers: BTreeMap::new(),
            expired: 0,
            renewed: 0,
        };
        world.post(1000, Mail::Learn { master: 0, leads: Some(1) });
        world
    }

    /// Posts something that arrives within `most` milliseconds.
    fn post(&mut self, most: u64, mail: Mail) {
        let at = self.now + 1 + self.rng.below(most * 1000);
        self.post_at(at, mail);
    }

    fn post_at(&mut self, at: u64, mail: Mail) {
        self.seq += 1;
        self.mail.insert((at, self.seq), mail);
    }

    fn one_in(&mut self, many: u64) -> bool {
        self.rng.below(many) == 0
    }

    /// Runs for so many steps. The error tells what was broken.
    fn run(&mut self, steps: u64) -> Result<(), String> {
        for _ in 0..steps {
            let next = self.now + 1000 + self.rng.below(60_000);
            while let Some(entry) = self.mail.first_entry().filter(|entry| entry.key().0 <= next) {
                let ((at, _), mail) = entry.remove_entry();
                self.now = self.now.max(at);
                self.deliver(mail)?;
                self.check()?;
            }
            self.now = next;
            self.disturb();
            (0..MASTERS).for_each(|master| self.master(master));
            (0..HOLDERS).for_each(|holder| self.holder(holder));
            self.check()?;
        }
        Ok(())
    }

    /// The law: who may rely on the lease holds it.
    fn check(&self) -> Result<(), String> {
        self.masters.iter().for_each(|master| master.clock.check_invariants());
        for (nth, holder) in self.holders.iter().enumerate() {
            let Some((lease, fence)) = &holder.lease else { continue };
            let now = holder.pace.at(self.now);
            let lapsed = if self.fault == Fault::StopsAtEnd { now >= lease.ends_at() } else { lease.is_lapsed(now) };
            let held = self.truth.ledger.lease(NAME);
            let holds = held.as_ref().is_some_and(|held| held.fence == *fence && held.holder == Some(holder.name(nth)));
            if !lapsed && !holds {
                return Err(format!("holder {nth} relies on fence {fence} at {}, the ledger says {held:?}", self.now));
            }
        }
        Ok(())
    }

    fn disturb(&mut self) {
        if self.one_in(120) {
            let (who, until) = (self.rng.below(MASTERS as u64) as usize, self.now + self.rng.below(9_000_000));
            self.masters[who].paused_until = until;
        }
        if self.one_in(120) {
            let (who, until) = (self.rng.below(HOLDERS as u64) as usize, self.now + self.rng.below(12_000_000));
            self.holders[who].paused_until = until;
        }
        if self.one_in(80) {
            let (old, new) = (self.leader, self.rng.below(MASTERS as u64) as usize);
            (self.leader, self.term) = (new, self.term + 1);
            // What the old leader had in its log and the new one has too stands before all that the new one proposes, and is applied
            // before it can confirm a read; the rest is lost.
            let waiting: Vec<(u64, u64)> = self.mail.keys().copied().collect();
            for key in waiting {
                if !matches!(self.mail[&key], Mail::Commit { .. }) {
                    continue;
                }
                let survives = self.rng.below(2) == 0;
                if let (Some(Mail::Commit { proposer, command, asker, .. }), true) = (self.mail.remove(&key), survives)
                {
                    self.commit(proposer, command, asker);
                }
            }
            self.post(4000, Mail::Learn { master: old, leads: None });
            self.post(400, Mail::Learn { master: new, leads: Some(self.term) });
        }
    }

    fn deliver(&mut self, mail: Mail) -> Result<(), String> {
        let paused = match &mail {
            Mail::Ask { to, .. } | Mail::Renew { to, .. } | Mail::Release { to, .. } => self.masters[*to].paused_until,
            Mail::Confirm { master, .. } | Mail::Learn { master, .. } => self.masters[*master].paused_until,
            Mail::Answer { holder, .. } => self.holders[*holder].paused_until,
            Mail::Commit { .. } => 0,
        };
        if paused > self.now {
            self.post_at(paused, mail);
            return Ok(());
        }
        match mail {
            Mail::Ask { to, holder, name, ttl, sent } => {
                let command = Command::Acquire { name: NAME.into(), holder: name, ttl };
                self.propose(to, command, Some((holder, sent)));
            }
            Mail::Release { to, fence } => {
                self.propose(to, Command::Release { name: NAME.into(), fence }, None);
            }
            Mail::Renew { to, holder, fence, sent } => {
                let Some(term) = self.masters[to].leads else { return Ok(()) };
                let confirm = Mail::Confirm { master: to, term, holder, fence, sent };
                if self.fault == Fault::Unconfirmed {
                    self.renew(to, holder, fence, sent);
                } else {
                    self.post(300, confirm);
                }
            }
            Mail::Confirm { master, term, holder, fence, sent } => {
                if (master, term) == (self.leader, self.term) && self.masters[master].leads == Some(term) {
                    self.apply_all(master);
                    self.renew(master, holder, fence, sent);
                }
            }
            Mail::Commit { term, proposer, command, asker } if term == self.term => {
                self.commit(proposer, command, asker);
            }
            Mail::Commit { .. } => {}
            Mail::Answer { holder, fence, ttl, sent } => self.hear(holder, fence, ttl, sent),
            Mail::Learn { master, leads } => self.learn(master, leads),
        }
        Ok(())
    }

    fn learn(&mut self, master: usize, leads: Option<u64>) {
        // News of an older term than it leads in is no news.
        if leads.is_some_and(|term| term < self.term) || (leads.is_none() && self.leader == master) {
            return;
        }
        let now = self.now;
        let Master { clock, ledger, pace, leads: believed, .. } = &mut self.masters[master];
        *believed = leads;
        match leads {
            Some(_) if self.fault == Fault::NoNewTerms => clock.lead(ledger, Time::ZERO),
            Some(_) => clock.lead(ledger, pace.at(now)),
            None => clock.resign(),
        }
    }

    /// A master proposes something if it believes to lead. In vain if it does not.
    fn propose(&mut self, proposer: usize, command: Command, asker: Option<(usize, Time)>) {
        let Some(term) = self.masters[proposer].leads else { return };
        if term == self.term && proposer == self.leader {
            self.post(500, Mail::Commit { term, proposer, command, asker });
        }
    }

    fn commit(&mut self, proposer: usize, mut command: Command, asker: Option<(usize, Time)>) {
        if let (Fault::ExpiresUnheard, Command::Expire { fence, .. }) = (self.fault, &mut command) {
            *fence = self.truth.ledger.held().map(|held| held.heard).last().unwrap_or(*fence);
        }
        let entry = self.truth.entry(command);
        if let Some((holder, sent)) = asker {
            self.askers.insert(self.log.len(), (proposer, holder, sent));
        }
        let expires =
            matches!(&entry.what, LedgerItem::Command(command) if matches!(**command, Command::Expire { .. }));
        let freed = matches!(self.truth.ledger.apply(&entry), Applied::Freed { .. });
        self.expired += u64::from(expires && freed);
        self.log.push(entry);
    }

    fn apply_all(&mut self, master: usize) {
        while self.masters[master].applied < self.log.len() {
            self.apply_one(master);
        }
    }

    fn apply_one(&mut self, master: usize) {
        let now = self.now;
        let at = self.masters[master].applied;
        let Master { clock, ledger, pace, applied, .. } = &mut self.masters[master];
        let outcome = ledger.apply(&self.log[at]);
        clock.applied(&self.log[at], &outcome, pace.at(now));
        *applied += 1;
        let Some((proposer, holder, sent)) = self.askers.get(&at).copied() else { return };
        if let (true, Applied::Granted(lease)) = (proposer == master, outcome) {
            self.post(900, Mail::Answer { holder, fence: lease.fence, ttl: lease.ttl, sent });
        }
    }

    fn renew(&mut self, master: usize, holder: usize, fence: u64, sent: Time) {
        let Master { clock, pace, ledger, .. } = &mut self.masters[master];
        let renewed = match clock.renewed(NAME, fence, pace.at(self.now)) {
            Err(NotRenewed::Ending) if self.fault == Fault::RenewsEnding => {
                Ok(ledger.lease(NAME).map_or(Duration::ZERO, |lease| lease.ttl))
            }
            renewed => renewed,
        };
        if let Ok(ttl) = renewed {
            self.renewed += 1;
            self.post(900, Mail::Answer { holder, fence, ttl, sent });
        }
    }

    fn hear(&mut self, holder: usize, fence: u64, ttl: Duration, sent: Time) {
        let fault = self.fault;
        let Holder { pace, lease, released, .. } = &mut self.holders[holder];
        let now = pace.at(self.now);
        if sent <= *released {
            return;
        }
        let from = if fault == Fault::FromAnswer { now } else { sent };
        match lease {
            Some((held, known)) if *known == fence => held.renewed(from, ttl, now),
            _ => *lease = Some((HeldLease::new(from, ttl), fence)),
        }
        // An answer may come when its term is over.
        if lease.is_some_and(|(held, _)| held.is_lapsed(now) && fault != Fault::StopsAtEnd) {
            *lease = None;
        }
    }

    fn master(&mut self, master: usize) {
        if self.masters[master].paused_until > self.now {
            return;
        }
        while self.masters[master].applied < self.log.len() && !self.one_in(3) {
            self.apply_one(master);
        }
        if self.masters[master].leads.is_none() {
            return;
        }
        let now = self.masters[master].pace.at(self.now);
        for command in self.masters[master].clock.due(now) {
            let Command::Expire { name, fence } = &command else { panic!("{command:?}") };
            if self.one_in(4) {
                self.masters[master].clock.unproposed(name, *fence, now);
            } else {
                self.propose(master, command, None);
            }
        }
    }

    fn holder(&mut self, holder: usize) {
        if self.holders[holder].paused_until > self.now {
            return;
        }
        let leaders: Vec<usize> = (0..MASTERS).filter(|master| self.masters[*master].leads.is_some()).collect();
        let Some(to) = leaders.get(self.rng.below(leaders.len().max(1) as u64) as usize).copied() else { return };
        let Holder { pace, lease, last_sent, .. } = &mut self.holders[holder];
        let now = pace.at(self.now);
        if lease.is_some_and(|(held, _)| now >= held.ends_at()) {
            *lease = None;
        }
        let pressing = now.since(*last_sent) > Duration::from_millis(400);
        match *lease {
            Some((held, _)) if held.is_lapsed(now) => {}
            Some((held, fence)) if held.renew_at() <= now && pressing => {
                *last_sent = now;
                self.post(700, Mail::Renew { to, holder, fence, sent: now });
            }
            Some((_, fence)) if self.rng.below(400) == 0 => {
                let holder = &mut self.holders[holder];
                (holder.lease, holder.released) = (None, now);
                holder.lives += 1;
                self.post(700, Mail::Release { to, fence });
            }
            Some(_) if self.rng.below(60) > 0 => {}
            None if !pressing => {}
            _ => {
                *last_sent = now;
                let ttl = Duration::from_secs(1 + self.rng.below(8));
                let name = self.holders[holder].name(holder);
                self.post(700, Mail::Ask { to, holder, name, ttl, sent: now });
            }
        }
    }
}

/// The first break among so many seeds, and how many terms ended and renewals counted.
fn search(fault: Fault, seeds: u64) -> (Option<String>, u64, u64) {
    let (mut expired, mut renewed) = (0, 0);
    for seed in 0..seeds {
        let mut world = World::new(seed, fault);
        let broken = world.run(2000);
        (expired, renewed) = (expired + world.expired, renewed + world.renewed);
        if let Err(error) = broken {
            return (Some(format!("seed {seed}: {error}")), expired, renewed);
        }
    }
    (None, expired, renewed)
}

#[test]
fn whoever_relies_on_a_lease_holds_it() {
    let (broken, expired, renewed) = search(Fault::None, 600);
    assert_eq!(broken, None);
    assert!(expired > 150 && renewed > 1500, "{expired} terms ended, {renewed} renewals: too few to prove anything");
}

#[test]
fn the_simulation_finds_each_planted_fault() {
    for fault in [
        Fault::Unconfirmed,
        Fault::NoNewTerms,
        Fault::FromAnswer,
        Fault::StopsAtEnd,
        Fault::ExpiresUnheard,
        Fault::RenewsEnding,
    ] {
        let (broken, ..) = search(fault, 8000);
        assert!(broken.is_some(), "{fault:?} was not found");
    }
}

/// A leader that has granted the lease at its second 0.
fn granted(seconds: u64) -> (Log, LeaseClock, u64) {
    let mut log = Log::founded();
    let mut clock = LeaseClock::default();
    clock.lead(&log.ledger, Time::ZERO);
    let ttl = Duration::from_secs(seconds);
    let entry = log.entry(Command::Acquire { name: NAME.into(), holder: "x".into(), ttl });
    let outcome = log.ledger.apply(&entry);
    clock.applied(&entry, &outcome, Time::ZERO);
    (log, clock, entry.index)
}

fn second(nth: u64) -> Time {
    Time::from_micros(nth * 1_000_000)
}

#[test]
fn a_term_is_said_to_be_over_once_and_then_no_renewal_counts() {
    let (mut log, mut clock, fence) = granted(10);
    assert_eq!(clock.deadline(), Some(second(10)));
    assert_eq!(clock.renewed(NAME, fence, second(6)), Ok(Duration::from_secs(10)));
    assert_eq!(clock.renewed(NAME, fence + 1, second(6)), Err(NotRenewed::Over));
    assert_eq!(clock.due(second(15)), []);
    let expire = Command::Expire { name: NAME.into(), fence };
    assert_eq!(clock.due(second(16)), std::slice::from_ref(&expire));
    assert_eq!((clock.due(second(99)), clock.deadline()), (vec![], None), "once");
    assert_eq!(clock.renewed(NAME, fence, second(16)), Err(NotRenewed::Ending));
    clock.unproposed(NAME, fence, second(16));
    assert_eq!(clock.renewed(NAME, fence, second(16)), Ok(Duration::from_secs(10)), "it lives after all");
    assert_eq!(clock.due(second(26)), std::slice::from_ref(&expire));
    let entry = log.entry(expire);
    let outcome = log.ledger.apply(&entry);
    clock.applied(&entry, &outcome, second(26));
    assert_eq!(clock.renewed(NAME, fence, second(26)), Err(NotRenewed::Over));
    assert_eq!(clock, {
        let mut clock = LeaseClock::default();
        clock.lead(&log.ledger, second(27));
        clock
    });
}

#[test]
fn a_new_leader_and_a_lost_while_let_terms_run_longer() {
    let (log, mut clock, fence) = granted(10);
    clock.excuse(Duration::from_secs(4));
    assert_eq!(clock.deadline(), Some(second(14)));
    clock.resign();
    assert_eq!((clock.deadline(), clock.due(second(99))), (None, vec![]));
    assert_eq!(clock.renewed(NAME, fence, second(1)), Err(NotRenewed::NotLeader));
    clock.lead(&log.ledger, second(100));
    assert_eq!(clock.deadline(), Some(second(110)));
}

#[test]
fn a_repetition_outlives_the_expire_that_it_has_crossed() {
    let (mut log, mut clock, fence) = granted(10);
    let again = log.entry(Command::Acquire { name: NAME.into(), holder: "x".into(), ttl: Duration::from_secs(5) });
    let expire = clock.due(second(10)).remove(0);
    let expire = log.entry(expire);
    for entry in [&again, &expire] {
        let outcome = log.ledger.apply(entry);
        clock.applied(entry, &outcome, second(11));
    }
    assert_eq!(log.ledger.lease(NAME).map(|lease| lease.fence), Some(fence), "its holder was told so");
    assert_eq!(clock.deadline(), Some(second(21)), "for the longest term that it was told");
    let next = Command::Expire { name: NAME.into(), fence: again.index };
    assert_eq!(clock.due(second(21)), [next]);
}
