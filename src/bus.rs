//! Port: appends an event to its session's log, and reads the log back.
//!
//! The owner of a session appends; whoever opens the session reads. An event is shown to viewers after `append` said yes.

pub mod local;

use std::sync::Arc;

use async_trait::async_trait;

use crate::event::{Cursor, Event};
use crate::id::SessionId;

/// The logs of all sessions.
#[async_trait]
pub trait Bus: Send + Sync {
    /// Stores an event at the end of its session's log.
    async fn append(&self, event: Arc<Event>) -> Result<(), AppendError>;

    /// Removes a session's log.
    async fn forget(&self, session: &SessionId);
}

/// The event is not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// Somebody else owns the session now: stop writing.
    #[error("a newer epoch has written to this log; the last event is {last}")]
    Fenced {
        /// The end of the log.
        last: Cursor,
    },
}
