//! The storage of one linked device: everything that the WhatsApp library stores, written once over a
//! small port.
//!
//! Neither a database nor a cache: [`DeviceStorage`] turns the library's five traits (together its `Backend`)
//! into `get`, `scan` and `commit` on an [`Engine`]; `server` picks the engine, `session`'s runner opens one
//! storage for each link it runs and hands it to `whatsapp::client`. How each method must behave is said by
//! `wacore/src/store/traits.rs` and shown by `in_memory.rs` beside it; the contract tests run against that
//! one too.
//!
//! # Rules
//! - A storage is bound to one session and one epoch. [`DeviceStorage::open`] claims it; a newer claim
//!   refuses all later commits of the older one, which [`DeviceStorage::fenced`] tells the link task, so that
//!   it stops the client.
//! - A session has one writer: every commit takes the storage's lock, so read-change-write is safe. The lock
//!   travels with the commit into the engine, so it is not over before the commit is, even if the library
//!   drops the call half-way.
//! - One call of the library is one commit, however many rows it has.
//! - A storage costs a few hundred bytes while nothing happens, whatever is stored.
//!
//! # What can grow, and what bounds it
//! | table | a row per | bound |
//! | --- | --- | --- |
//! | `device`, `last` | account | one row each |
//! | `prekey`, `signed` | key | the library makes a batch of 812 and removes a key when it is used; old signed keys are removed at rotation |
//! | `identity`, `session`, `devices`, `lid`, `phone` | contact device or contact | the account's contacts and group members; replaced in place, never swept |
//! | `sender`, `holder`, `group` | group, member device | the account's groups; `holder` is cleared at rotation |
//! | `synckey`, `syncver`, `syncmac` | app-state item | the account's settings and chats; `syncmac` is cleared at each snapshot |
//! | `basekey` | message being retried | deleted by the library when the retry ends |
//! | `token` | contact | swept by `delete_expired_tc_tokens` |
//! | `sent` | message sent | swept by age, and never more than about 5,000 rows (see `messages.rs`) |
//! | `pending` | message being taken in | deleted at its commit; swept after seven days |
//! | `secret` | message | its deadline, set by the client's `MsgSecretRetention`; rows with deadline 0 stay for ever |
//!
//! All of it goes with [`Engine::wipe`].

mod app_sync;
pub(crate) mod device;
pub(crate) mod engine;
mod key;
mod lid;
#[cfg(test)]
pub(crate) mod memory;
mod messages;
mod msg_secret;
mod protocol;
pub(crate) mod redis;
mod row;
mod signal;
pub(crate) mod sqlite;
#[cfg(test)]
mod tests;
mod token;

use std::fmt;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use wacore::store::error::{Result, StoreError};
use wacore::store::traits::DeviceStore as _;

pub(crate) use self::device::is_linked;
pub(crate) use self::engine::{Change, CommitLock, Engine, EngineError, Fence, Key, Table};
use self::messages::{Sent, Sweep};
use crate::event::Missing;
use crate::storage::StorageError;

/// The storage of one session's device, as the owner of one epoch may use it. The library's `Backend`.
///
/// One instance per claim at a time, because two would not share a lock. [`retire`](Self::retire) the
/// old one before opening another for the same epoch.
pub(crate) struct DeviceStorage {
    engine: Arc<dyn Engine>,
    fence: Fence,
    commit_lock: Arc<Mutex<()>>,
    fenced: CancellationToken,
    sent: Sent,
    sent_sweep: Sweep,
    pending_sweep: Sweep,
    secret_sweep: Sweep,
    /// The account's name, while it is hidden from the library.
    hidden_name: OnceLock<String>,
    /// The listener that is told what was stored.
    listener: OnceLock<Listener>,
}

/// A listener that is called right after something was stored.
type Listener = Box<dyn Fn(Stored) + Send + Sync>;

/// Something of the account's settings that was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stored {
    /// A key for the settings.
    Key,
    /// One of the collections for which a fresh device waits.
    Settings,
}

impl DeviceStorage {
    /// Claims the device: from the Ok on, commits of older epochs are refused, so what is read now stays
    /// true.
    ///
    /// [`EngineError::Fenced`] when a newer epoch has claimed it already.
    pub(crate) async fn open(
        engine: Arc<dyn Engine>,
        fence: Fence,
    ) -> std::result::Result<Self, EngineError> {
        engine.claim(&fence).await?;
        Ok(Self {
            engine,
            fence,
            commit_lock: Arc::default(),
            fenced: CancellationToken::new(),
            sent: Sent::default(),
            sent_sweep: Sweep::default(),
            pending_sweep: Sweep::default(),
            secret_sweep: Sweep::default(),
            hidden_name: OnceLock::new(),
            listener: OnceLock::new(),
        })
    }

    /// Returns once a commit was refused because the session has another owner, or none any more (it was
    /// wiped), or once it was [retired](Self::retire). The caller must then stop the client, because the library would
    /// retry without end.
    pub(crate) async fn fenced(&self) {
        self.fenced.cancelled().await;
    }

