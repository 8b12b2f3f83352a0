//! Holders of a lease with a short term, each by its own reckoning: at no instant do two of them believe that they hold it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mutirao::core::HeldLease;
use mutirao::time::Time;
use serde_json::{Value, json};

use super::clients::Doors;
use super::seed::Draw;
use super::support::wait::pause;
use super::support::{Client, Line};

/// The shortest term that there is.
const TERM: Duration = Duration::from_secs(1);

/// From when until when somebody believed that it held the lease.
#[derive(Clone, Debug)]
pub(crate) struct Belief {
    pub(crate) holder: String,
    pub(crate) fence: u64,
    pub(crate) from: Instant,
    pub(crate) until: Instant,
}

/// Asks for the lease again and again, and holds it for a while, until told to stop.
pub(crate) fn contend(number: usize, doors: &dyn Doors, seed: u64, stop: &AtomicBool) -> Vec<Belief> {
    let mut contender =
        Contender { doors, draw: Draw::new(seed, 100 + number as u64), epoch: Instant::now(), line: None };
    let (mut beliefs, mut turn) = (Vec::new(), 0);
    while !stop.load(Ordering::Relaxed) {
        turn += 1;
        beliefs.extend(contender.hold(&format!("h{number}-{turn}"), stop));
    }
    beliefs
}

struct Contender<'a> {
    doors: &'a dyn Doors,
    draw: Draw,
    epoch: Instant,
    line: Option<Client>,
}

impl Contender<'_> {
    fn now(&self) -> Time {
        Time::from_micros(u64::try_from(self.epoch.elapsed().as_micros()).expect("no run is as long"))
    }

    fn instant(&self, time: Time) -> Instant {
        self.epoch + Duration::from_micros(time.as_micros())
    }

    /// Acquires, renews for a drawn time, and releases, or forgets to.
    fn hold(&mut self, holder: &str, stop: &AtomicBool) -> Option<Belief> {
        let sent = self.now();
        let acquire = json!({"TASK": "LEASE", "ACTION": "ACQUIRE", "NAME": "short", "HOLDER": holder, "TTL_MS": 1000, "WAIT_MS": 1000});
        let answer = self.ask(&acquire, Duration::from_secs(2)).filter(|answer| answer["RESPONSE"] == "OK")?;
        let fence = answer["FENCE"].as_u64().expect("a FENCE");
        let mut held = HeldLease::new(sent, TERM);
        let from = Instant::now();
        let grant = |action: &str| json!({"TASK": "LEASE", "ACTION": action, "NAME": "short", "HOLDER": holder, "FENCE": fence});
        let leave = self.now() + self.draw.millis(0, 3000);
        let mut is_over = false;
        while !is_over && !held.is_lapsed(self.now()) && self.now() < leave && !stop.load(Ordering::Relaxed) {
            if self.now() < held.renew_at() {
                pause(Duration::from_millis(20));
                continue;
            }
            let sent = self.now();
            let left = held.stop_at().since(sent).max(Duration::from_millis(1));
            let answer = self.ask(&grant("RENEW"), left);
            match answer {
                Some(answer) if answer["RESPONSE"] == "OK" => held.renewed(sent, TERM, self.now()),
                Some(answer) => is_over = answer["ERROR"] == "OVER",
                None => {}
            }
        }
        // It does what the lease protects until it is told, lets go, or must stop.
        let until = self.instant(held.stop_at()).min(Instant::now());
        if self.draw.chance(70) {
            self.ask(&grant("RELEASE"), Duration::from_millis(500));
        }
        (from < until).then(|| Belief { holder: holder.to_owned(), fence, from, until })
    }

    fn ask(&mut self, request: &Value, patience: Duration) -> Option<Value> {
        if self.line.is_none() {
            self.line = self.doors.open(self.draw.below(self.doors.count())).ok();
        }
        let line = self.line.as_mut()?;
        let sent = line.send(format!("{request}\n").as_bytes());
        let heard = sent.map_or(Line::Closed, |()| line.line_within(patience));
        let answer = match heard {
            Line::Text(text) => serde_json::from_str(&text).ok(),
            Line::Closed | Line::Nothing => None,
        };
        // What comes too late must not be taken for the answer to the next request.
        if answer.is_none() {
            self.line = None;
        }
        answer
    }
}

/// Whether no two believed at the same instant, and later grants have larger numbers. Tells how many there were.
pub(crate) fn check(mut beliefs: Vec<Belief>) -> Result<usize, String> {
    beliefs.sort_by_key(|belief| belief.from);
    match beliefs.windows(2).find(|pair| pair[1].from < pair[0].until || pair[1].fence <= pair[0].fence) {
        Some(pair) => {
            let [one, other] = [&pair[0], &pair[1]];
            let (names, fences) = ((&one.holder, &other.holder), (one.fence, other.fence));
            let overlap = one.until.saturating_duration_since(other.from);
            Err(format!(
                "{names:?} with the fencing numbers {fences:?} believe for {overlap:?} that they hold one lease"
            ))
        }
        None => Ok(beliefs.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beliefs_that_overlap_or_whose_numbers_do_not_grow_are_found() {
        let begun = Instant::now();
        let belief = |fence, from: u64, until: u64| Belief {
            holder: "h".to_owned(),
            fence,
            from: begun + Duration::from_millis(from),
            until: begun + Duration::from_millis(until),
        };
        assert_eq!(check(vec![belief(7, 10, 20), belief(5, 0, 10)]), Ok(2));
        assert!(check(vec![belief(7, 9, 20), belief(5, 0, 10)]).is_err());
        assert!(check(vec![belief(5, 10, 20), belief(7, 0, 10)]).is_err());
    }
}
