//! Port: the records of all sessions, and who owns which.

pub mod local;

use async_trait::async_trait;

use crate::event::Time;
use crate::id::SessionId;

/// What is known of a session from its creation on.
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
}

/// The records, and the ownership of each session.
#[async_trait]
pub trait Ledger: Send + Sync {
    /// Stores a new session.
    async fn create(&self, record: Record) -> Result<(), LedgerError>;

    /// The record of a session; `None` when there is none.
    async fn get(&self, session: &SessionId) -> Result<Option<Record>, LedgerError>;

    /// Takes the session for a start of its link task: a new epoch, stored before this returns. The larger of the last
    /// one plus one and the Unix time in milliseconds, so that event ids rise even when a store has lost its end.
    async fn claim(&self, session: &SessionId) -> Result<u64, LedgerError>;

    /// Forgets a session.
    async fn remove(&self, session: &SessionId) -> Result<(), LedgerError>;
}

/// The ledger did not do it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// There is no such session.
    #[error("no such session")]
    Unknown,
}
