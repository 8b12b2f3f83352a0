//! Clients that set, get, and take leases at nodes that come and go, and write down what they see.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::book::{Book, call};
use super::lease::{self, Grant};
use super::register::{self, Stamp};
use super::seed::Draw;
use super::support::wait::pause;
use super::support::{Client, Line};

/// The settings that are registers here, and the least of the values that they are given: none of them does anything to the nodes.
const SETTINGS: [&str; 3] = ["capacity", "hold", "forget"];
const LEAST_VALUE: u64 = 1_000_000;

const LEASES: [&str; 2] = ["left", "right"];

/// The longest term that there is: no run is as long.
const TERM_MS: u64 = 3_600_000;

/// Where the nodes are asked.
pub(crate) trait Doors: Sync {
    /// How many nodes there are.
    fn count(&self) -> usize;

    /// A new connection to one, running or not.
    fn open(&self, nth: usize) -> std::io::Result<Client>;
}

/// What became of a request.
enum Asked {
    Answered(Value),
    /// It was not sent, or its answer says that nothing was done.
    Nothing,
    /// It was sent, and may have been done, or may still be.
    Unknown,
}

/// One client: one call at a time, to whichever node it is connected with.
pub(crate) struct Caller<'a> {
    number: usize,
    doors: &'a dyn Doors,
    book: &'a Book,
    draw: Draw,
    line: Option<Client>,
    /// What it holds, by the lease's place in [`LEASES`].
    holds: [Option<Grant>; LEASES.len()],
    /// What it held before.
    held: [Option<Grant>; LEASES.len()],
    tick: u64,
}

