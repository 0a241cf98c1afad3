//! One process per data folder: the file `lock` in it, held exclusively as long as the process lives.
//!
//! It protects the folder, not a database: `server` takes it before it opens anything there. The operating
//! system lets go when the process ends, however it ends, so a file left behind by a crash is no obstacle.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

/// Holds the folder until it is dropped.
#[derive(Debug)]
pub struct FolderLock {
    _file: File,
}

/// Why the folder is not ours.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// Stop the other process, or give this one its own folder.
    #[error("{} is in use by another process", .0.display())]
    InUse(PathBuf),
    /// Make the folder writable for this user.
    #[error("cannot write to {}: {}", .0.display(), .1)]
    Unwritable(PathBuf, #[source] io::Error),
}

impl FolderLock {
    /// Makes the folder if it is missing (readable by its owner only) and takes it.
    pub fn take(folder: &Path) -> Result<Self, FolderError> {
        let unwritable = |error| FolderError::Unwritable(folder.to_owned(), error);
        make(folder).map_err(unwritable)?;
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(folder.join("lock"))
            .map_err(unwritable)?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => Err(FolderError::InUse(folder.to_owned())),
            Err(TryLockError::Error(error)) => Err(unwritable(error)),
        }
    }
}

fn make(folder: &Path) -> io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_one_holder_and_is_free_after_it() {
        let parent = crate::storage::sqlite::tests::Folder::new();
        let folder = parent.path().join("data");
        let held = FolderLock::take(&folder).unwrap();
        assert!(matches!(FolderLock::take(&folder), Err(FolderError::InUse(_))));
        drop(held);
        FolderLock::take(&folder).unwrap();
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let parent = crate::storage::sqlite::tests::Folder::new();
        let file = parent.path().join("file");
        std::fs::write(&file, "x").unwrap();
        let error = FolderLock::take(&file.join("data")).unwrap_err();
        assert!(error.to_string().contains("file/data"), "{error}");
    }
}
