//! A counter in the database that is raised at each event that must never be lost unnoticed: a link, an unlink, a clean
//! stop. A note beside the database holds its last value.
//!
//! SQLite treats a log that is damaged, truncated or missing as one that ends earlier, and cannot tell an old copy from
//! the newest database. So at a milestone the log is folded into the file, where damage is noticed, and a start refuses
//! a database whose number is smaller than the noted one. The note is written after the commit: a crash between the two
//! leaves a note that is too small, never one that is too great.

use rusqlite::{Connection, OptionalExtension as _};

use super::writer::scrub;
use crate::storage::StorageError;
use crate::storage::folder::FolderLock;

/// The file name of the note, in the folder of the database.
pub(crate) const MILESTONE: &str = "milestone";

/// The table of the engine itself; all others belong to its callers.
const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS milestone (id INTEGER PRIMARY KEY CHECK (id = 0), number INTEGER NOT NULL) STRICT";
const RAISE: &str = "INSERT INTO milestone (id, number) VALUES (0, 1)
    ON CONFLICT (id) DO UPDATE SET number = number + 1 RETURNING number";

pub(super) fn prepare(writer: &Connection) -> rusqlite::Result<()> {
    writer.execute_batch(SCHEMA)
}

/// The number in a database; 0 if it has no milestone yet.
pub(super) fn number(connection: &Connection) -> rusqlite::Result<u64> {
    let table = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'milestone'";
    if connection.query_row(table, [], |_| Ok(())).optional()?.is_none() {
        return Ok(0);
    }
    let number = connection.query_row("SELECT number FROM milestone", [], |row| row.get::<_, i64>(0));
    Ok(number.optional()?.unwrap_or_default().cast_unsigned())
}

/// Raises the number, folds the log into the file, and writes the note. Returns the result of the folding; an error of
/// the whole means that the number was not raised or not noted.
pub(super) fn raise(
    connection: &Connection,
    folder: &FolderLock,
) -> Result<Result<(), StorageError>, StorageError> {
    let number: i64 = connection.query_row(RAISE, [], |row| row.get(0))?;
    // Another process that reads at the moment prevents the folding. If the log is lost then, the note reveals it.
    let folded = scrub(connection);
    // The folder may have been replaced by another of the same name; nothing is written there.
    folder.check()?;
    folder.leave(MILESTONE, &number.to_string()).map_err(StorageError::failed)?;
    Ok(folded)
}
