//! A complete copy of a database, made from one moment of it while another process may write. Called by `Sqlite::copy`.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::open::{self, OpenError, SchemaStep, beside, make_private, sync_folder_of};

/// Why there is no copy.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// Name another file.
    #[error("{} is already there; a copy never replaces a file", .0.display())]
    Exists(PathBuf),
    /// The database cannot be read: see [`OpenError`].
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Make room there, or name a file in a folder that may be written to.
    #[error("cannot write {}: {source}", path.display())]
    Failed {
        /// The copy.
        path: PathBuf,
        /// What SQLite or the system says.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl CopyError {
    /// The thread that wrote this copy has ended early.
    pub(crate) fn stopped(copy: &Path, error: tokio::task::JoinError) -> Self {
        Self::Failed { path: copy.to_owned(), source: error.into() }
    }
}

/// Blocks. The copy has its name only when it is whole and on the disk.
pub(super) fn copy(from: &Path, steps: &[SchemaStep], to: &Path) -> Result<(), CopyError> {
    if to.try_exists().unwrap_or(true) {
        return Err(CopyError::Exists(to.to_owned()));
    }
    open::check_noted(from)?;
    let reader = open::open_to_read(from, steps)?;
    let draft = beside(to, ".new");
    let written = write(&reader, &draft);
    let written = written.and_then(|()| fs::rename(&draft, to).map_err(Into::into));
    let written = written.and_then(|()| sync_folder_of(to).map_err(Into::into));
    written.map_err(|source| {
        // This may fail: half a copy has a name that says so.
        let _ = fs::remove_file(&draft);
        CopyError::Failed { path: to.to_owned(), source }
    })
}

fn write(reader: &Connection, draft: &Path) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    // SQLite fills a file that is empty, and leaves its mode as it is.
    OpenOptions::new().write(true).create(true).truncate(true).open(draft)?;
    make_private(draft)?;
    let name = draft.to_str().ok_or_else(|| io::Error::other("the name is not UTF-8"))?;
    // Deleted content is left behind, and so is free space.
    reader.execute("VACUUM INTO ?1", [name])?;
    Ok(File::open(draft)?.sync_all()?)
}