    /// Whether [`fenced`](Self::fenced) would return at once.
    pub(crate) fn is_fenced(&self) -> bool {
        self.fenced.is_cancelled()
    }

    /// Refuses every commit that begins after this, regardless of the session's owner, so that leftovers of a stopped
    /// client cannot write beside its successor.
    pub(crate) fn retire(&self) {
        self.fenced.cancel();
    }

    /// Writes the device as the library knows it.
    pub(super) async fn keep(&self, device: &wacore::store::Device) -> std::result::Result<(), EngineError> {
        self.save(device).await.map_err(failed)
    }

    /// Claims the device again and writes it as the library knows it.
    pub(super) async fn reopen(
        &self,
        device: &wacore::store::Device,
    ) -> std::result::Result<(), EngineError> {
        self.engine.claim(&self.fence).await?;
        self.keep(device).await
    }

    /// Whether the device is linked and its settings are stored, but not the account's name, because a crash came
    /// before the library had stored it. The library would wait up to 10 s at each login for the phone to send it.
    pub(super) async fn is_nameless(&self) -> std::result::Result<bool, EngineError> {
        let device = self.stored_device().await.map_err(failed)?;
        let nameless = device.is_some_and(|device| device.pn.is_some() && device.push_name.is_empty());
        Ok(nameless && self.missing().await?.is_none())
    }

    /// Hides the account's name from a client that is about to start while the account's settings are missing: a client
    /// that knows a name assumes that it has the settings and never asks for them. The name stays in the store.
    pub(super) async fn hide_name_while_incomplete(&self) -> std::result::Result<(), EngineError> {
        if let Some(device) = self.stored_device().await.map_err(failed)?
            && device.pn.is_some()
            && !device.push_name.is_empty()
            && self.missing().await?.is_some()
        {
            // Each client has a storage of its own, so this is called at most once.
            let _ = self.hidden_name.set(device.push_name);
        }
        Ok(())
    }

    /// What of the account is not stored yet.
    pub(super) async fn missing(&self) -> std::result::Result<Option<Missing>, EngineError> {
        self.what_is_missing().await.map_err(failed)
    }

    /// The account's name, if it is hidden from the library.
    pub(super) fn hidden_name(&self) -> Option<&String> {
        self.hidden_name.get()
    }

    /// Sets the listener that is told what is stored from now on. Called once.
    pub(super) fn listen(&self, listener: impl Fn(Stored) + Send + Sync + 'static) {
        let _ = self.listener.set(Box::new(listener));
    }

    fn tell(&self, stored: Stored) {
        if let Some(listener) = self.listener.get() {
            listener(stored);
        }
    }

    async fn get(&self, table: Table, key: Key) -> Result<Option<Bytes>> {
        Ok(self.get_many(table, vec![key]).await?.pop().flatten())
    }

    /// Returns one answer per key, in the order of the keys.
    async fn get_many(&self, table: Table, keys: Vec<Key>) -> Result<Vec<Option<Bytes>>> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        self.engine.get(&self.fence.session, table, keys).await.map_err(database)
    }

    /// All rows whose key begins with `prefix`, in no order.
    async fn scan(&self, table: Table, prefix: Key) -> Result<Vec<(Key, Bytes)>> {
        self.engine.scan(&self.fence.session, table, prefix).await.map_err(database)
    }

    /// Waits until no other commit of this session is under way. Read after this, not before, what a commit
    /// depends on.
    async fn lock(&self) -> CommitLock {
        Arc::clone(&self.commit_lock).lock_owned().await
    }

    async fn commit(&self, lock: CommitLock, changes: Vec<Change>) -> Result<()> {
        if self.is_fenced() {
            return Err(database(EngineError::Fenced));
        }
        if changes.is_empty() {
            return Ok(());
        }
        let outcome = self.engine.commit(&self.fence, changes, lock).await;
        if matches!(outcome, Err(EngineError::Fenced)) {
            let Fence { session, epoch } = &self.fence;
            tracing::warn!(%session, epoch, "a write was refused: the session is no longer ours");
            self.fenced.cancel();
        }
        outcome.map_err(database)
    }

    /// Commits changes that do not depend on anything read.
    async fn apply(&self, changes: Vec<Change>) -> Result<()> {
        let lock = self.lock().await;
        self.commit(lock, changes).await
    }
}

/// Turns the library's error into ours.
fn failed(error: StoreError) -> EngineError {
    EngineError::Storage(StorageError::failed(error))
}

/// Reports to the library that the database failed. The cause can be found by a downcast to [`EngineError`].
fn database(error: EngineError) -> StoreError {
    StoreError::Database(Box::new(error))
}

/// Shows only the session, because the content is private keys.
impl fmt::Debug for DeviceStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceStorage")
            .field("fence", &self.fence)
            .field("fenced", &self.is_fenced())
            .finish_non_exhaustive()
    }
}
