//! All sessions of this process: creates them, starts their link tasks, forgets them.
//!
//! Where there are other replicas, what is here are the sessions that this one owns, and mirrors of such as somebody
//! watches here (`mirror`); `ownership` decides which are owned, `takeover` begins them, `commands` asks things of them.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use dashmap::DashMap;
use futures::{FutureExt as _, StreamExt as _};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::time::{Instant, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{Instrument as _, error, info_span, warn};

use super::Session;
use super::contact::StoreContact;
use super::lease::Lease;
use super::runner::Runner;
use super::supervisor::Unattended;
pub use super::task::{Ask, Parts, Timers};
use super::task::{Command, Start};
use crate::event::{Status, Time};
use crate::id::{SessionId, UserId};
use crate::log::LogTail;
use crate::proxy::ProxyUrl;
use crate::records::{Created, Record};
pub use crate::records::{Judgement, Once, RecordsError, Viewers};
pub use crate::whatsapp::version::VersionReport;

/// How long a call waits for a link task to write its last word.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// The sessions, and the parts they stand on.
pub struct Registry {
    /// An entry goes with [`Registry::remove`], or when it is a mirror that nobody needs.
    pub(super) sessions: DashMap<SessionId, Arc<Entry>>,
    /// Sessions with a link task here. An entry goes when its task has ended.
    owned: DashMap<SessionId, Hold>,
    pub(super) parts: Arc<Parts>,
    /// Those that should have a link task and have none.
    pub(super) unattended: Unattended,
    /// Where there are other replicas.
    pub(super) store: Option<StoreContact>,
}

/// A session in this process.
pub(super) struct Entry {
    pub(super) session: Arc<Session>,
    /// The last link task that was started. Held while one takes over from another.
    pub(super) task: Mutex<Option<Task>>,
    /// Ends the mirror's following.
    pub(super) following: std::sync::Mutex<Option<DropGuard>>,
    /// The last wish that was heard of.
    pub(super) heard: AtomicI64,
}

/// How to reach a link task, and when its client has stopped.
pub(super) struct Task {
    pub(super) commands: mpsc::UnboundedSender<Command>,
    pub(super) stopped: CancellationToken,
}

/// An ownership.
#[derive(Clone)]
pub(super) struct Hold {
    pub(super) epoch: u64,
    pub(super) lease: Arc<Lease>,
    pub(super) commands: mpsc::UnboundedSender<Command>,
}

/// What an embedder says of a new session.
#[derive(Clone, Debug)]
pub struct NewSession {
    /// Whose.
    pub user: UserId,
    /// What the phone lists the device as.
    pub device_name: Option<String>,
    /// Its own way to WhatsApp.
    pub proxy: Option<ProxyUrl>,
    /// The embedder's own notes.
    pub metadata: Option<serde_json::Map<String, serde_json::Value>>,
    /// A phone number to ask a pairing code for, digits only.
    pub phone_number: Option<String>,
}

/// A session that was asked for.
#[derive(Clone, Debug)]
pub struct Creation {
    /// Which.
    pub id: SessionId,
    /// Whether it was made now; otherwise the same request had made it before.
    pub is_new: bool,
}

/// How many sessions of this process stand where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts(HashMap<Status, usize>);

impl Counts {
    /// In this status.
    pub fn of(&self, status: Status) -> usize {
        self.0.get(&status).copied().unwrap_or_default()
    }

    /// Neither ended nor used up.
    pub fn active(&self) -> usize {
        let over = |status| matches!(status, Status::Disconnected | Status::Failed);
        Status::ALL.into_iter().filter(|status| !over(*status)).map(|status| self.of(status)).sum()
    }
}

/// How the store is.
#[derive(Clone, Copy, Debug)]
pub enum Storage {
    /// This process's own.
    Here,
    /// That of many replicas.
    Shared {
        /// Since when it does not answer.
        away: Option<Time>,
        /// When it came back without its data.
        data_lost: Option<Time>,
    },
}

impl Registry {
    /// With every session that is stored, where this process has them all. None of them runs yet: see
    /// [`Registry::start_all`].
    ///
    /// # Errors
    /// When the records or the logs cannot be read.
    pub async fn open(parts: Parts) -> Result<Arc<Self>, RecordsError> {
        let store = parts.leases.as_ref().map(|leases| StoreContact::new(leases.contact()));
        let (sessions, owned, unattended) = Default::default();
        let registry = Self { sessions, owned, parts: Arc::new(parts), unattended, store };
        if registry.parts.leases.is_none() {
            for record in registry.parts.records.all().await? {
                let Some(log) = registry.log_of(&record.session).await? else { continue };
                let session = Session::restored(record, None, log, registry.parts.history);
                session.set_owner(Some(registry.parts.replica.clone()));
                registry.insert(session);
            }
        }
        Ok(Arc::new(registry))
    }

    /// What a session's log holds; `None` where that, or its device, is damaged. Whoever reads either notes it.
    async fn log_of(&self, id: &SessionId) -> Result<Option<LogTail>, RecordsError> {
        let log = match self.parts.log.read(id).await {
            Ok(log) => Some(log),
            Err(error) if error.is_damage() => None,
            Err(error) => return Err(error.into()),
        };
        let whole = self.parts.whatsapp.is_whole(id).await.map_err(RecordsError::failed)?;
        Ok(log.filter(|_| whole))
    }

    /// How many stored records cannot be read.
    pub fn damaged(&self) -> usize {
        self.parts.damage.count()
    }

    /// Starts the link task of every session that was running when the last process ended, each client in its turn, and goes
    /// on with deletions that were under way.
    pub async fn start_all(self: &Arc<Self>) {
        let entries: Vec<_> = self.sessions.iter().map(|entry| entry.clone()).collect();
        // All at once: their claims share commits. The supervisor tries again.
        let resume = async |entry: Arc<Entry>| {
            let record = entry.session.about().clone();
            if let Err(error) = self.resume(&entry, &record, None).await {
                warn!(sessionId = %entry.session.id(), %error, "not started yet");
            }
        };
        futures::stream::iter(entries).for_each_concurrent(None, resume).await;
    }

    /// Makes a session and starts its link task; the id of an earlier one where the same was asked for before. Answers
    /// before WhatsApp does.
    pub async fn create(
        self: &Arc<Self>,
        new: NewSession,
        once: Option<Once>,
    ) -> Result<Creation, RecordsError> {
        let this = self.clone();
        self.to_its_end(async move { this.create_now(new, once).await }).await
    }

    async fn create_now(
        self: &Arc<Self>,
        new: NewSession,
        once: Option<Once>,
    ) -> Result<Creation, RecordsError> {
        let record = Record {
            session: SessionId::new(&new.user),
            created: Time::now(),
            device_name: new.device_name,
            proxy: new.proxy,
            metadata: new.metadata,
            epoch: 0,
            claimed: true,
            deleted: None,
        };
        let lease = self.lease();
        let epoch = match self.parts.records.create(record.clone(), self.parts.limits, once).await? {
            Created::New(epoch) => epoch,
            Created::Before(id) => return Ok(Creation { id, is_new: false }),
        };
        let id = record.session.clone();
        let entry = self.insert(Session::new(Record { epoch, ..record }, self.parts.history));
        let start = Start { epoch, lease, owner_lost: false, after: None, taken: None, in_turn: false };
        let code = new.phone_number.map(|phone_number| Command::Ask(Ask::Code { phone_number }));
        *entry.task.lock().await = Some(self.start(&entry, start, code));
        Ok(Creation { id, is_new: true })
    }

    /// Forgets everything about a session, at once. Its device is not logged out.
    pub(super) async fn remove(&self, id: &SessionId) -> Result<(), RecordsError> {
        // The record first: what a crash leaves behind are orphans, which are swept.
        self.parts.records.remove(id).await?;
        self.sessions.remove(id);
        self.remove_remains(id).await
    }

    /// Waits until a session's link task has ended, for a while at most.
    pub(super) async fn task_ended(&self, id: &SessionId) {
        let Some(entry) = self.known(id) else { return };
        let stopped = entry.task.lock().await.as_ref().map(|task| task.stopped.clone());
        if let Some(stopped) = stopped {
            let _ = timeout(2 * PATIENCE, stopped.cancelled()).await;
        }
    }

    /// Rows whose session's record is gone.
    pub(super) async fn remove_orphans(&self) -> Result<usize, RecordsError> {
        // In this order: what was created meanwhile is no orphan.
        let mut remains = self.parts.whatsapp.sessions().await.map_err(RecordsError::failed)?;
        remains.extend(self.parts.log.sessions().await?);
        let known: std::collections::HashSet<_> = self.ids().await?.into_iter().collect();
        // What is left of a session that cannot be read is all there is of it.
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

    /// How the store is.
    pub fn storage(&self) -> Storage {
        match self.store.as_ref().map(StoreContact::look) {
            Some(known) => Storage::Shared { away: known.away, data_lost: known.data_lost },
            None => Storage::Here,
        }
    }

    /// Whether the store takes what is written, and can be read.
    pub fn judgement(&self) -> Judgement {
        self.parts.records.health().borrow().clone()
    }

    /// Whether something can be stored now.
    ///
    /// # Errors
    /// Why not.
    pub async fn check_storage(&self) -> Result<(), RecordsError> {
        self.parts.records.check().await
    }

    /// Which version of WhatsApp Web new clients claim, and how good that is.
    pub fn whatsapp_version(&self) -> VersionReport {
        self.parts.whatsapp.version()
    }

    /// How many sessions stand where.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for session in self.run_here() {
            *counts.0.entry(session.status()).or_default() += 1;
        }
        counts
    }

    /// The sessions whose link task runs here, or would: with one replica all there are.
    fn run_here(&self) -> impl Iterator<Item = Arc<Session>> {
        let alone = self.parts.leases.is_none();
        let entries = self.sessions.iter().filter(move |entry| alone || self.is_owned(entry.key()));
        entries.map(|entry| entry.session.clone())
    }

    /// How many sessions of this process a phone has linked, and nothing more has been heard of for this long.
    pub fn waiting_for_login(&self, longer_than: Duration, now: Time) -> usize {
        // The word first: this is asked every second, and the state of each session is a copy.
        let authenticated = self.run_here().filter(|session| session.status() == Status::Authenticated);
        authenticated.filter(|session| session.snapshot().state.since.elapsed(now) > longer_than).count()
    }

    /// A session that is here.
    pub(super) fn known(&self, id: &SessionId) -> Option<Arc<Entry>> {
        self.sessions.get(id).map(|entry| entry.clone())
    }

    /// Whether its link task runs here, and surely nowhere else.
    pub(super) fn is_owned(&self, id: &SessionId) -> bool {
        self.owned.get(id).is_some_and(|hold| hold.lease.lasts())
    }

    /// Whether this ownership has neither ended nor is being given up.
    pub(super) fn keeps(&self, id: &SessionId, hold: &Hold) -> bool {
        let is_this = self.owned.get(id).is_some_and(|current| current.epoch == hold.epoch);
        is_this && !hold.lease.is_given_up()
    }

    /// Every ownership of this process.
    pub(super) fn held(&self) -> Vec<(SessionId, Hold)> {
        self.owned.iter().map(|hold| (hold.key().clone(), hold.clone())).collect()
    }

    /// The sessions whose link task runs here.
    pub fn running(&self) -> Vec<SessionId> {
        self.owned.iter().map(|hold| hold.key().clone()).collect()
    }

    /// How many sessions a stop could not release; the log names each.
    pub fn not_released(&self) -> usize {
        self.parts.not_released.load(Ordering::Relaxed)
    }

    /// Whether a link task runs this session: here for certain, elsewhere as far as its owner's lease says.
    pub fn is_attended(&self, id: &SessionId, owner: Option<&str>) -> bool {
        owner.is_some_and(|owner| owner != self.parts.replica || self.had(id))
    }

    /// Whether its link task ran here when the lease was good.
    pub(super) fn had(&self, id: &SessionId) -> bool {
        self.owned.contains_key(id)
    }

    pub(super) fn owner_elsewhere(&self, entry: &Entry) -> bool {
        let owner = entry.session.snapshot().owner;
        self.parts.leases.is_some() && owner.is_some_and(|owner| owner != self.parts.replica)
    }

    /// A lease that begins now.
    pub(super) fn lease(&self) -> Arc<Lease> {
        Arc::new(match &self.parts.leases {
            Some(leases) => Lease::until(Instant::now() + leases.lease()),
            None => Lease::forever(),
        })
    }

    pub(super) fn insert(&self, session: Session) -> Arc<Entry> {
        let id = session.id().clone();
        // Another request may have been faster.
        self.sessions.entry(id).or_insert_with(|| Arc::new(Entry::new(session))).clone()
    }

    /// Starts a link task, with a first command where there is one.
    pub(super) fn start(self: &Arc<Self>, entry: &Arc<Entry>, start: Start, first: Option<Command>) -> Task {
        let (commands, receiver) = mpsc::unbounded_channel();
        // The receiver is right here.
        let _ = first.map(|command| commands.send(command));
        let stopped = CancellationToken::new();
        let guard = stopped.clone().drop_guard();
        let (session, epoch) = (entry.session.clone(), start.epoch);
        session.set_owner(Some(self.parts.replica.clone()));
        // What it writes need not come back to it.
        entry.following().take();
        let hold = Hold { epoch, lease: start.lease.clone(), commands: commands.clone() };
        self.owned.insert(session.id().clone(), hold);
        let (registry, entry) = (self.clone(), entry.clone());
        let before = start.after.clone();
        let runner = Runner { session, parts: self.parts.clone(), commands: receiver, start };
        // Whatever the task and its client say, they say of this session, and not of the request that began it.
        let span = info_span!(parent: None, "session", sessionId = %entry.session.id(), epoch);
        let task = async move {
            if AssertUnwindSafe(runner.run()).catch_unwind().await.is_err() {
                // The panic itself is in the log. The supervisor starts it again, or another replica when the lease has lapsed.
                error!(sessionId = %entry.session.id(), "a link task ended by a panic");
                if registry.parts.shutdown.has_begun() {
                    let parts = &registry.parts;
                    parts.given_up(entry.session.id(), parts.hand_over(entry.session.id(), epoch).await);
                }
            }
            let id = entry.session.id();
            let was_last = registry.owned.remove_if(id, |_, hold| hold.epoch == epoch).is_some();
            // One that ended before it had a client of its own: the next start waits for the client before that.
            if let Some(before) = before {
                before.cancelled().await;
            }
            drop(guard);
            if was_last && registry.parts.leases.is_some() {
                registry.become_mirror(entry);
            }
        };
        self.parts.shutdown.spawn(task.instrument(span));
        Task { commands, stopped }
    }
}

impl Entry {
    fn new(session: Session) -> Self {
        Self {
            session: Arc::new(session),
            task: Mutex::new(None),
            following: std::sync::Mutex::new(None),
            heard: AtomicI64::new(0),
        }
    }

    pub(super) fn id(self: &Arc<Self>) -> SessionId {
        self.session.id().clone()
    }

    pub(super) fn following(&self) -> std::sync::MutexGuard<'_, Option<DropGuard>> {
        // Nothing panics while it is held.
        self.following.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Task {
    /// Sends a command and waits until the task has written its last word. False when the task has ended, or does not
    /// answer.
    pub(super) async fn told(&self, command: impl FnOnce(oneshot::Sender<()>) -> Command) -> bool {
        let (done, heard) = oneshot::channel();
        if self.commands.send(command(done)).is_err() {
            return false;
        }
        matches!(timeout(PATIENCE, heard).await, Ok(Ok(())))
    }
}
