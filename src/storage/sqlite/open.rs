//! Opens the database file: the checks before anything is written, the creation of a new file, the steps of the schema.
//!
//! Knows no table except the counter of `milestone`. Called by `Sqlite::open` only.
//!
//! What is checked, in this order, and what a refusal leaves behind: that there is something, then, through a connection
//! that cannot write and does not checkpoint when it is closed, `application_id`, the page count against the file's length,
//! `user_version`, and `PRAGMA quick_check`, which reads the whole file and is therefore left out above [`CHECKED_BYTES`].
//! The database and its log stay byte for byte as they were.
//!
//! A new database is built under another name and renamed, so a file under the real name is always a whole
//! one, and an empty file is a lost database and not a new one.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};

use super::milestone::{self, MILESTONE};
use crate::storage::folder;

/// Marks a file as ours (`file` shows it): "qrcs".
pub(super) const APPLICATION_ID: i32 = 0x7172_6373;

/// Up to this size the whole file is checked at the start, which takes well under a second.
const CHECKED_BYTES: u64 = 256 * 1024 * 1024;

/// The page size of a new file, independent of SQLite's default.
const PAGE_BYTES: u64 = 4096;

/// The log is folded into the database when it has this many pages ...
const CHECKPOINT_PAGES: u32 = 512;
/// ... and truncated to this many bytes after a burst.
const LOG_BYTES: u32 = 4 * 1024 * 1024;

/// How long SQLite waits for another process, for example a person's `sqlite3`, before it reports that the database is
/// busy.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);

/// One step of the schema. Steps are run once each, in order, all missing ones in one transaction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SchemaStep {
    /// The schema's version after this step: 1, 2, 3, ... over all modules together.
    pub version: u32,
    /// The statements of this step. None of them begins or ends a transaction.
    pub sql: &'static str,
    /// Whether a program that does not know this step may still use the database, as it may if the step only adds a table, or
    /// a column that may be empty. `user_version` is the last step that is not of this kind.
    pub additive: bool,
}

impl SchemaStep {
    /// A step that every program on the database must know.
    pub(crate) const fn needed(version: u32, sql: &'static str) -> Self {
        Self { version, sql, additive: false }
    }

    /// A step that a program may be without.
    pub(crate) const fn additive(version: u32, sql: &'static str) -> Self {
        Self { version, sql, additive: true }
    }
}

/// How far the schema of a database is.
struct Level {
    /// `user_version`: a program that does not know this step must not touch the database.
    needed: u32,
    /// The last step that was run.
    reached: u32,
}

/// The last step that was run, where it is an additive one.
const REACHED: &str = "
    CREATE TABLE IF NOT EXISTS schema_reached (id INTEGER PRIMARY KEY CHECK (id = 0), version INTEGER NOT NULL) STRICT;
";

/// Why the database cannot be used. Nothing was changed or overwritten. Each variant says what a person can do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Make the folder exist and writable for this user.
    #[error("cannot write to {}: {source}", path.display())]
    Unwritable {
        /// The database.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Point to another file; this one holds something else.
    #[error("{} is not a database of qrcast", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// Start the newer program again, or restore the backup from before its upgrade.
    #[error("{} has schema {found}, written by a newer version; this one knows schemas up to {known}", path.display())]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its `user_version`.
        found: u32,
        /// The last migration of this program.
        known: u32,
    },
    /// Start this program's server on it once, which brings it up to date.
    #[error("{} has schema {found}, and this version reads {known}: start its server on it once", path.display())]
    Older {
        /// The database.
        path: PathBuf,
        /// Its `user_version`.
        found: u32,
        /// The last migration of this program.
        known: u32,
    },
    /// Put the newest copy back, or accept this one.
    #[error(
        "{} is older than what was noted beside it ({found} links, unlinks and stops; noted are {noted}): put the newest copy \
         back with its -wal, or take this one with `qrcast check-store --accept`",
        path.display()
    )]
    Behind {
        /// The database.
        path: PathBuf,
        /// The number of milestones in it.
        found: u64,
        /// The number of milestones that the note beside it says.
        noted: u64,
    },
    /// Put the database back, or start with no data.
    #[error(
        "{} is gone, and sessions were kept in it: put it back, or start empty with `qrcast check-store --accept`",
        .0.display()
    )]
    Gone(PathBuf),
    /// The note beside the database cannot be read.
    #[error(
        "{} is not a number: it says how new the database is; check that it is the newest, then accept it with `qrcast check-store --accept`",
        .0.display()
    )]
    BadNote(PathBuf),
    /// Restore a backup, or move the file away to start with no data.
    #[error(
        "{} is damaged ({why}); restore a backup, or move it away and run `qrcast check-store --accept` to start empty",
        path.display()
    )]
    Damaged {
        /// The database.
        path: PathBuf,
        /// What was found.
        why: String,
    },
    /// Make room on the disk.
    #[error("no room left on the disk of {}", path.display())]
    Full {
        /// The database.
        path: PathBuf,
    },
    /// A bug in this program: its list of steps does not count 1, 2, 3, ...
    #[error("migration {0} is out of order")]
    Order(u32),
    /// Anything else.
    #[error("cannot open {}: {source}", path.display())]
    Failed {
        /// The database.
        path: PathBuf,
        /// What SQLite or the system says.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl OpenError {
    pub(super) fn sql(path: &Path, error: rusqlite::Error) -> Self {
        let path = path.to_owned();
        match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => Self::Foreign { path },
            Some(ErrorCode::DatabaseCorrupt) => Self::Damaged { path, why: error.to_string() },
            Some(ErrorCode::DiskFull) => Self::Full { path },
            Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
                Self::Unwritable { path, source: error.into() }
            }
            _ => Self::Failed { path, source: error.into() },
        }
    }

    pub(super) fn io(path: &Path, error: io::Error) -> Self {
        let path = path.to_owned();
        match error.kind() {
            io::ErrorKind::StorageFull => Self::Full { path },
            io::ErrorKind::NotFound
            | io::ErrorKind::NotADirectory
            | io::ErrorKind::PermissionDenied
            | io::ErrorKind::ReadOnlyFilesystem => Self::Unwritable { path, source: error.into() },
            _ => Self::Failed { path, source: error.into() },
        }
    }
}

