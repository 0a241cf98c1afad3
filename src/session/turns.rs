//! Turns for logins that many sessions are about to make at the same moment, as when a version is found that all of them
//! have waited for: one after the other, over the whole process.
//!
//! Link tasks ask for theirs and start their clients when it has come.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Between two turns: 20 logins a second.
const APART: Duration = Duration::from_millis(50);

/// Hands out turns.
#[derive(Default)]
pub struct Turns(Mutex<Option<Instant>>);

impl Turns {
    /// The next free one: now, where nobody has asked of late.
    pub(super) fn next(&self) -> Instant {
        // Its one value is always whole.
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let free = last.map_or_else(Instant::now, |last| Instant::now().max(last + APART));
        *last = Some(free);
        free
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn turns_of_one_moment_lie_apart_and_a_late_one_comes_at_once() {
        let (turns, begun) = (Turns::default(), Instant::now());
        let taken: Vec<_> = (0..3).map(|_| turns.next() - begun).collect();
        assert_eq!(taken, [0, 50, 100].map(Duration::from_millis));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(turns.next(), Instant::now());
    }
}
