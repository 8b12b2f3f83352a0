//! What others can have said here as often as they like is told some times, and then counted: once a second, "and 1234 more like it".
//!
//! ```text
//!   each subject   a burst of 20 in a second; while more come in each second, only their count
//!   all subjects   400 in a second; while more come in each second, 20 and the count of the rest
//! ```

use std::collections::BTreeMap;
use std::time::Duration;

use super::Node;
use crate::core::LogLevel;
use crate::time::Time;
use crate::wire::{EventKind, RequestId, ServerId};

/// Time between two counts of what was not told.
const EVERY: Duration = Duration::from_secs(1);

/// What is told of one subject in this time.
const BURST: u64 = 20;

/// What is told of all of them in this time.
const ALL: u64 = 400;

/// What is told of all of them while more than [`ALL`] come.
const ALL_IN_A_STORM: u64 = 20;

/// Subjects that are told apart. Those beyond share a count.
const MOST: usize = 256;

/// Subjects whose counts are told one by one. Those beyond share a count.
const COUNTED: usize = 8;

/// What is told.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Subject {
    /// Lines of the log, as their count calls them.
    Lines(String),
    /// LOAN_REFUSED of this master.
    Refusals(ServerId),
    /// All others.
    Rest,
}

/// How often a subject came in the last second or so.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Count {
    /// The second ends here.
    until: Time,
    /// How often it came in it.
    came: u64,
    /// How often it may still be told in it.
    room: u64,
    /// How often it was not told, since its count was told last.
    untold: u64,
    /// That of its lines.
    level: LogLevel,
}

impl Count {
    fn new(level: LogLevel) -> Count {
        Count { until: Time::ZERO, came: 0, room: 0, untold: 0, level }
    }

    /// Whether it is told. `calm`: how often in a second; `storm`: the same in one after a second in which it came more often.
    fn tells(&mut self, calm: u64, storm: u64, now: Time) -> bool {
        if self.until <= now {
            let goes_on = self.came > calm && now < self.until + EVERY;
            (self.until, self.came, self.room) = (now + EVERY, 0, if goes_on { storm } else { calm });
        }
        self.came += 1;
        if self.room > 0 {
            self.room -= 1;
            return true;
        }
        self.untold += 1;
        false
    }

    fn is_over(&self, now: Time) -> bool {
        self.untold == 0 && self.until + EVERY <= now
    }

    fn due(&self) -> Option<Time> {
        (self.untold > 0).then_some(self.until)
    }
}

/// What was told of late, and how often.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Floods {
    of: BTreeMap<Subject, Count>,
    all: Count,
}

impl Default for Floods {
    fn default() -> Floods {
        Floods { of: BTreeMap::new(), all: Count::new(LogLevel::Info) }
    }
}

impl Floods {
    fn tells(&mut self, subject: Subject, level: LogLevel, now: Time) -> bool {
        let mut subject = subject;
        if !self.of.contains_key(&subject) {
            self.of.retain(|_, count| !count.is_over(now));
            if self.of.len() >= MOST {
                subject = Subject::Rest;
            }
        }
        let told = self.of.entry(subject).or_insert_with(|| Count::new(level)).tells(BURST, 0, now);
        // What people are shown only where they ask for it takes no room from what they always are.
        told && (level > LogLevel::Info || self.all.tells(ALL, ALL_IN_A_STORM, now))
    }

    /// The counts that are due, and forgets them.
    fn take_due(&mut self, now: Time) -> Vec<(Subject, LogLevel, u64)> {
        let due = |count: &Count| count.due().is_some_and(|due| due <= now);
        let mut rest = if due(&self.all) { std::mem::take(&mut self.all.untold) } else { 0 };
        let mut told = Vec::new();
        for (subject, count) in self.of.iter_mut().filter(|(_, count)| due(count)) {
            let untold = std::mem::take(&mut count.untold);
            if *subject == Subject::Rest || told.len() >= COUNTED {
                rest += untold;
            } else {
                told.push((subject.clone(), count.level, untold));
            }
        }
        if rest > 0 {
            told.push((Subject::Rest, LogLevel::Info, rest));
        }
        told
    }

