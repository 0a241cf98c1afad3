//! All sessions of this process: creates them, finds them, runs their link tasks, ends them.

use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use futures::StreamExt as _;
use tokio::sync::{Mutex, Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::error;

use super::Session;
use super::runner::Runner;
use super::task::{Command, Start};
pub use super::task::{Parts, Timers};
use crate::event::{Me, Reason, Status, Time};
use crate::id::{SessionId, UserId};
use crate::ledger::{Created, Limits, Record};
pub use crate::ledger::{LedgerError, Once};
use crate::whatsapp::StartError;

/// How many clients of a starting server may be on their way to WhatsApp at a time.
const PACE: usize = 50;

/// How long a call waits for a link task to write its last word.
const PATIENCE: Duration = Duration::from_secs(5);

/// The sessions, and the parts they stand on.
pub struct Registry {
    /// An entry goes with [`Registry::remove`].
    sessions: DashMap<SessionId, Arc<Entry>>,
    parts: Arc<Parts>,
}

struct Entry {
    session: Arc<Session>,
    /// The last link task that was started. Held while one takes over from another.
    task: Mutex<Option<Task>>,
}

/// How to reach a link task, and when its client has stopped.
struct Task {
    commands: mpsc::UnboundedSender<Command>,
    stopped: CancellationToken,
}

/// What an embedder says of a new session.
#[derive(Clone, Debug)]
pub struct NewSession {
    /// Whose.
    pub user: UserId,
    /// What the phone lists the device as.
    pub device_name: Option<String>,
    /// The embedder's own notes.
    pub metadata: Option<serde_json::Map<String, serde_json::Value>>,
    /// A phone number to ask a pairing code for, digits only.
    pub phone_number: Option<String>,
}

/// Why a session is not restarted.
#[derive(Debug, thiserror::Error)]
pub enum RestartError {
    /// It was deleted.
    #[error("the session is deleted")]
    Deleted,
    /// See [`LedgerError`].
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// See [`StartError`].
    #[error(transparent)]
    Keys(#[from] StartError),
}

/// How many sessions stand where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Neither ended nor used up.
    pub active: usize,
    /// With a QR or a code waiting for a phone.
    pub scan_qr: usize,
}

impl Registry {
    /// With every session that is stored. None of them runs yet: see [`Registry::start_all`].
    ///
    /// # Errors
    /// When the records or the logs cannot be read.
    pub async fn open(parts: Parts) -> Result<Self, LedgerError> {
        let registry = Self { sessions: DashMap::new(), parts: Arc::new(parts) };
        for record in registry.parts.ledger.all().await? {
            let log = registry.parts.bus.read(&record.session).await?;
            registry.insert(Session::restored(record, log, registry.parts.history));
        }
        Ok(registry)
    }

    /// Starts the link task of every session that was running when the last process ended, a few at a time, and goes
    /// on with deletions that were under way.
    pub async fn start_all(&self) {
        let pace = Arc::new(Semaphore::new(PACE));
        let entries: Vec<_> = self.sessions.iter().map(|entry| entry.value().clone()).collect();
        // Together, so that their claims share commits.
        let resume = async |entry: Arc<Entry>| {
            if let Err(error) = self.resume(&entry, &pace).await {
                error!(session = %entry.session.id(), %error, "session error");
            }
        };
        futures::stream::iter(entries).for_each_concurrent(None, resume).await;
    }

    /// Makes a session and starts its link task; the id of an earlier one where the same was asked for before. Answers
    /// before WhatsApp does.
    pub async fn create(&self, new: NewSession, once: Option<Once>) -> Result<SessionId, LedgerError> {
        let record = Record {
            session: SessionId::new(&new.user),
            created: Time::now(),
            device_name: new.device_name,
            metadata: new.metadata,
            epoch: 0,
            claimed: true,
            deleted: None,
        };
        let epoch = match self.parts.ledger.create(record.clone(), self.parts.limits, once).await? {
            Created::New(epoch) => epoch,
            Created::Before(session) => return Ok(session),
        };
        let id = record.session.clone();
        let entry = self.insert(Session::new(Record { epoch, ..record }, self.parts.history));
        let start = Start { epoch, owner_lost: false, after: None, pace: None };
        let code = new.phone_number.map(|phone_number| Command::Code { phone_number });
        *entry.task.lock().await = Some(self.start(&entry.session, start, code));
        Ok(id)
    }

    /// The session of this id.
    pub fn get(&self, id: &SessionId) -> Option<Arc<Session>> {
        self.entry(id).map(|entry| entry.session.clone())
    }

    /// Every session, in no order.
    pub fn all(&self) -> Vec<Arc<Session>> {
        self.sessions.iter().map(|entry| entry.session.clone()).collect()
    }

    /// A fresh start of the link task: new QRs where no device is linked, a reconnect where one is, new keys after a
    /// logout. `None` when there is no such session.
    pub async fn restart(&self, id: &SessionId) -> Option<Result<(), RestartError>> {
        let entry = self.entry(id)?;
        Some(self.restart_entry(&entry).await)
    }

    /// Ends a session for good: its device is logged out and its keys are forgotten. Returns when that is certain to
    /// happen, not when it has. An unknown session is no error.
    pub async fn delete(&self, id: &SessionId) -> Result<(), LedgerError> {
        let Some(entry) = self.entry(id) else { return Ok(()) };
        let now = Time::now();
        self.parts.ledger.delete(id, now).await?;
        if !entry.session.mark_deleted(now) {
            return Ok(());
        }
        self.erase(&entry).await
    }

    /// Asks for a pairing code, which comes as an event. False when the session has no client to ask.
    pub async fn request_code(&self, id: &SessionId, phone_number: String) -> bool {
        let Some(entry) = self.entry(id) else { return false };
        let task = entry.task.lock().await;
        task.as_ref().is_some_and(|task| task.commands.send(Command::Code { phone_number }).is_ok())
    }

    /// Forgets everything about a session, at once. Its device is not logged out.
    pub(super) async fn remove(&self, id: &SessionId) -> Result<(), LedgerError> {
        // The record first: what a crash leaves behind are orphans, which are swept.
        self.parts.ledger.remove(id).await?;
        self.sessions.remove(id);
        self.remove_remains(id).await
    }

    /// Rows whose session's record is gone.
    pub(super) async fn remove_orphans(&self) -> Result<usize, LedgerError> {
        let mut remains = self.parts.whatsapp.sessions().await.map_err(LedgerError::failed)?;
        remains.extend(self.parts.bus.sessions().await?);
        remains.retain(|id| !self.sessions.contains_key(id));
        for id in &remains {
            self.remove_remains(id).await?;
        }
        Ok(remains.len())
    }

    async fn remove_remains(&self, id: &SessionId) -> Result<(), LedgerError> {
        self.parts.bus.forget(id).await?;
        self.parts.whatsapp.forget(id).await.map_err(LedgerError::failed)
    }

    /// What the janitor needs beside the sessions.
    pub(super) fn parts(&self) -> &Parts {
        &self.parts
    }

    /// Whether something can be stored now.
    pub async fn check_storage(&self) -> Result<(), LedgerError> {
        self.parts.ledger.check().await
    }

    /// How many sessions stand where.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for session in self.all() {
            match session.snapshot().state.status {
                Status::ScanQr => {
                    counts.active += 1;
                    counts.scan_qr += 1;
                }
                Status::Initializing | Status::Authenticated | Status::Connected | Status::Reconnecting => {
                    counts.active += 1;
                }
                Status::Disconnected | Status::Failed => {}
            }
        }
        counts
    }

    fn entry(&self, id: &SessionId) -> Option<Arc<Entry>> {
        self.sessions.get(id).map(|entry| entry.clone())
    }

    fn insert(&self, session: Session) -> Arc<Entry> {
        let entry = Arc::new(Entry { session: Arc::new(session), task: Mutex::new(None) });
        self.sessions.insert(entry.session.id().clone(), entry.clone());
        entry
    }

    /// Starts a link task, with a first command where there is one.
    fn start(&self, session: &Arc<Session>, start: Start, first: Option<Command>) -> Task {
        let (commands, receiver) = mpsc::unbounded_channel();
        // The receiver is right here.
        let _ = first.map(|command| commands.send(command));
        let stopped = CancellationToken::new();
        let guard = stopped.clone().drop_guard();
        let runner =
            Runner { session: session.clone(), parts: self.parts.clone(), commands: receiver, start };
        self.parts.shutdown.spawn(async move {
            runner.run().await;
            drop(guard);
        });
        Task { commands, stopped }
    }

    /// At the start of the server.
    async fn resume(&self, entry: &Entry, pace: &Arc<Semaphore>) -> Result<(), LedgerError> {
        let session = &entry.session;
        let snapshot = session.snapshot();
        if snapshot.deleted.is_some() {
            return if session.about().claimed { self.erase(entry).await } else { Ok(()) };
        }
        if !snapshot.state.runs() {
            // A claim that outlived its session's end: the process died between the two.
            return if session.about().claimed {
                self.parts.ledger.release(session.id()).await
            } else {
                Ok(())
            };
        }
        let epoch = self.parts.ledger.claim(session.id(), self.parts.limits).await?;
        // After a clean stop the log says so already.
        let owner_lost = !session.was_shut_down();
        let start = Start { epoch, owner_lost, after: None, pace: Some(pace.clone()) };
        *entry.task.lock().await = Some(self.start(session, start, None));
        Ok(())
    }

    async fn restart_entry(&self, entry: &Entry) -> Result<(), RestartError> {
        let session = &entry.session;
        let mut task = entry.task.lock().await;
        if session.snapshot().deleted.is_some() {
            return Err(RestartError::Deleted);
        }
        let after = match task.take() {
            Some(last) => {
                last.told(|done| Command::Restart { done }).await;
                Some(last.stopped)
            }
            None => None,
        };
        let state = session.snapshot().state;
        let mut me: Option<Me> = state.me;
        if state.ended && state.reason == Some(Reason::LoggedOut) {
            if let Some(last_client) = &after {
                last_client.cancelled().await;
            }
            // WhatsApp knows the old keys no more.
            self.parts.whatsapp.forget(session.id()).await?;
            me = None;
        }
        let epoch = self.parts.ledger.claim(session.id(), self.parts.limits).await?;
        session.restart(me);
        *task = Some(self.start(session, Start { epoch, owner_lost: false, after, pace: None }, None));
        Ok(())
    }

    /// Has a deleted session logged out and wiped, by its link task or by a new one.
    async fn erase(&self, entry: &Entry) -> Result<(), LedgerError> {
        let mut task = entry.task.lock().await;
        if let Some(running) = &*task
            && running.told(|done| Command::Erase { done }).await
        {
            return Ok(());
        }
        let unlimited = Limits { all: u32::MAX, user: u32::MAX };
        let epoch = self.parts.ledger.claim(entry.session.id(), unlimited).await?;
        let after = task.take().map(|last| last.stopped);
        let (done, heard) = oneshot::channel();
        let start = Start { epoch, owner_lost: false, after, pace: None };
        *task = Some(self.start(&entry.session, start, Some(Command::Erase { done })));
        // The deletion is stored: it happens whether or not its last word comes in time.
        let _ = tokio::time::timeout(PATIENCE, heard).await;
        Ok(())
    }
}

impl Task {
    /// Sends a command and waits until the task has written its last word. False when the task has ended, or does not
    /// answer.
    async fn told(&self, command: impl FnOnce(oneshot::Sender<()>) -> Command) -> bool {
        let (done, heard) = oneshot::channel();
        if self.commands.send(command(done)).is_err() {
            return false;
        }
        matches!(tokio::time::timeout(PATIENCE, heard).await, Ok(Ok(())))
    }
}
