//! The standings of one replica: rows of the server's one SQLite file.
//!
//! `server` puts [`SCHEMA`] into the list of migrations. Nobody else sends, so nothing is claimed. The log puts a session
//! on the list in the transaction that appends.

use async_trait::async_trait;
use rusqlite::{OptionalExtension as _, Transaction, params};

use super::{Change, Due, Found, HookStore};
use crate::event::Time;
use crate::id::SessionId;
use crate::log::sqlite as log;
use crate::receiver::OwnReceiver;
use crate::storage::StorageError;
use crate::storage::sqlite::Sqlite;

/// The first schema of this module. Times are Unix milliseconds. What waits goes with its session.
pub(crate) const SCHEMA: &str = "
    CREATE TABLE webhook (
        session TEXT NOT NULL,
        receiver TEXT NOT NULL,  -- 'own', or the beginning of the SHA-256 of a URL
        standing TEXT NOT NULL,  -- JSON
        PRIMARY KEY (session, receiver)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE webhook_due (session TEXT PRIMARY KEY, due REAL NOT NULL) STRICT, WITHOUT ROWID;
    CREATE INDEX webhook_due_by_time ON webhook_due (due);
    CREATE TABLE webhook_receiver (receiver TEXT PRIMARY KEY, since INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TRIGGER webhook_of_session AFTER DELETE ON session BEGIN
        DELETE FROM webhook WHERE session = OLD.id;
        DELETE FROM webhook_due WHERE session = OLD.id;
    END;
";

const NEW_RECEIVER: &str = "INSERT OR IGNORE INTO webhook_receiver (receiver, since) VALUES (?1, ?2)";
const RECEIVERS: &str = "SELECT receiver, since FROM webhook_receiver";
const SINCE: &str = "SELECT since FROM webhook_receiver WHERE receiver = ?1";
const DUE: &str = "SELECT session, due FROM webhook_due WHERE due <= ?1 ORDER BY due LIMIT ?2";
const PUT: &str = "INSERT OR REPLACE INTO webhook_due (session, due) VALUES (?1, ?2)";
const LATER: &str = "UPDATE webhook_due SET due = ?3 WHERE session = ?1 AND due = ?2";
const NEVER: &str = "DELETE FROM webhook_due WHERE session = ?1 AND due = ?2";
const SESSION: &str = "SELECT webhook FROM session WHERE id = ?1";
const STANDINGS: &str = "SELECT receiver, standing FROM webhook WHERE session = ?1";
const STANDING: &str = "SELECT standing FROM webhook WHERE session = ?1 AND receiver = ?2";
const SAVE: &str = "INSERT OR REPLACE INTO webhook (session, receiver, standing) SELECT ?1, ?2, ?3
    WHERE EXISTS (SELECT 1 FROM session WHERE id = ?1)";

/// How many sessions one look at the list finds.
const AT_ONCE: u32 = 512;

/// Standings in the file.
pub(crate) struct SqliteHooks(Sqlite);

impl SqliteHooks {
    /// On a file whose migrations include [`SCHEMA`] and those of the log and the records.
    pub(crate) fn new(sqlite: Sqlite) -> Self {
        Self(sqlite)
    }

    /// Every receiver of all sessions that was ever known, and since when.
    pub(crate) async fn receivers(&self) -> Result<Vec<(String, Time)>, StorageError> {
        let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, Time::from_millis(row.get(1)?)));
        let all = move |tx: &Transaction<'_>| {
            tx.prepare_cached(RECEIVERS)?.query_map([], row)?.collect::<rusqlite::Result<Vec<_>>>()
        };
        self.0.read(all).await
    }
}

