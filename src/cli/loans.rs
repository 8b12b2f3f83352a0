//! `node loans`: whom a master has lent to and borrowed from, and, with `--follow`, what happens to loans and workers.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};
use comfy_table::Color;

use super::ask::{AskError, Node, Reply, Talk, ask, strange};
use super::conclude::{Conclusion, Form};
use super::exit;
use super::following::{Following, Heard};
use super::pretty::printable;
use super::table::{self, Columns, age_text};
use super::values::Span;
use super::view::{event_text, json, unix_now};
use crate::wire::{Address, Body, Event, EventKind, LoanId, LoanState, LoanView, LoansAnswer, ServerId};

/// Options of `node loans`.
#[derive(Args, Debug)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct LoansArgs {
    /// The master to ask
    #[arg(value_name = "HOST:PORT", env = "NODE_TO", default_value = "127.0.0.1:9101")]
    address: Address,

    /// Go on with a line for each event of loans and workers, until Ctrl-C
    #[arg(long)]
    follow: bool,

    /// text for people, json for programs
    #[arg(long, value_enum, value_name = "FORM", default_value = "text")]
    output: Shape,

    /// How long to wait for a connection, and for each answer
    #[arg(long, value_name = "SECONDS", default_value = "10")]
    patience: Span,
}

const EXAMPLES: &str = "\
Examples:
  node loans
  node loans 127.0.0.1:9102 --follow
  node loans --output json

OUT is lent by this master, IN is borrowed by it. LEASE is what is left of it.
With --output json the answers are printed as they came, a line for each page,
and events as lines with the counts local, lent and borrowed (null: the master
could not be asked).";

/// `--output` of `node loans`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Shape {
    /// For people
    Text,
    /// For programs
    Json,
}

/// Own workers here, own workers elsewhere, workers of others here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Counts {
    local: u64,
    lent: u64,
    borrowed: u64,
}

/// Asks and prints.
pub(super) fn run(args: &LoansArgs) -> ExitCode {
    let mut node = Node::new(args.address.clone(), args.patience.0);
    if args.follow {
        let mut following = Following::new(args.address.clone());
        let mut out = io::stdout().lock();
        return match follow(args.output, &mut following, &mut node, &mut out) {
            error if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::from(exit::OK),
            error => Conclusion::error(format!("standard output: {error}")).print(),
        };
    }
    let form = Form::here(args.output == Shape::Json);
    match pages(&mut node) {
        Ok((replies, _)) if form.json => {
            let lines: Vec<String> = replies.iter().map(|reply| form.value(&reply.line)).collect();
            Conclusion::line(lines.join("\n"), exit::OK)
        }
        Ok((_, answer)) => Conclusion::line(listing(&answer, form), exit::OK),
        Err(error) => Conclusion::error(error),
    }
    .print()
}

/// Every page of the loans, and the last one's counts with the loans of all.
fn pages(talk: &mut dyn Talk) -> Result<(Vec<Reply>, LoansAnswer), AskError> {
    let mut replies = Vec::new();
    let mut loans: Vec<LoanView> = Vec::new();
    loop {
        let after: Option<LoanId> = loans.last().map(|last| last.loan_id.clone());
        let reply = ask(talk, Body::Loans { after: after.clone() }, Duration::ZERO)?;
        let Body::LoansAnswer(page) = &reply.message.body else {
            return Err(strange(talk.address(), &reply));
        };
        let mut answer = (**page).clone();
        loans.append(&mut answer.loans);
        // A node that says MORE and does not go on would be asked for ever.
        let more = answer.more && loans.last().map(|last| &last.loan_id) > after.as_ref();
        replies.push(reply);
        if !more {
            return Ok((replies, LoansAnswer { loans, more: false, ..answer }));
        }
    }
}

const LOANS: Columns = Columns {
    titles: &["LOAN", "WAY", "WORKER", "PEER", "STATUS", "EPOCH", "LEASE", "AGE", "DONE", "REASON"],
    numbers: &[6, 7, 8],
    dispensable: &[5, 9, 6, 7, 8],
    coloured: Some((4, colour)),
};

fn colour(status: &str) -> Color {
    match status {
        "ACTIVE" => Color::Green,
        "ENDED" => Color::DarkGrey,
        _ => Color::Yellow,
    }
}

