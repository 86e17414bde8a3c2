//! Waiting with a bounded patience, instead of sleeping and hoping.

use std::fmt::Display;
use std::thread;
use std::time::{Duration, Instant};

/// How often a condition is looked at.
const PAUSE: Duration = Duration::from_millis(5);

/// Lets time pass, for tests whose subject is time itself, such as an expiry. Whoever waits for
/// something to happen uses [`wait_until`].
pub fn let_pass(time: Duration) {
    thread::sleep(time);
}

/// Waits until `condition` holds; panics with the sentence `what` when patience runs out.
#[track_caller]
pub fn wait_until(what: &str, patience: Duration, mut condition: impl FnMut() -> bool) {
    wait_for(what, patience, || if condition() { Ok(()) } else { Err("it does not hold") });
}

/// Waits until `attempt` succeeds and returns its value; panics with the sentence `what` and the
/// last failure when patience runs out.
#[track_caller]
pub fn wait_for<T, E: Display>(
    what: &str,
    patience: Duration,
    mut attempt: impl FnMut() -> Result<T, E>,
) -> T {
    let started = Instant::now();
    loop {
        match attempt() {
            Ok(value) => return value,
            Err(error) if started.elapsed() >= patience => {
                panic!("waited {patience:?} until {what}, in vain: {error}")
            }
            Err(_) => thread::sleep(PAUSE),
        }
    }
}
