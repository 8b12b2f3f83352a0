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

/// Shortest and longest `forget`, in ms: 1 s to 30 days.
const FORGET_MS: (u64, u64) = (1_000, 30 * 24 * 3_600_000);

/// A setting of the whole group. Where one is agreed on it goes before the option of the same name of each node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SettingName {
    /// `capacity`: pending jobs above which a node becomes saturated. In jobs.
    Capacity,
    /// `cpu-threshold`: CPU above which a node is hot, 0 = never. In percent with at most one decimal.
    CpuThreshold,
    /// `forget`: time after which a member that is TIMEOUT is removed. In milliseconds.
    Forget,
    /// `hold`: how long a node must be above or below before it becomes saturated or released. In milliseconds.
    Hold,
    /// `release`: pending jobs below which a node stops being saturated; at most its capacity, where that is smaller. In jobs.
    Release,
}

impl SettingName {
    /// All of them, in the order of their words.
    pub const ALL: [SettingName; 5] = [
        SettingName::Capacity,
        SettingName::CpuThreshold,
        SettingName::Forget,
        SettingName::Hold,
        SettingName::Release,
    ];

    /// The word on the wire and of `node set`.
    pub const fn as_str(self) -> &'static str {
        match self {
            SettingName::Capacity => "capacity",
            SettingName::CpuThreshold => "cpu-threshold",
            SettingName::Forget => "forget",
            SettingName::Hold => "hold",
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
            SettingName::Capacity | SettingName::Release => "jobs",
            SettingName::CpuThreshold => "percent",
            SettingName::Forget | SettingName::Hold => "ms",
        }
    }

    /// Its smallest and largest number, in tenths of a percent or in its unit.
    const fn range(self) -> (u64, u64) {
        match self {
            SettingName::Capacity | SettingName::Release => (1, MAX_JOBS),
            SettingName::CpuThreshold => (0, 1000),
            SettingName::Forget => FORGET_MS,
            SettingName::Hold => (0, MAX_HOLD_MS),
        }
    }

    /// What its value may be, for people, such as `1 to 1000000000 jobs`.
    pub fn expected(self) -> String {
        let (least, most) = self.range();
        match self {
            SettingName::CpuThreshold => "0 to 100 percent with at most one decimal, 0 for never".to_owned(),
            _ => format!("{least} to {most} {}", self.unit()),
        }
    }

    /// The number of a value: jobs, milliseconds, or thousandths of a CPU. The error says what was expected.
    pub fn read(self, value: &Json) -> Result<u64, String> {
        let text = value.as_str().trim();
        let number = match self {
            SettingName::CpuThreshold => permille(text),
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