/// The counts, why it asks or does not, and the loans.
fn listing(answer: &LoansAnswer, form: Form) -> String {
    let LoansAnswer { local, lent, borrowed, asks, .. } = answer;
    let mut lines = vec![format!("local {local}, lent {lent}, borrowed {borrowed}"), clean(asks)];
    if answer.loans.is_empty() {
        lines.push("no loans yet: a master asks its neighbours when more jobs wait than its --capacity".to_owned());
        return lines.join("\n");
    }
    lines.push(String::new());
    let rows: Vec<[String; 10]> = answer.loans.iter().map(row).collect();
    let cells: Vec<&[String]> = rows.iter().map(|row| row.as_slice()).collect();
    lines.extend(table::grid(&LOANS, &cells, table::listing_room(form.terminal, form.colour)));
    lines.join("\n")
}

fn row(loan: &LoanView) -> [String; 10] {
    let peer = ServerId::new(loan.peer.as_str()).map_or_else(|| loan.peer.clone(), |id| id.tag().to_owned());
    let lease = match loan.lease {
        Some(lease) => age_text(lease),
        None if loan.status == LoanState::Ended => String::new(),
        None => "open".to_owned(),
    };
    [
        loan.loan_id.to_string(),
        if loan.out { "OUT" } else { "IN" }.to_owned(),
        loan.worker.short().to_owned(),
        peer,
        loan.status.as_str().to_owned(),
        loan.epoch.map(|epoch| epoch.to_string()).unwrap_or_default(),
        lease,
        age_text(loan.age),
        // Only the borrower knows.
        if loan.out { String::new() } else { loan.done.to_string() },
        loan.reason.clone(),
    ]
    .map(|cell| clean(&cell))
}

fn clean(text: &str) -> String {
    printable(text).replace('\n', " ")
}

/// Whether an event is about loans, workers, or the switch that asks for loans.
pub(super) fn is_about_loans(kind: EventKind) -> bool {
    use EventKind as Kind;
    matches!(
        kind,
        Kind::Saturated
            | Kind::Released
            | Kind::WorkerJoined
            | Kind::WorkerLost
            | Kind::WorkerLeft
            | Kind::LoanAsked
            | Kind::LoanAccepted
            | Kind::LoanRefused
            | Kind::WorkerLent
            | Kind::WorkerBorrowed
            | Kind::WorkerReturned
            | Kind::LoanEnded
            | Kind::WorkerRecalled
            | Kind::WorkerAdopted
            | Kind::WorkerQuarantined
    )
}

/// Prints what happens until nobody reads it.
fn follow(shape: Shape, following: &mut Following, node: &mut Node, out: &mut dyn Write) -> io::Error {
    let address = node.address().clone();
    loop {
        let line = match (following.next(Duration::from_secs(1)), shape) {
            (Heard::Nothing, _) => continue,
            (Heard::Event(event), _) if !is_about_loans(event.kind) => continue,
            (Heard::Event(event), _) => told(&event, counts(node), shape),
            // Of standard output, programs get events only.
            (Heard::Begun, Shape::Json) => {
                eprintln!("follows {address}");
                continue;
            }
            (Heard::Lost(error), Shape::Json) => {
                eprintln!("{}; tries again", clean(&error.to_string()));
                continue;
            }
            (Heard::Begun, Shape::Text) => match counts(node) {
                Some(now) => format!("{} follows {address}  [{}]", clock(), now.text()),
                None => format!("{} follows {address}", clock()),
            },
            (Heard::Lost(error), Shape::Text) => format!("{} {}; tries again", clock(), clean(&error.to_string())),
        };
        if let Err(error) = writeln!(out, "{line}").and_then(|()| out.flush()) {
            return error;
        }
    }
}

/// The counts as they are now.
fn counts(talk: &mut dyn Talk) -> Option<Counts> {
    let reply = ask(talk, Body::Loans { after: None }, Duration::ZERO).ok()?;
    match &reply.message.body {
        Body::LoansAnswer(now) => Some(Counts { local: now.local, lent: now.lent, borrowed: now.borrowed }),
        _ => None,
    }
}

