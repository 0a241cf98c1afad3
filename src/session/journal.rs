//! How an owner writes a session: a fact is numbered, stored, then shown.

use std::sync::Arc;
use std::time::Duration;

use tracing::{error, info, warn};

use super::{Session, status};
use crate::bus::{AppendError, Bus};
use crate::event::{Cursor, Disconnected, Event, Kind, Reason, Status, Time};
use crate::shutdown::Shutdown;

/// Pause between two tries while nothing can be stored.
const AGAIN: Duration = Duration::from_secs(1);

/// The pen of one epoch. There is one per epoch, and no two at a time per session.
pub(super) struct Journal {
    session: Arc<Session>,
    bus: Arc<dyn Bus>,
    shutdown: Shutdown,
    cursor: Cursor,
}

/// The fact is not written, and no other can be: another owner has the session, or the server stops while nothing can
/// be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PenLost;

impl Journal {
    pub(super) fn new(session: Arc<Session>, epoch: u64, bus: Arc<dyn Bus>, shutdown: Shutdown) -> Self {
        Self { session, bus, shutdown, cursor: Cursor::start_of(epoch) }
    }

    /// Writes a fact. Waits as long as nothing can be stored: viewers see nothing that the log does not know.
    pub(super) async fn write(&mut self, kind: Kind, now: Time) -> Result<(), PenLost> {
        let session = &self.session;
        let state = status::apply(&session.snapshot().state, &kind, now);
        let event = Arc::new(Event::new(session.id().clone(), self.cursor.next(), now, kind, state));
        let mut complained = false;
        loop {
            match self.bus.append(event.clone()).await {
                Ok(()) => break,
                Err(AppendError::Fenced) => {
                    warn!(session = %session.id(), epoch = self.cursor.epoch, "another owner has this session");
                    return Err(PenLost);
                }
                Err(AppendError::Storage(error)) => {
                    if !std::mem::replace(&mut complained, true) {
                        error!(session = %session.id(), %error, "session error");
                    }
                }
            }
            if self.shutdown.has_begun() {
                return Err(PenLost);
            }
            tokio::time::sleep(AGAIN).await;
        }
        let (kind, status) = (event.kind.name(), event.state.status.as_str());
        info!(session = %session.id(), id = %event.at, kind, status, "session event");
        self.cursor = event.at;
        session.record(event);
        Ok(())
    }

    /// Writes the last word of a deleted session, unless an earlier process has; whether its client was logged in.
    pub(super) async fn write_deleted(&mut self) -> Result<bool, PenLost> {
        let before = self.session.snapshot().state;
        if before.reason != Some(Reason::Deleted) {
            self.write(Kind::Disconnected(Disconnected::new(Reason::Deleted, None)), Time::now()).await?;
        }
        Ok(before.status == Status::Connected)
    }
}
