//! Waiting for conditions.

use std::sync::mpsc;
use std::time::{Duration, Instant};

/// How long a condition may take to come true before a test fails. Generous: tests share two cores.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// Blocks until `condition` is true, or panics after [`DEADLINE`] naming `what` was waited for.
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    wait_for(what, || condition().then_some(()))
}

/// Blocks until `probe` finds something, or panics after [`DEADLINE`] naming `what` was waited for.
pub(crate) fn wait_for<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(started.elapsed() < DEADLINE, "waited {DEADLINE:?} in vain for: {what}");
        pause(Duration::from_millis(5));
    }
}

/// Looks for all of `duration`, ten times a second and once more at its end.
pub(crate) fn watch(duration: Duration, mut look: impl FnMut()) {
    let started = Instant::now();
    while started.elapsed() < duration {
        look();
        pause(Duration::from_millis(100).min(duration.saturating_sub(started.elapsed())));
    }
    look();
}

/// Blocks for `duration` between two probes.
pub(crate) fn pause(duration: Duration) {
    // The sender is kept, so that the receiver waits for its time and is not told that nobody can send.
    let (_kept, nothing_comes) = mpsc::channel::<()>();
    let _ = nothing_comes.recv_timeout(duration);
}
