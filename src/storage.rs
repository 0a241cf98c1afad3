//! What the stores stand on: engines that keep bytes, and the errors they have in common.
//!
//! Not a store itself: no module here knows what a session, an event or a device is. `records`, `log` and
//! `whatsapp::store` bring their own tables and queries; `server` opens the engine and hands it to them.

pub(crate) mod damage;
pub(crate) mod folder;
pub(crate) mod health;
pub(crate) mod redis;
pub(crate) mod sqlite;

use std::error::Error;
use std::sync::Arc;

/// Why the storage did not carry out a call, named by what the caller does next. Nothing was written, except perhaps
/// after [`Away`](Self::Away).
#[derive(Clone, Debug, thiserror::Error)]
pub enum StorageError {
    /// The disk (or the quota) is full: keep the old state, alert, try again when somebody made room.
    #[error("the disk is full")]
    Full,
    /// The data is damaged: stop writing and have a person restore it; trying again does not help.
    #[error("the stored data is damaged")]
    Corrupt,
    /// The storage was closed because the process is stopping: end without an alert.
    #[error("the storage is closed")]
    Closed,
    /// A remote storage does not answer: repeat the call later. It may have been carried out.
    #[error("the storage is away")]
    Away,
    /// Another process uses the storage: try again in a moment.
    #[error("the storage is busy")]
    Busy,
    /// The disk or the file cannot be written or read: raise an alert and keep trying until a person has mended it.
    #[error("the storage does not work: {0}")]
    Broken(Arc<dyn Error + Send + Sync>),
    /// Anything else, a bug among them: log it once and fail the request.
    #[error("the storage failed: {0}")]
    Failed(Arc<dyn Error + Send + Sync>),
}

impl StorageError {
    /// Whether the stored data is damaged, which waiting does not mend.
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Corrupt)
    }

    /// A failure that has no variant of its own.
    pub fn failed(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Failed(Arc::from(cause.into()))
    }

    /// Whether the failure passes by itself, so that a caller may try again in a moment.
    pub fn passes(&self) -> bool {
        matches!(self, Self::Away | Self::Busy)
    }

    /// Whether every other call fails for the same reason.
    pub fn is_of_the_store(&self) -> bool {
        match self {
            Self::Full | Self::Away | Self::Busy | Self::Broken(_) => true,
            Self::Corrupt | Self::Closed | Self::Failed(_) => false,
        }
    }
}

impl From<rusqlite::Error> for StorageError {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode;
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full,
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Corrupt,
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy,
            Some(
                ErrorCode::ReadOnly
                | ErrorCode::SystemIoFailure
                | ErrorCode::CannotOpen
                | ErrorCode::PermissionDenied,
            ) => Self::Broken(Arc::new(error)),
            _ => Self::failed(error),
        }
    }
}
