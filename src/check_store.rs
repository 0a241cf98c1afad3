//! `qrcast check-store`: which stored records cannot be read, and, where it is told to, sets them aside.
//!
//! No part of a running server; `main` calls it. It reads everything by the server's own code, so it finds what a server skips
//! and no other rule stands here. It lists while a server runs, and changes nothing then.

mod redis;
mod report;
mod sqlite;

use std::path::PathBuf;

use self::report::StoreReport;
use crate::config::Config;
use crate::log::EventLog;
use crate::records::{Records, RecordsError};
use crate::server::DATABASE;
use crate::storage::StorageError;
use crate::storage::folder::FolderError;
use crate::storage::redis::ConnectError;
use crate::storage::sqlite::{OpenError, Sqlite};
use crate::whatsapp::store::{Engine, EngineError, device};

/// What is to be done beside looking.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted {
    /// What is damaged is set aside: nothing of it is lost, and nobody meets it any more.
    pub quarantine: bool,
    /// The database that is there is the one to go on with, also where it is an older copy, or there is none.
    pub accept: bool,
}

/// Why nobody can tell.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// Stop the server on the folder, or look at its rights.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// Look at `DATA_DIR`.
    #[error("{} has no database: there is nothing to look at", .0.display())]
    NoDatabase(PathBuf),
    /// See [`OpenError`].
    #[error(transparent)]
    Open(#[from] OpenError),
    /// See [`ConnectError`].
    #[error("REDIS_URL: {0}")]
    Connect(#[source] ConnectError),
    /// Stop them first.
    #[error("{0} replicas run on this Redis: stop them before anything is set aside")]
    Living(usize),
    /// Leave it out.
    #[error("--accept is for the database of a DATA_DIR; with REDIS_URL there is none")]
    NothingToAccept,
    /// The store does not say.
    #[error("cannot read the store: {0}")]
    Read(#[source] StorageError),
    /// Nothing was set aside.
    #[error("cannot set the damaged records aside: {0}")]
    SetAside(#[source] StorageError),
}

/// Looks at the store of this configuration.
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

/// Reads all there is, as a server does; how many records can be read. What cannot is noted where the stores note it.
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
    // Their indexes may name what is none.
    log.sessions().await.map_err(CheckError::Read)?;
    engine.sessions().await.map_err(read)?;
    Ok(records.len())
}

fn read(error: impl Into<Failed>) -> CheckError {
    CheckError::Read(error.into().0)
}

/// A failure of what a store stands on, whichever store says it.
struct Failed(StorageError);

impl From<RecordsError> for Failed {
    fn from(error: RecordsError) -> Self {
        Self(match error {
            RecordsError::Storage(error) => error,
            error => StorageError::failed(error),
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
