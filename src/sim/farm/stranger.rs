//! A master of other people: answers heartbeats, gives its workers tasks, lends and borrows, each in its own manner.
//!
//! ```text
//!   its workers ── ALIVE ──> QUERY, NO_TASK, or the order to go to who has asked for workers
//!   calls out:  a heartbeat; a request for workers, 5 s; COMMAND_RELEASE, 5 s; notify_worker_returned
//!   guests ── ALIVE, register ──> QUERY, NO_TASK; once their time is over, or all is well: the order to go home
//! ```

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::agree::master_of;
use super::manner::{Answers, Family, Heard, Manner, host_of};
use super::plan::FarmPlan;
use crate::core::LinkId;
use crate::sim::host::Wish;
use crate::sim::network::{Arrival, Conn, Host};
use crate::sim::plan::Dice;
use crate::time::Time;

/// How long such programs wait for an answer, and for a connection.
const PATIENCE: Duration = Duration::from_secs(5);

/// Workers that say nothing for so long are not offered to anybody.
const FRESH: Duration = Duration::from_secs(10);

/// What is said on a connection that was opened for it.
#[derive(Clone, Debug)]
struct Call {
    server: Host,
    conn: Option<Conn>,
    line: String,
    /// It waits for an answer until then.
    until: Time,
    about: About,
}

#[derive(Clone, Debug)]
enum About {
    Heartbeat,
    Workers,
    /// These guests go when it is answered, or not.
    Release(Vec<String>),
    Returned,
}

/// A worker of another master.
#[derive(Clone, Debug)]
struct Guest {
    /// Where it is at home, if that is known.
    home: Option<Host>,
    /// When it is given back.
    until: Time,
    /// Its owner was told, where that is the custom.
    told: bool,
}

/// A master of other people while it runs.
#[derive(Clone, Debug)]
pub(super) struct Stranger {
    host: Host,
    id: String,
    manner: Manner,
    masters: usize,
    every: Duration,
    calm: bool,
    reads: BTreeMap<Conn, Vec<u8>>,
    calls: BTreeMap<LinkId, Call>,
    /// Answers that come late.
    later: Vec<(Time, Conn, String)>,
    next: u64,
    beat: Time,
    ask: Time,
    /// Own workers that are here, and when they were heard last.
    own: BTreeMap<String, Time>,
    /// Own workers that are to go.
    orders: BTreeMap<String, Host>,
    /// Workers that were promised, and by whom.
    promised: BTreeMap<String, Host>,
    guests: BTreeMap<String, Guest>,
    pub(super) wishes: Vec<Wish>,
}

impl Stranger {
    pub(super) fn new(host: Host, plan: &FarmPlan, manner: Manner, calm: bool, now: Time, dice: &mut Dice) -> Stranger {
        let every = plan.base.interval * 2;
        Stranger {
            host,
            id: format!("stranger-{host}"),
            manner,
            masters: plan.masters,
            every,
            calm,
            reads: BTreeMap::new(),
            calls: BTreeMap::new(),
            later: Vec::new(),
            next: 0,
            beat: now + dice.duration(Duration::ZERO, every),
            ask: now + dice.duration(Duration::ZERO, PATIENCE),
            own: BTreeMap::new(),
            orders: BTreeMap::new(),
            promised: BTreeMap::new(),
            guests: BTreeMap::new(),
            wishes: Vec::new(),
        }
    }

    /// All is well from now on: nobody is borrowed any more, and everybody is given back.
    pub(super) fn calm(&mut self, now: Time) {
        self.calm = true;
        if self.manner.keeps() {
            return;
        }
        self.guests.values_mut().for_each(|guest| guest.until = guest.until.min(now));
    }

    pub(super) fn called(&mut self, link: LinkId, conn: Conn) {
        if let Some(call) = self.calls.get_mut(&link) {
            call.conn = Some(conn);
        }
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        let calls = self.calls.values().map(|call| call.until);
        let later = self.later.iter().map(|(at, ..)| *at);
        let guests = self.guests.values().filter(|guest| !guest.told).map(|guest| guest.until);
        let beat = self.manner.beats.then_some(self.beat);
        let ask = (self.manner.borrows && !self.calm).then_some(self.ask);
        calls.chain(later).chain(guests).chain(beat).chain(ask).min()
    }

    pub(super) fn tick(&mut self, now: Time, dice: &mut Dice) {
        let late: Vec<LinkId> =
            self.calls.iter().filter(|(_, call)| call.until <= now).map(|(link, _)| *link).collect();
        late.into_iter().for_each(|link| self.end_call(link, true));
        let (due, rest) = std::mem::take(&mut self.later).into_iter().partition(|(at, ..)| *at <= now);
        self.later = rest;
        let due: Vec<(Time, Conn, String)> = due;
        due.into_iter().for_each(|(_, conn, line)| self.say(conn, line, dice));
        if self.manner.beats && self.beat <= now {
            self.beat = now + self.every;
            let line = json!({ "SERVER_UUID": &self.id, "TASK": "HEARTBEAT" }).to_string();
            self.call(dice.pick(self.masters), line, About::Heartbeat, now);
        }
        if self.manner.borrows && !self.calm && self.ask <= now {
            self.ask = now + dice.duration(PATIENCE, PATIENCE * 4);
            self.next += 1;
            let line = self.manner.request(&self.id, self.host, dice.between(1, 3), self.next);
            self.call(dice.pick(self.masters), line, About::Workers, now);
        }
        self.give_back(now);
    }

