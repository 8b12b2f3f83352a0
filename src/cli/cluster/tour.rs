//! The guided tour: a caption before each phase, in plain words, and the line of the log that proves it.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::time::Duration;

use super::look::Counts;
use super::paint::{Painter, counts_text, stamped, summary_lines};
use super::plan::{Plan, Who};
use super::stage::{Item, Show};
use super::story::Phase;
use crate::cli::help::ProgramName;

/// Shows a cluster as a tour.
pub(super) struct Tour {
    painter: Painter,
    captions: Captions,
    /// Lines about workers that came home: the proof of the last caption.
    returned: Vec<(Duration, Who, String)>,
}

impl Tour {
    /// On standard output.
    pub(super) fn here() -> Tour {
        Tour { painter: Painter::here(), captions: Captions::default(), returned: Vec::new() }
    }
}

/// Puts the phases in their order: signs come from two masters, and one may be seen before what led to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Captions {
    seen: BTreeMap<Phase, (Duration, Who, String)>,
    next: usize,
}

impl Captions {
    /// A phase is seen. Returns those whose turn has come.
    fn seen(&mut self, phase: Phase, at: Duration, who: Who, text: String) -> VecDeque<(Phase, Duration, Who, String)> {
        self.seen.entry(phase).or_insert((at, who, text));
        let mut turn = VecDeque::new();
        while let Some(phase) = Phase::ALL.get(self.next).copied()
            && let Some((at, who, text)) = self.seen.remove(&phase)
        {
            turn.push_back((phase, at, who, text));
            self.next += 1;
        }
        turn
    }

    /// Whether counts are worth showing: between the first sign and the last.
    fn are_under_way(&self) -> bool {
        (1..Phase::ALL.len()).contains(&self.next)
    }

    fn missing(&self) -> &'static [Phase] {
        &Phase::ALL[self.next..]
    }
}

/// A phase in plain words.
fn caption(phase: Phase, plan: &Plan) -> String {
    let capacity = plan.capacity;
    let number = phase as usize + 1;
    let words = match phase {
        Phase::Saturated => format!(
            "Saturated. More than {capacity} jobs have waited at m1 for 0.3 s: more than its workers are meant to have before them."
        ),
        Phase::Asked => "Asked. m1 asks its neighbour for workers, over a line of JSON.".to_owned(),
        Phase::Agreed => "Agreed. m2 has nothing to do itself: it lends workers, and keeps one.".to_owned(),
        Phase::Redirected => {
            "Redirected. m2, the owner, tells its workers to go to m1. Only the owner may do that.".to_owned()
        }
        Phase::Working => "Working there. A worker of m2 has done its first job for m1.".to_owned(),
        Phase::Released => "Released. The queue of m1 is short again: the guests may go.".to_owned(),
        Phase::Home => "Home again. Every worker is where it belongs.".to_owned(),
    };
    format!("{number}. {words}")
}

