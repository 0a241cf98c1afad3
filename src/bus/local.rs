//! The bus of one replica: each log is rows of the server's one SQLite file.
//!
//! An id that is not greater than the last is refused, as a Redis Stream refuses it: a stale owner cannot write.
//! `server` puts [`SCHEMA`] into the list of migrations.

use std::sync::Arc;

use async_trait::async_trait;
use rusqlite::{OptionalExtension as _, Transaction, params};

use super::{AppendError, Bus, Log};
use crate::event::{Cursor, Event, Kind, Time};
use crate::id::SessionId;
use crate::storage::StorageError;
use crate::storage::sqlite::Sqlite;

/// The first schema of this module. `expires` is set while the row holds the string of a QR.
pub const SCHEMA: &str = "
    CREATE TABLE event (
        session TEXT NOT NULL,
        epoch INTEGER NOT NULL,
        seq INTEGER NOT NULL,
        expires INTEGER,     -- Unix time in milliseconds
        body TEXT NOT NULL,  -- JSON, as Event::to_log writes it
        PRIMARY KEY (session, epoch, seq)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX event_expires ON event (expires) WHERE expires IS NOT NULL;
";

const LAST: &str = "SELECT epoch, seq FROM event WHERE session = ?1 ORDER BY epoch DESC, seq DESC LIMIT 1";
const INSERT: &str = "INSERT INTO event (session, epoch, seq, expires, body) VALUES (?1, ?2, ?3, ?4, ?5)";
const READ: &str =
    "SELECT epoch, seq, body FROM event WHERE session = ?1 ORDER BY epoch DESC, seq DESC LIMIT ?2";
const TRIM: &str = "DELETE FROM event WHERE session = ?1 AND (epoch, seq) <=
    (SELECT epoch, seq FROM event WHERE session = ?1 ORDER BY epoch DESC, seq DESC LIMIT 1 OFFSET ?2)";
const FORGET: &str = "DELETE FROM event WHERE session = ?1";
const BLANK: &str = "UPDATE event SET expires = NULL, body = json_set(body, '$.kind.data.qrString', '')
    WHERE expires <= ?1";
const SESSIONS: &str = "SELECT DISTINCT session FROM event";

/// A log is trimmed once in so many events, not at each.
const TRIM_EVERY: u64 = 16;

/// Logs in the file.
pub struct LocalBus {
    sqlite: Sqlite,
    /// How many events a log keeps, and one more, which says where it was cut.
    keep: u32,
}

impl LocalBus {
    /// On a file whose migrations include [`SCHEMA`]; each log keeps its last `history` events.
    pub fn new(sqlite: Sqlite, history: u32) -> Self {
        Self { sqlite, keep: history.saturating_add(1) }
    }
}

#[async_trait]
impl Bus for LocalBus {
    async fn append(&self, event: Arc<Event>) -> Result<(), AppendError> {
        let expires = match &event.kind {
            Kind::Qr(qr) => Some(qr.expires_at.as_millis()),
            _ => None,
        };
        let body = event.to_log();
        let keep = self.keep;
        let append = move |tx: &Transaction<'_>| {
            let session = event.session.as_str();
            let last = tx.prepare_cached(LAST)?.query_row([session], cursor).optional()?;
            if last.is_some_and(|last| event.at <= last) {
                return Ok(false);
            }
            let (epoch, seq) = (event.at.epoch.cast_signed(), event.at.seq.cast_signed());
            tx.prepare_cached(INSERT)?.execute(params![session, epoch, seq, expires, body])?;
            if event.at.seq.is_multiple_of(TRIM_EVERY) {
                tx.prepare_cached(TRIM)?.execute(params![session, keep])?;
            }
            Ok(true)
        };
        if self.sqlite.write(append).await? { Ok(()) } else { Err(AppendError::Fenced) }
    }

    async fn read(&self, session: &SessionId) -> Result<Log, StorageError> {
        let (name, keep) = (session.clone(), self.keep);
        let read = move |tx: &Transaction<'_>| {
            let mut statement = tx.prepare_cached(READ)?;
            let row = |row: &rusqlite::Row<'_>| Ok((cursor(row)?, row.get::<_, String>(2)?));
            statement.query_map(params![name.as_str(), keep], row)?.collect::<rusqlite::Result<Vec<_>>>()
        };
        let mut rows = self.sqlite.read(read).await?;
        let cut = u32::try_from(rows.len()).is_ok_and(|rows| rows == self.keep);
        let trimmed = if cut { rows.pop().map(|(at, _)| at) } else { None };
        let event = |(at, body): (Cursor, String)| {
            Event::from_log(session.clone(), at, &body).map(Arc::new).map_err(|_| StorageError::Corrupt)
        };
        let events = rows.into_iter().rev().map(event).collect::<Result<_, _>>()?;
        Ok(Log { events, trimmed })
    }

    async fn forget(&self, session: &SessionId) -> Result<(), StorageError> {
        let session = session.clone();
        self.sqlite.write(move |tx| tx.prepare_cached(FORGET)?.execute([session.as_str()])).await?;
        Ok(())
    }

    async fn blank_expired(&self) -> Result<(), StorageError> {
        let now = Time::now().as_millis();
        self.sqlite.write(move |tx| tx.prepare_cached(BLANK)?.execute([now])).await?;
        Ok(())
    }

    async fn sessions(&self) -> Result<Vec<SessionId>, StorageError> {
        let names: Vec<String> = self
            .sqlite
            .read(|tx| tx.prepare_cached(SESSIONS)?.query_map([], |row| row.get(0))?.collect())
            .await?;
        names.iter().map(|name| name.parse().map_err(|_| StorageError::Corrupt)).collect()
    }
}

fn cursor(row: &rusqlite::Row<'_>) -> rusqlite::Result<Cursor> {
    Ok(Cursor { epoch: row.get::<_, i64>(0)?.cast_unsigned(), seq: row.get::<_, i64>(1)?.cast_unsigned() })
}