impl Counts {
    fn text(self) -> String {
        format!("local {}, lent {}, borrowed {}", self.local, self.lent, self.borrowed)
    }
}

/// Time of day, UTC, as the log of a node has it.
fn clock() -> String {
    let millis = (unix_now() * 1000.0) as u64;
    let (seconds, rest) = (millis / 1000 % 86_400, millis % 1000);
    format!("{:02}:{:02}:{:02}.{rest:03}Z", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

#[derive(serde::Serialize)]
struct JsonEvent<'a> {
    event: String,
    time: f64,
    seq: u64,
    server_id: Option<&'a str>,
    detail: &'a str,
    local: Option<u64>,
    lent: Option<u64>,
    borrowed: Option<u64>,
}

/// An event on one line, with the counts after it.
fn told(event: &Event, counts: Option<Counts>, shape: Shape) -> String {
    if shape == Shape::Json {
        return json(&JsonEvent {
            event: event.kind.as_str().to_ascii_lowercase(),
            time: unix_now(),
            seq: event.seq,
            server_id: event.server_id.as_ref().map(|id| id.as_str()),
            detail: &event.detail,
            local: counts.map(|now| now.local),
            lent: counts.map(|now| now.lent),
            borrowed: counts.map(|now| now.borrowed),
        });
    }
    let Some(now) = counts else { return format!("{} {}", clock(), clean(&event_text(event))) };
    let event = Event { detail: without_counts(&event.detail).to_owned(), ..event.clone() };
    format!("{} {}  [{}]", clock(), clean(&event_text(&event)), now.text())
}

/// The sentence of an event of loans without the counts that a node puts behind it: they are from just before.
pub(super) fn without_counts(detail: &str) -> &str {
    let Some((sentence, counts)) = detail.rsplit_once("; ") else { return detail };
    let is_count = |part: &str, words: &str| {
        part.strip_suffix(words).is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
    };
    let mut parts = counts.split(", ");
    let mut next = |words| parts.next().is_some_and(|part| is_count(part, words));
    let are_counts = next(" own workers here") && next(" lent") && next(" borrowed") && parts.next().is_none();
    if are_counts { sentence } else { detail }
}

#[cfg(test)]
mod tests {
    use super::super::ask::tests::{Act, Script};
    use super::*;
    use crate::wire::Epoch;
    use clap::Parser;

    const PLAIN: Form = Form { json: false, terminal: false, colour: false };

    #[derive(Parser, Debug)]
    struct Line {
        #[command(flatten)]
        loans: LoansArgs,
    }

    fn loan(id: &str, out: bool, status: LoanState) -> LoanView {
        LoanView {
            loan_id: LoanId::new(id).unwrap(),
            worker: ServerId::new("22033f58-cda6-4cf0-abfb-213c6d65c90b").unwrap(),
            out,
            peer: "790ef0b8-da2c-48b4-b92a-3d499f4aa843".to_owned(),
            status,
            epoch: Some(Epoch { generation: 0, counter: 16_777_217 }),
            lease: (status != LoanState::Ended).then_some(Duration::from_millis(3800)),
            agreed: true,
            age: Duration::from_millis(1200),
            done: 11,
            reason: "it works\nhere".to_owned(),
        }
    }

    fn answer(loans: Vec<LoanView>, more: bool) -> LoansAnswer {
        let server_id = ServerId::new("m").unwrap();
        LoansAnswer { server_id, local: 3, lent: 0, borrowed: 2, asks: "asks nobody".to_owned(), loans, more }
    }

    fn page(ids: &[&str], more: bool) -> Act {
        let loans = ids.iter().map(|id| loan(id, false, LoanState::Active)).collect();
        Act::Say(Body::LoansAnswer(Box::new(answer(loans, more))))
    }

    #[test]
    fn arguments_have_their_defaults_and_their_forms() {
        let parsed = |words: &[&str]| Line::try_parse_from(["loans"].iter().chain(words)).map(|line| line.loans);
        let plain = parsed(&["b:9102"]).unwrap();
        assert_eq!((plain.address.to_string().as_str(), plain.follow, plain.output), ("b:9102", false, Shape::Text));
        assert_eq!(parsed(&["--follow", "--output", "json", "b:1"]).unwrap().output, Shape::Json);
        assert!(parsed(&["--output", "xml"]).is_err() && parsed(&["lab"]).is_err());
    }

    #[test]
    fn all_pages_are_asked_for_and_a_circle_is_left() {
        let mut script = Script::new("a:1", [page(&["a-1", "a-2"], true), page(&["a-3"], false)]);
        let (replies, all) = pages(&mut script).unwrap();
        assert_eq!((replies.len(), all.loans.len(), all.borrowed), (2, 3, 2));
        assert_eq!(script.told()[1], Body::Loans { after: LoanId::new("a-2") });
        let mut script = Script::new("a:1", (0..9).map(|_| page(&["a-1"], true)));
        pages(&mut script).unwrap();
        assert_eq!(script.told().len(), 2);
        let mut script = Script::new("a:1", [page(&[], true)]);
        assert_eq!(pages(&mut script).unwrap().1.loans.len(), 0);
    }

    #[test]
    fn the_listing_has_the_counts_the_reason_and_a_row_for_each_loan() {
        let loans = vec![loan("a-1", false, LoanState::Active), loan("a-2", true, LoanState::Ended)];
        let text = listing(&answer(loans, false), PLAIN);
        let lines: Vec<String> =
            text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(lines[..3], ["local 3, lent 0, borrowed 2", "asks nobody", ""]);
        assert_eq!(lines[3], "LOAN WAY WORKER PEER STATUS EPOCH LEASE AGE DONE REASON");
        assert_eq!(lines[4], "a-1 IN 22033f58 790ef0b8 ACTIVE 0.16777217 3.8 s 1.2 s 11 it works here");
        assert_eq!(lines[5], "a-2 OUT 22033f58 790ef0b8 ENDED 0.16777217 1.2 s it works here");
        assert!(listing(&answer(Vec::new(), false), PLAIN).contains("--capacity"));
        let open = LoanView { lease: None, ..loan("a-1", false, LoanState::Active) };
        assert_eq!(row(&open)[6], "open");
    }

    #[test]
    fn an_event_is_a_line_with_the_counts_after_it() {
        let detail =
            "w1 of m2 works here, lease 4.9 s; 1 worker of others here; 3 own workers here, 0 lent, 0 borrowed";
        let event = Event {
            seq: 7,
            kind: EventKind::WorkerBorrowed,
            server_id: None,
            address: None,
            detail: detail.to_owned(),
        };
        let counts = Some(Counts { local: 3, lent: 0, borrowed: 1 });
        let text = told(&event, counts, Shape::Text);
        let (time, rest) = text.split_once(' ').unwrap();
        assert!(time.len() == 13 && time.ends_with('Z'), "{time}");
        assert_eq!(
            rest,
            "WORKER_BORROWED: w1 of m2 works here, lease 4.9 s; 1 worker of others here  [local 3, lent 0, borrowed 1]"
        );
        assert!(told(&event, None, Shape::Text).ends_with("0 borrowed"), "the node's own where it cannot be asked");
        let line: serde_json::Value = serde_json::from_str(&told(&event, counts, Shape::Json)).unwrap();
        assert_eq!(
            (&line["event"], &line["borrowed"], &line["seq"]),
            (&"worker_borrowed".into(), &1.into(), &7.into())
        );
        let line: serde_json::Value = serde_json::from_str(&told(&event, None, Shape::Json)).unwrap();
        assert!(line["local"].is_null() && line.get("lent").is_some());
    }

    #[test]
    fn only_counts_are_taken_for_counts() {
        for kept in [
            "",
            "a; b",
            "x; 3 own workers here",
            "x;  own workers here, 0 lent, 0 borrowed",
            "3 own workers here, 0 lent, 0 borrowed",
        ] {
            assert_eq!(without_counts(kept), kept);
        }
        assert_eq!(without_counts("x; 12 own workers here, 0 lent, 3 borrowed"), "x");
    }

    #[test]
    fn jobs_peers_and_leaders_are_no_loans() {
        let all: Vec<EventKind> = EventKind::ALL.into_iter().filter(|kind| is_about_loans(*kind)).collect();
        assert_eq!(all.len(), 15);
        assert!(!all.contains(&EventKind::JobEnded) && !all.contains(&EventKind::PeerAlive));
    }
}
