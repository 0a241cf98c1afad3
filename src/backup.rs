//! `qrcast backup`: a complete copy of the database of a data folder, while a server may run on it.
//!
//! Not part of a running server; `main` calls it. SQLite makes the copy from one moment of the database, through a connection
//! that cannot write; then everything in the copy is read, as `check-store` does.

use std::path::{Path, PathBuf};

use crate::check_store::{self, CheckError, StoreReport};
use crate::config::Config;
use crate::server::{DATABASE, MIGRATIONS};
use crate::storage::folder::MOVED;
use crate::storage::sqlite::{CopyError, Sqlite};

/// Why there is no copy. Nothing was left at its name.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// Leave out `REDIS_URL`, or copy Redis.
    #[error(
        "REDIS_URL is set: only the database of a DATA_DIR can be copied; docs/backup.md says how to copy Redis"
    )]
    OnRedis,
    /// Copy Redis.
    #[error("the sessions of {} were moved to Redis; docs/backup.md says how to copy that", .0.display())]
    Moved(PathBuf),
    /// Check `DATA_DIR`.
    #[error("{} has no database: there is nothing to copy", .0.display())]
    NoDatabase(PathBuf),
    /// See [`CopyError`].
    #[error(transparent)]
    Copy(#[from] CopyError),
    /// The copy was made, and could not be read.
    #[error("the copy cannot be read: {0}")]
    Unread(#[source] CheckError),
}

/// Copies the database of this configuration to a file that is not there yet, and says what is in it.
///
/// # Errors
/// See [`BackupError`].
pub async fn run(config: &Config, to: &Path) -> Result<StoreReport, BackupError> {
    if config.redis.is_some() {
        return Err(BackupError::OnRedis);
    }
    let folder = config.data_dir.clone();
    if folder.join(MOVED).exists() {
        return Err(BackupError::Moved(folder));
    }
    let database = folder.join(DATABASE);
    if !database.try_exists().unwrap_or(true) {
        return Err(BackupError::NoDatabase(folder));
    }
    let copy = to.to_owned();
    let copied = tokio::task::spawn_blocking(move || Sqlite::copy(&database, MIGRATIONS, &copy)).await;
    copied.map_err(|error| CopyError::stopped(to, error))??;
    check_store::of_file(config, to.to_owned()).await.map_err(BackupError::Unread)
}
