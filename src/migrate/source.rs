//! The stores that are moved: those of one replica, on the SQLite file of its folder. They are only read.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use tracing::warn;

use super::MigrateError;
use super::outcome::database;
use crate::check_store::survey;
use crate::event::{Event, Time};
use crate::id::SessionId;
use crate::log::EventLog as _;
use crate::log::sqlite::SqliteLog;
use crate::records::sqlite::SqliteRecords;
use crate::records::{Record, Records as _};
use crate::server::{DATABASE, MIGRATIONS};
use crate::storage::StorageError;
use crate::storage::folder::FolderLock;
use crate::storage::sqlite::Sqlite;
use crate::webhooks::SqliteHooks;
use crate::webhooks::store::HookStore as _;
use crate::whatsapp::store::sqlite::SqliteEngine;
use crate::whatsapp::store::{Engine as _, Key, Table};

pub(super) struct Source {
    sqlite: Sqlite,
    records: SqliteRecords,
    log: SqliteLog,
    engine: SqliteEngine,
    hooks: SqliteHooks,
}

impl Source {
    /// `history`: how many events a log keeps.
    pub(super) async fn open(lock: Arc<FolderLock>, history: u32) -> Result<Self, MigrateError> {
        // Reads the whole file once, and blocks.
        let opened = tokio::task::spawn_blocking(move || Sqlite::open_in(lock, DATABASE, MIGRATIONS)).await;
        let sqlite = opened.map_err(|error| database(StorageError::failed(error)))??;
        Ok(Self {
            records: SqliteRecords::new(sqlite.clone()),
            // One event more than Redis keeps: it marks where the log was cut.
            log: SqliteLog::new(sqlite.clone(), history.saturating_add(1)),
            engine: SqliteEngine::new(sqlite.clone()),
            hooks: SqliteHooks::new(sqlite.clone()),
            sqlite,
        })
    }

    pub(super) async fn records(&self) -> Result<Vec<Record>, MigrateError> {
        // A record that cannot be read would be lost, because no server reads this folder again.
        survey(&self.records, &self.log, &self.engine).await?;
        match self.sqlite.damage().count() {
            0 => self.records.all().await.map_err(database),
            damaged => Err(MigrateError::Damaged(damaged)),
        }
    }

    /// The newest events of a log, as many as Redis keeps.
    pub(super) async fn log(&self, session: &SessionId) -> Result<Vec<Arc<Event>>, MigrateError> {
        Ok(self.log.read(session).await.map_err(database)?.events)
    }

    pub(super) async fn rows(
        &self,
        session: &SessionId,
        table: Table,
    ) -> Result<Vec<(Key, Bytes)>, MigrateError> {
        self.engine.scan(session, table, Key::new()).await.map_err(database)
    }

    /// How far each receiver of a session's webhooks is.
    pub(super) async fn standings(
        &self,
        session: &SessionId,
    ) -> Result<HashMap<String, String>, MigrateError> {
        let found = self.hooks.look(session).await.map_err(database)?;
        Ok(found.map(|found| found.standings).unwrap_or_default())
    }

    /// The receivers of all sessions, and since when each is known.
    pub(super) async fn receivers(&self) -> Result<Vec<(String, Time)>, MigrateError> {
        self.hooks.receivers().await.map_err(database)
    }

    pub(super) async fn close(&self) {
        if let Err(error) = self.sqlite.close().await {
            warn!(%error, "the database was not closed well");
        }
    }
}
