//! A worker of other people: asks for one task at a time, on one connection that it keeps or on one for each message.
//!
//! ```text
//!   ALIVE ──> NO_TASK: again in a second or two
//!     ^  └──> QUERY: works ──> STATUS, on the connection that there is then ──> ACK ──┐
//!     └──────────────────────────── no ACK after some times: given up ────────────────┘
//! ```
//!
//! An order to go elsewhere, or home, it obeys or not; at a borrower it registers, or only says whose it is. Where it cannot reach the
//! borrower some times, it goes home.

use std::time::Duration;

use serde_json::{Value, json};

use super::executor::Made;
use super::line::{Line, Turn};
use super::manner::Heard;
use super::plan::FarmPlan;
use crate::core::LinkId;
use crate::sim::host::{Wish, address};
use crate::sim::network::{Arrival, Conn, Host};
use crate::sim::plan::Dice;
use crate::time::Time;

/// How long such programs wait for an answer, and for a connection.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often a STATUS is said at most.
const TIMES: u32 = 3;

/// How often it calls a borrower that it does not reach.
const CALLS: u32 = 3;

#[derive(Clone, Debug)]
enum Stage {
    /// It asks for work then.
    Idle(Time),
    /// It waits for the answer to ALIVE.
    Asking(Time),
    /// It works.
    Working { until: Time, made: Made, ok: bool },
    /// It has worked, and says so, so many times more.
    Reporting { until: Time, line: String, times: u32 },
}

/// A foreign worker.
#[derive(Clone, Debug)]
pub(super) struct Foreign {
    name: String,
    home: Host,
    server: Host,
    /// It does what it is told about where to go.
    obeys: bool,
    /// Whose it is, as it says elsewhere.
    owner: String,
    /// It is still to register where it is.
    registers: Option<bool>,
    /// Calls in a row that came to nothing.
    failed: u32,
    /// Whether each message has a connection of its own.
    one_shot: bool,
    most: Duration,
    failing: u64,
    stage: Stage,
    line: Line,
    /// What is to be said once a connection stands.
    say: Option<String>,
    next_serial: u64,
    /// What it has worked out, for the oracle.
    pub(super) made: Vec<Made>,
    pub(super) wishes: Vec<Wish>,
}

impl Foreign {
    /// `serials`: the first of the numbers that are its alone.
    pub(super) fn new(host: Host, plan: &FarmPlan, serials: u64, now: Time, dice: &mut Dice) -> Foreign {
        let home = plan.home(host);
        let native = home < plan.masters;
        let id = if native { format!("master-{home}") } else { format!("stranger-{home}") };
        let at = address(home);
        let names = [id, at.to_string(), at.ip().to_string()];
        let lends = plan.lend.is_some();
        Foreign {
            name: format!("FOREIGN_{host}"),
            home,
            server: home,
            obeys: lends && dice.chance(80),
            owner: names[if lends { dice.pick(3) } else { 0 }].clone(),
            registers: (lends && dice.chance(60)).then_some(false),
            failed: 0,
            one_shot: dice.chance(50),
            most: plan.run_most,
            failing: plan.failing,
            stage: Stage::Idle(now),
            line: Line::Down,
            say: None,
            next_serial: serials,
            made: Vec::new(),
            wishes: Vec::new(),
        }
    }

    /// All is well from now on: it does what it is told.
    pub(super) fn calm(&mut self) {
        self.obeys = true;
    }

    pub(super) fn called(&mut self, conn: Conn) {
        self.line = Line::Dialling(Some(conn));
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        Some(match &self.stage {
            Stage::Idle(due) | Stage::Asking(due) => *due,
            Stage::Working { until, .. } | Stage::Reporting { until, .. } => *until,
        })
    }

    pub(super) fn tick(&mut self, now: Time) {
        if self.deadline().is_none_or(|due| due > now) {
            return;
        }
        match self.stage.clone() {
            Stage::Idle(_) => {
                self.stage = Stage::Asking(now + PATIENCE * 2);
                let line = self.alive();
                self.say(line);
            }
            Stage::Asking(_) => {
                self.hang_up();
                self.stage = Stage::Idle(now);
            }
            Stage::Working { made, ok, .. } => {
                let status = if ok { "OK" } else { "NOK" };
                let line = json!({
                    "STATUS": status, "TASK": "QUERY", "WORKER_UUID": &self.name,
                    "SERIAL": made.serial, "KEY_OF": &made.key,
                });
                self.made.push(made);
                self.stage = Stage::Reporting { until: now, line: line.to_string(), times: TIMES };
                self.tick(now);
            }
            Stage::Reporting { times: 0, .. } => {
                self.hang_up();
                self.stage = Stage::Idle(now);
            }
            Stage::Reporting { line, times, .. } => {
                if times < TIMES {
                    self.hang_up();
                }
                self.stage = Stage::Reporting { until: now + PATIENCE * 2, line: line.clone(), times: times - 1 };
                self.say(line);
            }
        }
    }

