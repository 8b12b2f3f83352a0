//! What `node elect` and its guard say to each other, a line each. Times are microseconds of the system's clock that counts
//! suspension, which both read: a line that is read late promises nothing longer.

use super::Exit;
use crate::time::Time;

/// From `node elect` to the guard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Order {
    /// `GOOD term kill`: it may run, TERM then, KILL then. The first one starts it.
    Good { term_at: Time, kill_at: Time },
    /// `PASS signal`: to the first process of the command.
    Pass(i32),
    /// `STOP kill`: TERM now, KILL then.
    Stop { kill_at: Time },
}

/// From the guard to `node elect`. Nothing comes after either.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Report {
    /// `ENDED CODE n stopped` or `ENDED SIGNAL n stopped`: everything is gone. `stopped`, 0 or 1: the guard had stopped it.
    Ended { exit: Exit, stopped: bool },
    /// `FAILED text`: it could not be started.
    Failed(String),
}

impl Order {
    pub(super) fn line(self) -> String {
        match self {
            Order::Good { term_at, kill_at } => format!("GOOD {} {}\n", term_at.as_micros(), kill_at.as_micros()),
            Order::Pass(signal) => format!("PASS {signal}\n"),
            Order::Stop { kill_at } => format!("STOP {}\n", kill_at.as_micros()),
        }
    }

    pub(super) fn parse(line: &str) -> Option<Order> {
        let time = |word: &str| word.parse().ok().map(Time::from_micros);
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["GOOD", term_at, kill_at] => Some(Order::Good { term_at: time(term_at)?, kill_at: time(kill_at)? }),
            ["PASS", signal] => Some(Order::Pass(signal.parse().ok()?)),
            ["STOP", kill_at] => Some(Order::Stop { kill_at: time(kill_at)? }),
            _ => None,
        }
    }
}

impl Report {
    pub(super) fn line(&self) -> String {
        match self {
            Report::Ended { exit: Exit::Code(code), stopped } => format!("ENDED CODE {code} {}\n", u8::from(*stopped)),
            Report::Ended { exit: Exit::Signal(number), stopped } => {
                format!("ENDED SIGNAL {number} {}\n", u8::from(*stopped))
            }
            Report::Failed(text) => format!("FAILED {}\n", text.replace('\n', " ")),
        }
    }

    pub(super) fn parse(line: &str) -> Option<Report> {
        if let Some(text) = line.strip_prefix("FAILED ") {
            return Some(Report::Failed(text.to_owned()));
        }
        let ["ENDED", kind, number, stopped @ ("0" | "1")] = line.split(' ').collect::<Vec<_>>()[..] else {
            return None;
        };
        let exit = match kind {
            "CODE" => Exit::Code(number.parse().ok()?),
            "SIGNAL" => Exit::Signal(number.parse().ok()?),
            _ => return None,
        };
        Some(Report::Ended { exit, stopped: stopped == "1" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_read_and_nothing_else() {
        let (term_at, kill_at) = (Time::from_micros(7), Time::FAR);
        for order in [Order::Good { term_at, kill_at }, Order::Pass(10), Order::Stop { kill_at }] {
            assert_eq!(Order::parse(order.line().trim_end()), Some(order));
        }
        for exit in [Exit::Code(0), Exit::Code(255), Exit::Signal(9)] {
            for stopped in [false, true] {
                let report = Report::Ended { exit, stopped };
                assert_eq!(Report::parse(report.line().trim_end()), Some(report));
            }
        }
        assert_eq!(
            Report::parse(Report::Failed("a\nb".to_owned()).line().trim_end()),
            Some(Report::Failed("a b".to_owned()))
        );
        for line in ["", "GOOD", "GOOD 1", "GOOD 1 x", "GOOD 1 2 3", "PASS x", "STOP -1", "good 1 2"] {
            assert_eq!(Order::parse(line), None, "{line}");
        }
        for line in ["", "ENDED", "ENDED CODE 256 0", "ENDED CODE 1 2", "ENDED WHY 1 0"] {
            assert_eq!(Report::parse(line), None, "{line}");
        }
    }
}
