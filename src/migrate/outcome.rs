//! How a migration ends: what was done, or why not.

use std::fmt;
use std::path::PathBuf;

use crate::check_store::{CheckError, Failed};
use crate::id::SessionId;
use crate::storage::StorageError;
use crate::storage::folder::FolderError;
use crate::storage::redis::ConnectError;
use crate::storage::sqlite::OpenError;

/// Why a migration did not finish. After all but the last three, the folder is as it was: a server may start on it, or
/// it may be moved again.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// See [`FolderError`].
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// Look at `DATA_DIR`.
    #[error("{} has no database: there is nothing to move", .0.display())]
    NoDatabase(PathBuf),
    /// See [`OpenError`].
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The database cannot be read.
    #[error("cannot read the database")]
    Database(#[source] StorageError),
    /// Set the damaged records aside and run the migration again.
    #[error(
        "{0} stored records are damaged, nothing was moved: `qrcast check-store` names them, and with --quarantine sets them aside"
    )]
    Damaged(usize),
    /// See [`ConnectError`].
    #[error("cannot use the Redis of REDIS_URL")]
    Connect(#[source] ConnectError),
    /// Check `REDIS_URL` and `REDIS_PREFIX`, and whether a copy of this folder was moved before.
    #[error("session {0} is in Redis already, and not from an earlier try of this folder; nothing was moved")]
    Taken(SessionId),
    /// Mend Redis and run the migration again; it continues where it can.
    #[error("Redis did not take everything; the folder stays as it was, run this again")]
    Redis(#[source] StorageError),
    /// Redis lost something during the migration: what was read back differs from what was written.
    #[error("session {0} reads back differently from Redis; the folder stays as it was, run this again")]
    Differs(SessionId),
    /// Run the migration again.
    #[error("everything is in Redis, but not every session was handed over to its replicas; run this again")]
    Unfinished(#[source] StorageError),
    /// Check `REDIS_URL` and `REDIS_PREFIX`; if they are right, Redis has lost its data.
    #[error(
        "this is not the Redis to which the folder was moved, or it lost its data: some sessions were not handed over there"
    )]
    Elsewhere,
    /// Nothing is left to do.
    #[error("{} was moved to Redis before; nothing is left to do", .0.display())]
    Moved(PathBuf),
}

/// What a migration did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It moved everything.
    Moved(MovedCounts),
    /// It finished an earlier try that had ended between the mark and the last hand-over.
    Finished(usize),
}

/// How much was moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MovedCounts {
    /// The number of session records.
    pub sessions: usize,
    /// The number of devices that a phone lists.
    pub linked: usize,
    /// The number of events in all logs.
    pub events: usize,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Moved(counts) => {
                write!(f, "moved {counts} to Redis; no server starts on this folder any more")
            }
            Self::Finished(left) => {
                write!(
                    f,
                    "everything had been moved to Redis before; handed over {left} sessions that were left"
                )
            }
        }
    }
}

impl fmt::Display for MovedCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sessions, linked, events } = self;
        write!(f, "{sessions} sessions, {linked} linked devices and {events} events")
    }
}

impl MovedCounts {
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            sessions: self.sessions + other.sessions,
            linked: self.linked + other.linked,
            events: self.events + other.events,
        }
    }
}

impl From<CheckError> for MigrateError {
    fn from(error: CheckError) -> Self {
        match error {
            CheckError::Read(error) => Self::Database(error),
            error => Self::Database(StorageError::failed(error)),
        }
    }
}

pub(super) fn redis(error: impl Into<Failed>) -> MigrateError {
    MigrateError::Redis(error.into().0)
}

pub(super) fn database(error: impl Into<Failed>) -> MigrateError {
    MigrateError::Database(error.into().0)
}