/// Checks that the database has every milestone that is noted beside it. Changes nothing.
pub(super) fn check_noted(path: &Path) -> Result<(), OpenError> {
    let Some(folder) = path.parent() else { return Ok(()) };
    let note = folder::note(folder, MILESTONE).map_err(|error| OpenError::io(path, error))?;
    let Some(note) = note else { return Ok(()) };
    let noted: u64 = note.parse().map_err(|_| OpenError::BadNote(folder.join(MILESTONE)))?;
    match fs::metadata(path) {
        // A missing database is reported by the check that follows.
        Ok(there) if there.len() == 0 => return Ok(()),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(OpenError::Gone(path.to_owned()));
        }
        Err(error) => return Err(OpenError::io(path, error)),
    }
    match number_in(path) {
        Ok(found) if found < noted => Err(OpenError::Behind { path: path.to_owned(), found, noted }),
        Ok(_) => Ok(()),
        Err(error) => match OpenError::sql(path, error) {
            // A file that is damaged or not a database is reported by the check that follows.
            OpenError::Foreign { .. } | OpenError::Damaged { .. } => Ok(()),
            error => Err(error),
        },
    }
}

fn number_in(path: &Path) -> rusqlite::Result<u64> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    milestone::number(&connection)
}

/// The writer's and the reader's connection to a checked, migrated database.
pub(super) fn open(path: &Path, steps: &[SchemaStep]) -> Result<(Connection, Connection), OpenError> {
    if let Some((_, wrong)) = (1..).zip(steps).find(|(due, step)| step.version != *due) {
        return Err(OpenError::Order(wrong.version));
    }
    if path.try_exists().map_err(|error| OpenError::io(path, error))? {
        check(path, steps.len() as u32)?;
        make_private(path).map_err(|error| OpenError::io(path, error))?;
    } else {
        create(path, steps)?;
    }
    connect(path, steps).map_err(|error| OpenError::sql(path, error))
}

/// A connection that reads a checked database of this program's schema.
pub(super) fn open_to_read(path: &Path, steps: &[SchemaStep]) -> Result<Connection, OpenError> {
    let known = steps.len() as u32;
    check(path, known)?;
    let sql = |error| OpenError::sql(path, error);
    let reader = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(sql)?;
    reader.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(sql)?;
    settle(&reader).map_err(sql)?;
    let found = Level::of(&reader).map_err(sql)?.reached;
    if found < known { Err(OpenError::Older { path: path.to_owned(), found, known }) } else { Ok(reader) }
}

/// Checks the file without changing anything.
fn check(path: &Path, known: u32) -> Result<(), OpenError> {
    let damaged = |why: &str| OpenError::Damaged { path: path.to_owned(), why: why.to_owned() };
    // Only SQLite opens the files here: closing a second descriptor would release the locks of the first.
    let length = fs::metadata(path).map_err(|error| OpenError::io(path, error))?.len();
    if length == 0 {
        return Err(damaged("it is empty"));
    }
    let sql = |error| OpenError::sql(path, error);
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(sql)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(sql)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(sql)?;
    let id: i32 = connection.pragma_query_value(None, "application_id", |row| row.get(0)).map_err(sql)?;
    if id != APPLICATION_ID {
        return Err(OpenError::Foreign { path: path.to_owned() });
    }
    // SQLite counts a truncated page as a page. If there is a log, the complete page may be in it.
    let logged = fs::metadata(log_of(path)).is_ok_and(|log| log.len() > 0);
    if !logged && length % PAGE_BYTES != 0 {
        return Err(damaged("it is cut off"));
    }
    let found = Level::of(&connection).map_err(sql)?.needed;
    if found > known {
        return Err(OpenError::Newer { path: path.to_owned(), found, known });
    }
    if length <= CHECKED_BYTES {
        let verdict: String =
            connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(sql)?;
        if verdict != "ok" {
            // SQLite's message has several lines.
            return Err(damaged(&verdict.lines().collect::<Vec<_>>().join(" ")));
        }
    }
    Ok(())
}

