//! How programs of other people speak of loans, and which of their ways a seed draws (course-protocol.md, sections 2 and 3).

use serde_json::{Value, json};

use crate::sim::host::{PORT, address};
use crate::sim::network::Host;
use crate::sim::plan::Dice;

/// The words and keys of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sim) enum Family {
    /// 2025/2.
    Older,
    /// 2026/1, the official keys.
    Envelope,
    /// 2026/1 with every key in upper case.
    Upper,
    /// 2026/1 with keys of its own.
    Own,
}

/// How long a master takes for an answer to a request for workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sim) enum Answers {
    Promptly,
    /// Seconds later, perhaps too late.
    Late,
    Never,
}

/// How a master of other people is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::sim) struct Manner {
    pub(super) family: Family,
    pub(super) answers: Answers,
    /// It lends.
    pub(super) lends: bool,
    /// It offers workers that never arrive.
    pub(super) ghosts: bool,
    /// It asks for workers.
    pub(super) borrows: bool,
    /// It never gives back what it has borrowed.
    pub(super) keeps: bool,
    /// It says `notify_worker_returned`.
    pub(super) notifies: bool,
    /// Its requests have a `request_id`.
    pub(super) marks: bool,
    /// It calls others to see whether they live.
    pub(super) beats: bool,
    /// It closes a connection after each answer.
    pub(super) one_shot: bool,
    /// Lines that it says twice, in percent.
    pub(super) doubles: u64,
    /// Lines at which it hangs up instead of answering, in percent.
    pub(super) drops: u64,
}

impl Manner {
    /// One of the many.
    pub(super) fn draw(dice: &mut Dice) -> Manner {
        Manner {
            family: [Family::Older, Family::Older, Family::Envelope, Family::Upper, Family::Own][dice.pick(5)],
            answers: [Answers::Promptly, Answers::Promptly, Answers::Late, Answers::Never][dice.pick(4)],
            lends: dice.chance(60),
            ghosts: dice.chance(20),
            borrows: dice.chance(70),
            keeps: dice.chance(25),
            notifies: dice.chance(60),
            marks: dice.chance(70),
            beats: dice.chance(60),
            one_shot: dice.chance(40),
            doubles: [0, 0, 30][dice.pick(3)],
            drops: [0, 0, 15][dice.pick(3)],
        }
    }

    /// Whether it never gives back what it has borrowed.
    pub(super) fn keeps(&self) -> bool {
        self.keeps
    }

    /// The request for workers of the master at `host`.
    pub(super) fn request(&self, id: &str, host: Host, needed: u64, mark: u64) -> String {
        let ip = address(host).ip().to_string();
        let at = address(host).to_string();
        match self.family {
            Family::Older => json!({
                "TASK": "WORKER_REQUEST", "REQUESTOR_INFO": { "ip": ip, "port": PORT, "needed": needed },
            })
            .to_string(),
            Family::Own => self.envelope(
                "request_help",
                mark,
                json!({
                    "master_uuid": id, "master_name": id, "master_host": ip, "master_port": PORT,
                    "current_load": 150, "saturation_threshold": 100, "workers_needed": needed,
                }),
            ),
            Family::Envelope | Family::Upper => self.envelope(
                "request_help",
                mark,
                json!({
                    "master_id": id, "current_load": 150, "capacity": 100, "workers_needed": needed,
                    "master_address": at,
                }),
            ),
        }
    }

    /// The answer that offers these.
    pub(super) fn accept(&self, id: &str, workers: &[String], mark: Option<&Value>) -> String {
        let key = if self.family == Family::Own { "worker_uuid" } else { "id" };
        let details: Vec<Value> =
            workers.iter().map(|worker| json!({ key: worker, "address": "10.0.0.1:0" })).collect();
        match self.family {
            Family::Older => json!({ "SERVER_UUID": id, "RESPONSE": "AVAILABLE", "WORKERS_UUID": workers }).to_string(),
            _ => self.answer(
                "response_accepted",
                mark,
                json!({ "workers_offered": workers.len(), "worker_details": details }),
            ),
        }
    }

    /// The answer that offers nobody.
    pub(super) fn reject(&self, id: &str, mark: Option<&Value>) -> String {
        match self.family {
            Family::Older => json!({ "SERVER_UUID": id, "RESPONSE": "UNAVAILABLE" }).to_string(),
            _ => self.answer("response_rejected", mark, json!({ "reason": "no_workers_available" })),
        }
    }

