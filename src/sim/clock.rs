//! Clocks of machines: each runs at a rate of its own.

use std::time::Duration;

use super::plan::Dice;
use crate::time::{Time, micros};

/// The clock of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Clock {
    /// Thousandths that it gains or loses.
    skew: i64,
}

impl Clock {
    /// A clock that gains or loses up to `most` thousandths.
    pub(super) fn draw(most: u64, dice: &mut Dice) -> Clock {
        let shift = i64::try_from(most).expect("thousandths");
        Clock { skew: i64::try_from(dice.between(0, 2 * most)).expect("thousandths") - shift }
    }

    /// What it shows at a time of the world.
    pub(super) fn at(self, now: Time) -> Time {
        let us = i128::from(now.as_micros());
        let skewed = us + us * i128::from(self.skew) / 1000;
        Time::from_micros(u64::try_from(skewed).expect("worlds begin at 0 and clocks run forward"))
    }

    /// The first time of the world at which it shows `local`.
    pub(super) fn reached(self, local: Time) -> Time {
        let us = i128::from(local.as_micros()) * 1000;
        let rate = i128::from(1000 + self.skew);
        Time::from_micros(u64::try_from((us + rate - 1) / rate).unwrap_or(u64::MAX))
    }

    /// How long in the world what lasts `local` by this clock.
    pub(super) fn lasts(self, local: Duration) -> Duration {
        let us = i64::try_from(micros(local)).unwrap_or(i64::MAX / 2000) * 1000 / (1000 + self.skew);
        Duration::from_micros(us.unsigned_abs())
    }

    /// How far it may miss a deadline by its own rounding.
    pub(super) fn tick(self) -> Duration {
        Duration::from_micros(if self.skew == 0 { 0 } else { 2 })
    }
}
