//! Port: the records of all sessions, and who owns which.
//!
//! A session that is *claimed* has a link task, or gets one at the next start; claimed sessions are what the limits count.

pub mod redis;
pub mod sqlite;

use std::time::Duration;

use async_trait::async_trait;

use crate::event::Time;
use crate::id::SessionId;
use crate::storage::StorageError;

/// How long an `Idempotency-Key` is remembered.
pub const KEY_LIFE: Duration = Duration::from_secs(24 * 3600);

/// What is known of a session beside its log.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Its id.
    pub session: SessionId,
    /// When it was created.
    pub created: Time,
    /// What the phone lists the device as; the deployment's name when `None`.
    pub device_name: Option<String>,
    /// The embedder's own notes, given back as they came.
    pub metadata: Option<serde_json::Map<String, serde_json::Value>>,
    /// The last ownership.
    pub epoch: u64,
    /// Whether it has a link task.
    pub claimed: bool,
    /// When it was deleted; its stream and status stay readable for a while.
    pub deleted: Option<Time>,
}

/// How many claimed sessions there may be.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// In all.
    pub all: u32,
    /// Of one user.
    pub user: u32,
}

/// A request that may come twice and shall be done once.
#[derive(Clone, Debug)]
pub struct Once {
    /// The client's `Idempotency-Key`.
    pub key: String,
    /// SHA-256 of what it asked for.
    pub body: [u8; 32],
}

/// What became of a creation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Created {
    /// A new session, claimed with this epoch.
    New(u64),
    /// The same request was done before, and made this session.
    Before(SessionId),
}

/// The records, and the ownership of each session. After an Ok what was asked for is durable.
#[async_trait]
pub trait Ledger: Send + Sync {
    /// Stores and claims a new session, within the limits.
    async fn create(
        &self,
        record: Record,
        limits: Limits,
        once: Option<Once>,
    ) -> Result<Created, LedgerError>;

    /// Takes the session for a start of its link task: a new epoch. The larger of the last one plus one and the Unix
    /// time in milliseconds, so that event ids rise even when a store has lost its end. The limits hold for a session
    /// that was not claimed.
    async fn claim(&self, session: &SessionId, limits: Limits) -> Result<u64, LedgerError>;

    /// The session needs no link task any more.
    async fn release(&self, session: &SessionId) -> Result<(), LedgerError>;

    /// Marks a session as deleted, and claims it: it needs a link task until its device is logged out, also after a crash
    /// that comes before that task begins. Nobody claims it from then on but for this.
    async fn delete(&self, session: &SessionId, at: Time) -> Result<(), LedgerError>;

    /// Forgets a session.
    async fn remove(&self, session: &SessionId) -> Result<(), LedgerError>;

    /// Every record.
    async fn all(&self) -> Result<Vec<Record>, LedgerError>;

    /// Forgets the idempotency keys of more than [`KEY_LIFE`] ago.
    async fn forget_keys(&self) -> Result<(), LedgerError>;

    /// Whether something can be stored now: stores something.
    async fn check(&self) -> Result<(), LedgerError>;
}

/// The ledger did not do it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LedgerError {
    /// There is no such session.
    #[error("no such session")]
    Unknown,
    /// One session more than this user may have.
    #[error("this user has {0} sessions already")]
    UserLimit(u32),
    /// One session more than there may be.
    #[error("there are {0} sessions already")]
    Limit(u32),
    /// The key was used for another request.
    #[error("this Idempotency-Key was used with another body")]
    KeyReused,
    /// The same request is under way: ask again in a moment.
    #[error("the first request with this Idempotency-Key is still running")]
    KeyRunning,
    /// Another replica owns the session: leave it to that one.
    #[error("another replica owns the session")]
    Held,
    /// See [`StorageError`].
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl LedgerError {
    /// A failure beside the ledger that the caller treats like one of its storage.
    pub fn failed(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Storage(StorageError::failed(cause))
    }
}
