//! Faults of processes on one machine: kill -9 and a restart, SIGSTOP and SIGCONT.

use std::io;
use std::time::Duration;

use rustix::process::Signal;

use super::clients::Doors;
use super::seed::Draw;
use super::support::Client;
use super::support::group::Masters;
use super::support::wait::pause;

/// The ports of the nodes on 127.0.0.1.
pub(crate) struct Ports(pub(crate) Vec<u16>);

impl Doors for Ports {
    fn count(&self) -> usize {
        self.0.len()
    }

    fn open(&self, nth: usize) -> io::Result<Client> {
        Client::connect(self.0[nth])
    }
}

/// Does one drawn fault, from its begin to its end. Returns its words.
pub(crate) fn fault(masters: &mut Masters, count: usize, draw: &mut Draw) -> String {
    // The leader as often as all others together; sometimes more than the group can lose.
    let mut hit = vec![if draw.chance(50) { masters.leader().unwrap_or(0) } else { draw.below(count) }];
    while draw.chance(30) && hit.len() < count {
        let next = draw.below(count);
        if !hit.contains(&next) {
            hit.push(next);
        }
    }
    let kills: Vec<bool> = hit.iter().map(|_| draw.chance(50)).collect();
    let lasts = draw.millis(20, 1500);
    for (nth, kill) in hit.iter().zip(&kills) {
        if *kill { masters.kill(*nth) } else { masters.node(*nth).process.signal(Signal::STOP) }
    }
    pause(lasts);
    for (nth, kill) in hit.iter().zip(&kills) {
        if *kill { masters.start(*nth) } else { masters.node(*nth).process.signal(Signal::CONT) }
    }
    let words = |(nth, kill): (&usize, &bool)| format!("m{nth} {}", if *kill { "killed" } else { "stopped" });
    let words: Vec<String> = hit.iter().zip(&kills).map(words).collect();
    pause(draw.millis(0, 1200).saturating_sub(Duration::from_millis(200)));
    format!("{} for {lasts:?}", words.join(", "))
}