    pub(super) fn arrival(&mut self, arrival: Arrival, now: Time, dice: &mut Dice) {
        match self.line.arrival(arrival) {
            Turn::Up => {
                if let Some(line) = self.say.take() {
                    self.say(line);
                }
            }
            Turn::Lost(end) => {
                self.wishes.extend(end.map(|conn| Wish::Close { conn }));
                self.lost(now, dice);
            }
            Turn::Read => {
                while let Some(line) = self.line.next() {
                    self.heard(&line, now, dice);
                }
            }
            Turn::Stale => {}
        }
    }

    /// What it says of itself: elsewhere, whose it is; and some register first, once.
    fn alive(&mut self) -> String {
        let mut alive = json!({ "WORKER": "ALIVE", "WORKER_UUID": &self.name });
        if self.server == self.home {
            return alive.to_string();
        }
        if self.registers.as_mut().is_some_and(|done| !std::mem::replace(done, true)) {
            let payload = json!({ "worker_id": &self.name, "original_master_address": address(self.home).to_string() });
            let line = json!({ "type": "register_temporary_worker", "request_id": "r", "payload": payload });
            return line.to_string();
        }
        alive["SERVER_UUID"] = json!(&self.owner);
        alive.to_string()
    }

    /// It goes to another master.
    fn go(&mut self, to: Host, now: Time) {
        self.hang_up();
        (self.line, self.say) = (Line::Down, None);
        (self.server, self.failed) = (to, 0);
        self.registers = self.registers.map(|_| false);
        self.stage = Stage::Idle(now);
    }

    fn heard(&mut self, said: &Value, now: Time, dice: &mut Dice) {
        let idle = matches!(self.stage, Stage::Idle(_) | Stage::Asking(_));
        if let Heard::Move { to, home } = Heard::of(said) {
            let to = if home { Some(self.home) } else { to };
            if let Some(to) = to.filter(|_| idle && self.obeys) {
                return self.go(to, now);
            }
        }
        self.failed = 0;
        let free = !matches!(self.stage, Stage::Working { .. } | Stage::Reporting { .. });
        if said["TASK"] == "QUERY" && free {
            let made = Made { serial: self.next_serial, key: said["USER"].as_str().unwrap_or_default().to_owned() };
            self.next_serial += 1;
            let until = now + dice.duration(Duration::ZERO, self.most);
            self.stage = Stage::Working { until, made, ok: !dice.chance(self.failing) };
        } else if said["TASK"] == "NO_TASK" && matches!(self.stage, Stage::Asking(_)) {
            self.stage = Stage::Idle(now + dice.duration(Duration::from_millis(500), Duration::from_secs(2)));
        } else if said["STATUS"] == "ACK" && matches!(self.stage, Stage::Reporting { .. } | Stage::Asking(_)) {
            self.stage = Stage::Idle(now);
        } else {
            return;
        }
        if self.one_shot {
            self.hang_up();
        }
    }

    fn say(&mut self, line: String) {
        match &self.line {
            Line::Up { conn, .. } => {
                self.wishes.push(Wish::Send { conn: *conn, bytes: format!("{line}\n").into_bytes() });
            }
            Line::Dialling(_) => self.say = Some(line),
            Line::Down => {
                self.say = Some(line);
                self.line = Line::Dialling(None);
                self.wishes.push(Wish::Call { link: LinkId(0), server: self.server, within: PATIENCE });
            }
        }
    }

    fn hang_up(&mut self) {
        if let Line::Up { conn, .. } = self.line {
            self.wishes.push(Wish::Close { conn });
            self.line = Line::Down;
        }
    }

    /// The connection is gone, or none could be made: what was asked is asked again after a pause.
    fn lost(&mut self, now: Time, dice: &mut Dice) {
        (self.line, self.say) = (Line::Down, None);
        self.failed += 1;
        let idle = matches!(self.stage, Stage::Idle(_) | Stage::Asking(_));
        if self.server != self.home && self.failed >= CALLS && idle {
            self.go(self.home, now);
        }
        let again = now + dice.duration(Duration::from_millis(200), Duration::from_secs(1));
        match &mut self.stage {
            Stage::Asking(_) => self.stage = Stage::Idle(again),
            Stage::Reporting { until, .. } => *until = again,
            Stage::Idle(_) | Stage::Working { .. } => {}
        }
    }
}
