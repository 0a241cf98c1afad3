//! The engine of a single replica: two tables in the server's one SQLite file, for all sessions.
//!
//! `device` names the sessions and holds the epoch of the last claim, so the check of the fence and the
//! number under which the rows stand are one lookup, in the transaction of the commit. The rows carry that
//! small number and not the session's id of some 60 characters, which 812 pre-keys would repeat 812 times.
//!
//! `server` puts [`SCHEMA`] into the list of migrations.

use async_trait::async_trait;
use bytes::Bytes;
use rusqlite::{OptionalExtension, Transaction, params};

use super::engine::{Change, CommitLock, Engine, EngineError, Fence, Key, Table};
use crate::event::Time;
use crate::id::SessionId;
use crate::storage::StorageError;
use crate::storage::sqlite::Sqlite;
use crate::whatsapp::version::{StoredVersion, Version};

/// The first schema of this module.
pub(crate) const SCHEMA: &str = "
    CREATE TABLE device (
        id INTEGER PRIMARY KEY,
        session TEXT NOT NULL UNIQUE,
        epoch INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE device_row (
        device INTEGER NOT NULL, -- device.id
        tbl TEXT NOT NULL,       -- Table::name
        key BLOB NOT NULL,
        value BLOB NOT NULL,
        PRIMARY KEY (device, tbl, key)
    ) STRICT, WITHOUT ROWID;
";

/// The newest version of WhatsApp Web that a look-up has found, and when one last succeeded (Unix ms).
pub(crate) const VERSION_SCHEMA: &str = "
    CREATE TABLE whatsapp_version (
        id INTEGER PRIMARY KEY CHECK (id = 0),
        revision INTEGER NOT NULL,
        at INTEGER NOT NULL
    ) STRICT;
";

const CLAIM: &str = "INSERT INTO device (session, epoch) VALUES (?1, ?2)
    ON CONFLICT (session) DO UPDATE SET epoch = excluded.epoch WHERE excluded.epoch >= epoch";
const OWNED: &str = "SELECT id FROM device WHERE session = ?1 AND epoch = ?2";
const GET: &str =
    "SELECT value FROM device_row WHERE device = (SELECT id FROM device WHERE session = ?1) AND tbl = ?2
    AND key = ?3";
const SCAN: &str =
    "SELECT key, value FROM device_row WHERE device = (SELECT id FROM device WHERE session = ?1) AND tbl = ?2
    AND key >= ?3";
const SCAN_BELOW: &str =
    "SELECT key, value FROM device_row WHERE device = (SELECT id FROM device WHERE session = ?1) AND tbl = ?2
    AND key >= ?3 AND key < ?4";
const PUT: &str = "INSERT INTO device_row (device, tbl, key, value) VALUES (?1, ?2, ?3, ?4)
    ON CONFLICT (device, tbl, key) DO UPDATE SET value = excluded.value";
const DELETE: &str = "DELETE FROM device_row WHERE device = ?1 AND tbl = ?2 AND key = ?3";
const CLEAR: &str = "DELETE FROM device_row WHERE device = ?1 AND tbl = ?2 AND key >= ?3";
const CLEAR_BELOW: &str = "DELETE FROM device_row WHERE device = ?1 AND tbl = ?2 AND key >= ?3 AND key < ?4";
const WIPE_ROWS: &str = "DELETE FROM device_row WHERE device = (SELECT id FROM device WHERE session = ?1)";
const WIPE_DEVICE: &str = "DELETE FROM device WHERE session = ?1";

const VERSION: &str = "SELECT revision, at FROM whatsapp_version";
const KEEP_VERSION: &str = "INSERT INTO whatsapp_version (id, revision, at) VALUES (0, ?1, ?2)
    ON CONFLICT (id) DO UPDATE SET revision = max(revision, excluded.revision), at = max(at, excluded.at)";

/// The engine; a handle on the file.
pub(crate) struct SqliteEngine(Sqlite);

impl SqliteEngine {
    /// An engine on a file whose schema includes all steps of this module.
    pub(crate) fn new(sqlite: Sqlite) -> Self {
        Self(sqlite)
    }
}

#[async_trait]
impl Engine for SqliteEngine {
    async fn claim(&self, fence: &Fence) -> Result<(), EngineError> {
        let (session, epoch) = (fence.session.clone(), epoch(fence)?);
        let claim =
            move |tx: &Transaction<'_>| tx.prepare_cached(CLAIM)?.execute(params![session.as_str(), epoch]);
        if self.0.write(claim).await? == 0 { Err(EngineError::Fenced) } else { Ok(()) }
    }

    async fn get(
        &self,
        session: &SessionId,
        table: Table,
        keys: Vec<Key>,
    ) -> Result<Vec<Option<Bytes>>, EngineError> {
        let session = session.clone();
        let get = move |tx: &Transaction<'_>| {
            let mut statement = tx.prepare_cached(GET)?;
            let mut one = |key: Key| {
                let row = statement
                    .query_row(params![session.as_str(), table.name(), key], |row| row.get::<_, Vec<u8>>(0));
                Ok(row.optional()?.map(Bytes::from))
            };
            keys.into_iter().map(&mut one).collect()
        };
        Ok(self.0.read(get).await?)
    }

    async fn scan(
        &self,
        session: &SessionId,
        table: Table,
        prefix: Key,
    ) -> Result<Vec<(Key, Bytes)>, EngineError> {
        let session = session.clone();
        let scan = move |tx: &Transaction<'_>| {
            let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, Bytes::from(row.get::<_, Vec<u8>>(1)?)));
            match after(&prefix) {
                None => tx
                    .prepare_cached(SCAN)?
                    .query_map(params![session.as_str(), table.name(), prefix], row)?
                    .collect(),
                Some(end) => {
                    let mut statement = tx.prepare_cached(SCAN_BELOW)?;
                    statement.query_map(params![session.as_str(), table.name(), prefix, end], row)?.collect()
                }
            }
        };
        Ok(self.0.read(scan).await?)
    }

    async fn commit(&self, fence: &Fence, changes: Vec<Change>, lock: CommitLock) -> Result<(), EngineError> {
        let (session, epoch) = (fence.session.clone(), epoch(fence)?);
        let commit = move |tx: &Transaction<'_>| {
            let owned = tx
                .prepare_cached(OWNED)?
                .query_row(params![session.as_str(), epoch], |row| row.get::<_, i64>(0));
            let Some(device) = owned.optional()? else { return Ok((false, lock)) };
            for change in &changes {
                make(tx, device, change)?;
            }
            // The lock is returned with the answer, so that it is held until the transaction is committed.
            Ok((true, lock))
        };
        let (ours, lock) = self.0.write(commit).await?;
        drop(lock);
        if ours { Ok(()) } else { Err(EngineError::Fenced) }
    }

    /// Returns when the rows are out of the file and its log, or, if another process reads the file just now,
    /// out of the file only: the log follows within [`SCRUB_AFTER`](crate::storage::sqlite::SCRUB_AFTER).
    async fn wipe(&self, session: &SessionId) -> Result<(), EngineError> {
        let session = session.clone();
        let wipe = move |tx: &Transaction<'_>| {
            tx.prepare_cached(WIPE_ROWS)?.execute([session.as_str()])?;
            tx.prepare_cached(WIPE_DEVICE)?.execute([session.as_str()])
        };
        self.0.write(wipe).await?;
        match self.0.milestone().await {
            Ok(()) | Err(StorageError::Busy) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    async fn sessions(&self) -> Result<Vec<SessionId>, EngineError> {
        Ok(self.0.session_ids("device", "SELECT session FROM device").await?)
    }

    fn tell(&self, session: &SessionId, table: Table, damaged: Option<&'static str>) {
        let (place, key) = ("device_row", format!("{session} {}", table.name()));
        match damaged {
            Some(why) => self.0.damage().note(place, &key, Some(session), why),
            None => self.0.damage().is_whole(place, &key),
        }
    }

    async fn version(&self) -> Result<Option<StoredVersion>, EngineError> {
        let version = |tx: &Transaction<'_>| {
            let row = |row: &rusqlite::Row<'_>| {
                Ok(StoredVersion { version: Version(row.get(0)?), at: Time::from_millis(row.get(1)?) })
            };
            tx.prepare_cached(VERSION)?.query_row([], row).optional()
        };
        Ok(self.0.read(version).await?)
    }

    async fn keep_version(&self, found: StoredVersion) -> Result<(), EngineError> {
        let values = (found.version.0, found.at.as_millis());
        self.0.write(move |tx: &Transaction<'_>| tx.prepare_cached(KEEP_VERSION)?.execute(values)).await?;
        Ok(())
    }
}

fn make(tx: &Transaction<'_>, device: i64, change: &Change) -> rusqlite::Result<()> {
    match change {
        Change::Put(table, key, value) => {
            tx.prepare_cached(PUT)?.execute(params![device, table.name(), key, &value[..]])?
        }
        Change::Delete(table, key) => {
            tx.prepare_cached(DELETE)?.execute(params![device, table.name(), key])?
        }
        Change::Clear(table, prefix) => match after(prefix) {
            None => tx.prepare_cached(CLEAR)?.execute(params![device, table.name(), prefix])?,
            Some(end) => {
                tx.prepare_cached(CLEAR_BELOW)?.execute(params![device, table.name(), prefix, end])?
            }
        },
    };
    Ok(())
}

/// The smallest key after all keys that begin with `prefix`, if there is one.
fn after(prefix: &[u8]) -> Option<Key> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return Some(end);
        }
    }
    None
}

fn epoch(fence: &Fence) -> Result<i64, EngineError> {
    i64::try_from(fence.epoch).map_err(|error| StorageError::failed(error).into())
}
