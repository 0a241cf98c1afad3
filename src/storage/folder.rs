//! One process per data folder: the file `lock` in it and, where the system can, the folder itself, both held exclusively as
//! long as the process lives. So removing the file does not let a second process in.
//!
//! It protects the folder, not a database: `server` and `migrate` take it before they open anything there. The
//! operating system releases the locks when the process ends in any way, so a file left behind by a crash does no harm.
//!
//! Beside the lock a folder may have notes, small files of one line. One of them, [`MOVED`], takes the folder out of use.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::StorageError;

/// The note of a folder whose content was moved to Redis: no server may start on what is left.
pub(crate) const MOVED: &str = "moved-to-redis";

/// The file that is locked.
pub(crate) const LOCK: &str = "lock";

/// Whether a process holds the folder at this moment. Creates nothing there. It takes a shared lock and releases it at
/// once; a server that starts in that instant is refused and must be started again.
///
/// # Errors
/// When the lock's file is there and cannot be opened.
pub(crate) fn is_in_use(folder: &Path) -> io::Result<bool> {
    let is_held = |path: &Path| {
        let file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            file => file?,
        };
        match file.try_lock_shared() {
            Ok(()) => Ok(false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(error)) => Err(error),
        }
    };
    // Some file systems cannot lock a folder.
    Ok(is_held(&folder.join(LOCK))? || (cfg!(unix) && is_held(folder).unwrap_or(false)))
}

/// The line of a note, without its line end. The folder may be held by any process.
///
/// # Errors
/// When it is there and cannot be read.
pub(super) fn note(folder: &Path, name: &str) -> io::Result<Option<String>> {
    match fs::read_to_string(folder.join(name)) {
        Ok(text) => Ok(Some(text.trim_end().to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Holds the folder until it is dropped.
#[derive(Debug)]
pub(crate) struct FolderLock {
    _lock: File,
    /// `None` on a file system that cannot lock folders.
    _held: Option<File>,
    folder: PathBuf,
    /// The identity of the folder and of `lock` when they were taken; their names may lead to something else later.
    identities: [Identity; 2],
}

/// The identity of a file or folder, independent of its name: a later file of the same name has another.
#[derive(Debug)]
pub(crate) struct Identity {
    path: PathBuf,
    #[cfg(unix)]
    numbers: (u64, u64),
}

/// Stop this server before anything is moved or removed there; where it was moved, put it back.
#[derive(Debug, thiserror::Error)]
#[error("{} was removed, or replaced, since this server began: it may be lost, and another server may start there", .0.display())]
pub(crate) struct Replaced(PathBuf);

impl Identity {
    /// The identity of what has this name now.
    ///
    /// # Errors
    /// When nothing can be found there.
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            #[cfg(unix)]
            numbers: numbers(path)?,
        })
    }

    /// Checks that the name still leads to the same file. Opens nothing.
    ///
    /// # Errors
    /// [`Replaced`], as an error of the storage.
    pub(crate) fn check(&self) -> Result<(), StorageError> {
        #[cfg(unix)]
        if numbers(&self.path).ok() != Some(self.numbers) {
            return Err(StorageError::Broken(Arc::new(Replaced(self.path.clone()))));
        }
        Ok(())
    }
}

/// The numbers of device and inode.
#[cfg(unix)]
fn numbers(path: &Path) -> io::Result<(u64, u64)> {
    use std::os::unix::fs::MetadataExt as _;
    let there = fs::metadata(path)?;
    Ok((there.dev(), there.ino()))
}

/// Why the folder cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// Stop the other process, or give this one its own folder.
    #[error("{} is in use by another process", .0.display())]
    InUse(PathBuf),
    /// Make the folder writable for this user.
    #[error("cannot write to {}: {}", .0.display(), .1)]
    Unwritable(PathBuf, #[source] io::Error),
    /// Run its sessions from Redis, or give this process another folder.
    #[error(
        "{} was moved to Redis by `qrcast migrate`: set REDIS_URL to run its sessions; a server without Redis needs another DATA_DIR",
        .0.display()
    )]
    Moved(PathBuf),
}

impl FolderLock {
    /// Makes the folder if it is missing (readable by its owner only) and takes it, unless it was moved.
    ///
    /// # Errors
    /// See [`FolderError`].
    pub(crate) fn take(folder: &Path) -> Result<Self, FolderError> {
        let lock = Self::take_even_moved(folder)?;
        if lock.note(MOVED)?.is_some() { Err(FolderError::Moved(folder.to_owned())) } else { Ok(lock) }
    }