    /// Guests whose time is over are given back: in 2025/2 their owner is told first.
    fn give_back(&mut self, now: Time) {
        let mut homes: BTreeMap<Host, Vec<String>> = BTreeMap::new();
        for (worker, guest) in &mut self.guests {
            if guest.until <= now && !guest.told {
                guest.told = true;
                if let Some(home) = guest.home.filter(|_| self.manner.family == Family::Older) {
                    homes.entry(home).or_default().push(worker.clone());
                }
            }
        }
        for (home, workers) in homes {
            let line = json!({ "SERVER_UUID": &self.id, "TASK": "COMMAND_RELEASE", "WORKERS_UUID": &workers });
            self.call(home, line.to_string(), About::Release(workers), now);
        }
    }

    fn call(&mut self, server: Host, line: String, about: About, now: Time) {
        self.next += 1;
        let link = LinkId(self.next);
        self.calls.insert(link, Call { server, conn: None, line, until: now + PATIENCE, about });
        self.wishes.push(Wish::Call { link, server, within: PATIENCE });
    }

    fn end_call(&mut self, link: LinkId, close: bool) {
        let Some(call) = self.calls.remove(&link) else { return };
        if let (Some(conn), true) = (call.conn, close) {
            self.wishes.push(Wish::Close { conn });
        }
        call.conn.and_then(|conn| self.reads.remove(&conn));
    }

    fn call_on(&self, conn: Conn) -> Option<LinkId> {
        self.calls.iter().find(|(_, call)| call.conn == Some(conn)).map(|(link, _)| *link)
    }

    pub(super) fn arrival(&mut self, arrival: Arrival, now: Time, dice: &mut Dice) {
        match arrival {
            Arrival::Accepted { conn, .. } => {
                self.reads.insert(conn, Vec::new());
            }
            Arrival::Connected { conn } => {
                let Some(link) = self.call_on(conn) else { return self.wishes.push(Wish::Close { conn }) };
                self.reads.insert(conn, Vec::new());
                let line = self.calls[&link].line.clone();
                self.say(conn, line, dice);
            }
            Arrival::Refused { conn, .. } => {
                if let Some(link) = self.call_on(conn) {
                    self.end_call(link, false);
                }
            }
            Arrival::Closed { conn } => {
                let known = self.reads.remove(&conn).is_some();
                match self.call_on(conn) {
                    Some(link) => self.end_call(link, true),
                    None if known => self.wishes.push(Wish::Close { conn }),
                    None => {}
                }
            }
            Arrival::Bytes { conn, bytes } => {
                let Some(read) = self.reads.get_mut(&conn) else { return };
                read.extend(bytes);
                while let Some(end) = self.reads.get(&conn).and_then(|read| read.iter().position(|byte| *byte == b'\n'))
                {
                    let Some(read) = self.reads.get_mut(&conn) else { return };
                    let line: Vec<u8> = read.drain(..=end).collect();
                    let heard = Heard::of(&serde_json::from_slice(&line).unwrap_or(Value::Null));
                    self.heard(conn, heard, now, dice);
                }
            }
            Arrival::Datagram { .. } => {}
        }
    }

    /// Says a line, if the connection still stands; twice, if that is its manner.
    fn say(&mut self, conn: Conn, line: String, dice: &mut Dice) {
        if !self.reads.contains_key(&conn) {
            return;
        }
        let times = if dice.chance(self.manner.doubles) { 2 } else { 1 };
        let bytes = format!("{line}\n").repeat(times).into_bytes();
        self.wishes.push(Wish::Send { conn, bytes });
    }

    fn hang_up(&mut self, conn: Conn) {
        if self.reads.remove(&conn).is_some() {
            self.wishes.push(Wish::Close { conn });
        }
    }

