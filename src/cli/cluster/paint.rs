//! Lines for people: the logs of all nodes merged, one colour a node, and between them how the masters stand.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use super::look::Counts;
use super::plan::{Plan, Who};
use super::seconds;
use super::stage::{Item, Show, Summary};
use crate::cli::pretty::printable;

/// Colours of the nodes, in their order; they begin anew when they are used up. Those that are hard to read on one ground or another are
/// left out.
const COLOURS: [u8; 12] = [36, 35, 32, 33, 34, 31, 96, 95, 92, 93, 94, 91];

/// What the stage itself says stands out.
const BOLD: &str = "\x1b[1m";

/// Back to the terminal's own.
const PLAIN: &str = "\x1b[0m";

/// Width of the name of a node, and of what stands in its place.
const NAME: usize = 7;

/// Standard output, with colours where they are seen.
pub(super) struct Painter {
    out: Box<dyn Write>,
    colour: bool,
}

impl Painter {
    /// Standard output of this process. `NO_COLOR` is respected.
    pub(super) fn here() -> Painter {
        let out = io::stdout();
        let colour = out.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Painter { out: Box::new(out), colour }
    }

    /// A line of a node: when, who, what.
    pub(super) fn of_node(&mut self, plan: &Plan, at: Duration, who: Who, text: &str) -> io::Result<()> {
        let line = stamped(at, &plan.name(who), text);
        match self.colour {
            true => self.line(&format!("\x1b[{}m{line}{PLAIN}", COLOURS[who.0 % COLOURS.len()])),
            false => self.line(&line),
        }
    }

    /// A line that stands out.
    pub(super) fn bold(&mut self, line: &str) -> io::Result<()> {
        if self.colour { self.line(&format!("{BOLD}{line}{PLAIN}")) } else { self.line(line) }
    }

    /// A line as it is.
    pub(super) fn line(&mut self, line: &str) -> io::Result<()> {
        writeln!(self.out, "{line}").and_then(|()| self.out.flush())
    }
}

/// `  1.234 m1      text`.
pub(super) fn stamped(at: Duration, name: &str, text: &str) -> String {
    format!("{:>7.3} {name:<NAME$} {}", at.as_secs_f64(), printable(text).replace('\n', " "))
}

/// How a master stands.
pub(super) fn counts_text(counts: Counts) -> String {
    let Counts { local, lent, borrowed, pending, running, done, failed } = counts;
    let failed = if failed > 0 { format!("  failed {failed}") } else { String::new() };
    format!(
        "local {local}  lent {lent}  borrowed {borrowed}  |  pending {pending:>3}  running {running:>2}  done {done:>3}{failed}"
    )
}

/// Whether a line of a log says something that thousands of others say as well: that a job has ended well.
fn is_common(level: &str, text: &str) -> bool {
    let ended = text.starts_with("JOB_ENDED") && text.contains(" is OK");
    level == "INFO" && (ended || text.contains(" has finished job ") && text.ends_with(": OK"))
}

/// What `node cluster` shows: everything.
pub(super) struct Everything {
    painter: Painter,
}

impl Everything {
    /// On standard output.
    pub(super) fn here() -> Everything {
        Everything { painter: Painter::here() }
    }
}

impl Show for Everything {
    fn show(&mut self, plan: &Plan, at: Duration, item: &Item) -> io::Result<()> {
        let painter = &mut self.painter;
        match item {
            Item::Begins { dir } => {
                for master in plan.masters() {
                    let workers: Vec<String> = plan.workers_of(master).map(|worker| plan.name(worker)).collect();
                    let (name, address) = (plan.name(master), plan.address(master));
                    painter.bold(&stamped(
                        at,
                        "----",
                        &format!("{name} at {address}, workers {}", workers.join(" ")),
                    ))?;
                }
                painter.bold(&stamped(at, "----", &format!("state and logs in {}", dir.display())))
            }
            Item::Ready => painter.bold(&stamped(at, "----", "all see each other, and all workers are at home")),
            Item::JobsCome => {
                let (jobs, ms, capacity) = (plan.jobs, plan.job.as_millis(), plan.capacity);
                let name = plan.name(Who(0));
                let text = format!("{name} gets {jobs} jobs of {ms} ms; it is saturated above {capacity} that wait");
                painter.bold(&stamped(at, "----", &text))
            }
            Item::Log { level, text, .. } if is_common(level, text) => Ok(()),
            Item::Log { who, level, text } => {
                let loud = if matches!(level.as_str(), "INFO" | "") { String::new() } else { format!("{level} ") };
                painter.of_node(plan, at, *who, &format!("{loud}{text}"))
            }
            Item::Counts { who, counts } => {
                painter.bold(&stamped(at, &format!("-- {}", plan.name(*who)), &counts_text(*counts)))
            }
            Item::Phase { phase, who, .. } => {
                painter.bold(&stamped(at, "----", &format!("{}, seen at {}", phase.as_str(), plan.name(*who))))
            }
            Item::Said(text) => {
                for (nth, line) in text.lines().enumerate() {
                    let line = if nth == 0 { stamped(at, "----", line) } else { printable(line) };
                    painter.bold(&line)?;
                }
                Ok(())
            }
            Item::Ends(summary) => {
                painter.line("")?;
                summary_lines(plan, summary).iter().try_for_each(|line| painter.line(line))
            }
        }
    }
}