    /// The same, but also takes a folder that was moved, for the migration itself.
    ///
    /// # Errors
    /// See [`FolderError`].
    pub(crate) fn take_even_moved(folder: &Path) -> Result<Self, FolderError> {
        let unwritable = |error| FolderError::Unwritable(folder.to_owned(), error);
        make(folder).map_err(unwritable)?;
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(folder.join(LOCK))
            .map_err(unwritable)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(FolderError::InUse(folder.to_owned())),
            Err(TryLockError::Error(error)) => return Err(unwritable(error)),
        }
        let held = hold(folder)?;
        let identity = |path: &Path| Identity::of(path).map_err(unwritable);
        let identities = [identity(folder)?, identity(&folder.join(LOCK))?];
        Ok(Self { _lock: file, _held: held, folder: folder.to_owned(), identities })
    }

    /// Checks that the folder and `lock` are still those that were taken.
    ///
    /// # Errors
    /// [`Replaced`], as an error of the storage.
    pub(crate) fn check(&self) -> Result<(), StorageError> {
        self.identities.iter().try_for_each(Identity::check)
    }

    /// The path of a file in the folder.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// A note's line, without its end.
    ///
    /// # Errors
    /// See [`FolderError`].
    pub(crate) fn note(&self, name: &str) -> Result<Option<String>, FolderError> {
        note(&self.folder, name).map_err(|error| self.unwritable(error))
    }

    /// Writes a note. After an Ok it is on the disk; after a crash it is there completely or not at all.
    ///
    /// # Errors
    /// See [`FolderError`].
    pub(crate) fn leave(&self, name: &str, line: &str) -> Result<(), FolderError> {
        let draft = self.folder.join(format!("{name}.new"));
        let write = || {
            let mut file = File::create(&draft)?;
            writeln!(file, "{line}")?;
            file.sync_all()?;
            fs::rename(&draft, self.folder.join(name))?;
            self.sync()
        };
        write().map_err(|error| self.unwritable(error))
    }

    /// Removes a note durably.
    ///
    /// # Errors
    /// See [`FolderError`].
    pub(crate) fn take_away(&self, name: &str) -> Result<(), FolderError> {
        let remove = || {
            fs::remove_file(self.folder.join(name))?;
            self.sync()
        };
        remove().map_err(|error| self.unwritable(error))
    }

    /// Syncs the folder: a file that was created or removed is durable only after that.
    fn sync(&self) -> io::Result<()> {
        if cfg!(unix) { File::open(&self.folder)?.sync_all() } else { Ok(()) }
    }

    fn unwritable(&self, error: io::Error) -> FolderError {
        FolderError::Unwritable(self.folder.clone(), error)
    }
}

/// Checks that a process could take this folder, or make it. Leaves nothing behind.
///
/// # Errors
/// See [`FolderError`].
pub(crate) fn check(folder: &Path) -> Result<(), FolderError> {
    let unwritable = |error| FolderError::Unwritable(folder.to_owned(), error);
    if folder.join(MOVED).exists() {
        return Err(FolderError::Moved(folder.to_owned()));
    }
    // A missing folder is created at the start, so its nearest existing parent is checked.
    let there = folder.ancestors().find(|part| part.symlink_metadata().is_ok());
    let there = there.filter(|part| *part != Path::new("")).unwrap_or(Path::new("."));
    let trial = there.join(format!(".qrcast-check-{}", std::process::id()));
    // The probe is a folder, because a start creates a folder there too.
    fs::create_dir(&trial).and_then(|()| fs::remove_dir(&trial)).map_err(unwritable)
}

/// Locks the folder itself if the file system can.
fn hold(folder: &Path) -> Result<Option<File>, FolderError> {
    if !cfg!(unix) {
        return Ok(None);
    }
    let file = File::open(folder).map_err(|error| FolderError::Unwritable(folder.to_owned(), error))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Err(FolderError::InUse(folder.to_owned())),
        // Some file systems, NFS among them, cannot lock a folder.
        Err(TryLockError::Error(_)) => Ok(None),
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

    #[cfg(unix)]
    #[test]
    fn a_folder_without_its_lock_is_held_and_knows_what_was_replaced() {
        let parent = crate::storage::sqlite::tests::Folder::new();
        let folder = parent.path().join("data");
        let held = FolderLock::take(&folder).unwrap();
        held.check().unwrap();
        fs::remove_file(folder.join(LOCK)).unwrap();
        assert!(is_in_use(&folder).unwrap());
        assert!(matches!(FolderLock::take(&folder), Err(FolderError::InUse(_))));
        assert!(held.check().unwrap_err().to_string().contains("data/lock was removed, or replaced"));
        drop(held);
        let held = FolderLock::take(&folder).unwrap();
        let elsewhere = parent.path().join("elsewhere");
        fs::rename(&folder, &elsewhere).unwrap();
        held.check().unwrap_err();
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join(LOCK), "").unwrap();
        held.check().unwrap_err();
        fs::remove_dir_all(&folder).unwrap();
        fs::rename(&elsewhere, &folder).unwrap();
        held.check().unwrap();
    }

    #[test]
    fn a_folder_that_was_moved_is_taken_only_to_move_it() {
        let folder = crate::storage::sqlite::tests::Folder::new();
        let held = FolderLock::take(folder.path()).unwrap();
        held.leave(MOVED, "away").unwrap();
        drop(held);
        let refused = FolderLock::take(folder.path()).unwrap_err();
        assert!(matches!(refused, FolderError::Moved(_)) && refused.to_string().contains("REDIS_URL"));
        let held = FolderLock::take_even_moved(folder.path()).unwrap();
        assert_eq!(held.note(MOVED).unwrap().as_deref(), Some("away"));
        held.take_away(MOVED).unwrap();
        assert_eq!(held.note(MOVED).unwrap(), None);
        drop(held);
        FolderLock::take(folder.path()).unwrap();
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
