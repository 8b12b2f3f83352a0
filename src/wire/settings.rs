//! The settings that a group can agree on: their names, units and ranges. One table for SETTINGS, `node set` and the ledger.
//!
//! Only what every node can change while it runs, without harm. A value is a JSON number; the ledger and the core reckon
//! with it as a whole number of its [`SettingName::unit`].

use std::fmt;

use super::Json;

/// Most jobs of `capacity` and `release`.
const MAX_JOBS: u64 = 1_000_000_000;

/// Longest `hold`, in ms.
const MAX_HOLD_MS: u64 = 3_600_000;

/// Most workers of `keep` and `cap`.
const MAX_WORKERS: u64 = 20_000;

/// Longest `cooldown`, `grace` and `lease`, in ms.
const MAX_LOAN_MS: u64 = 3_600_000;

/// The words of `lend`, in the order of their numbers.
const LEND: [&str; 3] = ["everyone", "group", "nobody"];

/// Shortest and longest `forget`, in ms: 1 s to 30 days.
const FORGET_MS: (u64, u64) = (1_000, 30 * 24 * 3_600_000);

/// A setting of the whole group. Where one is agreed on it goes before the option of the same name of each node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SettingName {
    /// `cap`: workers lent to one borrower at most, 0 = any number. In workers.
    Cap,
    /// `capacity`: pending jobs above which a node becomes saturated. In jobs.
    Capacity,
    /// `cooldown`: pause between two loans to one borrower. In milliseconds.
    Cooldown,
    /// `cpu-threshold`: CPU above which a node is hot, 0 = never. In percent with at most one decimal.
    CpuThreshold,
    /// `forget`: time after which a member that is TIMEOUT is removed. In milliseconds.
    Forget,
    /// `grace`: how long a recalled worker may go on with what it runs. In milliseconds.
    Grace,
    /// `hold`: how long a node must be above or below before it becomes saturated or released. In milliseconds.
    Hold,
    /// `keep`: own workers that are here and well, and are never lent. In workers.
    Keep,
    /// `lease`: how long a loan goes on without a renewal. In milliseconds.
    Lease,
    /// `lend`: who may borrow workers. One of three words, which count from 0 in this order: `everyone`, `group`, `nobody`.
    Lend,
    /// `release`: pending jobs below which a node stops being saturated; at most its capacity, where that is smaller. In jobs.
    Release,
}

impl SettingName {
    /// All of them, in the order of their words.
    pub const ALL: [SettingName; 11] = [
        SettingName::Cap,
        SettingName::Capacity,
        SettingName::Cooldown,
        SettingName::CpuThreshold,
        SettingName::Forget,
        SettingName::Grace,
        SettingName::Hold,
        SettingName::Keep,
        SettingName::Lease,
        SettingName::Lend,
        SettingName::Release,
    ];

    /// The word on the wire and of `node set`.
    pub const fn as_str(self) -> &'static str {
        match self {
            SettingName::Cap => "cap",
            SettingName::Capacity => "capacity",
            SettingName::Cooldown => "cooldown",
            SettingName::CpuThreshold => "cpu-threshold",
            SettingName::Forget => "forget",
            SettingName::Grace => "grace",
            SettingName::Hold => "hold",
            SettingName::Keep => "keep",
            SettingName::Lease => "lease",
            SettingName::Lend => "lend",
            SettingName::Release => "release",
        }
    }

    /// The setting of a word.
    pub fn parse(text: &str) -> Option<SettingName> {
        SettingName::ALL.into_iter().find(|name| name.as_str() == text)
    }

    /// What its number counts, for people.
    pub const fn unit(self) -> &'static str {
        match self {
            SettingName::Cap | SettingName::Keep => "workers",
            SettingName::Capacity | SettingName::Release => "jobs",
            SettingName::CpuThreshold => "percent",
            SettingName::Cooldown
            | SettingName::Forget
            | SettingName::Grace
            | SettingName::Hold
            | SettingName::Lease => "ms",
            SettingName::Lend => "",
        }
    }

    /// Its smallest and largest number, in tenths of a percent or in its unit.
    const fn range(self) -> (u64, u64) {
        match self {
            SettingName::Cap | SettingName::Keep => (0, MAX_WORKERS),
            SettingName::Capacity | SettingName::Release => (1, MAX_JOBS),
            SettingName::CpuThreshold => (0, 1000),
            SettingName::Cooldown | SettingName::Grace => (0, MAX_LOAN_MS),
            SettingName::Forget => FORGET_MS,
            SettingName::Hold => (0, MAX_HOLD_MS),
            SettingName::Lease => (1000, MAX_LOAN_MS),
            SettingName::Lend => (0, LEND.len() as u64 - 1),
        }
    }

    /// What its value may be, for people, such as `1 to 1000000000 jobs`.
    pub fn expected(self) -> String {
        let (least, most) = self.range();
        match self {
            SettingName::Cap => format!("{least} to {most} workers, 0 for any number"),
            SettingName::CpuThreshold => "0 to 100 percent with at most one decimal, 0 for never".to_owned(),
            SettingName::Lend => format!("\"{}\"", LEND.join("\", \"")),
            _ => format!("{least} to {most} {}", self.unit()),
        }
    }

    /// The number of a value: jobs, workers, milliseconds, thousandths of a CPU, or the place of a word. The error says what was expected.
    pub fn read(self, value: &Json) -> Result<u64, String> {
        let text = value.as_str().trim();
        let number = match self {
            SettingName::CpuThreshold => permille(text),
            SettingName::Lend => {
                let word: Option<String> = serde_json::from_str(text).ok();
                word.and_then(|word| LEND.iter().position(|one| *one == word)).map(|at| at as u64)
            }
            _ => serde_json::from_str(text).ok(),
        };
        let (least, most) = self.range();
        let lawful = number.filter(|number| (least..=most).contains(number));
        lawful.ok_or_else(|| format!("`VALUE`: expected {} for {self}", self.expected()))
    }

    /// The value of a number as [`SettingName::read`] gives it: the one text that stands in the ledger.
    pub fn value(self, number: u64) -> Json {
        Json::trusted(match self {
            SettingName::CpuThreshold if !number.is_multiple_of(10) => format!("{}.{}", number / 10, number % 10),
            SettingName::CpuThreshold => (number / 10).to_string(),
            SettingName::Lend => {
                let last = LEND.len() - 1;
                format!("\"{}\"", LEND[usize::try_from(number).unwrap_or(last).min(last)])
            }
            _ => number.to_string(),
        })
    }

    /// All names with what they may be, for whoever named another one.
    pub fn known() -> String {
        SettingName::ALL.map(|name| format!("{name} ({})", name.expected())).join(", ")
    }
}

