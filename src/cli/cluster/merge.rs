//! What many tell at once, in the order of its time. Each teller's own lines come in order; those of two may cross on their way here, so
//! that every item is held back a moment.

use std::collections::BTreeMap;

/// How long an item is held back, in milliseconds: what was told before it has arrived by then, but on a machine that is very busy.
pub(super) const WINDOW: u64 = 120;

/// Items that wait for their turn. Times are milliseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Merge<T> {
    waiting: BTreeMap<(u64, usize, u64), T>,
    /// Of the next item: those of one time and rank keep the order in which they came.
    number: u64,
}

impl<T> Default for Merge<T> {
    fn default() -> Merge<T> {
        Merge { waiting: BTreeMap::new(), number: 0 }
    }
}

impl<T> Merge<T> {
    /// Takes an item of this time. Of one time, the lower rank is told first.
    pub(super) fn push(&mut self, at: u64, rank: usize, item: T) {
        self.waiting.insert((at, rank, self.number), item);
        self.number += 1;
    }

    /// The next item whose turn has come, and its time.
    pub(super) fn due(&mut self, now: u64) -> Option<(u64, T)> {
        let first = self.waiting.first_entry().filter(|first| first.key().0 + WINDOW <= now)?;
        let ((at, ..), item) = first.remove_entry();
        Some((at, item))
    }

    /// The next item, whether its turn has come or not: nobody will tell anything more.
    pub(super) fn rest(&mut self) -> Option<(u64, T)> {
        self.waiting.pop_first().map(|((at, ..), item)| (at, item))
    }
}

/// A line of the log of a node, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LogLine {
    /// Milliseconds since 1970; `None`: it bears no time, such as a panic.
    pub(super) at: Option<u64>,
    /// `INFO`, `WARN`; empty where it bears none.
    pub(super) level: String,
    /// What is said.
    pub(super) text: String,
}

impl LogLine {
    /// `2026-11-21T23:55:09.839Z INFO  [93d0b36c] text`.
    pub(super) fn parse(line: &str) -> LogLine {
        let plain = || LogLine { at: None, level: String::new(), text: line.to_owned() };
        let Some((stamp, rest)) = line.split_once(' ') else { return plain() };
        let Some(at) = millis(stamp) else { return plain() };
        let (level, text) = rest.trim_start().split_once(' ').unwrap_or((rest, ""));
        let text = text.trim_start();
        // The short id of the node; its name stands before the line anyway.
        let after_id = text.strip_prefix('[').and_then(|text| text.split_once("] ")).filter(|(id, _)| id.len() <= 36);
        LogLine { at: Some(at), level: level.to_owned(), text: after_id.map_or(text, |(_, text)| text).to_owned() }
    }
}

/// Milliseconds since 1970 of `2026-11-21T23:55:09.839Z`.
fn millis(stamp: &str) -> Option<u64> {
    let (date, time) = stamp.strip_suffix('Z')?.split_once('T')?;
    let numbers =
        |text: &str, between: char| -> Option<Vec<u64>> { text.split(between).map(|part| part.parse().ok()).collect() };
    let (whole, millis) = time.split_once('.')?;
    let ([year, month, day], [hour, minute, second]) = (&numbers(date, '-')?[..], &numbers(whole, ':')?[..]) else {
        return None;
    };
    let fits = (1970..=9999).contains(year) && (1..=12).contains(month) && (1..=31).contains(day);
    if !fits || *hour > 23 || *minute > 59 || *second > 60 || millis.len() != 3 {
        return None;
    }
    // Years that begin in March, so that the day of a leap year comes last.
    let (year, month) = if *month > 2 { (*year, month - 3) } else { (year - 1, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1;
    let days = days.checked_sub(719_468)?;
    Some((((days * 24 + hour) * 60 + minute) * 60 + second) * 1000 + millis.parse::<u64>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(merge: &mut Merge<&'static str>, now: u64) -> Vec<&'static str> {
        std::iter::from_fn(|| merge.due(now)).map(|(_, item)| item).collect()
    }

    #[test]
    fn what_crossed_on_its_way_is_told_in_the_order_of_its_time() {
        let mut merge = Merge::default();
        merge.push(1010, 2, "w4 is told");
        merge.push(1010, 1, "m2 agrees");
        merge.push(1000, 0, "m1 asks");
        merge.push(1010, 1, "m2 lends");
        assert_eq!(all(&mut merge, 1000 + WINDOW - 1), [""; 0]);
        assert_eq!(all(&mut merge, 1000 + WINDOW), ["m1 asks"]);
        merge.push(1005, 2, "w4 is well");
        assert_eq!(all(&mut merge, 1010 + WINDOW), ["w4 is well", "m2 agrees", "m2 lends", "w4 is told"]);
        merge.push(900, 0, "late");
        assert_eq!(all(&mut merge, 1020 + WINDOW), ["late"], "told all the same");
        merge.push(5000, 0, "the last");
        assert_eq!((merge.rest(), merge.rest()), (Some((5000, "the last")), None));
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_each_teller_keeps_its_order(steps in proptest::collection::vec((0..3usize, 0..40u64, 0..WINDOW), 0..60)) {
            let (mut merge, mut clocks, mut now) = (Merge::default(), [1000u64; 3], 1000u64);
            let (mut told, mut pushed) = (Vec::new(), 0);
            for (teller, pause, late) in steps {
                clocks[teller] = clocks[teller].max(now.saturating_sub(late)) + pause;
                now = now.max(clocks[teller]);
                merge.push(clocks[teller], teller, (teller, pushed));
                pushed += 1;
                told.extend(std::iter::from_fn(|| merge.due(now)));
            }
            told.extend(std::iter::from_fn(|| merge.rest()));
            prop_assert_eq!(told.len(), pushed);
            for teller in 0..3 {
                let own: Vec<usize> = told.iter().filter(|(_, item)| item.0 == teller).map(|(_, item)| item.1).collect();
                prop_assert!(own.is_sorted());
            }
            // Everything arrived within the window of its time.
            prop_assert!(told.iter().map(|(at, _)| at).is_sorted());
        }
    }

    #[test]
    fn a_line_is_taken_apart() {
        let line = LogLine::parse("2026-11-21T23:55:09.839Z INFO  [93d0b36c] SATURATED: 111 pending");
        assert_eq!(
            (line.at, line.level.as_str(), line.text.as_str()),
            (Some(1_795_305_309_839), "INFO", "SATURATED: 111 pending")
        );
        let early = LogLine::parse("2026-11-21T23:55:05.498Z WARN  state: new in /tmp/trial");
        assert_eq!((early.level.as_str(), early.text.as_str()), ("WARN", "state: new in /tmp/trial"));
        for odd in
            ["", "thread 'main' panicked at x", "2026-11-21 x", "2026-11-21T23:55Z x", "9999999-1-1T1:1:1.000Z x"]
        {
            assert_eq!(LogLine::parse(odd), LogLine { at: None, level: String::new(), text: odd.to_owned() });
        }
    }

    #[test]
    fn dates_are_counted_as_the_calendar_does() {
        for (stamp, seconds) in [
            ("1970-01-01T00:00:00.000Z", 0),
            ("1972-02-29T23:59:59.000Z", 68_255_999),
            ("2000-03-01T00:00:00.000Z", 951_868_800),
            ("2100-03-01T00:00:00.000Z", 4_107_542_400),
        ] {
            assert_eq!(millis(stamp), Some(seconds * 1000), "{stamp}");
        }
        assert_eq!(millis("2026-13-01T00:00:00.000Z"), None);
    }
}
