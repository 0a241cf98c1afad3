//! The sessions that should have a link task and have none: since when, and when each is tried again. The
//! supervisor fills it, metrics and the alert read it.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;

use crate::id::SessionId;

/// Between two looks. A session that is about to be started is left alone for as long.
pub(crate) const SUPERVISOR_INTERVAL: Duration = Duration::from_secs(1);

/// The pause after a start that failed is as long as the session has been waiting, up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How long a session may wait for a link task before an operator should know.
const PATIENCE: Duration = Duration::from_secs(30);

/// The sessions that should run and do not.
#[derive(Default)]
pub(crate) struct Unattended(Mutex<HashMap<SessionId, Waiting>>);

#[derive(Clone, Copy)]
struct Waiting {
    since: Instant,
    try_at: Instant,
}

impl Unattended {
    /// Replaces the sessions that wait; those that waited before keep their times.
    pub(crate) fn set(&self, waiting: impl IntoIterator<Item = SessionId>) {
        let now = Instant::now();
        let mut known = self.lock();
        let before = std::mem::take(&mut *known);
        known.extend(waiting.into_iter().map(|id| {
            let waiting =
                before.get(&id).copied().unwrap_or(Waiting { since: now, try_at: now + SUPERVISOR_INTERVAL });
            (id, waiting)
        }));
    }

    /// How many have waited for too long.
    pub(crate) fn too_long(&self) -> usize {
        let lock = self.lock();
        lock.values().filter(|waiting| waiting.since.elapsed() > PATIENCE).count()
    }

    /// Those whose next try is due, with a pause until the one after it.
    pub(crate) fn due(&self) -> Vec<SessionId> {
        let now = Instant::now();
        let mut lock = self.lock();
        let due = lock.iter_mut().filter(|(_, waiting)| waiting.try_at <= now);
        due.map(|(id, waiting)| {
            waiting.try_at = now + waiting.since.elapsed().clamp(SUPERVISOR_INTERVAL, LONGEST_PAUSE);
            id.clone()
        })
        .collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SessionId, Waiting>> {
        self.0.lock()
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_start_that_fails_is_tried_again_after_growing_pauses() {
        let (unattended, id) = (Unattended::default(), SessionId::new(&"ada".parse().unwrap()));
        let mut tries = Vec::new();
        for second in 0..120 {
            unattended.set([id.clone()]);
            if !unattended.due().is_empty() {
                tries.push(second);
            }
            assert_eq!(unattended.too_long(), usize::from(second > 30), "after {second} s");
            advance(SUPERVISOR_INTERVAL).await;
        }
        assert_eq!(tries, [1, 2, 4, 8, 16, 32, 62, 92]);
        unattended.set([]);
        assert!(unattended.due().is_empty() && unattended.too_long() == 0);
    }
}
