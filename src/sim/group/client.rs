//! A client: speaks lines to one master or another, sets and reads settings, holds leases, and now and then meddles.
//!
//! ```text
//!   down ─ call ─> dialling ──> up: one request at a time ──> its answer, a pause, the next request
//!    ^                │          │ lost, or no answer in time: whatever was asked may have been done or not
//!    └────────────────┴──────────┘
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde_json::{Value, json};

use super::Planted;
use super::plan::GroupPlan;
use crate::core::{HeldLease, LinkId};
use crate::sim::host::Wish;
use crate::sim::network::{Arrival, Conn, Host};
use crate::sim::plan::Dice;
use crate::time::Time;

/// How long an answer is waited for, beyond what the request itself waits: a member waits at most five seconds for a
/// leader and for the leader together.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a call may take.
const DIAL_WITHIN: Duration = Duration::from_secs(5);

/// The settings that are set: their values are plain numbers, so that each can be another one.
const SETTINGS: [&str; 2] = ["capacity", "hold"];

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    Set {
        name: &'static str,
        value: u64,
    },
    Get {
        name: &'static str,
        local: bool,
    },
    Acquire {
        lease: String,
        holder: String,
    },
    Renew {
        lease: String,
        holder: String,
        fence: u64,
    },
    Release {
        lease: String,
        holder: String,
        fence: u64,
    },
    /// A bare question, or what an operator says.
    Other,
}

/// What the oracle is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// A holder gives a lease up: it does not rely on it any more.
    GivesUp { lease: String, holder: String },
    /// A master has answered what was sent to it then.
    Answered { ask: Ask, server: Host, sent: Time, answer: Value },
}

#[derive(Clone, Debug)]
enum Line {
    Down,
    Dialling(Option<Conn>),
    Up { conn: Conn, read: Vec<u8> },
}

/// A request that is not answered yet.
#[derive(Clone, Debug)]
struct Pending {
    id: String,
    ask: Ask,
    sent: Time,
    until: Time,
}

/// A lease that this client holds, as far as it knows.
#[derive(Clone, Debug)]
struct Holding {
    holder: String,
    fence: u64,
    held: HeldLease,
}

/// A client.
#[derive(Clone, Debug)]
pub(super) struct Client {
    host: Host,
    plan: GroupPlan,
    planted: Planted,
    server: Host,
    line: Line,
    pending: Option<Pending>,
    asked: u64,
    due: Time,
    holds: BTreeMap<String, Holding>,
    /// A holder whose release may still be under way does not come back under its old name: each gets a number.
    lives: u64,
    /// Members that are still to take a set and a read, once all is well.
    last: Option<VecDeque<Host>>,
    set: bool,
    /// The last thing that went wrong.
    trouble: String,
    pub(super) news: Vec<News>,
    pub(super) wishes: Vec<Wish>,
}

impl Client {
    pub(super) fn new(host: Host, plan: &GroupPlan, planted: Planted, now: Time, dice: &mut Dice) -> Client {
        Client {
            host,
            plan: plan.clone(),
            planted,
            server: dice.pick(plan.masters),
            line: Line::Down,
            pending: None,
            asked: 0,
            due: now,
            holds: BTreeMap::new(),
            lives: 0,
            last: None,
            set: false,
            trouble: String::new(),
            news: Vec::new(),
            wishes: Vec::new(),
        }
    }

    /// All is well from now on: this client sets and reads once more at each of its members.
    pub(super) fn calm(&mut self) {
        let nth = self.host - self.plan.masters;
        let mine = (0..self.plan.masters).filter(|master| master % self.plan.clients == nth);
        self.last = Some(mine.collect());
    }

    /// Whether all that it wanted at last was answered OK.
    pub(super) fn is_done(&self) -> bool {
        self.pending.is_none() && self.last.as_ref().is_some_and(VecDeque::is_empty)
    }

    /// What is missing, for people.
    pub(super) fn missing(&self) -> String {
        let pending = self.pending.as_ref().map(|pending| (&pending.ask, pending.sent));
        format!("pending {pending:?}, members left {:?}, last trouble: {}", self.last, self.trouble)
    }

    pub(super) fn called(&mut self, conn: Conn) {
        self.line = Line::Dialling(Some(conn));
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        match (&self.line, &self.pending) {
            (Line::Dialling(_), _) => None,
            (_, Some(pending)) => Some(pending.until),
            (Line::Down, None) if self.is_done() => None,
            _ => Some(self.due),
        }
    }