impl<'a> Caller<'a> {
    pub(crate) fn new(number: usize, doors: &'a dyn Doors, book: &'a Book, seed: u64) -> Caller<'a> {
        let draw = Draw::new(seed, number as u64 + 1);
        Caller { number, doors, book, draw, line: None, holds: Default::default(), held: Default::default(), tick: 0 }
    }

    /// Some calls, one after the other.
    pub(crate) fn calls(&mut self, count: usize) {
        for _ in 0..count {
            if self.draw.chance(10) {
                self.line = None;
            }
            match self.draw.below(10) {
                0..=1 => self.set(),
                2..=4 => self.get(),
                _ => self.lease(),
            }
        }
    }

    /// Reads all that there is at this node, and says whether each was answered.
    pub(crate) fn read_all(&mut self, nth: usize) -> bool {
        self.line = self.doors.open(nth).ok();
        let settings = SETTINGS.into_iter().all(|name| self.read_setting(name));
        settings && (0..LEASES.len()).all(|which| self.list(which))
    }

    fn set(&mut self) {
        let name = self.draw.one_of(&SETTINGS);
        let value = LEAST_VALUE + self.book.unique();
        let begun = self.book.now();
        let asked = self.ask(&json!({"TASK": "SETTINGS", "NAME": name, "VALUE": value}));
        let ended = self.book.now();
        let (index, answer) = match asked {
            Asked::Answered(answer) => {
                assert_eq!(answer["RESPONSE"], "OK", "{answer}");
                (answer["INDEX"].as_u64().expect("an INDEX"), Some((ended, register::Ret::Done)))
            }
            Asked::Nothing => return,
            Asked::Unknown => (0, None),
        };
        self.book.setting(name, call(self.number, register::Op::Set(Stamp { value, index }), begun, answer));
    }

    fn get(&mut self) {
        let name = self.draw.one_of(&SETTINGS);
        self.read_setting(name);
    }

    fn read_setting(&mut self, name: &'static str) -> bool {
        let begun = self.book.now();
        let Asked::Answered(answer) = self.ask(&json!({"TASK": "SETTINGS", "NAME": name})) else { return false };
        let ended = self.book.now();
        assert!(answer["RESPONSE"] == "OK" && answer["LOCAL"] != true, "{answer}");
        let setting = &answer["SETTINGS"][0];
        let index = setting["INDEX"].as_u64().expect("an INDEX");
        let saw = setting["VALUE"].as_u64().map(|value| Stamp { value, index });
        let answer = Some((ended, register::Ret::Saw(saw)));
        self.book.setting(name, call(self.number, register::Op::Get, begun, answer));
        true
    }

    fn lease(&mut self) {
        let which = self.draw.below(LEASES.len());
        let drawn = self.draw.below(10);
        match (self.holds[which].clone(), self.held[which].clone()) {
            (Some(grant), _) => match drawn {
                0..=3 => self.release(which, grant),
                4..=5 => self.claim(which, grant),
                6..=7 => self.renew(which, grant),
                8 => self.acquire(which, &grant.0.clone()),
                _ => drop(self.list(which)),
            },
            (None, Some(old)) if drawn == 0 => self.claim(which, old),
            (None, Some(old)) if drawn == 1 => self.release(which, old),
            (None, _) if drawn == 2 => drop(self.list(which)),
            (None, _) => {
                let holder = format!("c{}-{}", self.number, self.book.unique());
                self.acquire(which, &holder);
            }
        }
    }

    fn acquire(&mut self, which: usize, holder: &str) {
        let wait = if self.draw.chance(30) { 100 } else { 0 };
        let op = lease::Op::Acquire(holder.to_owned());
        let fields = json!({"ACTION": "ACQUIRE", "HOLDER": holder, "TTL_MS": TERM_MS, "WAIT_MS": wait});
        match self.lease_call(which, op, fields) {
            Some(Some(lease::Ret::Granted { fence, .. })) => self.holds[which] = Some((holder.to_owned(), fence)),
            Some(Some(lease::Ret::Held(grant))) if self.book.is_orphan(&grant.0) => self.release(which, grant),
            Some(None) => {
                self.book.orphan(holder);
                self.holds[which] = None;
            }
            _ => {}
        }
    }

    fn release(&mut self, which: usize, grant: Grant) {
        let op = lease::Op::Release(grant.clone());
        let fields = json!({"ACTION": "RELEASE", "HOLDER": grant.0, "FENCE": grant.1});
        // Who does not know whether it was released leaves it to the others.
        if self.lease_call(which, op, fields) == Some(None) {
            self.book.orphan(&grant.0);
        }
        if self.holds[which].take_if(|held| *held == grant).is_some() {
            // A refusal that did nothing leaves it held, by nobody who will say so.
            self.book.orphan(&grant.0);
            self.held[which] = Some(grant);
        }
    }

    fn renew(&mut self, which: usize, grant: Grant) {
        let fields = json!({"ACTION": "RENEW", "HOLDER": grant.0, "FENCE": grant.1});
        let seen = self.lease_call(which, lease::Op::Renew(grant), fields);
        self.believe(which, seen.flatten());
    }

    fn claim(&mut self, which: usize, grant: Grant) {
        if !self.draw.chance(25) {
            self.tick = self.book.unique() + 1;
        }
        let tick = self.tick.max(1);
        let fields = json!({"ACTION": "TICK", "HOLDER": grant.0, "FENCE": grant.1, "TICK": tick});
        let seen = self.lease_call(which, lease::Op::Tick(grant, tick), fields);
        self.believe(which, seen.flatten());
    }

    /// Who is told that its grant is over stops.
    fn believe(&mut self, which: usize, seen: Option<lease::Ret>) {
        if seen == Some(lease::Ret::Over)
            && let Some((holder, fence)) = self.holds[which].take()
        {
            self.book.orphan(&holder);
            self.held[which] = Some((holder, fence));
        }
    }

    fn list(&mut self, which: usize) -> bool {
        matches!(self.lease_call(which, lease::Op::List, json!({})), Some(Some(_)))
    }

    /// Makes a call to a lease and writes it down. `None`: nothing was done; `Some(None)`: nobody knows.
    fn lease_call(&mut self, which: usize, op: lease::Op, fields: Value) -> Option<Option<lease::Ret>> {
        let name = LEASES[which];
        let mut request = fields;
        request["TASK"] = "LEASE".into();
        if op != lease::Op::List {
            request["NAME"] = name.into();
        }
        let begun = self.book.now();
        let asked = self.ask(&request);
        let ended = self.book.now();
        let ret = match asked {
            Asked::Nothing => return None,
            Asked::Unknown => None,
            Asked::Answered(answer) => Some(told(&op, &answer, name)),
        };
        self.book.lease(name, call(self.number, op, begun, ret.clone().map(|ret| (ended, ret))));
        Some(ret)
    }

    /// Sends a request and waits for its answer, some time.
    fn ask(&mut self, request: &Value) -> Asked {
        // Longer than a node waits for a leader, now and then: what it says then is part of the claim.
        let patience = match self.draw.below(20) {
            0 => Duration::from_secs(12),
            1..=3 => self.draw.millis(50, 400),
            _ => Duration::from_millis(800),
        };
        if self.line.is_none() {
            self.line = self.doors.open(self.draw.below(self.doors.count())).ok();
        }
        let Some(line) = &mut self.line else {
            // It is down: others may be up, and it may be back soon.
            pause(Duration::from_millis(10));
            return self.counted("NOT SENT", Asked::Nothing);
        };
        let sent = line.send(format!("{request}\n").as_bytes());
        let heard = sent.map_or(Line::Closed, |()| line.line_within(patience));
        let Line::Text(text) = heard else {
            self.line = None;
            return self.counted("NO ANSWER", Asked::Unknown);
        };
        // A node that was killed may leave half a line.
        let Ok(answer) = serde_json::from_str::<Value>(&text) else {
            self.line = None;
            return self.counted("NO ANSWER", Asked::Unknown);
        };
        let code = answer["ERROR"].as_str().unwrap_or("OK").to_owned();
        match code.as_str() {
            "OK" | "HELD" | "OVER" | "CLAIMED" => self.counted(&code, Asked::Answered(answer)),
            "NO_QUORUM" | "NO_LEADER" | "BUSY" | "STOPPING" | "NO_GROUP" => {
                // Another node may know more.
                self.line = None;
                self.counted(&code, Asked::Nothing)
            }
            "TIMED_OUT" | "LOST" | "STORE_SLOW" => self.counted(&code, Asked::Unknown),
            _ => panic!("{request} was answered {answer}"),
        }
    }

    fn counted(&self, answer: &str, asked: Asked) -> Asked {
        self.book.count(answer);
        asked
    }
}

