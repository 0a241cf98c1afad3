//! How an owner writes a session: a fact is numbered, stored, then shown.
//!
//! Where the store is elsewhere and does not answer, the owner shows a fact at once, as long as its lease lasts, and
//! stores it later, in order: nobody else can be the owner meanwhile.

use std::sync::Arc;
use std::time::Duration;

use metrics::{counter, histogram};
use tokio::time::Instant;
use tracing::{Span, error, info, warn};

use crate::cluster::Lease;
use crate::event::{Cursor, Disconnected, Event, Kind, Reason, Status, Time};
use crate::log::{AppendError, EventLog};
use crate::session::{Session, status};
use crate::shutdown::Shutdown;
use crate::telemetry::metrics::{APPEND_SECONDS, EVENTS, TAKEOVER_SECONDS};
use crate::telemetry::traces;

/// Pause between two tries while nothing can be stored.
const AGAIN: Duration = Duration::from_secs(1);

/// Pause before events that were shown first are stored.
const SOON: Duration = Duration::from_millis(200);

/// How long a release waits for what was shown to be stored. With one call before and one after it,
/// each of at most a second, a stop with no time for viewers still has enough.
const SETTLE: Duration = Duration::from_millis(1500);

/// How many events may be shown before they are stored.
const MAX_UNFLUSHED: usize = 64;

/// Writes the events of one epoch. A session never has two at a time.
pub(crate) struct Journal {
    session: Arc<Session>,
    log: Arc<dyn EventLog>,
    lease: Arc<Lease>,
    shutdown: Shutdown,
    cursor: Cursor,
    /// Shown, and to be stored; at most [`MAX_UNFLUSHED`].
    unflushed: Vec<Arc<Event>>,
    flush_at: Option<Instant>,
    /// When a linked session was claimed from another replica, until it is connected again.
    taken: Option<Instant>,
    /// Until the session is connected, or ended.
    trace: Span,
}

/// The fact is not written, and no other can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WriteError {
    /// Another owner has the session, or may have it: leave it alone.
    Fenced,
    /// The server stops while nothing can be stored: the session is still ours, and is to be released.
    Stopping,
}

impl Journal {
    pub(crate) fn new(
        session: Arc<Session>,
        epoch: u64,
        log: Arc<dyn EventLog>,
        lease: Arc<Lease>,
        shutdown: Shutdown,
        taken: Option<Instant>,
    ) -> Self {
        let cursor = Cursor::start_of(epoch);
        Self {
            session,
            log,
            lease,
            shutdown,
            cursor,
            unflushed: Vec::new(),
            flush_at: None,
            taken,
            trace: Span::none(),
        }
    }

    /// With its events in the trace of this span.
    pub(crate) fn traced_in(self, trace: Span) -> Self {
        Self { trace, ..self }
    }

    /// Writes a fact. Waits as long as it can be neither stored nor shown.
    pub(crate) async fn write(&mut self, kind: Kind, now: Time) -> Result<(), WriteError> {
        let session = &self.session;
        let state = status::apply(&session.snapshot().state, &kind, now);
        let event = Arc::new(Event::new(session.id().clone(), self.cursor.next(), now, kind, state));
        let traced = traces::of_event(&self.trace, event.kind.name(), event.at);
        let mut complained = false;
        while let Err(error) = self.store(&event).await {
            if matches!(error, AppendError::Fenced) {
                warn!(sessionId = %self.session.id(), epoch = self.cursor.epoch, "another owner has this session");
                return Err(WriteError::Fenced);
            }
            if !std::mem::replace(&mut complained, true) {
                error!(sessionId = %self.session.id(), %error, "session error");
            }
            if matches!(error, AppendError::Away)
                && self.lease.lasts()
                && self.unflushed.len() < MAX_UNFLUSHED
            {
                self.unflushed.push(event.clone());
                self.flush_at = Some(Instant::now() + SOON);
                break;
            }
            if self.shutdown.has_begun() {
                return Err(WriteError::Stopping);
            }
            if self.must_stop() {
                return Err(WriteError::Fenced);
            }
            tokio::time::sleep(AGAIN).await;
        }
        let (kind, status) = (event.kind.name(), event.state.status);
        info!(sessionId = %self.session.id(), id = %event.at, kind, status = status.as_str(), "session event");
        counter!(EVENTS, "event" => kind).increment(1);
        if let Kind::Ready { .. } = event.kind
            && let Some(taken) = self.taken.take()
        {
            histogram!(TAKEOVER_SECONDS).record(taken.elapsed());
        }
        self.cursor = event.at;
        event.drawn().await;
        if status == Status::Connected || event.state.ended {
            self.trace = Span::none();
        }
        self.session.record(event);
        drop(traced);
        Ok(())
    }

    async fn store(&mut self, event: &Arc<Event>) -> Result<(), AppendError> {
        self.flush().await?;
        let begun = Instant::now();
        self.log.append(event.clone()).await?;
        histogram!(APPEND_SECONDS).record(begun.elapsed());
        Ok(())
    }

    /// When what was shown is to be stored, with [`Journal::catch_up`].
    pub(crate) fn flush_at(&self) -> Option<Instant> {
        self.flush_at
    }

    /// Stores what was shown, as far as that can be done now.
    pub(crate) async fn catch_up(&mut self) -> Result<(), WriteError> {
        match self.flush().await {
            Ok(()) => Ok(()),
            Err(AppendError::Fenced) => Err(WriteError::Fenced),
            Err(AppendError::Away | AppendError::Storage(_)) => {
                self.flush_at = Some(Instant::now() + SOON);
                Ok(())
            }
        }
    }

    /// Stores what was shown before the session is released: its next owner knows it from the log alone.
    ///
    /// # Errors
    /// When it still cannot be stored after a while.
    pub(crate) async fn settle(&mut self) -> Result<(), AppendError> {
        let deadline = Instant::now() + SETTLE;
        loop {
            match self.flush().await {
                // Fenced: what is in this log now is the next owner's matter.
                Ok(()) | Err(AppendError::Fenced) => return Ok(()),
                Err(error) if Instant::now() + SOON > deadline => return Err(error),
                Err(AppendError::Away | AppendError::Storage(_)) => tokio::time::sleep(SOON).await,
            }
        }
    }

    /// Stores what was shown, and before that any older events that the store has lost.
    async fn flush(&mut self) -> Result<(), AppendError> {
        if let Some(first) = self.unflushed.first() {
            let mut events = self.session.events();
            events.retain(|event| event.at < first.at);
            events.extend(self.unflushed.iter().cloned());
            self.log.restore(self.session.id(), self.cursor.epoch, &events).await?;
            self.unflushed.clear();
        }
        self.flush_at = None;
        Ok(())
    }

    /// Nobody may link a device whose keys could not be stored.
    fn must_stop(&self) -> bool {
        self.session.is_unpaired() && !self.lease.lasts()
    }

    /// Writes the last word of a deleted session, unless an earlier process has; whether its client was logged in.
    pub(crate) async fn write_deleted(&mut self) -> Result<bool, WriteError> {
        let before = self.session.snapshot().state;
        if before.reason != Some(Reason::Deleted) {
            self.write(Kind::Disconnected(Disconnected::new(Reason::Deleted, None)), Time::now()).await?;
        }
        Ok(before.status == Status::Connected)
    }
}
