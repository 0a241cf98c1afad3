//! Clears away what nobody needs any more, each with its time; never a linked session.
//!
//! Expired QRs lose their strings, sessions that were never linked and such as have ended go, and with them what a crash
//! may have left of sessions whose record is gone.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use tracing::{error, info};

use super::Registry;
use crate::event::Time;
use crate::id::SessionId;
use crate::link::LAST_WORD;
use crate::records::RecordsError;
use crate::session::{Error, Snapshot};
use crate::shutdown::Shutdown;

/// How long each kind of session is kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ages {
    /// Pause between two rounds.
    pub every: Duration,
    /// A session that no phone has linked, since its last start.
    pub unlinked: Duration,
    /// A session that has ended or was deleted, since then.
    pub ended: Duration,
}

/// What becomes of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Keep,
    /// It may still run: its viewers are told, its client is stopped.
    Delete,
    /// There is nothing left but rows.
    Remove,
}

/// Makes its rounds until the server stops.
pub(crate) async fn run(registry: Arc<Registry>, ages: Ages, shutdown: Shutdown) {
    loop {
        tokio::select! {
            () = shutdown.begun() => return,
            () = tokio::time::sleep(ages.every) => {}
        }
        if let Err(error) = round(&registry, ages).await {
            error!(%error, "clean-up failed");
        }
    }
}

async fn round(registry: &Arc<Registry>, ages: Ages) -> Result<(), Error> {
    let now = Time::now();
    for id in registry.ids().await? {
        let session = match registry.peek(&id).await {
            Ok(Some(session)) => session,
            Ok(None) => continue,
            // For a person to see to: nothing of it is cleared away.
            Err(error) if error.is_damage() => continue,
            Err(error) => return Err(error.into()),
        };
        let snapshot = session.snapshot();
        let verdict = judge(&snapshot, session.about().created, now, ages);
        // What another replica runs is for that one to clear away.
        if verdict == Verdict::Keep
            || snapshot.owner.is_some_and(|owner| owner != registry.parts.cluster.me())
        {
            continue;
        }
        if verdict == Verdict::Delete {
            registry.delete(&id).await?;
            // A link task that still ran would take the removal for a loss of the store's, and write the session again.
            registry.task_ended(&id).await;
        }
        registry.remove(&id).await?;
        info!(sessionId = %id, ?verdict, "session cleared away");
    }
    registry.parts.log.blank_expired().await.map_err(RecordsError::from)?;
    registry.parts.records.forget_keys().await?;
    let orphans = registry.remove_orphans().await?;
    if orphans > 0 {
        info!(orphans, "rows without a session cleared away");
    }
    let places = registry.parts.cluster.sweep().await?;
    if places > 0 {
        info!(places, "places of the limits given back");
    }
    Ok(())
}

impl Registry {
    /// Forgets everything about a session, at once. Its device is not logged out.
    async fn remove(&self, id: &SessionId) -> Result<(), RecordsError> {
        // The record first: what a crash leaves behind are orphans, which are swept.
        self.parts.records.remove(id).await?;
        self.slots.remove(id);
        self.remove_remains(id).await
    }

    /// Waits until a session's link task has ended, for a while at most.
    async fn task_ended(&self, id: &SessionId) {
        let Some(entry) = self.known(id) else { return };
        let stopped = entry.slot.change.lock().await.stopped.clone();
        if let Some(stopped) = stopped {
            let _ = timeout(2 * LAST_WORD, stopped.cancelled()).await;
        }
    }

