//! How a session that nobody runs begins again here: at the start of the only replica, or taken over from another.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use metrics::counter;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::info;

use super::commands::RestartError;
use super::{Entry, Registry};
use crate::id::SessionId;
use crate::link::{Ask, Command, Start};
use crate::records::{Limits, Record, RecordsError, Wish};
use crate::session::Session;
use crate::telemetry::metrics::TAKEOVERS;

/// Limits for what must be possible in any case.
pub(crate) const UNLIMITED: Limits = Limits { all: u32::MAX, user: u32::MAX };

impl Registry {
    /// Takes a session that nobody runs, where that is still so, and does what it needs. Whether this call has begun its
    /// link task here.
    pub(crate) async fn take_over(self: &Arc<Self>, id: &SessionId) -> Result<bool, RecordsError> {
        let Some(leases) = &self.parts.leases else { return Ok(false) };
        let Some(found) = leases.find(id).await? else { return Ok(false) };
        let elsewhere = found.owner.as_ref().is_some_and(|owner| *owner != self.parts.replica);
        if elsewhere || self.had(id) {
            return Ok(false);
        }
        let (record, wish) = (found.record.clone(), found.wish.clone());
        if !self.parts.whatsapp.is_whole(id).await.map_err(RecordsError::failed)? {
            // A link task would try for ever.
            return Err(RecordsError::damaged());
        }
        let entry = self.mirror(found).await?;
        match self.resume(&entry, &record, wish).await {
            // Another replica was faster.
            Err(RecordsError::Held) => Ok(false),
            Ok(true) => {
                counter!(TAKEOVERS).increment(1);
                info!(sessionId = %id, "session taken over");
                Ok(true)
            }
            done => done,
        }
    }

    /// Begins, or goes on with, whatever a session of this record needs. Whether this call has begun its link task.
    pub(crate) async fn resume(
        self: &Arc<Self>,
        entry: &Arc<Entry>,
        record: &Record,
        wish: Option<(i64, Wish)>,
    ) -> Result<bool, RecordsError> {
        let session = &entry.session;
        let wish = wish.map(|(at, wish)| {
            entry.heard.fetch_max(at, Ordering::Relaxed);
            wish
        });
        let mut task = entry.task.lock().await;
        if self.had(session.id()) {
            // Begun while this waited.
            return Ok(false);
        }
        let deleted = session.snapshot().deleted.is_some();
        if wish == Some(Wish::Restart { epoch: record.epoch }) && !deleted {
            let restarted = self.restart_task(entry, &mut task).await;
            return restarted.map(|()| true).map_err(RestartError::into_records);
        }
        if !session.needs_task() {
            // A claim that outlived its session's end: the process died between the two.
            if record.claimed {
                self.parts.records.release(session.id(), record.epoch).await?;
            }
            return Ok(false);
        }
        let (lease, begun) = (self.lease(), Instant::now());
        let limits = if deleted { UNLIMITED } else { self.parts.limits };
        let epoch = self.claim(session, limits).await?;
        if !deleted && !session.snapshot().state.runs() {
            // Its end came between the two.
            self.parts.records.release(session.id(), epoch).await?;
            return Ok(false);
        }
        let first = match wish {
            _ if deleted => Some(Command::Erase { done: oneshot::channel().0 }),
            Some(wish) => Ask::of(wish).map(Command::Ask),
            None => None,
        };
        // After a clean stop the log says so already.
        let owner_lost = !deleted && !session.was_shut_down();
        let after = task.as_ref().map(|last| last.stopped.clone());
        // A session that nobody has linked waits for a person: that is no measure of ours.
        let comes_back = self.parts.leases.is_some() && !deleted && session.snapshot().state.linked;
        let taken = comes_back.then_some(begun);
        let start = Start { epoch, lease, owner_lost, after, taken, in_turn: true };
        *task = Some(self.start(entry, start, first));
        Ok(true)
    }

    /// A new epoch, after which nobody else writes this session; what others have written before is known here.
    pub(crate) async fn claim(&self, session: &Session, limits: Limits) -> Result<u64, RecordsError> {
        let epoch = self.parts.records.claim(session.id(), limits).await?;
        if self.parts.leases.is_some() && !self.had(session.id()) {
            session.absorb(self.parts.log.read(session.id()).await?);
        }
        Ok(epoch)
    }
}
