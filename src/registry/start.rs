//! How a link task begins, and what follows its end: after a creation, a restart or a deletion, at the start of the server,
//! and where another replica ran the session before.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::{FutureExt as _, StreamExt as _};
use metrics::counter;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, error, info, info_span, warn};

use super::commands::RestartError;
use super::slot::{Entry, Past, Tenure};
use super::{Registry, UNLIMITED};
use crate::cluster::Whereabouts;
use crate::event::{Me, Reason};
use crate::id::SessionId;
use crate::link::runner::Runner;
use crate::link::{Ask, Claim, Command, Purpose, Start};
use crate::records::{OwnerRequest, Record, RecordsError, SessionLimits};
use crate::session::Session;
use crate::telemetry::metrics::TAKEOVERS;
use crate::telemetry::traces;

impl Registry {
    /// Starts the link task of every session that was running when the last process ended, each client in its turn, and goes
    /// on with deletions that were under way.
    pub(crate) async fn start_all(self: &Arc<Self>) {
        // All at once: their claims share commits. The supervisor tries again.
        let resume = async |entry: Entry| {
            let record = entry.session.about().clone();
            if let Err(error) = self.resume(&entry, &record, None, None).await {
                warn!(sessionId = %entry.session.id(), %error, "not started yet");
            }
        };
        futures::stream::iter(self.all_here()).for_each_concurrent(None, resume).await;
    }

    /// Takes a session that nobody runs, where that is still so, and does what it needs. Whether this call has begun its
    /// link task here.
    pub(crate) async fn take_over(self: &Arc<Self>, id: &SessionId) -> Result<bool, RecordsError> {
        let found = match self.parts.cluster.find(id).await? {
            Whereabouts::Shared(found) => found,
            Whereabouts::Here => {
                let Some(entry) = self.known(id) else { return Ok(false) };
                let record = entry.session.about().clone();
                return self.resume(&entry, &record, None, None).await;
            }
            Whereabouts::Nowhere => return Ok(false),
        };
        let elsewhere = found.owner.as_ref().is_some_and(|owner| owner != self.parts.cluster.me());
        if elsewhere || self.tenure(id).is_some() {
            return Ok(false);
        }
        if !self.parts.whatsapp.is_whole(id).await.map_err(RecordsError::failed)? {
            // A link task would try for ever.
            return Err(RecordsError::damaged());
        }
        // Without the end of its log nobody knows where the session stands.
        self.parts.log.last(id).await?;
        let entry = self.slot_of(&found);
        let begun = self.resume(&entry, &found.record, found.request, Some(Instant::now())).await;
        match begun {
            // Another replica was faster.
            Err(RecordsError::OwnedElsewhere) => {
                self.rest(&entry);
                Ok(false)
            }
            Ok(true) => {
                counter!(TAKEOVERS).increment(1);
                info!(sessionId = %id, "session taken over");
                Ok(true)
            }
            done => {
                self.rest(&entry);
                done
            }
        }
    }

    /// Begins, or goes on with, whatever a session of this record needs. Whether this call has begun its link task. `taken`:
    /// when it was begun to be taken over from another replica.
    pub(crate) async fn resume(
        self: &Arc<Self>,
        entry: &Entry,
        record: &Record,
        request: Option<(i64, OwnerRequest)>,
        taken: Option<Instant>,
    ) -> Result<bool, RecordsError> {
        let Entry { session, slot } = entry;
        let mut past = slot.change.lock().await;
        if slot.tenure().is_some() {
            // Begun while this waited.
            return Ok(false);
        }
        let request = request.map(|(at, request)| {
            past.heard = past.heard.max(at);
            request
        });
        let deleted = session.snapshot().deleted.is_some();
        if request == Some(OwnerRequest::Restart { epoch: record.epoch }) && !deleted {
            return self.restart_entry(entry, &mut past).await.map(|()| true).map_err(as_records_error);
        }
        if !session.needs_task() {
            // The last process died after the session had ended, and before it could release it.
            if record.claimed {
                self.parts.records.release(session.id(), record.epoch).await?;
            }
            return Ok(false);
        }
        let claim = self.claim(entry, if deleted { UNLIMITED } else { self.parts.limits }).await?;
        session.owner_left(record);
        if !deleted && !session.snapshot().state.runs() {
            // The log, which was read after the record, says that the session has ended.
            self.parts.records.release(session.id(), claim.epoch).await?;
            return Ok(false);
        }
        let first = match request {
            _ if deleted => Some(Command::Erase { done: oneshot::channel().0 }),
            Some(request) => Ask::of(request).map(Command::Ask),
            None => None,
        };
        // After a clean stop the log says so already.
        let owner_lost = !deleted && !session.was_shut_down();
        // A session that nobody has linked waits for a person: how long that takes says nothing of a take-over.
        let taken = taken.filter(|_| !deleted && session.snapshot().state.linked);
        self.begin(entry, &mut past, Start { owner_lost, taken, in_turn: true, ..Start::of(claim) }, first);
        Ok(true)
    }

