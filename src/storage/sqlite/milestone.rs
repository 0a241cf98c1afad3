//! A counter in the database that is raised when something must never be lost: a link, an unlink, a clean stop. Beside the
//! database stands a note of the last one.
//!
//! A log that is damaged, cut or gone is to SQLite a log that ends earlier, and an old copy is a database like any other. So
//! at a milestone the log is folded into the file, where nothing is damaged without a word, and a database with a smaller
//! number than the noted one is refused at the start. The note is written after the commit: a crash between the two leaves
//! one that is too small, never one that is too great.

use rusqlite::{Connection, OptionalExtension as _};

use super::writer::scrub;
use crate::storage::StorageError;
use crate::storage::folder::FolderLock;

/// The note, in the folder of the database.
pub const MILESTONE: &str = "milestone";

/// The engine's own table, beside those of its callers.
const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS milestone (id INTEGER PRIMARY KEY CHECK (id = 0), number INTEGER NOT NULL) STRICT";
const RAISE: &str = "INSERT INTO milestone (id, number) VALUES (0, 1)
    ON CONFLICT (id) DO UPDATE SET number = number + 1 RETURNING number";

pub(super) fn prepare(writer: &Connection) -> rusqlite::Result<()> {
    writer.execute_batch(SCHEMA)
}

/// The number in a database; 0 in one that has none yet.
pub(super) fn number(connection: &Connection) -> rusqlite::Result<u64> {
    let table = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'milestone'";
    if connection.query_row(table, [], |_| Ok(())).optional()?.is_none() {
        return Ok(0);
    }
    let number = connection.query_row("SELECT number FROM milestone", [], |row| row.get::<_, i64>(0));
    Ok(number.optional()?.unwrap_or_default().cast_unsigned())
}

/// Raises the number, folds the log into the file, and notes it; how the folding went. Where the number could not be raised or
/// noted that is an error of the whole.
pub(super) fn raise(
    connection: &Connection,
    folder: &FolderLock,
) -> Result<Result<(), StorageError>, StorageError> {
    let number: i64 = connection.query_row(RAISE, [], |row| row.get(0))?;
    // Another process that reads just now is in its way. Then a log that is lost is found out by the note.
    let folded = scrub(connection);
    // Never into a folder that has only the name of ours.
    folder.check()?;
    folder.leave(MILESTONE, &number.to_string()).map_err(StorageError::failed)?;
    Ok(folded)
}