impl Show for Tour {
    fn show(&mut self, plan: &Plan, at: Duration, item: &Item) -> io::Result<()> {
        let painter = &mut self.painter;
        match item {
            Item::Begins { .. } => {
                painter.bold("In a mutirão, neighbours come to help the one whose harvest is too large. Here:")?;
                for master in plan.masters() {
                    let workers: Vec<String> = plan.workers_of(master).map(|worker| plan.name(worker)).collect();
                    let (name, address) = (plan.name(master), plan.address(master));
                    painter
                        .line(&format!("  {name}, a master at {address}, with its workers {}", workers.join(", ")))?;
                }
                painter.line("Each of them is a process of its own on this machine. All end with this tour.")?;
                painter.line("Each line below is of a log: seconds since the start, whose it is, and what it says.")
            }
            Item::Ready => {
                painter.line("")?;
                painter.bold("0. At home. The masters see each other, and each worker is at its own master.")
            }
            Item::JobsCome => {
                let (jobs, ms, alone) = (plan.jobs, plan.job.as_millis(), plan.alone().as_secs_f64());
                painter.line("")?;
                painter.line(&format!(
                    "m1 gets {jobs} jobs of {ms} ms now. Its three workers alone would take {alone:.1} s."
                ))
            }
            Item::Counts { counts, .. } if !self.captions.are_under_way() && !is_calm(*counts) => Ok(()),
            Item::Counts { who, counts } => painter.of_node(plan, at, *who, &counts_text(*counts)),
            Item::Phase { phase, who, text } => {
                for (phase, at, who, text) in self.captions.seen(*phase, at, *who, text.clone()) {
                    painter.line("")?;
                    painter.bold(&caption(phase, plan))?;
                    if phase == Phase::Home {
                        let returned = std::mem::take(&mut self.returned);
                        returned.iter().try_for_each(|(at, who, text)| painter.of_node(plan, *at, *who, text))?;
                    } else {
                        painter.of_node(plan, at, who, &text)?;
                    }
                }
                Ok(())
            }
            Item::Log { who, text, .. } if text.starts_with("WORKER_RETURNED") && text.contains("it is home") => {
                self.returned.push((at, *who, text.clone()));
                Ok(())
            }
            // What a worker does in answer to its orders is the other half of the story.
            Item::Log { who, text, .. } if self.captions.are_under_way() && text.starts_with("goes to ") => {
                painter.of_node(plan, at, *who, text)
            }
            Item::Log { level, who, text } if level == "ERROR" => painter.of_node(plan, at, *who, text),
            Item::Log { .. } => Ok(()),
            Item::Said(text) => painter.bold(&stamped(at, "----", text)),
            Item::Ends(summary) => {
                painter.line("")?;
                for line in summary_lines(plan, summary) {
                    painter.line(&line)?;
                }
                let missing = self.captions.missing();
                if !missing.is_empty() {
                    let names: Vec<&str> = missing.iter().map(|phase| phase.as_str()).collect();
                    painter.bold(&format!("not seen: {}", names.join(", ")))?;
                }
                go_on().iter().try_for_each(|line| painter.line(line))
            }
        }
    }
}

/// Nothing waits, and every worker is at home.
fn is_calm(counts: Counts) -> bool {
    counts.pending == 0 && counts.lent == 0 && counts.borrowed == 0
}

/// What to do next.
fn go_on() -> Vec<String> {
    let node = ProgramName::called().as_str();
    let lines = [
        String::new(),
        "How to go on. In one terminal, a cluster that is busy for a minute, and shows its whole log:".to_owned(),
        format!("  {node} cluster --jobs 2000 --port 9101"),
        "Meanwhile, in another one, ask its masters, in lines of JSON:".to_owned(),
        r#"  printf '{"TASK":"LOANS"}\n' | nc 127.0.0.1 9101"#.to_owned(),
        r#"  printf '{"TASK":"WORKERS"}\n' | nc 127.0.0.1 9102"#.to_owned(),
        r#"  printf '{"TASK":"EVENTS"}\n' | nc 127.0.0.1 9101"#.to_owned(),
        format!("  {node} loans 127.0.0.1:9101 --follow"),
        "Kill whom you like; no job is lost:".to_owned(),
        format!("  {node} cluster --kill m2@2 --kill w1@3"),
        "Masters and workers of your own, on several machines: README.md, and".to_owned(),
        format!("  {node} --help"),
    ];
    lines.into()
}

#[cfg(test)]
mod tests {
    use super::super::plan::tests::plan;
    use super::*;

    #[test]
    fn captions_come_in_their_order_whatever_is_seen_first() {
        let mut captions = Captions::default();
        let mut see = |phase: Phase| {
            let turn = captions.seen(phase, Duration::ZERO, Who(0), String::new());
            turn.into_iter().map(|(phase, ..)| phase).collect::<Vec<_>>()
        };
        assert_eq!(see(Phase::Asked), []);
        assert_eq!(see(Phase::Redirected), []);
        assert_eq!(see(Phase::Saturated), [Phase::Saturated, Phase::Asked]);
        assert_eq!(see(Phase::Agreed), [Phase::Agreed, Phase::Redirected]);
        assert_eq!(see(Phase::Working), [Phase::Working]);
        assert!(captions.are_under_way());
        assert_eq!(captions.missing(), [Phase::Released, Phase::Home]);
    }

    #[test]
    fn every_phase_has_a_caption_with_its_name_and_number() {
        let plan = plan("");
        for (number, phase) in (1..).zip(Phase::ALL) {
            let text = caption(phase, &plan).to_lowercase();
            assert!(text.starts_with(&format!("{number}. {}.", phase.as_str())), "{text}");
        }
    }
}
