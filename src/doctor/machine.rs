//! Checks this machine: the data folder and the file descriptors. Nothing is written to the folder.

use std::path::{Path, PathBuf};

use super::{Check, late, limited};
use crate::config::Config;
use crate::server::{DATABASE, room_of, wanted_connections};
use crate::storage::folder::{self, LOCK, MOVED};

const DATA: &str = "data";

const MIB: u64 = 1024 * 1024;

/// Below this much free space the disk is full within days.
const LITTLE: u64 = 256 * MIB;

/// Below this much free space not even one busy account fits.
const NONE: u64 = 32 * MIB;

/// File descriptors that belong to neither a session nor a connection.
const OTHERS: u64 = 50;

/// Checks the data folder, if this configuration uses one.
pub(super) async fn data(config: &Config) -> Check {
    let settings = config.redis.as_ref();
    if settings.is_some_and(|redis| !redis.fallback) {
        return Check::ok(DATA, "not used: sessions are kept in Redis");
    }
    let shared = settings.is_some();
    let folder = config.data_dir.clone();
    // A network disk may never answer.
    let looked = limited(tokio::task::spawn_blocking(move || look(&folder, shared))).await;
    match looked {
        Some(Ok(check)) => check,
        Some(Err(_)) | None => Check::fail(
            DATA,
            format!("{}: {}", config.data_dir.display(), late()),
            "mend the disk, or set DATA_DIR to another",
        ),
    }
}

fn look(folder: &Path, shared: bool) -> Check {
    let shown = folder.display();
    let Some(there) = existing(folder) else {
        return Check::fail(DATA, format!("{shown}: no folder above it exists"), "fix DATA_DIR");
    };
    let writable = "make it writable for this user, or set DATA_DIR to another folder";
    if !there.is_dir() {
        return Check::fail(DATA, format!("{shown}: {} is not a folder", there.display()), "fix DATA_DIR");
    }
    if let Err(error) = may_write(&there) {
        return Check::fail(DATA, format!("cannot write to {}: {error}", there.display()), writable);
    }
    let is_new = there != folder;
    if !is_new && let Some(check) = content(folder, shared) {
        return check;
    }
    let said = if is_new {
        format!("{shown} does not exist yet and can be made")
    } else {
        format!("{shown} is writable")
    };
    room(&said, &there)
}

/// A problem with what is in the folder, if there is one.
fn content(folder: &Path, shared: bool) -> Option<Check> {
    let shown = folder.display();
    for name in [LOCK, DATABASE] {
        let file = folder.join(name);
        if let Err(error) = may_write(&file)
            && file.exists()
        {
            let said = format!("cannot write to {}: {error}", file.display());
            return Some(Check::fail(DATA, said, "make it this user's (chown): another user has made it"));
        }
    }
    // With Redis the folder is used only if Redis is away at the start.
    if !shared && folder.join(MOVED).exists() {
        let said = format!("{shown} was moved to Redis by `qrcast migrate`");
        let todo = "set REDIS_URL to run its sessions, or DATA_DIR to another folder";
        return Some(Check::fail(DATA, said, todo));
    }
    match folder::is_in_use(folder) {
        Ok(false) => None,
        Ok(true) => {
            let todo = "stop it before another one is started on this folder";
            Some(Check::warn(DATA, format!("a server is running on {shown}"), todo))
        }
        Err(error) => {
            let todo = "keep DATA_DIR on a disk that knows file locks";
            Some(Check::fail(DATA, format!("cannot lock {shown}: {error}"), todo))
        }
    }
}

fn room(said: &str, folder: &Path) -> Check {
    let todo = "make room, or set DATA_DIR to a larger disk";
    match free_space(folder) {
        None => Check::ok(DATA, format!("{said}; its free space is not known")),
        Some(free) => {
            let said = format!("{said}, {} MiB free", free / MIB);
            if free < NONE {
                Check::fail(DATA, said, todo)
            } else if free < LITTLE {
                Check::warn(DATA, said, todo)
            } else {
                Check::ok(DATA, said)
            }
        }
    }
}

/// The folder, or the nearest parent that exists.
fn existing(folder: &Path) -> Option<PathBuf> {
    let whole = std::path::absolute(folder).ok()?;
    let nearest = whole.ancestors().find(|path| path.exists())?;
    Some(if nearest == whole { folder.to_owned() } else { nearest.to_owned() })
}

