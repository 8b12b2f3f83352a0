//! The settings of lending and borrowing.

use std::time::Duration;

use crate::core::ConfigError;

/// Who may borrow workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Lend {
    /// Any master that asks. `everyone`.
    #[default]
    Everyone,
    /// Members of the own group alone. `group`.
    Group,
    /// Nobody. `nobody`.
    Nobody,
}

impl Lend {
    /// Every one, in the order of this enum.
    pub const ALL: [Lend; 3] = [Lend::Everyone, Lend::Group, Lend::Nobody];

    /// The word on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Lend::Everyone => "everyone",
            Lend::Group => "group",
            Lend::Nobody => "nobody",
        }
    }

    /// The policy of a word on the command line.
    pub fn parse(text: &str) -> Option<Lend> {
        Lend::ALL.into_iter().find(|lend| lend.as_str() == text)
    }
}

/// Lending and borrowing (design.md, section 8).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LoanConfig {
    /// Who may borrow. Default everyone. If unsure, the default in a classroom, and the group in production.
    pub lend: Lend,
    /// Own workers that are here and well, and are never lent. Default 1, range 0 to 20,000. If unsure, the default.
    pub keep: u32,
    /// Workers lent to one borrower at a time. Default none, range 1 to 20,000. If unsure, none.
    pub cap: Option<u32>,
    /// After a loan to a borrower has ended, or was refused because of a policy, it gets no new one for this long; and this master
    /// asks nobody for this long after it has sent workers home that it did not need. Default 5 s, range 0 to 1 h. If unsure, the default.
    pub cooldown: Duration,
    /// How long a loan goes on without a renewal. Native borrowers renew at a third of it. Default 30 s, range 1 s to 1 h. If unsure, the
    /// default: shorter ones bring workers home sooner when a network is cut, longer ones survive longer cuts.
    pub lease: Duration,
    /// How long a worker that is recalled may go on with what it runs. Default 10 s, range 0 to 1 h. If unsure, the usual length of a job.
    pub grace: Duration,
    /// How long a worker that was promised may take to show itself at the borrower. Default 10 s, range 100 ms to 1 h. If unsure, the default.
    pub match_timeout: Duration,
    /// How long another master may take for an answer. Default 5 s, as the course says, range 100 ms to 1 h. If unsure, the default.
    pub answer: Duration,
}

impl Default for LoanConfig {
    fn default() -> LoanConfig {
        LoanConfig {
            lend: Lend::Everyone,
            keep: 1,
            cap: None,
            cooldown: Duration::from_secs(5),
            lease: Duration::from_secs(30),
            grace: Duration::from_secs(10),
            match_timeout: Duration::from_secs(10),
            answer: Duration::from_secs(5),
        }
    }
}

impl LoanConfig {
    /// Whether the settings are within their ranges. The error names the first that is not.
    pub fn check(&self) -> Result<(), ConfigError> {
        let workers = |setting, value: u32, least: u32| {
            let expected = format!("{least} to 20000 workers");
            let fits = (least..=20_000).contains(&value);
            if fits { Ok(()) } else { Err(ConfigError::Range { setting, value: value.to_string(), expected }) }
        };
        let span = |setting, value: Duration, least: Duration| {
            let expected = format!("{least:?} to 1 h");
            let fits = (least..=Duration::from_secs(3600)).contains(&value);
            if fits { Ok(()) } else { Err(ConfigError::Range { setting, value: format!("{value:?}"), expected }) }
        };
        workers("keep", self.keep, 0)?;
        workers("cap", self.cap.unwrap_or(1), 1)?;
        span("cooldown", self.cooldown, Duration::ZERO)?;
        span("lease", self.lease, Duration::from_secs(1))?;
        span("grace", self.grace, Duration::ZERO)?;
        span("match-timeout", self.match_timeout, Duration::from_millis(100))?;
        span("loan-answer", self.answer, Duration::from_millis(100))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_settings_are_named() {
        let name = |config: LoanConfig| match config.check().unwrap_err() {
            ConfigError::Range { setting, .. } => setting,
        };
        let fine = LoanConfig::default();
        let long = Duration::from_secs(3601);
        assert_eq!(fine.check(), Ok(()));
        assert_eq!(
            LoanConfig { keep: 0, cooldown: Duration::ZERO, grace: Duration::ZERO, ..fine.clone() }.check(),
            Ok(())
        );
        assert_eq!(name(LoanConfig { keep: 20_001, ..fine.clone() }), "keep");
        assert_eq!(name(LoanConfig { cap: Some(0), ..fine.clone() }), "cap");
        assert_eq!(name(LoanConfig { cooldown: long, ..fine.clone() }), "cooldown");
        assert_eq!(name(LoanConfig { lease: Duration::from_millis(999), ..fine.clone() }), "lease");
        assert_eq!(name(LoanConfig { grace: long, ..fine.clone() }), "grace");
        assert_eq!(name(LoanConfig { match_timeout: Duration::ZERO, ..fine.clone() }), "match-timeout");
        assert_eq!(name(LoanConfig { answer: Duration::ZERO, ..fine }), "loan-answer");
    }

    #[test]
    fn policies_have_words() {
        assert!(Lend::ALL.into_iter().all(|lend| Lend::parse(lend.as_str()) == Some(lend)));
        assert_eq!(Lend::parse("Everyone"), None);
    }
}
