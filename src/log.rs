//! Port: appends an event to its session's log, and reads the log back.
//!
//! The owner of a session appends; every replica that opens the session reads. An event is shown to viewers after `append` said yes.

pub(crate) mod redis;
pub(crate) mod sqlite;

use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::BoxStream;
use tokio::sync::mpsc;

use crate::event::{Cursor, Event};
use crate::id::SessionId;
use crate::storage::StorageError;

/// The logs of all sessions.
#[async_trait]
pub(crate) trait EventLog: Send + Sync {
    /// Stores an event at the end of its session's log. After an Ok it is durable.
    async fn append(&self, event: Arc<Event>) -> Result<(), AppendError>;

    /// Every event of the session after `after` (all that are kept, for `None`) in its order, each once, then those to
    /// come, also those of an owner elsewhere. Goes on through any loss of the connection. Where all sessions are ours
    /// there is nobody else to hear of.
    fn follow(&self, session: SessionId, after: Option<Cursor>) -> BoxStream<'static, Followed>;

    /// Every event that anybody appends to any log from when this says [`Appended::Missed`] for the first time. One of many
    /// replicas gets QRs without their strings.
    fn follow_all(&self) -> BoxStream<'static, Appended>;

    /// Writes again what a store that came back may have lost: the owner's own history, oldest first, under the epoch
    /// that it holds. What is still there is left as it is.
    async fn restore(
        &self,
        session: &SessionId,
        epoch: u64,
        events: &[Arc<Event>],
    ) -> Result<(), AppendError>;

    /// The last event of a session.
    async fn last(&self, session: &SessionId) -> Result<Option<Arc<Event>>, StorageError>;

    /// What others may have written of a session that this process has claimed. Empty where there is nobody else.
    async fn read_others(&self, session: &SessionId) -> Result<LogTail, StorageError>;

    /// What a session's log keeps after an event (all of it, for `None`). Events between the two may be missing where
    /// `trimmed` is newer than `after`.
    async fn after(&self, session: &SessionId, after: Option<Cursor>) -> Result<LogTail, StorageError>;

    /// The end of a session's log.
    async fn read(&self, session: &SessionId) -> Result<LogTail, StorageError>;

    /// Removes a session's log.
    async fn forget(&self, session: &SessionId) -> Result<(), StorageError>;

    /// Takes the strings out of QRs that have expired: nobody needs a credential that is of no use.
    async fn blank_expired(&self) -> Result<(), StorageError>;

    /// Every session that has a log.
    async fn sessions(&self) -> Result<Vec<SessionId>, StorageError>;
}

/// What `webhooks` needs of an append. A receiver of webhooks reads the log from its own cursor on, so the event that is
/// appended is all that is queued; what is added is that somebody looks.
#[derive(Clone, Debug)]
pub(crate) struct Queueing {
    /// Whether every session has a receiver, and not only those whose record names one.
    pub every: bool,
    /// Told of each session with something new. One that is not told is found in the list of those that are due.
    pub wake: mpsc::Sender<SessionId>,
}

impl Queueing {
    fn wake(&self, session: &SessionId) {
        // Where too many wait to be told, the list has it.
        let _ = self.wake.try_send(session.clone());
    }
}

/// The end of a log, as much as is kept.
#[derive(Debug, Default)]
pub(crate) struct LogTail {
    /// Oldest first.
    pub events: Vec<Arc<Event>>,
    /// The newest event that is no longer kept.
    pub trimmed: Option<Cursor>,
}

impl LogTail {
    /// The end of a log of which some events may be damaged; newest first, with the id of a damaged one in its place.
    /// `trimmed` is the newest event that is not kept.
    ///
    /// # Errors
    /// [`StorageError::Corrupt`] where the last one is: nobody can tell where the session stands.
    pub(crate) fn read_back(
        newest_first: Vec<Result<Arc<Event>, Cursor>>,
        trimmed: Option<Cursor>,
    ) -> Result<Self, StorageError> {
        let mut log = Self { events: Vec::new(), trimmed };
        for event in newest_first {
            match event {
                Ok(event) => log.events.push(event),
                Err(_) if log.events.is_empty() => return Err(StorageError::Corrupt),
                // A viewer that has seen only what comes before it is told that there is a gap.
                Err(damaged) => {
                    log.trimmed = Some(damaged);
                    break;
                }
            }
        }
        log.events.reverse();
        Ok(log)
    }
}

/// What a follower is told.
#[derive(Clone, Debug)]
pub(crate) enum Followed {
    /// The next event.
    Event(Arc<Event>),
    /// Events up to this one were missed and are not kept any more; what follows is later.
    Cut(Cursor),
    /// The log was removed; nothing follows.
    Gone,
}

/// What somebody who follows all logs is told.
#[derive(Clone, Debug)]
pub(crate) enum Appended {
    /// An event that was appended. Those of one session come in their order.
    Event(Arc<Event>),
    /// What was appended before may have been missed.
    Missed,
}

/// The event is not stored.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum AppendError {
    /// Somebody else owns the session now: stop writing.
    #[error("a later event is in this log already")]
    Fenced,
    /// The store does not answer: try again. It may have been stored; a replica that still owns the session may show it.
    #[error("the store is away")]
    Away,
    /// Try again: nothing was stored, and nothing may be shown.
    #[error(transparent)]
    Storage(StorageError),
}

impl From<StorageError> for AppendError {
    fn from(error: StorageError) -> Self {
        if matches!(error, StorageError::Away) { Self::Away } else { Self::Storage(error) }
    }
}