    /// When a count is due.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.of.values().chain([&self.all]).filter_map(Count::due).min()
    }
}

impl Node {
    /// A line for the log of a kind that others can cause as often as they like. `of`: what it is, as the count of those that are not told
    /// calls it.
    pub(super) fn log_often(&mut self, level: LogLevel, of: &str, text: String, now: Time) {
        if self.floods.tells(Subject::Lines(of.to_owned()), level, now) {
            self.log(level, text);
        }
    }

    /// A message between masters, for the log that the course asks for.
    pub(super) fn trace(&mut self, out: bool, kind: &str, request_id: Option<&RequestId>, peer: &str, now: Time) {
        let mark = request_id.map_or("none", RequestId::as_str);
        let what = format!("loan message {kind} {} {peer}", if out { "to" } else { "from" });
        let text = format!("{what}, request_id {mark}");
        self.log_often(LogLevel::Info, &what, text, now);
    }

    /// LOAN_REFUSED: whoever asks again and again is told of as lines of the log are.
    pub(super) fn refusal(&mut self, peer: ServerId, detail: String, now: Time) {
        if self.floods.tells(Subject::Refusals(peer.clone()), LogLevel::Info, now) {
            self.event(EventKind::LoanRefused, Some(peer), None, detail);
        }
    }

