//! Whether the store accepts writes again after an outage, for the link task.

use tokio::sync::watch;

use crate::records::Judgement;

/// Tells when a store that refused writes accepts them again, also if the outage began and ended while nobody looked.
pub(super) struct StoreWatch {
    health: watch::Receiver<Judgement>,
    /// Outages that are over, as far as this task has acted on them.
    outages: u64,
}

impl StoreWatch {
    pub(super) fn new(health: watch::Receiver<Judgement>) -> Self {
        // One that lasts is still to be acted on.
        let judgement = health.borrow();
        let outages = judgement.outages - u64::from(judgement.writes.is_some());
        drop(judgement);
        Self { health, outages }
    }

    /// May be dropped while it waits.
    pub(super) async fn mended(&mut self) {
        let outages = self.outages;
        let over = |judgement: &Judgement| judgement.writes.is_none() && judgement.outages > outages;
        let ended = self.health.wait_for(over).await.map(|judgement| judgement.outages);
        match ended {
            Ok(outages) => self.outages = outages,
            // The store is closed.
            Err(_) => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn an_outage_that_was_over_before_anybody_looked_is_heard_of_once() {
        let health = watch::Sender::new(Judgement::default());
        let mut store = StoreWatch::new(health.subscribe());
        assert!(store.mended().now_or_never().is_none());
        // It began and ended while the link task waited for a write.
        health.send_modify(|judgement| judgement.outages += 1);
        assert!(store.mended().now_or_never().is_some());
        assert!(store.mended().now_or_never().is_none());
    }
}
