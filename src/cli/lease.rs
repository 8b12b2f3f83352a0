//! `node lease ls`: the named leases of a group.

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::ask::{AskError, Node, Reply, Talk, ask, strange};
use super::conclude::{Conclusion, Form};
use super::exit;
use super::pretty::printable;
use super::table::{self, Columns};
use super::values::Span;
use super::work::ToArgs;
use crate::wire::{Body, Lease};

/// What a confirmation by the majority may take beyond the patience.
const AGREEMENT: Duration = Duration::from_secs(10);

/// `node lease`.
#[derive(Args, Debug)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct LeaseArgs {
    #[command(subcommand)]
    action: Action,
}

const EXAMPLES: &str = "\
Examples:
  node lease ls
  node lease ls --to 127.0.0.1:9102 --local    without asking the majority

Leases are taken by node elect, and by programs that speak LEASE (protocol.md).";

#[derive(Debug, Subcommand)]
enum Action {
    /// List who holds which lease, and the last tick of each timetable
    Ls(LsArgs),
}

/// Options of `node lease ls`.
#[derive(Args, Debug)]
struct LsArgs {
    /// Take the asked node's own copy, which may be old, instead of asking the majority
    #[arg(long)]
    local: bool,

    #[command(flatten)]
    to: ToArgs,

    /// Print the node's answers as they came
    #[arg(long)]
    json: bool,
}

/// Does what is asked for.
pub(super) fn run(args: &LeaseArgs) -> ExitCode {
    let Action::Ls(args) = &args.action;
    let mut node = Node::new(args.to.to.clone(), args.to.patience.0);
    let form = Form::here(args.json);
    match leases(&mut node, args.local) {
        Ok((replies, _)) if args.json => {
            let lines: Vec<String> = replies.iter().map(|reply| form.value(&reply.line)).collect();
            Conclusion::line(lines.join("\n"), exit::OK)
        }
        Ok((_, leases)) => Conclusion::line(listing(&leases, form), exit::OK),
        Err(error) => Conclusion::error(error),
    }
    .print()
}

/// Every page of the leases.
fn leases(talk: &mut dyn Talk, local: bool) -> Result<(Vec<Reply>, Vec<Lease>), AskError> {
    let mut replies = Vec::new();
    let mut leases: Vec<Lease> = Vec::new();
    loop {
        let after = leases.last().map(|last| last.name.clone());
        let reply = ask(talk, Body::LeaseQuestion { local, after: after.clone() }, AGREEMENT)?;
        let Body::LeasesAnswer(page) = &reply.message.body else {
            return Err(strange(talk.address(), &reply));
        };
        leases.extend(page.leases.iter().cloned());
        let more = page.more && leases.last().map(|last| &last.name) > after.as_ref();
        replies.push(reply);
        if !more {
            return Ok((replies, leases));
        }
    }
}

const LEASES: Columns = Columns {
    titles: &["NAME", "HOLDER", "FENCE", "TTL", "TICK"],
    numbers: &[2, 3, 4],
    dispensable: &[3, 4],
    coloured: None,
};

fn listing(leases: &[Lease], form: Form) -> String {
    if leases.is_empty() {
        return "no leases: node elect NAME -- COMMAND takes one".to_owned();
    }
    let rows: Vec<[String; 5]> = leases.iter().map(row).collect();
    let cells: Vec<&[String]> = rows.iter().map(|row| row.as_slice()).collect();
    table::grid(&LEASES, &cells, table::listing_room(form.terminal, form.colour)).join("\n")
}

fn row(lease: &Lease) -> [String; 5] {
    let tick = if lease.tick == 0 { String::new() } else { lease.tick.to_string() };
    let holder = lease.holder.clone().unwrap_or_else(|| "(free)".to_owned());
    [lease.name.clone(), holder, lease.fence.to_string(), Span(lease.ttl).to_string(), tick]
        .map(|cell| printable(&cell).replace('\n', " "))
}

#[cfg(test)]
mod tests {
    use super::super::ask::tests::{Act, Script};
    use super::*;
    use crate::wire::LeasesAnswer;

    fn lease(name: &str, holder: Option<&str>, tick: u64) -> Lease {
        let holder = holder.map(str::to_owned);
        Lease { name: name.to_owned(), holder, fence: 7, ttl: Duration::from_millis(1500), tick }
    }

    fn page(names: &[&str], more: bool) -> Act {
        let leases = names.iter().map(|name| lease(name, None, 0)).collect();
        Act::Say(Body::LeasesAnswer(Box::new(LeasesAnswer { index: 9, local: false, leases, more })))
    }

    #[test]
    fn all_pages_are_asked_for_and_a_circle_is_left() {
        let mut script = Script::new("a:1", [page(&["a", "b"], true), page(&["c"], false)]);
        assert_eq!(leases(&mut script, true).unwrap().1.len(), 3);
        assert_eq!(script.told()[1], Body::LeaseQuestion { local: true, after: Some("b".to_owned()) });
        let mut script = Script::new("a:1", (0..9).map(|_| page(&["a"], true)));
        leases(&mut script, false).unwrap();
        assert_eq!(script.told().len(), 2);
        let mut script = Script::new("a:1", [page(&[], true)]);
        assert_eq!(leases(&mut script, false).unwrap().1.len(), 0);
    }

    #[test]
    fn the_listing_tells_who_holds_what() {
        let form = Form { json: false, terminal: false, colour: false };
        let text = listing(&[lease("backup", Some("me"), 0), lease("report", None, 60)], form);
        let lines: Vec<String> =
            text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(lines, ["NAME HOLDER FENCE TTL TICK", "backup me 7 1.5 s", "report (free) 7 1.5 s 60"]);
        assert!(listing(&[], form).contains("no leases"));
    }
}