impl fmt::Display for SettingName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Thousandths of a percentage such as `62.5`. No floats: what every member must read alike.
fn permille(text: &str) -> Option<u64> {
    let (whole, tenth) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.len() <= 3 && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(tenth) || !tenth[1..].bytes().all(|byte| byte == b'0') {
        return None;
    }
    Some(whole.parse::<u64>().ok()? * 10 + tenth[..1].parse::<u64>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_within_their_range_are_read_and_written_back() {
        let cases = [
            (SettingName::Capacity, "1", 1, "1"),
            (SettingName::Release, "1000000000", 1_000_000_000, "1000000000"),
            (SettingName::Hold, "0", 0, "0"),
            (SettingName::Forget, "600000", 600_000, "600000"),
            (SettingName::CpuThreshold, "62.5", 625, "62.5"),
            (SettingName::CpuThreshold, "70.0", 700, "70"),
            (SettingName::CpuThreshold, "100", 1000, "100"),
            (SettingName::Cap, "0", 0, "0"),
            (SettingName::Keep, "20000", 20_000, "20000"),
            (SettingName::Lease, "1000", 1000, "1000"),
            (SettingName::Lend, "\"everyone\"", 0, "\"everyone\""),
            (SettingName::Lend, " \"nobody\" ", 2, "\"nobody\""),
        ];
        for (name, text, number, canonical) in cases {
            assert_eq!(name.read(&Json::new(text).unwrap()), Ok(number), "{name} {text}");
            assert_eq!(name.value(number).as_str(), canonical);
        }
    }

    #[test]
    fn others_are_refused_by_what_was_expected() {
        for (name, text) in [
            (SettingName::Capacity, "0"),
            (SettingName::Capacity, "1000000001"),
            (SettingName::Capacity, "\"200\""),
            (SettingName::Capacity, "1.5"),
            (SettingName::Release, "-1"),
            (SettingName::Hold, "3600001"),
            (SettingName::Forget, "999"),
            (SettingName::Forget, "null"),
            (SettingName::CpuThreshold, "100.1"),
            (SettingName::CpuThreshold, "62.55"),
            (SettingName::CpuThreshold, "7e1"),
            (SettingName::CpuThreshold, "[]"),
            (SettingName::Keep, "20001"),
            (SettingName::Lease, "999"),
            (SettingName::Grace, "3600001"),
            (SettingName::Lend, "\"friends\""),
            (SettingName::Lend, "1"),
        ] {
            let error = name.read(&Json::new(text).unwrap()).unwrap_err();
            assert!(error.contains("`VALUE`: expected ") && error.ends_with(name.as_str()), "{text}: {error}");
        }
        let error = SettingName::Capacity.read(&Json::null()).unwrap_err();
        assert_eq!(error, "`VALUE`: expected 1 to 1000000000 jobs for capacity");
    }

    #[test]
    fn words_read_back_and_stand_in_their_order() {
        let words = SettingName::ALL.map(SettingName::as_str);
        assert!(words.is_sorted());
        for name in SettingName::ALL {
            assert_eq!(SettingName::parse(name.as_str()), Some(name));
            assert!(SettingName::known().contains(name.as_str()));
        }
        assert_eq!(SettingName::parse("Capacity"), None);
    }
}