    /// The order to a worker to go and work there.
    pub(super) fn redirect(&self, to: Host, mark: u64) -> String {
        let (ip, at) = (address(to).ip().to_string(), address(to).to_string());
        match self.family {
            Family::Older => json!({ "TASK": "REDIRECT", "SERVER_REDIRECT": { "ip": ip, "port": PORT } }).to_string(),
            Family::Own => {
                let payload = json!({ "new_master_host": ip, "new_master_port": PORT, "new_master_uuid": at });
                self.envelope("command_redirect", mark, payload)
            }
            _ => self.envelope("command_redirect", mark, json!({ "new_master_address": at })),
        }
    }

    /// The order to a borrowed worker to go home.
    pub(super) fn release(&self, home: Host, mark: u64) -> String {
        let (ip, at) = (address(home).ip().to_string(), address(home).to_string());
        match self.family {
            Family::Older => json!({ "TASK": "RETURN", "SERVER_RETURN": { "ip": ip, "port": PORT } }).to_string(),
            Family::Own => {
                let payload = json!({ "return_to_master_host": ip, "return_to_master_port": PORT });
                self.envelope("command_release", mark, payload)
            }
            _ => self.envelope("command_release", mark, json!({ "original_master_address": at })),
        }
    }

    /// What an owner is told when its worker has gone home.
    pub(super) fn notify(&self, worker: &str, mark: u64) -> String {
        let key = if self.family == Family::Own { "worker_uuid" } else { "worker_id" };
        self.envelope("notify_worker_returned", mark, json!({ key: worker }))
    }

    fn envelope(&self, kind: &str, mark: u64, payload: Value) -> String {
        let mark = self.marks.then(|| json!(format!("mark-{mark}")));
        self.answer(kind, mark.as_ref(), payload)
    }

    fn answer(&self, kind: &str, mark: Option<&Value>, payload: Value) -> String {
        let mut line = json!({ "type": kind, "payload": payload });
        if let Some(mark) = mark {
            line["request_id"] = mark.clone();
        }
        if self.family == Family::Upper {
            line = upper(line);
            line["TYPE"] = json!(kind.to_ascii_uppercase());
        }
        line.to_string()
    }
}

/// The same with every key in upper case.
fn upper(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            fields.into_iter().map(|(key, value)| (key.to_ascii_uppercase(), upper(value))).collect()
        }
        Value::Array(items) => items.into_iter().map(upper).collect(),
        other => other,
    }
}

/// What a line says, whatever its letter case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    Heartbeat,
    /// A worker is here. `owner`: whose it says it is.
    Alive {
        worker: String,
        owner: Option<String>,
    },
    Status {
        worker: String,
    },
    /// `register_temporary_worker`.
    Register {
        worker: String,
        home: Option<Host>,
    },
    Request {
        mark: Option<Value>,
        from: Option<Host>,
        needed: u64,
    },
    Accepted {
        workers: Vec<String>,
    },
    /// Go there, or go home.
    Move {
        to: Option<Host>,
        home: bool,
    },
    /// `COMMAND_RELEASE`.
    Release {
        workers: Vec<String>,
    },
    /// `notify_worker_returned`.
    Returned {
        worker: String,
        mark: Option<Value>,
    },
    Query {
        user: String,
    },
    NoTask,
    Ack,
    /// Anything else.
    Other,
}

/// The first of these fields that is there.
fn field<'v>(value: &'v Value, names: &[&str]) -> Option<&'v Value> {
    let fields = value.as_object()?;
    let named = |name: &&str| fields.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value);
    names.iter().find_map(named)
}

fn text(value: &Value, names: &[&str]) -> Option<String> {
    field(value, names).and_then(Value::as_str).map(str::to_owned)
}

/// The machine at an address `ip:port`, or `ip`.
pub(super) fn host_of(text: &str) -> Option<Host> {
    let ip = text.split(':').next()?;
    ip.strip_prefix("10.0.0.")?.parse().ok()
}

fn names(value: &Value, keys: &[&str]) -> Vec<String> {
    let all = field(value, keys).and_then(Value::as_array).cloned().unwrap_or_default();
    let name = |one: &Value| one.as_str().map(str::to_owned).or_else(|| text(one, &["id", "worker_uuid", "worker_id"]));
    all.iter().filter_map(name).collect()
}

