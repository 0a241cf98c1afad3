//! Checks the database of a data folder through a connection that cannot write. Damaged rows are moved, value by value,
//! into the table `quarantine` of the same file.

use std::path::PathBuf;
use std::sync::Arc;

use rusqlite::types::Value;
use rusqlite::{Transaction, params, params_from_iter};

use super::report::StoreReport;
use super::{CheckError, Wanted, survey};
use crate::config::Config;
use crate::event::Time;
use crate::log::sqlite::SqliteLog;
use crate::records::sqlite::SqliteRecords;
use crate::server::{DATABASE, MIGRATIONS};
use crate::storage::StorageError;
use crate::storage::damage::{Damaged, shown};
use crate::storage::folder::FolderLock;
use crate::storage::sqlite::{MILESTONE, Sqlite};
use crate::whatsapp::store::sqlite::SqliteEngine;

/// The table has one row for each value that was set aside, so it does not change when another table gets a column, and
/// keeps each value with its type. It is made when it is first needed; no server reads it.
const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS quarantine (
    at INTEGER NOT NULL,     -- when, in Unix milliseconds
    why TEXT NOT NULL,
    tbl TEXT NOT NULL,       -- the table it stood in
    key ANY NOT NULL,        -- which row of that
    col TEXT NOT NULL,
    value ANY
) STRICT";

/// The tables that hold sessions, and what names a row in each.
const TABLES: [(&str, &str); 5] = [
    ("event", "session || ' ' || epoch || '-' || seq"),
    ("device_row", "device || ' ' || tbl || ' ' || hex(key)"),
    ("device", "session"),
    ("idempotency", "key"),
    ("session", "id"),
];

pub(super) async fn check(config: &Config, path: PathBuf, wanted: Wanted) -> Result<StoreReport, CheckError> {
    let writes = wanted.quarantine || wanted.accept;
    let lock = writes.then(|| FolderLock::take(&config.data_dir)).transpose()?.map(Arc::new);
    let open = move || match lock {
        Some(lock) if wanted.accept => Sqlite::accept_in(lock, DATABASE, MIGRATIONS),
        Some(lock) => Sqlite::open_in(lock, DATABASE, MIGRATIONS),
        None => Sqlite::open_to_read(&path, MIGRATIONS),
    };
    // Reads the whole file once, and blocks.
    let opened = tokio::task::spawn_blocking(open).await;
    let sqlite = opened.map_err(|error| CheckError::Read(StorageError::failed(error)))??;
    let report = report(config, &sqlite, wanted).await;
    let closed = sqlite.close().await;
    let report = report?;
    if writes {
        // Closing the database notes its number, which accepts it.
        closed.map_err(CheckError::SetAside)?;
    }
    Ok(report)
}

/// Accepts that there is no database: the next start begins with an empty one.
pub(super) fn accept_none(config: &Config) -> Result<StoreReport, CheckError> {
    let lock = FolderLock::take(&config.data_dir)?;
    if lock.note(MILESTONE)?.is_some() {
        lock.take_away(MILESTONE)?;
    }
    Ok(StoreReport { sessions: 0, damaged: Vec::new(), set_aside: false })
}

async fn report(config: &Config, sqlite: &Sqlite, wanted: Wanted) -> Result<StoreReport, CheckError> {
    let records = SqliteRecords::new(sqlite.clone());
    let log = SqliteLog::new(sqlite.clone(), config.history_events);
    let engine = SqliteEngine::new(sqlite.clone());
    let sessions = survey(&records, &log, &engine).await?;
    let damaged = sqlite.damage().list();
    let set_aside = wanted.quarantine && !damaged.is_empty();
    if set_aside {
        let rows = damaged.clone();
        let move_all = move |tx: &Transaction<'_>| {
            tx.execute_batch(SCHEMA)?;
            rows.iter().try_for_each(|damaged| set_one_aside(tx, damaged))?;
            if rows.iter().any(|damaged| damaged.session.is_none()) { set_orphans_aside(tx) } else { Ok(()) }
        };
        sqlite.write(move_all).await.map_err(CheckError::SetAside)?;
    }
    Ok(StoreReport { sessions, damaged, set_aside })
}

