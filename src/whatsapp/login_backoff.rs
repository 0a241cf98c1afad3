//! How long a session waits after WhatsApp has turned it away: the library's own back-off, and the part of it that must
//! outlive a client.
//!
//! A client forgets its failures when it ends, and a new one would try again at once. So a link remembers how far the
//! pauses had grown. While the first client lives, the library keeps the pauses by itself and this file has no effect.

use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;

use crate::backoff::random;

/// The first pause of the library's back-off, a Fibonacci sequence that begins with this value twice.
/// Source: `fibonacci_backoff` in `client.rs` of whatsapp-rust 0.7.0, as the two below.
const FIRST: Duration = Duration::from_secs(1);

/// The longest pause.
const LONGEST: Duration = Duration::from_secs(900);

/// After a connection of at least this duration the failures before it no longer count.
const STABLE: Duration = Duration::from_secs(30);

/// A 429 counts as this many more failures. Source: `handle_stream_error` in `client/node_io.rs`.
pub(super) const THROTTLED: u32 = 5;

/// The library's pause after this many failures in a row.
pub(super) fn pause_after(failures: u32) -> Duration {
    let (mut now, mut next) = (FIRST, FIRST);
    for _ in 0..failures {
        if now >= LONGEST {
            break;
        }
        (now, next) = (next, now + next);
    }
    now.min(LONGEST)
}

/// The back-off of one link, kept across its clients.
pub(super) struct LoginBackoff {
    factor: f64,
    memory: Mutex<Memory>,
}

#[derive(Default)]
struct Memory {
    /// Failures of the clients before this one.
    carried: u32,
    /// The failures that the next client would begin with.
    grown: u32,
    /// When WhatsApp accepted the login of the current connection.
    logged_in: Option<Instant>,
}

/// The pause after a session was turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wait {
    pub(super) pause: Duration,
    /// Whether the client keeps this pause by itself. A client that was built anew would keep a shorter one.
    pub(super) by_client: bool,
}

impl LoginBackoff {
    /// `factor` is how much faster than real the timers run.
    pub(super) fn new(factor: f64) -> Self {
        Self { factor, memory: Mutex::default() }
    }

    /// Notes that WhatsApp has accepted a login.
    pub(super) fn logged_in(&self) {
        self.memory().logged_in = Some(Instant::now());
    }

    /// Notes that the current connection has ended.
    pub(super) fn lost(&self) {
        let mut memory = self.memory();
        let since = memory.logged_in.take();
        if since.is_some_and(|since| since.elapsed() >= STABLE.div_f64(self.factor)) {
            (memory.carried, memory.grown) = (0, 0);
        }
    }

    /// Notes that WhatsApp has turned the session away. `failures` are those of this client so far; `goes_on` says
    /// whether the client keeps running.
    pub(super) fn turned_away(&self, failures: u32, goes_on: bool) -> Wait {
        let mut memory = self.memory();
        // The failures keep counting, no matter how long the client was connected.
        memory.logged_in = None;
        let failures = memory.carried.saturating_add(failures);
        memory.grown = failures.saturating_add(1);
        let by_client = goes_on && memory.carried == 0;
        drop(memory);
        // Up to a tenth more or less, as in the library.
        let jitter = if by_client { 1.0 } else { 0.9 + 0.2 * random() };
        Wait { pause: pause_after(failures).mul_f64(jitter).div_f64(self.factor), by_client }
    }

    /// Notes that a new client is built.
    pub(super) fn rebuilt(&self) {
        self.lost();
        let mut memory = self.memory();
        memory.carried = memory.grown;
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock()
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[test]
    fn the_pauses_are_the_librarys() {
        let seconds: Vec<_> = (0..18).map(|failures| pause_after(failures).as_secs()).collect();
        assert_eq!(seconds, [1, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 377, 610, 900, 900, 900]);
        assert_eq!(pause_after(u32::MAX), LONGEST);
    }

    fn about(wait: Wait, seconds: u64) -> bool {
        let expected = Duration::from_secs(seconds);
        (expected.mul_f64(0.9)..=expected.mul_f64(1.1)).contains(&wait.pause)
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_client_keeps_its_pauses_by_itself() {
        let backoff = LoginBackoff::new(1.0);
        for (failures, seconds) in [(0, 1), (1, 1), (2, 2), (9, 55)] {
            let wait = backoff.turned_away(failures, true);
            assert_eq!(wait, Wait { pause: Duration::from_secs(seconds), by_client: true });
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_is_built_anew_waits_no_less_than_the_last_one() {
        let backoff = LoginBackoff::new(1.0);
        let mut seconds = Vec::new();
        // Each is ended by a 429 at its first login.
        for _ in 0..4 {
            let wait = backoff.turned_away(THROTTLED, false);
            assert!(!wait.by_client);
            seconds.push(wait);
            backoff.rebuilt();
        }
        for (wait, expected) in seconds.into_iter().zip([8, 144, 900, 900]) {
            assert!(about(wait, expected), "{wait:?}, not {expected}");
        }
        // The client keeps running after a 503, and would try again after a second.
        let wait = backoff.turned_away(0, true);
        assert!(!wait.by_client && about(wait, 900), "{wait:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn half_a_minute_of_connection_forgives_all_but_a_429() {
        for (seconds, forgiven) in [(29, false), (30, true)] {
            let backoff = LoginBackoff::new(1.0);
            backoff.turned_away(8, true);
            backoff.rebuilt();
            backoff.logged_in();
            advance(Duration::from_secs(seconds)).await;
            backoff.lost();
            assert_eq!(backoff.turned_away(0, true).by_client, forgiven);
        }
        let backoff = LoginBackoff::new(1.0);
        backoff.turned_away(8, true);
        backoff.rebuilt();
        backoff.logged_in();
        advance(Duration::from_secs(3600)).await;
        assert!(about(backoff.turned_away(THROTTLED, true), 610));
    }
}