#[cfg(unix)]
fn may_write(path: &Path) -> std::io::Result<()> {
    use rustix::fs::{Access, access};
    let mut rights = Access::READ_OK | Access::WRITE_OK;
    if path.is_dir() {
        rights |= Access::EXEC_OK;
    }
    Ok(access(path, rights)?)
}

#[cfg(not(unix))]
fn may_write(path: &Path) -> std::io::Result<()> {
    let readonly = std::fs::metadata(path)?.permissions().readonly();
    if readonly { Err(std::io::ErrorKind::PermissionDenied.into()) } else { Ok(()) }
}

#[cfg(unix)]
fn free_space(folder: &Path) -> Option<u64> {
    let seen = rustix::fs::statvfs(folder).ok()?;
    Some(seen.f_bavail.saturating_mul(seen.f_frsize))
}

#[cfg(not(unix))]
fn free_space(_: &Path) -> Option<u64> {
    None
}

/// Checks whether there are enough file descriptors for this configuration.
pub(super) fn descriptors(config: &Config) -> Check {
    const NAME: &str = "descriptors";
    // Raises the limit of this process alone, as a server does for itself.
    match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(limit) => enough(NAME, limit, wanted_connections(config), u64::from(config.max_sessions)),
        Err(error) => {
            Check::warn(NAME, format!("their number is not known: {error}"), "look at `ulimit -Hn`")
        }
    }
}

fn enough(name: &'static str, limit: u64, connections: usize, sessions: u64) -> Check {
    let room = room_of(limit);
    let kept = limit / 4;
    let said = format!("{limit} file descriptors");
    if room >= connections && kept >= sessions + OTHERS {
        return Check::ok(name, said);
    }
    let needed = (u64::try_from(connections).unwrap_or(u64::MAX).saturating_mul(4).div_ceil(3))
        .max((sessions + OTHERS).saturating_mul(4));
    let said = format!(
        "{said}: enough for {} streams and requests and {} sessions, not for {connections} and {sessions}",
        room.min(connections),
        kept.saturating_sub(OTHERS).min(sessions)
    );
    let todo =
        format!("raise the hard limit (`ulimit -Hn`) to {needed}, or lower MAX_STREAMS or MAX_SESSIONS");
    Check::warn(name, said, todo)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Finding;
    use crate::storage::folder::FolderLock;
    use crate::storage::sqlite::tests::Folder;

    #[test]
    fn the_limit_that_is_asked_for_is_enough() {
        let few = enough("descriptors", 4096, 21_000, 1000);
        assert_eq!(few.result, Finding::Warn);
        assert!(few.todo.unwrap().contains("to 28000,") && few.said.contains("3072 streams"), "{}", few.said);
        assert_eq!(enough("descriptors", 28_000, 21_000, 1000).result, Finding::Ok);
        assert_eq!(enough("descriptors", 28_000, 21_000, 10_000).result, Finding::Warn);
    }

    #[test]
    fn a_folder_is_looked_at_and_left_as_it_is() {
        let parent = Folder::new();
        let folder = parent.path().join("a/b");
        let check = look(&folder, false);
        assert!(check.result != Finding::Fail && check.said.contains("can be made"), "{check}");
        assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 0);

        let held = FolderLock::take(&folder).unwrap();
        let check = look(&folder, false);
        assert!(check.result == Finding::Warn && check.said.contains("a server is running"), "{check}");
        held.leave(MOVED, "away").unwrap();
        drop(held);
        let check = look(&folder, false);
        assert!(check.result == Finding::Fail && check.said.contains("was moved to Redis"), "{check}");
        assert!(look(&folder, true).said.contains("is writable"));
        // None of the checks has kept the lock.
        FolderLock::take_even_moved(&folder).unwrap();
    }

    #[test]
    fn a_path_below_a_file_is_told() {
        let parent = Folder::new();
        let file = parent.path().join("file");
        std::fs::write(&file, "x").unwrap();
        for path in [file.clone(), file.join("data")] {
            let check = look(&path, false);
            assert!(check.result == Finding::Fail && check.said.contains("is not a folder"), "{check}");
        }
    }
}
