//! How long a program that has crashed waits until it is started again.

use std::time::Duration;

/// The first pause. Doubled with each crash.
const FIRST: Duration = Duration::from_millis(100);

/// The longest pause.
const LONGEST: Duration = Duration::from_secs(30);

/// Who served this long begins anew.
const SERVED: Duration = Duration::from_secs(60);

/// From this pause on, a program that has just crashed is not offered to others.
const DOWN_FROM: Duration = Duration::from_secs(1);

/// The pauses of one program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Backoff {
    next: Duration,
}

impl Backoff {
    /// Nothing has crashed.
    pub(super) fn new() -> Backoff {
        Backoff { next: FIRST }
    }

    /// It crashed after it had lived so long: the pause before the next start.
    pub(super) fn after(&mut self, lived: Duration) -> Duration {
        if lived >= SERVED {
            self.next = FIRST;
        }
        let pause = self.next;
        self.next = (pause * 2).min(LONGEST);
        pause
    }

    /// Whether a pause is so long that others should be asked meanwhile.
    pub(super) fn is_down(pause: Duration) -> bool {
        pause >= DOWN_FROM
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_to_half_a_minute_and_begin_anew_after_a_minute_of_service() {
        let mut backoff = Backoff::new();
        let pauses: Vec<u128> = (0..11).map(|_| backoff.after(Duration::from_secs(59)).as_millis()).collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000]);
        assert_eq!(backoff.after(Duration::from_secs(60)), FIRST);
        assert_eq!(backoff.after(Duration::ZERO), 2 * FIRST);
        assert!(!Backoff::is_down(Duration::from_millis(800)) && Backoff::is_down(Duration::from_millis(1600)));
    }
}
