//! `qrcast check-store`: lists the stored records that cannot be read, and sets them aside if it is told to.
//!
//! Not part of a running server; `main` calls it. It reads everything with the server's own code, so it finds exactly
//! what a server skips. It may list while a server runs, and then changes nothing.

mod redis;
mod report;
mod sqlite;

use std::path::PathBuf;

pub use self::report::StoreReport;
use crate::config::Config;
use crate::log::{AppendError, EventLog};
use crate::records::{Records, RecordsError};
use crate::server::DATABASE;
use crate::storage::StorageError;
use crate::storage::folder::FolderError;
use crate::storage::redis::ConnectError;
use crate::storage::sqlite::{OpenError, Sqlite};
use crate::whatsapp::store::{Engine, EngineError, device};

/// What to do besides listing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted {
    /// Whether damaged records are set aside: nothing of them is lost, and no server reads them any more.
    pub quarantine: bool,
    /// Whether the database is accepted as it is, even if it is an older copy or missing.
    pub accept: bool,
}

/// Why the store could not be checked, or the records not set aside.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// Stop the server that uses the folder, or check the folder's permissions.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// Check `DATA_DIR`.
    #[error("{} has no database: there is nothing to check", .0.display())]
    NoDatabase(PathBuf),
    /// See [`OpenError`].
    #[error(transparent)]
    Open(#[from] OpenError),
    /// See [`ConnectError`].
    #[error("REDIS_URL: {0}")]
    Connect(#[source] ConnectError),
    /// Stop the replicas first.
    #[error("{0} replicas run on this Redis: stop them before anything is set aside")]
    Living(usize),
    /// Leave out `--accept`.
    #[error("--accept is for the database of a DATA_DIR; with REDIS_URL there is none")]
    NothingToAccept,
    /// The store could not be read.
    #[error("cannot read the store: {0}")]
    Read(#[source] StorageError),
    /// The records could not be set aside; nothing has changed.
    #[error("cannot set the damaged records aside: {0}")]
    SetAside(#[source] StorageError),
}

/// Checks the store of this configuration.
///
/// # Errors
/// See [`CheckError`].
pub async fn run(config: &Config, wanted: Wanted) -> Result<StoreReport, CheckError> {
    if let Some(settings) = &config.redis {
        return if wanted.accept {
            Err(CheckError::NothingToAccept)
        } else {
            redis::check(config, settings, wanted).await
        };
    }
    let path = config.data_dir.join(DATABASE);
    if !path.try_exists().unwrap_or(true) {
        if wanted.accept {
            return sqlite::accept_none(config);
        }
        Sqlite::check_noted(&path)?;
        return Err(CheckError::NoDatabase(config.data_dir.clone()));
    }
    sqlite::check(config, path, wanted).await
}

/// Reads everything in a database that is somewhere else.
///
/// # Errors
/// See [`CheckError`].
pub(crate) async fn of_file(config: &Config, database: PathBuf) -> Result<StoreReport, CheckError> {
    sqlite::check(config, database, Wanted::default()).await
}

/// Reads everything as a server does, and returns how many records can be read. The stores themselves note those that
/// cannot.
pub(crate) async fn survey(
    records: &dyn Records,
    log: &dyn EventLog,
    engine: &dyn Engine,
) -> Result<usize, CheckError> {
    let records = records.all().await.map_err(read)?;
    for record in &records {
        for read in [log.read(&record.session).await.map(drop), log.last(&record.session).await.map(drop)] {
            match read {
                Err(error) if !error.is_damage() => return Err(CheckError::Read(error)),
                _ => {}
            }
        }
        device::is_whole(engine, &record.session).await.map_err(read)?;
    }
    // Reading the indexes notes the names in them that are not session ids.
    log.sessions().await.map_err(CheckError::Read)?;
    engine.sessions().await.map_err(read)?;
    Ok(records.len())
}

fn read(error: impl Into<Failed>) -> CheckError {
    CheckError::Read(error.into().0)
}

/// A failure of the storage engine, taken out of the error of any store. `migrate` uses it too.
pub(crate) struct Failed(pub(crate) StorageError);

impl From<StorageError> for Failed {
    fn from(error: StorageError) -> Self {
        Self(error)
    }
}

impl From<RecordsError> for Failed {
    fn from(error: RecordsError) -> Self {
        Self(match error {
            RecordsError::Storage(error) => error,
            error => StorageError::failed(error),
        })
    }
}

impl From<AppendError> for Failed {
    fn from(error: AppendError) -> Self {
        Self(match error {
            AppendError::Storage(error) => error,
            AppendError::Away => StorageError::Away,
            error @ AppendError::Fenced => StorageError::failed(error),
        })
    }
}

impl From<EngineError> for Failed {
    fn from(error: EngineError) -> Self {
        Self(match error {
            EngineError::Storage(error) => error,
            error @ EngineError::Fenced => StorageError::failed(error),
        })
    }
}
