//! One timer for the heartbeats of all streams.
//!
//! A timer for each stream would cost memory and wake-ups. Instead each stream waits for one of a few shared slots,
//! which beat one after the other, so that not all streams write at the same moment.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::watch;

use crate::shutdown::Shutdown;

/// Slots a second apart.
const STEP: Duration = Duration::from_secs(1);

/// Beats for any number of streams, each once a period.
#[derive(Clone, Debug)]
pub(crate) struct Heartbeats {
    slots: Arc<[watch::Sender<()>]>,
    next: Arc<AtomicUsize>,
}

/// The heartbeat of one stream.
#[derive(Debug)]
pub(crate) struct Heartbeat(watch::Receiver<()>);

impl Heartbeats {
    /// Starts the timer; it ends with the server. `period` is a whole number of seconds.
    pub(crate) fn start(period: Duration, shutdown: &Shutdown) -> Self {
        let count = usize::try_from(period.as_secs()).unwrap_or(1).max(1);
        let slots: Arc<[_]> = (0..count).map(|_| watch::Sender::new(())).collect();
        let heartbeats = Self { slots, next: Arc::default() };
        shutdown.spawn(heartbeats.clone().run(shutdown.clone()));
        heartbeats
    }

    /// The heartbeat of one more stream. Its first beat comes within one period.
    pub(crate) fn join(&self) -> Heartbeat {
        let slot = self.next.fetch_add(1, Ordering::Relaxed) % self.slots.len();
        Heartbeat(self.slots[slot].subscribe())
    }

    async fn run(self, shutdown: Shutdown) {
        let mut step = tokio::time::interval(STEP);
        for slot in self.slots.iter().cycle() {
            tokio::select! {
                () = shutdown.begun() => return,
                _ = step.tick() => slot.send_replace(()),
            };
        }
    }
}

impl Heartbeat {
    /// Ends at the next beat.
    pub(crate) async fn beat(&mut self) {
        if self.0.changed().await.is_err() {
            // The server stops, which the stream learns from its drain.
            std::future::pending().await
        }
    }
}
