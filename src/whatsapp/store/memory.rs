//! The engine in memory: everything is in maps and lost with the process. For tests and for a server without a disk.
//!
//! It checks fences as the others do. It keeps an account's rows until its `wipe`.

use std::collections::{BTreeMap, HashMap};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};

use super::engine::{Change, CommitLock, Engine, EngineError, Fence, Key, Table};
use crate::id::SessionId;
use crate::whatsapp::version::StoredVersion;

/// The engine in memory. An entry is removed by `wipe`.
#[derive(Default)]
pub(crate) struct MemoryEngine(Mutex<HashMap<SessionId, Shelf>>, Mutex<Option<StoredVersion>>);

#[derive(Default)]
struct Shelf {
    epoch: u64,
    rows: BTreeMap<(Table, Key), Bytes>,
}

impl MemoryEngine {
    /// An empty engine.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    fn found(&self) -> MutexGuard<'_, Option<StoredVersion>> {
        self.1.lock()
    }

    fn shelves(&self) -> MutexGuard<'_, HashMap<SessionId, Shelf>> {
        self.0.lock()
    }
}

impl Shelf {
    fn begin_with<'a>(
        &'a self,
        table: Table,
        prefix: &'a [u8],
    ) -> impl Iterator<Item = (&'a Key, &'a Bytes)> {
        self.rows
            .range((table, prefix.to_vec())..)
            .take_while(move |((row_table, key), _)| *row_table == table && key.starts_with(prefix))
            .map(|((_, key), value)| (key, value))
    }

    fn change(&mut self, change: Change) {
        match change {
            Change::Put(table, key, value) => {
                self.rows.insert((table, key), value);
            }
            Change::Delete(table, key) => {
                self.rows.remove(&(table, key));
            }
            Change::Clear(table, prefix) => {
                self.rows.retain(|(row_table, key), _| *row_table != table || !key.starts_with(&prefix));
            }
        }
    }
}

#[async_trait]
impl Engine for MemoryEngine {
    async fn claim(&self, fence: &Fence) -> Result<(), EngineError> {
        let mut shelves = self.shelves();
        let shelf = shelves.entry(fence.session.clone()).or_default();
        if fence.epoch < shelf.epoch {
            return Err(EngineError::Fenced);
        }
        shelf.epoch = fence.epoch;
        Ok(())
    }

    async fn get(
        &self,
        session: &SessionId,
        table: Table,
        keys: Vec<Key>,
    ) -> Result<Vec<Option<Bytes>>, EngineError> {
        let shelves = self.shelves();
        let shelf = shelves.get(session);
        Ok(keys
            .into_iter()
            .map(|key| shelf.and_then(|shelf| shelf.rows.get(&(table, key))).cloned())
            .collect())
    }

    async fn scan(
        &self,
        session: &SessionId,
        table: Table,
        prefix: Key,
    ) -> Result<Vec<(Key, Bytes)>, EngineError> {
        let shelves = self.shelves();
        let rows = shelves.get(session).into_iter().flat_map(|shelf| shelf.begin_with(table, &prefix));
        Ok(rows.map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    async fn commit(&self, fence: &Fence, changes: Vec<Change>, _: CommitLock) -> Result<(), EngineError> {
        let mut shelves = self.shelves();
        let shelf = shelves.get_mut(&fence.session).filter(|shelf| shelf.epoch == fence.epoch);
        let shelf = shelf.ok_or(EngineError::Fenced)?;
        for change in changes {
            shelf.change(change);
        }
        Ok(())
    }

    async fn wipe(&self, session: &SessionId) -> Result<(), EngineError> {
        self.shelves().remove(session);
        Ok(())
    }

    async fn sessions(&self) -> Result<Vec<SessionId>, EngineError> {
        Ok(self.shelves().keys().cloned().collect())
    }

    /// Damage cannot occur in memory, so nothing is noted.
    fn tell(&self, _: &SessionId, _: Table, _: Option<&'static str>) {}

    async fn version(&self) -> Result<Option<StoredVersion>, EngineError> {
        Ok(*self.found())
    }

    async fn keep_version(&self, new: StoredVersion) -> Result<(), EngineError> {
        let mut found = self.found();
        let old = found.unwrap_or(new);
        *found = Some(StoredVersion { version: old.version.max(new.version), at: old.at.max(new.at) });
        Ok(())
    }
}
