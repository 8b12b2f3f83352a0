//! A worker of other people: asks for one task at a time, on one connection that it keeps or on one for each message.
//!
//! ```text
//!   ALIVE ──> NO_TASK: again in a second or two
//!     ^  └──> QUERY: works ──> STATUS, on the connection that there is then ──> ACK ──┐
//!     └──────────────────────────── no ACK after some times: given up ────────────────┘
//! ```

use std::time::Duration;

use serde_json::{Value, json};

use super::executor::Made;
use super::line::{Line, Turn};
use super::plan::FarmPlan;
use crate::core::LinkId;
use crate::sim::host::Wish;
use crate::sim::network::{Arrival, Conn, Host};
use crate::sim::plan::Dice;
use crate::time::Time;

/// How long such programs wait for an answer, and for a connection.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often a STATUS is said at most.
const TIMES: u32 = 3;

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
    server: Host,
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
        Foreign {
            name: format!("FOREIGN_{host}"),
            server: plan.home(host),
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
                let alive = json!({ "WORKER": "ALIVE", "WORKER_UUID": &self.name });
                self.stage = Stage::Asking(now + PATIENCE * 2);
                self.say(alive.to_string());
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

    fn heard(&mut self, said: &Value, now: Time, dice: &mut Dice) {
        let free = !matches!(self.stage, Stage::Working { .. } | Stage::Reporting { .. });
        if said["TASK"] == "QUERY" && free {
            let made = Made { serial: self.next_serial, key: said["USER"].as_str().unwrap_or_default().to_owned() };
            self.next_serial += 1;
            let until = now + dice.duration(Duration::ZERO, self.most);
            self.stage = Stage::Working { until, made, ok: !dice.chance(self.failing) };
        } else if said["TASK"] == "NO_TASK" && matches!(self.stage, Stage::Asking(_)) {
            self.stage = Stage::Idle(now + dice.duration(Duration::from_millis(500), Duration::from_secs(2)));
        } else if said["STATUS"] == "ACK" && matches!(self.stage, Stage::Reporting { .. }) {
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
        let again = now + dice.duration(Duration::from_millis(200), Duration::from_secs(1));
        match &mut self.stage {
            Stage::Asking(_) => self.stage = Stage::Idle(again),
            Stage::Reporting { until, .. } => *until = again,
            Stage::Idle(_) | Stage::Working { .. } => {}
        }
    }
}