#[async_trait]
impl HookStore for SqliteHooks {
    async fn known_since(&self, receiver: &str, now: Time) -> Result<Time, StorageError> {
        let (receiver, now) = (receiver.to_owned(), now.as_millis());
        let since = move |tx: &Transaction<'_>| {
            tx.prepare_cached(NEW_RECEIVER)?.execute(params![receiver, now])?;
            tx.prepare_cached(SINCE)?.query_row([receiver], |row| row.get(0))
        };
        Ok(Time::from_millis(self.0.write(since).await?))
    }

    async fn due(&self, now: Time) -> Result<Vec<(SessionId, Due)>, StorageError> {
        let now = now.as_millis() as f64;
        let due = move |tx: &Transaction<'_>| {
            let row = |row: &rusqlite::Row<'_>| {
                let session =
                    String::from_utf8_lossy(row.get_ref(0)?.as_bytes().unwrap_or_default()).into_owned();
                Ok((session, row.get(1)?))
            };
            let mut due = tx.prepare_cached(DUE)?;
            due.query_map(params![now, AT_ONCE], row)?.collect::<rusqlite::Result<Vec<(String, f64)>>>()
        };
        let due = self.0.read(due).await?;
        Ok(due.into_iter().filter_map(|(session, due)| Some((session.parse().ok()?, Due(due)))).collect())
    }

    async fn put(&self, session: &SessionId, now: Time) -> Result<(), StorageError> {
        let (session, now) = (session.clone(), now.as_millis() as f64);
        self.0.write(move |tx| tx.prepare_cached(PUT)?.execute(params![session.as_str(), now])).await?;
        Ok(())
    }

    async fn settle(&self, session: &SessionId, seen: Due, next: Option<Time>) -> Result<(), StorageError> {
        let session = session.clone();
        let settle = move |tx: &Transaction<'_>| match next {
            Some(next) => {
                tx.prepare_cached(LATER)?.execute(params![session.as_str(), seen.0, next.as_millis() as f64])
            }
            None => tx.prepare_cached(NEVER)?.execute(params![session.as_str(), seen.0]),
        };
        self.0.write(settle).await?;
        Ok(())
    }

    async fn look(&self, session: &SessionId) -> Result<Option<Found>, StorageError> {
        let id = session.clone();
        let look = move |tx: &Transaction<'_>| {
            let text = |row: &rusqlite::Row<'_>| row.get::<_, Option<String>>(0);
            let Some(own) = tx.prepare_cached(SESSION)?.query_row([id.as_str()], text).optional()? else {
                return Ok(None);
            };
            let last = log::last(tx, id.as_str())?;
            let pair = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
            let standings =
                tx.prepare_cached(STANDINGS)?.query_map([id.as_str()], pair)?.collect::<Result<_, _>>()?;
            // A record that cannot be read is noted where it is read as a whole.
            let own = own.and_then(|own| serde_json::from_str::<OwnReceiver>(&own).ok());
            Ok(Some(Found { own, last, standings, ..Found::default() }))
        };
        self.0.read(look).await
    }

    async fn claim(&self, session: &SessionId, receiver: &str) -> Result<Option<String>, StorageError> {
        let (session, receiver) = (session.clone(), receiver.to_owned());
        let claim = move |tx: &Transaction<'_>| {
            let there = tx.prepare_cached(SESSION)?.exists([session.as_str()])?;
            let standing = |row: &rusqlite::Row<'_>| row.get(0);
            let stored = tx
                .prepare_cached(STANDING)?
                .query_row(params![session.as_str(), receiver], standing)
                .optional()?;
            Ok(there.then(|| stored.unwrap_or_default()))
        };
        self.0.read(claim).await
    }

    async fn save(
        &self,
        session: &SessionId,
        receiver: &str,
        change: Change<'_>,
    ) -> Result<bool, StorageError> {
        let (session, receiver) = (session.clone(), receiver.to_owned());
        let (before, after) = (change.before.to_owned(), change.after.to_owned());
        let save = move |tx: &Transaction<'_>| {
            let key = params![session.as_str(), receiver];
            let stored =
                tx.prepare_cached(STANDING)?.query_row(key, |row| row.get::<_, String>(0)).optional()?;
            if stored.unwrap_or_default() != before {
                return Ok(false);
            }
            Ok(tx.prepare_cached(SAVE)?.execute(params![session.as_str(), receiver, after])? > 0)
        };
        self.0.write(save).await
    }

    async fn release(&self, _: &SessionId, _: &str) -> Result<(), StorageError> {
        Ok(())
    }
}