impl Heard {
    /// Reads a line.
    pub(super) fn of(line: &Value) -> Heard {
        if let Some(kind) = text(line, &["type"]) {
            let nothing = Value::Null;
            let said = field(line, &["payload"]).unwrap_or(&nothing);
            let mark = field(line, &["request_id"]).cloned();
            let at = |keys: &[&str]| text(said, keys).and_then(|at| host_of(&at));
            let worker = || text(said, &["worker_id", "worker_uuid"]).unwrap_or_default();
            return match kind.to_ascii_lowercase().as_str() {
                "request_help" => {
                    let needed = field(said, &["workers_needed"]).and_then(Value::as_u64).unwrap_or(1);
                    Heard::Request { mark, from: at(&["master_address", "master_host"]), needed }
                }
                "response_accepted" => Heard::Accepted { workers: names(said, &["worker_details"]) },
                "command_redirect" => Heard::Move { to: at(&["new_master_address", "new_master_host"]), home: false },
                "command_release" => {
                    Heard::Move { to: at(&["original_master_address", "return_to_master_host"]), home: true }
                }
                "register_temporary_worker" => {
                    Heard::Register { worker: worker(), home: at(&["original_master_address"]) }
                }
                "notify_worker_returned" => Heard::Returned { worker: worker(), mark },
                _ => Heard::Other,
            };
        }
        let worker = || text(line, &["WORKER_UUID"]).unwrap_or_default();
        let word = |name: &str| text(line, &[name]).unwrap_or_default().to_ascii_uppercase();
        match (word("TASK").as_str(), word("RESPONSE").as_str(), word("STATUS").as_str()) {
            ("HEARTBEAT", "", _) => Heard::Heartbeat,
            ("WORKER_REQUEST", ..) => {
                let info = field(line, &["REQUESTOR_INFO"]).unwrap_or(line);
                let needed = field(info, &["needed"]).and_then(Value::as_u64).unwrap_or(1);
                Heard::Request { mark: None, from: text(info, &["ip"]).and_then(|ip| host_of(&ip)), needed }
            }
            ("COMMAND_RELEASE", ..) => Heard::Release { workers: names(line, &["WORKERS_UUID"]) },
            (_, "AVAILABLE", _) => Heard::Accepted { workers: names(line, &["WORKERS_UUID"]) },
            ("REDIRECT", ..) => Heard::Move { to: place(line, "SERVER_REDIRECT"), home: false },
            ("RETURN", ..) => Heard::Move { to: place(line, "SERVER_RETURN"), home: true },
            ("QUERY", _, "") => Heard::Query { user: text(line, &["USER"]).unwrap_or_default() },
            ("NO_TASK", ..) => Heard::NoTask,
            (.., "ACK") => Heard::Ack,
            (.., "OK" | "NOK") => Heard::Status { worker: worker() },
            _ if word("WORKER") == "ALIVE" => Heard::Alive { worker: worker(), owner: text(line, &["SERVER_UUID"]) },
            _ => Heard::Other,
        }
    }
}

fn place(line: &Value, key: &str) -> Option<Host> {
    field(line, &[key]).and_then(|to| text(to, &["ip"])).and_then(|ip| host_of(&ip))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_understands_every_other() {
        let mut dice = Dice::new(3);
        for family in [Family::Older, Family::Envelope, Family::Upper, Family::Own] {
            let manner = Manner { family, marks: true, ..Manner::draw(&mut dice) };
            let heard = |line: String| Heard::of(&serde_json::from_str(&line).unwrap());
            let mark = (family != Family::Older).then(|| json!("mark-7"));
            let request = Heard::Request { mark: mark.clone(), from: Some(4), needed: 2 };
            assert_eq!(heard(manner.request("S", 4, 2, 7)), request);
            let workers = vec!["W1".to_owned(), "W2".to_owned()];
            let accepted = manner.accept("S", &workers, mark.as_ref());
            assert_eq!(heard(accepted), Heard::Accepted { workers });
            assert_eq!(heard(manner.reject("S", mark.as_ref())), Heard::Other);
            assert_eq!(heard(manner.redirect(5, 7)), Heard::Move { to: Some(5), home: false });
            assert_eq!(heard(manner.release(5, 7)), Heard::Move { to: Some(5), home: true });
            let returned = Heard::Returned { worker: "W1".to_owned(), mark: Some(json!("mark-7")) };
            assert_eq!(heard(manner.notify("W1", 7)), returned);
        }
    }

    #[test]
    fn nodes_of_ours_are_understood() {
        for (line, said) in [
            (r#"{"SERVER_UUID":"m","TASK":"HEARTBEAT"}"#, Heard::Heartbeat),
            (
                r#"{"WORKER":"ALIVE","WORKER_UUID":"W","SERVER_UUID":"m"}"#,
                Heard::Alive { worker: "W".into(), owner: Some("m".into()) },
            ),
            (r#"{"worker":"alive","worker_uuid":"W"}"#, Heard::Alive { worker: "W".into(), owner: None }),
            (r#"{"STATUS":"OK","TASK":"QUERY","WORKER_UUID":"W"}"#, Heard::Status { worker: "W".into() }),
            (r#"{"TASK":"QUERY","USER":"u"}"#, Heard::Query { user: "u".into() }),
            (r#"{"TASK":"HEARTBEAT","RESPONSE":"ALIVE","SERVER_UUID":"m"}"#, Heard::Other),
        ] {
            assert_eq!(Heard::of(&serde_json::from_str(line).unwrap()), said, "{line}");
        }
    }
}
