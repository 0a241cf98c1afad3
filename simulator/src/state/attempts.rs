//! When clients tried to connect, so that a test can tell how often they try. Read over [`crate::Simulator::attempts`].

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How many tries are kept; older ones are dropped.
const KEPT: usize = 200_000;

/// What a client tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptKind {
    /// To open a WebSocket, with any result.
    Connection,
    /// To register as a new device: the handshake is done.
    Registration,
    /// To log in as a linked device: the handshake is done.
    Login,
}

/// One try of one client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The kind of the try.
    pub kind: AttemptKind,
    /// Since the simulator started.
    pub at: Duration,
}

/// All tries, and how many of them met a limit.
pub(crate) struct Attempts {
    started: Instant,
    log: VecDeque<Attempt>,
    /// WebSockets that were tried to be opened, in all.
    pub(crate) connections: u64,
    /// Connections that were cut at their first word.
    pub(crate) refused: u64,
    /// Logins above the rate.
    pub(crate) throttled: u64,
    rate: Rate,
}

/// A bucket of logins that fills at the rate.
struct Rate {
    per_second: u32,
    left: f64,
    filled: Instant,
}

impl Default for Attempts {
    fn default() -> Self {
        let now = Instant::now();
        Self {
            started: now,
            log: VecDeque::new(),
            connections: 0,
            refused: 0,
            throttled: 0,
            rate: Rate { per_second: 0, left: 0.0, filled: now },
        }
    }
}

impl Attempts {
    pub(crate) fn connection(&mut self) {
        self.connections += 1;
        self.note(AttemptKind::Connection);
    }

    pub(crate) fn note(&mut self, kind: AttemptKind) {
        if self.log.len() == KEPT {
            self.log.pop_front();
        }
        self.log.push_back(Attempt { kind, at: self.started.elapsed() });
    }

    pub(crate) fn all(&self) -> Vec<Attempt> {
        self.log.iter().copied().collect()
    }

    /// Sets how many logins a second are accepted from now on, and as many in a burst; 0 means any number.
    pub(crate) fn limit(&mut self, per_second: u32) {
        self.rate = Rate { per_second, left: f64::from(per_second), filled: Instant::now() };
    }

    /// Whether a login is above the rate; counts it if so.
    pub(crate) fn throttles(&mut self) -> bool {
        let throttled = !self.rate.admits(Instant::now());
        self.throttled += u64::from(throttled);
        throttled
    }
}

impl Rate {
    fn admits(&mut self, now: Instant) -> bool {
        if self.per_second == 0 {
            return true;
        }
        let rate = f64::from(self.per_second);
        let filled = now.saturating_duration_since(self.filled).as_secs_f64() * rate;
        self.left = (self.left + filled).min(rate);
        self.filled = now;
        let admits = self.left >= 1.0;
        if admits {
            self.left -= 1.0;
        }
        admits
    }
}

#[cfg(test)]
mod tests {
    use super::Rate;
    use std::time::{Duration, Instant};

    #[test]
    fn so_many_logins_a_second_are_let_in() {
        let now = Instant::now();
        let mut rate = Rate { per_second: 2, left: 2.0, filled: now };
        assert_eq!([(); 3].map(|()| rate.admits(now)), [true, true, false]);
        let later = now + Duration::from_millis(600);
        assert_eq!([(); 2].map(|()| rate.admits(later)), [true, false]);
    }
}
