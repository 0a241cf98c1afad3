//! What should run, and what does: brings the two together, whatever has parted them.
//!
//! A session that is neither ended nor waits for a person needs a link task, and so does one whose device is still to be
//! logged out. Where this process has all sessions, one that has none is started again: after a start that found the store
//! locked, after a restart that could not be stored, after a panic. Where there are other replicas [`crate::ownership`] takes
//! such a session over as soon as its lease has lapsed. Either way those that stay without one are counted here, and an alert
//! says so.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::time::sleep;
use tracing::{error, info};

use super::Registry;
use super::slot::Entry;
use super::unattended::SUPERVISOR_INTERVAL;
use crate::shutdown::Shutdown;

/// Looks after the sessions of a process that has them all, until the server stops.
pub(crate) async fn run(registry: Arc<Registry>, shutdown: Shutdown) {
    // Failures are told once in a row for each session.
    let mut told = HashMap::new();
    loop {
        tokio::select! {
            () = shutdown.begun() => return,
            () = sleep(SUPERVISOR_INTERVAL) => {}
        }
        let here = registry.all_here();
        let waiting = here.iter().filter(|entry| entry.lacks_task());
        registry.unattended.set(waiting.map(|entry| entry.session.id().clone()));
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
    pub(crate) fn unattended(&self) -> usize {
        self.unattended.too_long()
    }
}

impl Entry {
    /// Whether nobody is about to start the link task that this session needs.
    fn lacks_task(&self) -> bool {
        self.session.needs_task() && self.slot.tenure().is_none() && self.slot.change.try_lock().is_ok()
    }
}
