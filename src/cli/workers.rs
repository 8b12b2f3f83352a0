//! `node workers`: the farm of a master.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use comfy_table::Color;

use super::ask::{AskError, Node, Reply, Talk, ask, strange};
use super::conclude::{Conclusion, Form};
use super::exit;
use super::pretty::printable;
use super::table::{self, Columns, age_text, name_and_id};
use super::work::ToArgs;
use crate::wire::{Body, ServerId, WorkerState, WorkerView};

/// Options of `node workers`.
#[derive(Args, Debug)]
pub(super) struct WorkersArgs {
    #[command(flatten)]
    to: ToArgs,

    /// Print the node's answers as they came, a line for each page
    #[arg(long)]
    json: bool,
}

/// Asks and prints.
pub(super) fn run(args: &WorkersArgs) -> ExitCode {
    let mut node = Node::new(args.to.to.clone(), args.to.patience.0);
    let form = Form::here(args.json);
    match farm(&mut node) {
        Ok((replies, _)) if args.json => {
            let lines: Vec<String> = replies.iter().map(|reply| form.value(&reply.line)).collect();
            Conclusion::line(lines.join("\n"), exit::OK)
        }
        Ok((_, workers)) => Conclusion::line(listing(&workers, form), exit::OK),
        Err(error) => Conclusion::error(error),
    }
    .print()
}

/// Every page of the farm.
pub(super) fn farm(talk: &mut dyn Talk) -> Result<(Vec<Reply>, Vec<WorkerView>), AskError> {
    let mut replies = Vec::new();
    let mut workers: Vec<WorkerView> = Vec::new();
    loop {
        let after: Option<ServerId> = workers.last().map(|last| last.worker.clone());
        let reply = ask(talk, Body::Workers { after: after.clone() }, Duration::ZERO)?;
        let Body::WorkersAnswer(page) = &reply.message.body else {
            return Err(strange(talk.address(), &reply));
        };
        workers.extend(page.workers.iter().cloned());
        let more = page.more && workers.last().map(|last| &last.worker) != after.as_ref();
        replies.push(reply);
        if !more {
            return Ok((replies, workers));
        }
    }
}

const FARM: Columns = Columns {
    titles: &["NAME/ID", "STATUS", "RUNNING", "DONE", "FAILED", "SEEN", "SERVICES", "OWNER"],
    numbers: &[2, 3, 4, 5],
    dispensable: &[7, 5, 4, 3, 6],
    coloured: Some((1, colour)),
};

fn colour(status: &str) -> Color {
    match WorkerState::parse(status) {
        Some(WorkerState::Idle | WorkerState::Busy) => Color::Green,
        Some(WorkerState::Quarantined) => Color::Red,
        Some(WorkerState::Draining | WorkerState::Away) | None => Color::Yellow,
    }
}

fn listing(workers: &[WorkerView], form: Form) -> String {
    if workers.is_empty() {
        return "no workers yet: start one with node worker --master HOST:PORT".to_owned();
    }
    let rows: Vec<[String; 8]> = workers.iter().map(row).collect();
    let cells: Vec<&[String]> = rows.iter().map(|row| row.as_slice()).collect();
    let mut lines = table::grid(&FARM, &cells, table::listing_room(form.terminal, form.colour));
    // Why it gets no work is worth reading; the others work.
    let troubles = workers.iter().filter(|worker| !matches!(worker.status, WorkerState::Idle | WorkerState::Busy));
    let reasons: Vec<String> = troubles
        .filter(|worker| !worker.reason.is_empty())
        .map(|worker| {
            clean(&format!("{}: {}", name_and_id(Some(&worker.name), Some(worker.worker.short())), worker.reason))
        })
        .collect();
    if !reasons.is_empty() {
        lines.push(String::new());
        lines.extend(reasons);
    }
    lines.join("\n")
}

fn row(worker: &WorkerView) -> [String; 8] {
    let services: Vec<&str> = worker.services.iter().map(|service| service.as_str()).collect();
    let id = name_and_id(Some(&worker.name), Some(worker.worker.short()));
    [
        if worker.native { id } else { format!("{id} (foreign)") },
        worker.status.as_str().to_owned(),
        format!("{}/{}", worker.running, worker.slots),
        worker.done.to_string(),
        worker.failed.to_string(),
        age_text(worker.last_seen),
        services.join(" "),
        worker.owner.clone().unwrap_or_default(),
    ]
    .map(|cell| clean(&cell))
}

fn clean(text: &str) -> String {
    printable(text).replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::super::ask::tests::{Act, Script};
    use super::*;
    use crate::wire::{ServiceName, WorkersAnswer};

    const PLAIN: Form = Form { json: false, terminal: false, colour: false };

    fn worker(id: &str, status: WorkerState) -> WorkerView {
        WorkerView {
            worker: ServerId::new(id).unwrap(),
            name: "w".to_owned(),
            status,
            native: id != "w9",
            owner: None,
            slots: 4,
            running: 1,
            done: 10,
            failed: 2,
            services: vec![ServiceName::new("sleep").unwrap(), ServiceName::new("primes").unwrap()],
            last_seen: Duration::from_millis(1500),
            reason: "it failed fast\nthree times".to_owned(),
        }
    }

    fn page(ids: &[&str], more: bool) -> Act {
        let workers = ids.iter().map(|id| worker(id, WorkerState::Busy)).collect();
        let server_id = ServerId::new("m").unwrap();
        Act::Say(Body::WorkersAnswer(Box::new(WorkersAnswer { server_id, workers, more })))
    }

    #[test]
    fn all_pages_are_asked_for_and_a_circle_is_left() {
        let mut script = Script::new("a:1", [page(&["w1", "w2"], true), page(&["w3"], false)]);
        assert_eq!(farm(&mut script).unwrap().1.len(), 3);
        assert_eq!(script.told()[1], Body::Workers { after: ServerId::new("w2") });
        let mut script = Script::new("a:1", (0..9).map(|_| page(&["w1"], true)));
        farm(&mut script).unwrap();
        assert_eq!(script.told().len(), 2);
        let mut script = Script::new("a:1", [page(&[], true)]);
        assert_eq!(farm(&mut script).unwrap().1.len(), 0);
    }

    #[test]
    fn the_farm_is_a_table_with_the_reasons_of_those_that_get_no_work() {
        let text = listing(&[worker("w1", WorkerState::Busy), worker("w9", WorkerState::Quarantined)], PLAIN);
        let lines: Vec<String> =
            text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(lines[0], "NAME/ID STATUS RUNNING DONE FAILED SEEN SERVICES OWNER");
        assert_eq!(lines[1], "w w1 BUSY 1/4 10 2 1.5 s sleep primes");
        assert_eq!(lines[2], "w w9 (foreign) QUARANTINED 1/4 10 2 1.5 s sleep primes");
        assert_eq!(lines[3..], ["", "w w9: it failed fast three times"]);
        assert!(listing(&[], PLAIN).contains("node worker --master"));
    }
}