    pub(super) fn tick(&mut self, now: Time, dice: &mut Dice) {
        if self.deadline().is_none_or(|due| due > now) {
            return;
        }
        match &self.line {
            Line::Down => {
                self.server = match &self.last {
                    None => dice.pick(self.plan.masters),
                    Some(last) => last.front().copied().unwrap_or(self.server),
                };
                self.line = Line::Dialling(None);
                // The number means nothing here: a client has one line.
                self.wishes.push(Wish::Call { link: LinkId(1), server: self.server, within: DIAL_WITHIN });
            }
            Line::Dialling(_) => {}
            Line::Up { conn, .. } => {
                let conn = *conn;
                let wrong = self.last.as_ref().is_some_and(|last| last.front() != Some(&self.server));
                if let Some(pending) = &self.pending {
                    self.trouble = format!("no answer of master {} to {:?}", self.server, pending.ask);
                    self.hang_up(conn, now, dice);
                } else if wrong || (self.last.is_none() && dice.chance(5)) {
                    self.hang_up(conn, now, dice);
                } else {
                    self.ask(conn, now, dice);
                }
            }
        }
    }

    fn hang_up(&mut self, conn: Conn, now: Time, dice: &mut Dice) {
        self.wishes.push(Wish::Close { conn });
        self.lose(now, dice);
    }

    fn lose(&mut self, now: Time, dice: &mut Dice) {
        (self.line, self.pending) = (Line::Down, None);
        self.due = now + dice.duration(Duration::from_millis(1), Duration::from_millis(500));
    }

    pub(super) fn arrival(&mut self, arrival: Arrival, now: Time, dice: &mut Dice) {
        match (arrival, &mut self.line) {
            (Arrival::Connected { conn }, Line::Dialling(Some(mine))) if conn == *mine => {
                self.line = Line::Up { conn, read: Vec::new() };
                self.due = now;
            }
            (Arrival::Refused { conn, .. }, Line::Dialling(Some(mine))) if conn == *mine => self.lose(now, dice),
            (Arrival::Closed { conn }, Line::Up { conn: mine, .. }) if conn == *mine => self.hang_up(conn, now, dice),
            (Arrival::Bytes { conn, bytes }, Line::Up { conn: mine, read }) if conn == *mine => {
                read.extend(bytes);
                while let Line::Up { read, .. } = &mut self.line
                    && let Some(end) = read.iter().position(|byte| *byte == b'\n')
                {
                    let line: Vec<u8> = read.drain(..=end).collect();
                    let answer = serde_json::from_slice(&line).unwrap_or(Value::Null);
                    self.answered(answer, now, dice);
                }
            }
            _ => {}
        }
    }

    fn ask(&mut self, conn: Conn, now: Time, dice: &mut Dice) {
        let (ask, mut request, wait) = match &self.last {
            Some(last) if last.is_empty() => return,
            Some(_) if self.set => read_setting(SETTINGS[0], false),
            Some(_) => self.set_setting(SETTINGS[0]),
            None => self.choose(now, dice),
        };
        self.asked += 1;
        let id = self.asked.to_string();
        request["ID"] = json!(&id);
        self.wishes.push(Wish::Send { conn, bytes: format!("{request}\n").into_bytes() });
        self.pending = Some(Pending { id, ask, sent: now, until: now + PATIENCE + wait });
    }

    fn set_setting(&self, name: &'static str) -> (Ask, Value, Duration) {
        // Every set of every client has a value of its own.
        let value = (self.asked + 1) * self.plan.clients as u64 + (self.host - self.plan.masters) as u64;
        let request = json!({ "TASK": "SETTINGS", "NAME": name, "VALUE": value });
        (Ask::Set { name, value }, request, Duration::ZERO)
    }

    fn choose(&mut self, now: Time, dice: &mut Dice) -> (Ask, Value, Duration) {
        let name = SETTINGS[dice.pick(SETTINGS.len())];
        if let Some(renewal) = self.renewal(now) {
            return renewal;
        }
        match dice.pick(20) {
            0..6 => self.set_setting(name),
            6..12 => match (self.planted, dice.chance(15)) {
                // A planted fault: what is no more than a copy passes for the truth.
                (Planted::LocalReads, _) => {
                    let (_, request, wait) = read_setting(name, true);
                    (Ask::Get { name, local: false }, request, wait)
                }
                (_, local) => read_setting(name, local),
            },
            12..17 => self.lease(dice),
            17 if self.plan.removes => {
                let member = format!("master-{}", dice.pick(self.plan.masters));
                let force = dice.chance(50);
                let request = json!({ "TASK": "MEMBERS", "ACTION": "REMOVE", "SERVER_ID": member, "FORCE": force });
                (Ask::Other, request, Duration::ZERO)
            }
            18 => {
                let member = format!("master-{}", dice.pick(self.plan.masters));
                let request = json!({ "TASK": "MEMBERS", "ACTION": "LEAD", "SERVER_ID": member });
                (Ask::Other, request, Duration::ZERO)
            }
            _ => {
                let task = ["ELECT", "AGREE", "MEMBERS", "LEASE"][dice.pick(4)];
                (Ask::Other, json!({ "TASK": task }), Duration::ZERO)
            }
        }
    }