    /// A new epoch, after which nobody else writes this session; what others have written before is known here.
    pub(crate) async fn claim(&self, entry: &Entry, limits: SessionLimits) -> Result<Claim, RecordsError> {
        let (id, lease) = (entry.session.id(), self.parts.cluster.lease());
        let epoch = self.parts.records.claim(id, limits).await?;
        if entry.slot.tenure().is_none() {
            entry.session.absorb(self.parts.log.read_others(id).await?);
        }
        Ok(Claim { epoch, lease })
    }

    /// Starts the link task anew, after the client before it has stopped. For the one that holds the slot's lock.
    pub(crate) async fn restart_entry(
        self: &Arc<Self>,
        entry: &Entry,
        past: &mut Past,
    ) -> Result<(), RestartError> {
        let Entry { session, slot } = entry;
        if session.snapshot().deleted.is_some() {
            return Err(RestartError::Deleted);
        }
        if !self.parts.whatsapp.is_whole(session.id()).await? {
            // A link task would try for ever.
            return Err(RecordsError::damaged().into());
        }
        if let Some(running) = slot.tenure() {
            // Before the running task is stopped: a store that takes no new epoch could not start the next one.
            self.parts.records.check().await?;
            running.told(|done| Command::Restart { done }).await;
        }
        if let Some(last_client) = &past.stopped {
            // A new epoch refuses what the last client stores as it stops.
            last_client.cancelled().await;
        }
        let claim = self.claim(entry, self.parts.limits).await?;
        let state = session.snapshot().state;
        let mut me: Option<Me> = state.me;
        if state.ended && state.reason == Some(Reason::LoggedOut) {
            // WhatsApp no longer knows the old keys.
            self.parts.whatsapp.forget(session.id()).await?;
            me = None;
        }
        session.restart(me);
        self.begin(entry, past, Start::of(claim), None);
        Ok(())
    }

    /// Starts a link task, with a first command where there is one. For the one that holds the slot's lock.
    pub(crate) fn begin(
        self: &Arc<Self>,
        entry: &Entry,
        past: &mut Past,
        start: Start,
        first: Option<Command>,
    ) {
        let (session, slot) = (entry.session.clone(), &entry.slot);
        let stopped = CancellationToken::new();
        let start = Start { after: past.stopped.replace(stopped.clone()), ..start };
        let erases = matches!(first, Some(Command::Erase { .. }));
        let purpose = if erases { Purpose::Erase } else { Purpose::Link };
        let (commands, receiver) = mpsc::unbounded_channel();
        // The receiver is right here.
        let _ = first.map(|command| commands.send(command.into()));
        let (epoch, lease) = (start.epoch, start.lease.clone());
        let tenure = Tenure { session: session.clone(), epoch, lease, purpose, commands };
        slot.own(tenure, self.parts.cluster.me());
        // Whatever the task and its client say, they say of this session, and not of the request that began it.
        let span = info_span!(parent: None, "session", sessionId = %session.id(), epoch);
        let (before, parts) = (start.after.clone(), self.parts.clone());
        let trace = traces::of_link(session.id(), epoch);
        let runner = Runner { session, parts, commands: receiver, start, trace };
        let (registry, entry) = (self.clone(), entry.clone());
        let task = async move {
            let _stopped = stopped.drop_guard();
            registry.run_to_its_end(&entry, epoch, runner).await;
            let was_last = entry.slot.rest(epoch, registry.parts.cluster.owner_at_rest());
            // This task may have ended before it had a client. The next start then waits for the client before that.
            if let Some(before) = before {
                before.cancelled().await;
            }
            if was_last {
                registry.rest(&entry);
            }
        };
        self.parts.shutdown.spawn(task.instrument(span));
    }

    async fn run_to_its_end(&self, entry: &Entry, epoch: u64, runner: Runner) {
        if AssertUnwindSafe(runner.run()).catch_unwind().await.is_ok() {
            return;
        }
        // The panic itself is in the log. The supervisor starts it again, or another replica when the lease has lapsed.
        let id = entry.session.id();
        error!(sessionId = %id, "a link task ended by a panic");
        if self.parts.shutdown.has_begun() {
            self.parts.note_release(id, self.parts.cluster.hand_over(id, epoch).await);
        }
    }
}

impl Entry {
    /// As a creation makes it.
    pub(crate) fn new(session: Session) -> Self {
        let session = Arc::new(session);
        let slot = Arc::new(super::slot::Slot::idle(session.clone()));
        Self { session, slot }
    }
}

fn as_records_error(error: RestartError) -> RecordsError {
    match error {
        RestartError::Records(error) => error,
        error => RecordsError::failed(error),
    }
}
