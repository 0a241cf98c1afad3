//! What should run, and what does: brings the two together, whatever has parted them.
//!
//! A session that is neither ended nor waits for a person needs a link task, and so does one whose device is still to be
//! logged out. Where this process has all sessions, one that has none is started again: after a start that found the store
//! locked, after a restart that could not be stored, after a panic. Where there are other replicas [`crate::ownership`] takes
//! such a session over as soon as its lease has lapsed. Either way those that stay without one are counted here, and an alert
//! says so.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::time::{Instant, sleep};
use tracing::{error, info};

use super::Registry;
use super::slot::Entry;
use crate::id::SessionId;
use crate::shutdown::Shutdown;

/// Between two looks. A session that is about to be started is left alone for as long.
const LOOK: Duration = Duration::from_secs(1);

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
    /// These wait at this moment; such as waited before go on doing so.
    pub(crate) fn are(&self, waiting: impl IntoIterator<Item = SessionId>) {
        let now = Instant::now();
        let mut known = self.lock();
        let before = std::mem::take(&mut *known);
        known.extend(waiting.into_iter().map(|id| {
            let waiting = before.get(&id).copied().unwrap_or(Waiting { since: now, try_at: now + LOOK });
            (id, waiting)
        }));
    }

    /// How many have waited for too long.
    pub(crate) fn too_long(&self) -> usize {
        let lock = self.lock();
        lock.values().filter(|waiting| waiting.since.elapsed() > PATIENCE).count()
    }

    /// Those whose next try is due, with a pause until the one after it.
    fn due(&self) -> Vec<SessionId> {
        let now = Instant::now();
        let mut lock = self.lock();
        let due = lock.iter_mut().filter(|(_, waiting)| waiting.try_at <= now);
        due.map(|(id, waiting)| {
            waiting.try_at = now + waiting.since.elapsed().clamp(LOOK, LONGEST_PAUSE);
            id.clone()
        })
        .collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SessionId, Waiting>> {
        self.0.lock()
    }
}

/// Looks after the sessions of a process that has them all, until the server stops.
pub async fn run(registry: Arc<Registry>, shutdown: Shutdown) {
    // Failures are told once in a row for each session.
    let mut told = HashMap::new();
    loop {
        tokio::select! {
            () = shutdown.begun() => return,
            () = sleep(LOOK) => {}
        }
        let here = registry.all_here();
        let waiting = here.iter().filter(|entry| entry.lacks_task());
        registry.unattended.are(waiting.map(|entry| entry.session.id().clone()));
        told.retain(|id, ()| registry.known(id).is_some_and(|entry| entry.lacks_task()));
        // Every start is a write.
        if registry.judgement().writes.is_some() {
            continue;
        }
        for id in registry.unattended.due() {
            let Some(entry) = registry.known(&id) else { continue };
            match registry.resume(&entry, entry.session.about(), None, None).await {
                Ok(true) => info!(sessionId = %id, "a session without a link task was started again"),
                Ok(false) => {}
                Err(error) => {
                    if told.insert(id.clone(), ()).is_none() {
                        error!(sessionId = %id, %error, "session error");
                    }
                }
            }
        }
    }
}

impl Registry {
    /// How many sessions have been without a link task that they need, for longer than it takes to start one.
    pub fn unattended(&self) -> usize {
        self.unattended.too_long()
    }
}

impl Entry {
    /// Whether nobody is about to start the link task that this session needs.
    fn lacks_task(&self) -> bool {
        self.session.needs_task() && self.slot.tenure().is_none() && self.slot.change.try_lock().is_ok()
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
            unattended.are([id.clone()]);
            if !unattended.due().is_empty() {
                tries.push(second);
            }
            assert_eq!(unattended.too_long(), usize::from(second > 30), "after {second} s");
            advance(LOOK).await;
        }
        assert_eq!(tries, [1, 2, 4, 8, 16, 32, 62, 92]);
        unattended.are([]);
        assert!(unattended.due().is_empty() && unattended.too_long() == 0);
    }
}
