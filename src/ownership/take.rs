//! Takes over sessions that nobody runs: those that were handed over at once, those whose owner is dead when their lease
//! has lapsed, and never more than this replica's share.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{debug, error};

use super::{Ownership, STARTS_AT_ONCE, share};
use crate::cluster::Contact;
use crate::id::SessionId;
use crate::records::RecordsError;

/// Between two searches for sessions that nobody runs. Up to a quarter of it is added at random.
const CLAIM_INTERVAL: Duration = Duration::from_secs(1);

/// How many sessions are taken in one go.
const MOST: usize = 32;

/// A session that was handed over is taken within this time, sooner by a replica that has fewer.
const JITTER: Duration = Duration::from_millis(40);

impl Ownership {
    /// Takes over what nobody runs.
    pub(crate) async fn claim(self: Arc<Self>) {
        // How many searches in a row have found a session while this replica had no room.
        let mut stuck = 0;
        let mut contact = self.leases.contact();
        loop {
            match self.take_some(&mut contact, &mut stuck).await {
                Ok(true) => continue,
                Ok(false) => {}
                // Redis is away, which is said elsewhere.
                Err(error) => debug!(%error, "no session can be taken over"),
            }
            tokio::select! {
                () = sleep(CLAIM_INTERVAL + CLAIM_INTERVAL.mul_f64(random() / 4.0)) => {}
                () = self.look.notified() => {}
            }
        }
    }

    /// Whether there may be more to take at once.
    async fn take_some(
        self: &Arc<Self>,
        contact: &mut watch::Receiver<Contact>,
        stuck: &mut u32,
    ) -> Result<bool, RecordsError> {
        let since = (!self.is_quiet()).then_some(Duration::ZERO);
        let waiting = self.leases.lapsed(since, MOST).await?;
        if contact.has_changed().unwrap_or(true) {
            contact.mark_unchanged();
            self.be_quiet();
            return Ok(false);
        }
        let mine = self.registry.running();
        let waiting: Vec<_> = waiting.into_iter().filter(|id| !mine.contains(id)).collect();
        self.registry.unattended.set(waiting.iter().cloned());
        if waiting.is_empty() {
            *stuck = 0;
            return Ok(false);
        }
        // Who lives may have changed just now.
        self.beat().await?;
        let mut room = self.room(mine.len()).await?;
        if room == 0 {
            *stuck += 1;
            // The counts may be out of date: after three such searches one session is taken all the same.
            room = usize::from(*stuck > 3);
        }
        let full = waiting.len() == MOST;
        let take = async |id: SessionId| {
            let this = self.clone();
            // Goes on when this loop is told to stop: what is claimed must be started, to be handed over.
            let taken = async move { Ok::<_, RecordsError>(this.take_over(&id).await) };
            self.registry.finish(taken).await.unwrap_or(false)
        };
        let some =
            futures::stream::iter(waiting.into_iter().take(room)).map(take).buffer_unordered(STARTS_AT_ONCE);
        let taken = some.filter(|taken| std::future::ready(*taken)).count().await;
        Ok(full && taken > 0)
    }

    /// Whether this call has begun its link task here.
    async fn take_over(self: &Arc<Self>, id: &SessionId) -> bool {
        match self.registry.take_over(id).await {
            Ok(begun) => begun,
            // Named where it was read.
            Err(error) if error.is_damage() => false,
            Err(error) => {
                error!(sessionId = %id, %error, "session error");
                false
            }
        }
    }

    /// How many sessions this replica may have beyond these.
    async fn room(&self, owned: usize) -> Result<usize, RecordsError> {
        let living = self.leases.living().len();
        Ok(share::fair(self.leases.claimed().await?, living).saturating_sub(owned))
    }

    pub(crate) async fn take_released(self: &Arc<Self>, id: &SessionId) {
        let owned = self.registry.running().len();
        let Ok(mut room) = self.room(owned).await else { return };
        // The replica that released it may have left just now.
        if room == 0 && self.beat().await.is_ok() {
            room = self.room(owned).await.unwrap_or(0);
        }
        if room == 0 {
            return;
        }
        // The replica that has fewest comes first.
        let filled = owned as f64 / (owned + room) as f64;
        sleep(JITTER.mul_f64(0.75 * filled + 0.25 * random())).await;
        self.take_over(id).await;
    }
}

/// From 0 to 1.
fn random() -> f64 {
    f64::from(uuid::Uuid::new_v4().as_bytes()[0]) / 255.0
}