/// What an answer says of a lease.
fn told(op: &lease::Op, answer: &Value, name: &str) -> lease::Ret {
    let number = |lease: &Value, field: &str| lease[field].as_u64().unwrap_or_else(|| panic!("no {field} in {answer}"));
    let holder = |lease: &Value| lease["HOLDER"].as_str().map(str::to_owned);
    match (answer["ERROR"].as_str(), op) {
        (Some("HELD"), lease::Op::Acquire(_)) => {
            // `NAME` is held by `HOLDER` with fence N
            let detail = answer["DETAIL"].as_str().unwrap_or_default();
            let held = detail.split('`').nth(3).zip(detail.rsplit(' ').next().and_then(|fence| fence.parse().ok()));
            let (holder, fence) = held.unwrap_or_else(|| panic!("not who holds it: {answer}"));
            lease::Ret::Held((holder.to_owned(), fence))
        }
        (Some("OVER"), _) => lease::Ret::Over,
        (Some("CLAIMED"), lease::Op::Tick(..)) => lease::Ret::Claimed,
        (None, lease::Op::Acquire(asked)) => {
            assert_eq!(holder(answer).as_ref(), Some(asked), "{answer}");
            lease::Ret::Granted { fence: number(answer, "FENCE"), tick: Some(number(answer, "TICK")) }
        }
        (None, lease::Op::List) => {
            let all = answer["LEASES"].as_array().unwrap_or_else(|| panic!("no LEASES in {answer}"));
            assert!(answer["LOCAL"] != true && answer["MORE"] == false, "{answer}");
            let found = all.iter().find(|lease| lease["NAME"] == *name);
            lease::Ret::Saw(found.map(|lease| (holder(lease), number(lease, "FENCE"), number(lease, "TICK"))))
        }
        (None, _) => lease::Ret::Done,
        _ => panic!("{op:?} was answered {answer}"),
    }
}

/// Rounds of calls by all clients until `until`. Between two rounds nobody calls, so that windows stay short whatever hangs.
pub(crate) fn rounds(callers: &mut [Caller<'_>], until: Instant) -> u64 {
    let mut count = 0;
    while Instant::now() < until {
        std::thread::scope(|scope| {
            for caller in callers.iter_mut() {
                scope.spawn(|| caller.calls(CALLS_OF_A_ROUND));
            }
        });
        count += 1;
    }
    count
}

/// Calls of one client in a round: with five clients and five objects that is some five calls a window.
const CALLS_OF_A_ROUND: usize = 5;