/// Builds the whole database under another name and renames it, so that a crash never leaves half of one.
fn create(path: &Path, steps: &[SchemaStep]) -> Result<(), OpenError> {
    if beside(path, "-wal").exists() {
        // SQLite would apply this log to any file that it finds beside it.
        let why = "the file is gone, but its log is still there".to_owned();
        return Err(OpenError::Damaged { path: path.to_owned(), why });
    }
    let draft = beside(path, ".new");
    let io = |error| OpenError::io(path, error);
    for leftover in [draft.clone(), beside(path, ".new-journal")] {
        match fs::remove_file(leftover) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io(error)),
            _ => {}
        }
    }
    File::create_new(&draft).and_then(|_| make_private(&draft)).map_err(io)?;
    build(&draft, steps).map_err(|error| {
        // This may fail: the next start removes the draft as well.
        let _ = fs::remove_file(&draft);
        OpenError::sql(path, error)
    })?;
    fs::rename(&draft, path).and_then(|()| sync_folder_of(path)).map_err(io)
}

/// A rename is durable only after this.
pub(super) fn sync_folder_of(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

fn build(draft: &Path, steps: &[SchemaStep]) -> rusqlite::Result<()> {
    let mut connection = Connection::open(draft)?;
    connection.pragma_update(None, "synchronous", "EXTRA")?;
    connection.pragma_update(None, "page_size", PAGE_BYTES as i64)?;
    connection.pragma_update(None, "application_id", APPLICATION_ID)?;
    migrate(&mut connection, steps)?;
    connection.close().map_err(|(_, error)| error)
}

fn connect(path: &Path, steps: &[SchemaStep]) -> rusqlite::Result<(Connection, Connection)> {
    let mut writer = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    settle(&writer)?;
    writer.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    writer.pragma_update(None, "synchronous", "FULL")?;
    writer.pragma_update_and_check(None, "secure_delete", "ON", |_| Ok(()))?;
    writer.pragma_update_and_check(None, "wal_autocheckpoint", CHECKPOINT_PAGES, |_| Ok(()))?;
    writer.pragma_update_and_check(None, "journal_size_limit", LOG_BYTES, |_| Ok(()))?;
    writer.pragma_update(None, "foreign_keys", "ON")?;
    migrate(&mut writer, steps)?;
    let reader = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    settle(&reader)?;
    // The first read opens the log; it is done here so that the first request need not wait for it.
    reader.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
    Ok((writer, reader))
}

fn settle(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(128);
    // Temporary data stays in memory, so that no temporary file keeps deleted content.
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(None, "trusted_schema", "OFF")
}

fn migrate(connection: &mut Connection, steps: &[SchemaStep]) -> rusqlite::Result<()> {
    let Some(last) = steps.last() else { return Ok(()) };
    let needed = steps.iter().filter(|step| !step.additive).map(|step| step.version).max().unwrap_or(0);
    let Level { needed: found, reached } = Level::of(connection)?;
    // A version that marked additive steps as needed may have written the file.
    if reached >= last.version && found <= needed {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for step in steps.iter().filter(|step| step.version > reached) {
        transaction.execute_batch(step.sql)?;
    }
    transaction.pragma_update(None, "user_version", needed)?;
    transaction.execute_batch(REACHED)?;
    transaction.execute(
        "INSERT OR REPLACE INTO schema_reached (id, version) VALUES (0, ?1)",
        [reached.max(last.version)],
    )?;
    transaction.commit()
}

impl Level {
    fn of(connection: &Connection) -> rusqlite::Result<Self> {
        let needed = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        let added = match connection.table_exists(None, "schema_reached")? {
            true => connection.query_row("SELECT max(version) FROM schema_reached", [], |row| row.get(0))?,
            false => None,
        };
        Ok(Self { needed, reached: added.unwrap_or(0).max(needed) })
    }
}

/// Makes the file readable by its owner only. The log takes over this mode.
pub(super) fn make_private(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    for suffix in ["", "-wal", "-shm"] {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        match fs::set_permissions(beside(path, suffix), mode) {
            Err(error) if error.kind() != io::ErrorKind::NotFound || suffix.is_empty() => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// The log of a database.
pub(super) fn log_of(path: &Path) -> PathBuf {
    beside(path, "-wal")
}

pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