/// Sets a damaged row aside. An event goes alone. With any other row goes everything that belongs to its session: it
/// would be useless without that row, and a server would delete it.
fn set_one_aside(tx: &Transaction<'_>, damaged: &Damaged) -> rusqlite::Result<()> {
    let Damaged { table, key, session, why } = damaged;
    let Some(session) = session else {
        let column = if table == "session" { "id" } else { "session" };
        for name in names_shown_as(tx, table, column, key)? {
            set_session_aside(tx, &name, why)?;
        }
        return Ok(());
    };
    let id = session.as_str().to_owned().into();
    match key.rsplit_once(' ').and_then(|(_, at)| at.split_once('-')) {
        Some((epoch, seq)) if table == "event" => {
            let which = "session = ?1 AND epoch = CAST(?2 AS INTEGER) AND seq = CAST(?3 AS INTEGER)";
            move_rows(tx, "event", which, &[id, epoch.to_owned().into(), seq.to_owned().into()], why)
        }
        _ => set_session_aside(tx, &id, why),
    }
}

/// `name` is the session's name exactly as it is in the file, even if it is not valid text.
fn set_session_aside(tx: &Transaction<'_>, name: &Value, why: &str) -> rusqlite::Result<()> {
    for (table, _) in TABLES {
        let which = match table {
            "session" => "CAST(id AS BLOB) = CAST(?1 AS BLOB)",
            "device_row" => {
                "device IN (SELECT id FROM device WHERE CAST(session AS BLOB) = CAST(?1 AS BLOB))"
            }
            _ => "CAST(session AS BLOB) = CAST(?1 AS BLOB)",
        };
        move_rows(tx, table, which, std::slice::from_ref(name), why)?;
    }
    Ok(())
}

/// Sets aside the rows of sessions without a record: the record may be one whose id cannot be read.
fn set_orphans_aside(tx: &Transaction<'_>) -> rusqlite::Result<()> {
    let why = "no record names its session, and one whose id is damaged was set aside";
    let orphan = "session NOT IN (SELECT id FROM session)";
    move_rows(tx, "event", orphan, &[], why)?;
    let of_orphan = format!("device IN (SELECT id FROM device WHERE {orphan})");
    move_rows(tx, "device_row", &of_orphan, &[], why)?;
    move_rows(tx, "device", orphan, &[], why)
}

/// The names in a column that are displayed as this one.
fn names_shown_as(
    tx: &Transaction<'_>,
    table: &str,
    column: &str,
    key: &str,
) -> rusqlite::Result<Vec<Value>> {
    let mut names = tx.prepare(&format!("SELECT DISTINCT CAST({column} AS BLOB) FROM {table}"))?;
    let names = names.query_map([], |row| row.get::<_, Vec<u8>>(0))?.collect::<rusqlite::Result<Vec<_>>>()?;
    let is_meant = |name: &Vec<u8>| shown(&String::from_utf8_lossy(name)) == key;
    Ok(names.into_iter().filter(is_meant).map(Value::Blob).collect())
}

fn move_rows(
    tx: &Transaction<'_>,
    table: &str,
    which: &str,
    values: &[Value],
    why: &str,
) -> rusqlite::Result<()> {
    let Some((_, key)) = TABLES.iter().find(|(name, _)| *name == table) else { return Ok(()) };
    let mut columns = tx.prepare("SELECT name FROM pragma_table_info(?1)")?;
    let columns = columns.query_map(params![table], |row| row.get::<_, String>(0))?;
    let (at, next) = (Time::now().as_millis(), values.len() + 1);
    for column in columns.collect::<rusqlite::Result<Vec<_>>>()? {
        let insert = format!(
            "INSERT INTO quarantine (at, why, tbl, key, col, value)
             SELECT {at}, ?{next}, '{table}', {key}, '{column}', \"{column}\" FROM {table} WHERE {which}"
        );
        let values = values.iter().cloned().chain([why.to_owned().into()]);
        tx.execute(&insert, params_from_iter(values))?;
    }
    tx.execute(&format!("DELETE FROM {table} WHERE {which}"), params_from_iter(values))?;
    Ok(())
}
