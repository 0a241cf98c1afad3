//! Port: appends an event to its session's log, and reads the log back.
//!
//! The owner of a session appends; whoever opens the session reads. An event is shown to viewers after `append` said yes.

pub mod local;
pub mod redis;

use std::sync::Arc;

use async_trait::async_trait;

use crate::event::{Cursor, Event};
use crate::id::SessionId;
use crate::storage::StorageError;

/// The logs of all sessions.
#[async_trait]
pub trait Bus: Send + Sync {
    /// Stores an event at the end of its session's log. After an Ok it is durable.
    async fn append(&self, event: Arc<Event>) -> Result<(), AppendError>;

    /// The end of a session's log.
    async fn read(&self, session: &SessionId) -> Result<Log, StorageError>;

    /// Removes a session's log.
    async fn forget(&self, session: &SessionId) -> Result<(), StorageError>;

    /// Takes the strings out of QRs that have expired: nobody needs a credential that is of no use.
    async fn blank_expired(&self) -> Result<(), StorageError>;

    /// Every session that has a log.
    async fn sessions(&self) -> Result<Vec<SessionId>, StorageError>;
}

/// The end of a log, as much as is kept.
#[derive(Debug, Default)]
pub struct Log {
    /// Oldest first.
    pub events: Vec<Arc<Event>>,
    /// The newest event that is no longer kept.
    pub trimmed: Option<Cursor>,
}

/// The event is not stored.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AppendError {
    /// Somebody else owns the session now: stop writing.
    #[error("a later event is in this log already")]
    Fenced,
    /// Try again: nothing was stored, and nothing may be shown.
    #[error(transparent)]
    Storage(#[from] StorageError),
}
