//! The bus of one replica without a store: remembers where each log ends, so that a stale owner cannot write.
//!
//! The events themselves live in the session's own history.

use std::sync::Arc;

use async_trait::async_trait;
use dashmap::DashMap;

use super::{AppendError, Bus};
use crate::event::{Cursor, Event};
use crate::id::SessionId;

/// Logs in this process's memory.
#[derive(Default)]
pub struct LocalBus {
    /// Where each log ends. An entry goes with [`Bus::forget`].
    ends: DashMap<SessionId, Cursor>,
}

#[async_trait]
impl Bus for LocalBus {
    async fn append(&self, event: Arc<Event>) -> Result<(), AppendError> {
        let mut end = self.ends.entry(event.session.clone()).or_insert(Cursor::start_of(0));
        if event.at <= *end {
            return Err(AppendError::Fenced { last: *end });
        }
        *end = event.at;
        Ok(())
    }

    async fn forget(&self, session: &SessionId) {
        self.ends.remove(session);
    }
}