    /// Tells how often what was told before has come since.
    pub(super) fn tell_floods(&mut self, now: Time) {
        for (subject, level, untold) in self.floods.take_due(now) {
            match subject {
                Subject::Lines(of) => self.log(level, format!("{of}: and {untold} more like it")),
                Subject::Refusals(peer) => {
                    let detail = format!("and {untold} more like it");
                    self.event(EventKind::LoanRefused, Some(peer), None, detail);
                }
                Subject::Rest => {
                    self.log(level, format!("and {untold} more lines of many kinds and peers, like those before"));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::core::{Config, Identity, Input, LinkId, LoanConfig, Output};
    use crate::wire::decode;

    fn at(ms: u64) -> Time {
        Time::ZERO + Duration::from_millis(ms)
    }

    /// Says these lines, spread evenly over a time, and lets what is due be done. Gives the lines of the log and the events.
    fn storm(node: &mut Node, lines: &[String], over: Duration) -> (Vec<String>, Vec<String>) {
        let (link, own) = (LinkId(2), SocketAddr::from(([127, 0, 0, 1], 9101)));
        node.handle(Input::LinkOpened { link, local: own, remote: SocketAddr::from(([10, 0, 0, 7], 4000)) }, at(0));
        let (mut log, mut events) = (Vec::new(), Vec::new());
        let mut hear = |node: &mut Node| {
            while let Some(output) = node.poll_output() {
                match output {
                    Output::Log { text, .. } => log.push(text),
                    Output::Event(event) => events.push(format!("{} {}", event.kind.as_str(), event.detail)),
                    _ => {}
                }
            }
        };
        for (nth, line) in lines.iter().enumerate() {
            let now = Time::ZERO + over * u32::try_from(nth).unwrap() / u32::try_from(lines.len()).unwrap();
            while let Some(due) = node.deadline().filter(|due| *due <= now) {
                node.handle(Input::Tick, due);
            }
            node.handle(Input::Message { link, message: decode(line.as_bytes()).unwrap() }, now);
            hear(node);
        }
        let end = Time::ZERO + over + EVERY * 2;
        while let Some(due) = node.deadline().filter(|due| *due <= end) {
            node.handle(Input::Tick, due);
        }
        hear(node);
        (log, events)
    }

    fn master() -> Node {
        let identity = Identity { server_id: ServerId::new("A").unwrap(), name: "a".to_owned() };
        let mut node = Node::new(Config::default(), identity, 1, Time::ZERO).unwrap();
        node.lend(LoanConfig::default(), 1, 1, Time::ZERO).unwrap();
        node
    }

    /// How many are said to have come beside those that stand there.
    fn counted(lines: &[String], of: &str) -> u64 {
        let counts = lines.iter().filter(|line| line.contains(of)).filter_map(|line| {
            let (_, rest) = line.split_once("and ")?;
            rest.split_once(" more like it")?.0.parse::<u64>().ok()
        });
        counts.sum()
    }

    #[test]
    fn a_storm_of_requests_is_a_few_lines_a_few_events_and_one_decision() {
        let mut node = master();
        let ask = |nth: u64| {
            let needed = nth % 2 + 1;
            format!(
                r#"{{"type":"request_help","request_id":"r-{nth}","payload":{{"master_id":"X","master_address":"10.0.0.7:9000","workers_needed":{needed}}}}}"#
            )
        };
        let lines: Vec<String> = (0..5000).map(ask).collect();
        let (log, events) = storm(&mut node, &lines, Duration::from_secs(10));
        let told =
            |of: &str| log.iter().filter(|line| line.starts_with(of) && line.contains("request_id")).count() as u64;
        let (heard, said) = ("loan message request_help from", "loan message response_rejected to");
        assert_eq!((told(heard), told(said)), (BURST, BURST), "a burst");
        assert_eq!(told(heard) + counted(&log, heard), 5000, "and none is lost without a count");
        assert_eq!(told(said) + counted(&log, said), 5000);
        assert!(log.len() < 100, "{} lines", log.len());
        let refusals: Vec<String> = events.into_iter().filter(|event| event.starts_with("LOAN_REFUSED")).collect();
        assert!(refusals.len() < 40 && counted(&refusals, "") > 4900, "{refusals:?}");
        assert_eq!(node.decisions.about("10.0.0.7:9000").len(), 1, "folded into one");
        assert!(node.decisions.about("10.0.0.7:9000")[0].contains("5000"));
    }

    #[test]
    fn what_strangers_say_of_workers_and_of_releases_is_counted_too() {
        for line in [
            r#"{"TASK":"COMMAND_RELEASE","SERVER_UUID":"X","WORKERS_UUID":["w"]}"#,
            r#"{"type":"notify_worker_returned","payload":{"worker_id":"w"}}"#,
            r#"{"STATUS":"OK","TASK":"QUERY","WORKER_UUID":"w"}"#,
            r#"{"TASK":"REQUEST"}"#,
        ] {
            let lines: Vec<String> = (0..3000).map(|_| line.to_owned()).collect();
            let (log, _) = storm(&mut master(), &lines, Duration::from_secs(3));
            assert!((1..60).contains(&log.len()), "{line}: {} lines", log.len());
            assert!(counted(&log, "") >= 2900, "{line}: {log:?}");
        }
    }

    #[test]
    fn many_names_are_no_way_around_it_and_few_words_are_all_told() {
        let mut floods = Floods::default();
        let lines = |nth: u64| Subject::Lines(format!("of peer {nth}"));
        let told = (0..50_000_u64).filter(|nth| floods.tells(lines(*nth), LogLevel::Info, at(nth / 10))).count();
        assert!(told as u64 <= ALL * 2 + BURST * 5, "{told} of 50,000 in 5 s");
        assert!(floods.of.len() <= MOST + 1);
        assert!(floods.deadline().is_some_and(|due| due <= at(6000)));
        let counts: u64 = floods.take_due(at(7000)).iter().map(|(_, _, count)| count).sum();
        assert_eq!(told as u64 + counts, 50_000);
        assert_eq!(floods.deadline(), None);
        // Afterwards, whoever speaks now and then is always told.
        assert!((0..600).all(|nth| floods.tells(lines(1), LogLevel::Info, at(10_000 + 100 * nth))));
    }
}