    /// The renewal of a lease that is due; what has lapsed is not relied on any more.
    fn renewal(&mut self, now: Time) -> Option<(Ask, Value, Duration)> {
        self.holds.retain(|_, holding| !holding.held.is_lapsed(now));
        let (lease, holding) = self.holds.iter().find(|(_, holding)| holding.held.renew_at() <= now)?;
        let (lease, holder, fence) = (lease.clone(), holding.holder.clone(), holding.fence);
        let request = json!({ "TASK": "LEASE", "ACTION": "RENEW", "NAME": &lease, "HOLDER": &holder, "FENCE": fence });
        Some((Ask::Renew { lease, holder, fence }, request, Duration::ZERO))
    }

    /// Wants a lease, or gives one up.
    fn lease(&mut self, dice: &mut Dice) -> (Ask, Value, Duration) {
        let lease = format!("lease-{}", dice.pick(self.plan.leases));
        if let Some(holding) = self.holds.get(&lease).filter(|_| dice.chance(50)) {
            let (holder, fence) = (holding.holder.clone(), holding.fence);
            let request =
                json!({ "TASK": "LEASE", "ACTION": "RELEASE", "NAME": &lease, "HOLDER": &holder, "FENCE": fence });
            self.holds.remove(&lease);
            self.lives += 1;
            self.news.push(News::GivesUp { lease: lease.clone(), holder: holder.clone() });
            return (Ask::Release { lease, holder, fence }, request, Duration::ZERO);
        }
        let holder = match self.holds.get(&lease) {
            Some(holding) => holding.holder.clone(),
            None => format!("holder-{}-{}", self.host, self.lives),
        };
        let most = u64::try_from(self.plan.ttl.as_millis()).unwrap_or(u64::MAX);
        let (ttl, wait) = (dice.between(1000, most.max(1000)), [0, 0, 500, 4000][dice.pick(4)]);
        let request = json!({
            "TASK": "LEASE", "ACTION": "ACQUIRE", "NAME": &lease, "HOLDER": &holder, "TTL_MS": ttl, "WAIT_MS": wait,
        });
        (Ask::Acquire { lease, holder }, request, Duration::from_millis(wait))
    }

    fn answered(&mut self, answer: Value, now: Time, dice: &mut Dice) {
        let Some(Pending { ask, sent, .. }) = self.pending.take_if(|pending| answer["ID"] == pending.id.as_str())
        else {
            return;
        };
        let ok = answer["RESPONSE"] == "OK";
        self.due = now + dice.duration(Duration::from_millis(1), self.plan.think);
        if !ok {
            self.trouble = answer.to_string();
            // NO_LEADER, NO_QUORUM, NO_GROUP, BUSY: soon again, or elsewhere.
            self.due = now + dice.duration(Duration::from_millis(10), Duration::from_millis(500));
        }
        match &ask {
            Ask::Acquire { lease, holder } | Ask::Renew { lease, holder, .. } if ok => {
                let (fence, ttl) = (answer["FENCE"].as_u64(), answer["TTL_MS"].as_u64());
                if let (Some(fence), Some(ttl)) = (fence, ttl) {
                    self.hold(lease, holder, fence, (sent, Duration::from_millis(ttl)), now);
                }
            }
            Ask::Renew { lease, .. } if answer["ERROR"] == "OVER" => {
                self.holds.remove(lease);
            }
            Ask::Set { .. } if self.last.is_some() => self.set |= ok,
            Ask::Get { .. } if ok && self.set => {
                self.set = false;
                if let Some(last) = &mut self.last {
                    last.pop_front();
                }
            }
            _ => {}
        }
        self.news.push(News::Answered { ask, server: self.server, sent, answer });
    }

    fn hold(&mut self, lease: &str, holder: &str, fence: u64, (sent, ttl): (Time, Duration), now: Time) {
        let fresh = HeldLease::new(sent, ttl);
        match self.holds.get_mut(lease).filter(|holding| holding.fence == fence) {
            Some(holding) => holding.held.renewed(sent, ttl, now),
            None => {
                let holder = holder.to_owned();
                self.holds.insert(lease.to_owned(), Holding { holder, fence, held: fresh });
            }
        }
    }
}

fn read_setting(name: &'static str, local: bool) -> (Ask, Value, Duration) {
    let mut request = json!({ "TASK": "SETTINGS", "NAME": name });
    if local {
        request["LOCAL"] = json!(true);
    }
    (Ask::Get { name, local }, request, Duration::ZERO)
}