/// What it came to, some lines.
pub(super) fn summary_lines(plan: &Plan, summary: &Summary) -> Vec<String> {
    let first = plan.name(Who(0));
    let mut lines = Vec::new();
    match &summary.tally {
        Some(tally) => {
            let open = if tally.open > 0 { format!(", {} not ended", tally.open) } else { String::new() };
            lines.push(format!(
                "{} jobs: {} OK, {} failed{open}, in {}; alone, the workers of {first} would take {}",
                summary.accepted,
                tally.ok,
                tally.failed,
                seconds(summary.took),
                seconds(plan.alone())
            ));
            lines.push(format!("{} of them were done by workers of other masters", summary.by_others));
        }
        None => lines.push(format!("{} jobs lie on the disk of {first}, which does not answer", summary.accepted)),
    }
    if !summary.phases.is_empty() {
        let phases = summary.phases.iter().map(|(phase, at)| format!("{} {}", phase.as_str(), seconds(*at)));
        lines.push(format!("after the jobs came: {}", phases.collect::<Vec<_>>().join(", ")));
    }
    if let Some(time) = summary.help_after {
        lines.push(format!("{} from saturation to the first job done by a borrowed worker", seconds(time)));
    }
    lines.push(match summary.away.as_slice() {
        [] => "all workers of living masters are at home".to_owned(),
        away => format!("not at home: {}", away.join(" ")),
    });
    lines.extend(summary.troubles.iter().map(|trouble| format!("trouble: {}", printable(trouble))));
    lines.push(format!("{} nodes were ended", summary.living));
    lines
}

#[cfg(test)]
mod tests {
    use super::super::jobs::Tally;
    use super::super::plan::tests::plan;
    use super::super::story::Phase;
    use super::*;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);

    impl Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn shown(colour: bool, items: &[Item]) -> String {
        let paper = Paper::default();
        let mut show = Everything { painter: Painter { out: Box::new(paper.clone()), colour } };
        let plan = plan("");
        for item in items {
            show.show(&plan, Duration::from_millis(1234), item).unwrap();
        }
        let bytes = paper.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    fn log(who: usize, level: &str, text: &str) -> Item {
        Item::Log { who: Who(who), level: level.to_owned(), text: text.to_owned() }
    }

    const COUNTS: Counts = Counts { local: 3, lent: 0, borrowed: 2, pending: 40, running: 5, done: 15, failed: 0 };

    #[test]
    fn a_line_of_counts_has_where_the_workers_are_and_how_the_jobs_stand() {
        let text = shown(false, &[Item::Counts { who: Who(0), counts: COUNTS }]);
        assert_eq!(text, "  1.234 -- m1   local 3  lent 0  borrowed 2  |  pending  40  running  5  done  15\n");
        assert!(counts_text(Counts { failed: 2, ..COUNTS }).ends_with("done  15  failed 2"));
    }

    #[test]
    fn lines_of_logs_bear_time_and_name_and_their_level_only_where_it_is_loud() {
        let text = shown(false, &[log(0, "INFO", "a\u{1b}[2J"), log(3, "WARN", "b"), log(1, "", "panicked")]);
        assert_eq!(text, "  1.234 m1      a\\u001b[2J\n  1.234 w2      WARN b\n  1.234 m2      panicked\n");
    }

    #[test]
    fn each_node_has_its_colour_and_only_where_colours_are_wanted() {
        let items: Vec<Item> = (0..8).map(|who| log(who, "INFO", "x")).collect();
        let colours: std::collections::BTreeSet<String> =
            shown(true, &items).lines().map(|line| line.split_once(' ').unwrap().0.to_owned()).collect();
        assert_eq!(colours.len(), 8);
        assert!(!shown(false, &items).contains('\u{1b}'));
    }

    #[test]
    fn jobs_that_ended_well_are_not_told_one_by_one() {
        let common = [
            log(0, "INFO", "JOB_ENDED: job 1-1-1 (sleep.run) is OK by worker w4, attempt 1"),
            log(0, "INFO", "worker w4, borrowed from m2 has finished job 1-1-1, attempt 1: OK"),
        ];
        assert_eq!(shown(false, &common), "");
        let worth = [
            log(0, "INFO", "JOB_ENDED: job 1-1-1 (sleep.run) is NOK by worker w4, attempt 1"),
            log(0, "WARN", "worker w4, borrowed from m2 has finished job 1-1-1, attempt 1: OK"),
        ];
        assert_eq!(shown(false, &worth).lines().count(), 2);
    }

    #[test]
    fn the_summary_says_what_was_gained_and_what_went_wrong() {
        let tally = Tally { ok: 198, failed: 1, open: 1, ..Tally::default() };
        let summary = Summary {
            accepted: 200,
            tally: Some(tally),
            by_others: 41,
            took: Duration::from_millis(4610),
            phases: vec![(Phase::Saturated, Duration::from_millis(330)), (Phase::Home, Duration::from_millis(4600))],
            help_after: Some(Duration::from_millis(120)),
            away: vec!["w4".to_owned()],
            living: 7,
            troubles: vec!["w5 has ended by itself: exit code 1".to_owned()],
            fine: false,
        };
        assert_eq!(
            summary_lines(&plan(""), &summary),
            [
                "200 jobs: 198 OK, 1 failed, 1 not ended, in 4.61 s; alone, the workers of m1 would take 6.70 s",
                "41 of them were done by workers of other masters",
                "after the jobs came: saturated 0.33 s, home again 4.60 s",
                "0.12 s from saturation to the first job done by a borrowed worker",
                "not at home: w4",
                "trouble: w5 has ended by itself: exit code 1",
                "7 nodes were ended",
            ]
        );
        let dead = Summary { accepted: 9, ..Summary::default() };
        assert_eq!(summary_lines(&plan(""), &dead)[0], "9 jobs lie on the disk of m1, which does not answer");
    }
}