    /// Rows whose session's record is gone.
    async fn remove_orphans(&self) -> Result<usize, RecordsError> {
        // In this order: what was created meanwhile is not an orphan.
        let mut remains = self.parts.whatsapp.sessions().await.map_err(RecordsError::failed)?;
        remains.extend(self.parts.log.sessions().await?);
        let known: std::collections::HashSet<_> = self.ids().await?.into_iter().collect();
        // The log and the device of a session whose record cannot be read are all that is left of it: they stay.
        if self.parts.damage.hides_a_session() {
            return Ok(0);
        }
        remains.retain(|id| !known.contains(id) && !self.parts.damage.is_about(id));
        let mut removed = 0;
        for id in &remains {
            // An index may lag; what is wiped here cannot be had again.
            match self.peek(id).await {
                Ok(None) => {
                    self.remove_remains(id).await?;
                    removed += 1;
                }
                Ok(Some(_)) => {}
                Err(error) if error.is_damage() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(removed)
    }

    async fn remove_remains(&self, id: &SessionId) -> Result<(), RecordsError> {
        self.parts.log.forget(id).await?;
        self.parts.whatsapp.forget(id).await.map_err(RecordsError::failed)
    }
}

fn judge(snapshot: &Snapshot, created: Time, now: Time, ages: Ages) -> Verdict {
    let Snapshot { state, last, deleted, .. } = snapshot;
    if let Some(at) = deleted {
        return if at.elapsed(now) > ages.ended { Verdict::Remove } else { Verdict::Keep };
    }
    if state.ended {
        return if state.since.elapsed(now) > ages.ended { Verdict::Remove } else { Verdict::Keep };
    }
    // An epoch is the time of its start in milliseconds.
    let started = last.and_then(|last| i64::try_from(last.epoch).ok()).map_or(created, Time::from_millis);
    let unlinked = state.me.is_none() && started.max(state.since).elapsed(now) > ages.unlinked;
    if unlinked { Verdict::Delete } else { Verdict::Keep }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Cursor, Me, Reason, State, Status};

    const HOUR: Duration = Duration::from_secs(3600);
    const AGES: Ages = Ages { every: HOUR, unlinked: HOUR, ended: Duration::from_secs(24 * 3600) };

    fn hours(hours: i64) -> Time {
        Time::from_millis(1_763_985_600_000 + hours * 3_600_000)
    }

    fn verdict(change: impl FnOnce(&mut Snapshot), now: Time) -> Verdict {
        let epoch = u64::try_from(hours(0).as_millis()).unwrap();
        let mut snapshot = Snapshot {
            state: State::initializing(hours(0), None),
            last: Some(Cursor { epoch, seq: 3 }),
            qr: None,
            passkey: None,
            deleted: None,
            owner: None,
        };
        change(&mut snapshot);
        judge(&snapshot, hours(0), now, AGES)
    }

    fn me() -> Option<Me> {
        Some(Me { id: "905:1@s.whatsapp.net".into(), push_name: None, platform: None })
    }

    #[test]
    fn a_linked_session_stays_whatever_its_age() {
        for status in [Status::Connected, Status::Reconnecting, Status::Authenticated] {
            let linked = |snapshot: &mut Snapshot| {
                snapshot.state.me = me();
                snapshot.state.status = status;
            };
            assert_eq!(verdict(linked, hours(100_000)), Verdict::Keep);
        }
    }

    #[test]
    fn a_session_that_was_never_linked_goes_after_its_time() {
        let exhausted = |snapshot: &mut Snapshot| {
            snapshot.state.status = Status::Disconnected;
            snapshot.state.reason = Some(Reason::QrExhausted);
        };
        assert_eq!(verdict(exhausted, hours(1)), Verdict::Keep);
        assert_eq!(verdict(exhausted, hours(2)), Verdict::Delete);
        assert_eq!(verdict(|_| {}, hours(2)), Verdict::Delete);
    }

    #[test]
    fn an_ended_or_deleted_session_goes_after_its_time() {
        let ended = |snapshot: &mut Snapshot| {
            snapshot.state.me = me();
            snapshot.state.ended = true;
        };
        let deleted = |snapshot: &mut Snapshot| snapshot.deleted = Some(hours(0));
        for now in [hours(2), hours(24)] {
            assert_eq!(verdict(ended, now), Verdict::Keep);
            assert_eq!(verdict(deleted, now), Verdict::Keep);
        }
        assert_eq!(verdict(ended, hours(25)), Verdict::Remove);
        assert_eq!(verdict(deleted, hours(25)), Verdict::Remove);
    }
}