    fn heard(&mut self, conn: Conn, heard: Heard, now: Time, dice: &mut Dice) {
        if let Some(link) = self.call_on(conn) {
            let server = self.calls[&link].server;
            if let (About::Workers, Heard::Accepted { workers }) = (&self.calls[&link].about, &heard) {
                self.promised.extend(workers.iter().map(|worker| (worker.clone(), server)));
            }
            return self.end_call(link, true);
        }
        if dice.chance(self.manner.drops) {
            return self.hang_up(conn);
        }
        let answer = match heard {
            Heard::Heartbeat => {
                Some(json!({ "SERVER_UUID": &self.id, "TASK": "HEARTBEAT", "RESPONSE": "ALIVE" }).to_string())
            }
            Heard::Alive { worker, owner } => Some(self.alive(worker, owner.as_deref(), now, dice)),
            Heard::Register { worker, home } => {
                self.takes(&worker, home, now, dice);
                match dice.pick(3) {
                    0 => Some(json!({ "STATUS": "ACK", "WORKER_UUID": worker }).to_string()),
                    1 => Some(self.task(&worker, dice)),
                    _ => None,
                }
            }
            Heard::Status { .. } => Some(json!({ "STATUS": "ACK" }).to_string()),
            Heard::Request { mark, from, needed } => return self.asked(conn, mark.as_ref(), from, needed, now, dice),
            Heard::Release { workers } => {
                Some(json!({ "SERVER_UUID": &self.id, "RESPONSE": "RELEASE_ACK", "WORKERS_UUID": workers }).to_string())
            }
            Heard::Returned { mark, .. } => {
                let mut ack = json!({ "STATUS": "ACK" });
                if let Some(mark) = mark {
                    ack["request_id"] = mark;
                }
                dice.chance(50).then(|| ack.to_string())
            }
            _ => None,
        };
        if let Some(answer) = answer {
            self.say(conn, answer, dice);
            if self.manner.one_shot {
                self.hang_up(conn);
            }
        }
    }

    /// Another master asks for workers.
    fn asked(&mut self, conn: Conn, mark: Option<&Value>, from: Option<Host>, needed: u64, now: Time, dice: &mut Dice) {
        let mut offered: Vec<String> = Vec::new();
        if let Some(from) = from.filter(|_| self.manner.lends && !self.calm && self.manner.answers != Answers::Never) {
            let free = self.own.iter().filter(|(who, at)| now.since(**at) < FRESH && !self.orders.contains_key(*who));
            offered = free.map(|(who, _)| who.clone()).take(usize::try_from(needed).unwrap_or(1)).collect();
            self.orders.extend(offered.iter().map(|worker| (worker.clone(), from)));
            if self.manner.ghosts {
                offered.push(format!("GHOST_{}_{}", self.host, self.next));
            }
        }
        let answer = match offered.is_empty() {
            true => self.manner.reject(&self.id, mark),
            false => self.manner.accept(&self.id, &offered, mark),
        };
        match self.manner.answers {
            Answers::Never => {}
            Answers::Promptly => self.say(conn, answer, dice),
            Answers::Late => {
                let at = now + dice.duration(Duration::from_secs(1), PATIENCE * 2);
                self.later.push((at, conn, answer));
            }
        }
    }

    /// A worker is here: what it is told.
    fn alive(&mut self, worker: String, owner: Option<&str>, now: Time, dice: &mut Dice) -> String {
        self.next += 1;
        let known = self.guests.contains_key(&worker) || self.promised.contains_key(&worker);
        if !known && owner.is_none_or(|owner| owner == self.id || host_of(owner) == Some(self.host)) {
            if let Some(to) = self.orders.remove(&worker) {
                self.own.remove(&worker);
                return self.manner.redirect(to, self.next);
            }
            self.own.insert(worker.clone(), now);
            return self.task(&worker, dice);
        }
        let home = owner.and_then(|owner| host_of(owner).or_else(|| master_of(owner)));
        self.takes(&worker, home, now, dice);
        let guest = &self.guests[&worker];
        // In 2025/2 the order waits for the owner's word, or for the end of the time that it has for it.
        let asked = |call: &Call| matches!(&call.about, About::Release(workers) if workers.contains(&worker));
        let Some(home) = guest.home.filter(|_| guest.told && !self.calls.values().any(asked)) else {
            return self.task(&worker, dice);
        };
        self.guests.remove(&worker);
        let order = self.manner.release(home, self.next);
        if self.manner.notifies && self.manner.family != Family::Older {
            self.next += 1;
            let line = self.manner.notify(&worker, self.next);
            self.call(home, line, About::Returned, now);
        }
        order
    }

    /// A worker of another master works here from now on, if it did not before.
    fn takes(&mut self, worker: &str, home: Option<Host>, now: Time, dice: &mut Dice) {
        let promised = self.promised.remove(worker);
        let stays = match (self.calm, self.manner.keeps) {
            (_, true) => Duration::from_secs(24 * 3600),
            (true, false) => Duration::ZERO,
            (false, false) => dice.duration(Duration::from_secs(1), PATIENCE * 6),
        };
        let guest = self.guests.entry(worker.to_owned());
        let guest = guest.or_insert_with(|| Guest { home: None, until: now + stays, told: false });
        guest.home = promised.or(guest.home).or(home);
    }

    /// The answer to ALIVE of who stays.
    fn task(&mut self, worker: &str, dice: &mut Dice) -> String {
        if dice.chance(40) {
            self.next += 1;
            return json!({ "TASK": "QUERY", "USER": format!("{}-{worker}-{}", self.id, self.next) }).to_string();
        }
        json!({ "TASK": "NO_TASK" }).to_string()
    }
}
