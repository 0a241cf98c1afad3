//! The engine of many replicas: a Redis hash for each session and table, and one Lua call for each commit.
//!
//! The fence is the session's own lease, which `records` writes: its hash holds `owner` and `epoch`. The
//! engine is made with this replica's name; [`claim`](Engine::claim) checks both against the hash and notes there, in
//! `device`, for which epoch the device is open. A commit checks all three in the call that changes the rows. So a
//! claim of the session by another owner fences this engine at once, before that owner has opened the device.
//!
//! A commit that got no answer may be carried out after a later one, and would then overwrite new keys with old ones.
//! So commits are numbered (field `commit`), and a late one does nothing.
//!
//! `docs/redis-keys.md` lists its keys and fields.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use bytes::Bytes;

use super::engine::{Change, CommitLock, Engine, EngineError, Fence, Key, Table};
use crate::event::Time;
use crate::id::SessionId;
use crate::storage::StorageError;
use crate::storage::redis::index::Index;
use crate::storage::redis::schema::{Keys, field};
use crate::storage::redis::{Redis, Script};
use crate::whatsapp::version::{StoredVersion, Version};

static CLAIM: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("redis/claim.lua")));
static COMMIT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("redis/commit.lua")));
static SCAN: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("redis/scan.lua")));
static WIPE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("redis/wipe.lua")));
static KEEP_VERSION: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("redis/keep_version.lua")));

/// The engine; a handle on Redis.
pub(crate) struct RedisEngine {
    redis: Redis,
    /// The name of this replica, as `records` writes it into a lease.
    owner: String,
    devices: Index,
    /// The number of the last commit, counted over all sessions.
    last: AtomicU64,
}

impl RedisEngine {
    /// The engine of the replica with the name `owner`.
    pub(crate) fn new(redis: Redis, owner: impl Into<String>) -> Self {
        let devices = Index::new(redis.clone(), Keys::devices);
        // Greater than any number that an earlier engine has used.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let last = AtomicU64::new(u64::try_from(now.as_micros()).unwrap_or_default());
        Self { redis, owner: owner.into(), devices, last }
    }

    /// How many rows a table of a device has.
    ///
    /// # Errors
    /// See [`EngineError`].
    pub(crate) async fn count(&self, session: &SessionId, table: Table) -> Result<usize, EngineError> {
        Ok(self.redis.query(redis::cmd("HLEN").arg(self.table(session, table))).await?)
    }

    fn table(&self, session: &SessionId, table: Table) -> String {
        self.redis.keys().device(session, table.name())
    }
}

#[async_trait]
impl Engine for RedisEngine {
    async fn claim(&self, fence: &Fence) -> Result<(), EngineError> {
        self.devices.add(&fence.session).await?;
        let claim = self.redis.script(&CLAIM).key(self.redis.keys().session(&fence.session));
        decided(claim.arg(&self.owner).arg(fence.epoch).run().await?)
    }

    async fn get(
        &self,
        session: &SessionId,
        table: Table,
        keys: Vec<Key>,
    ) -> Result<Vec<Option<Bytes>>, EngineError> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let mut get = redis::cmd("HMGET");
        get.arg(self.table(session, table));
        for key in &keys {
            get.arg(&key[..]);
        }
        let values: Vec<Option<Vec<u8>>> = self.redis.query(&get).await?;
        Ok(values.into_iter().map(|value| value.map(Bytes::from)).collect())
    }

    async fn scan(
        &self,
        session: &SessionId,
        table: Table,
        prefix: Key,
    ) -> Result<Vec<(Key, Bytes)>, EngineError> {
        let table = self.table(session, table);
        let rows: Vec<Vec<u8>> = if prefix.is_empty() {
            self.redis.query(redis::cmd("HGETALL").arg(table)).await?
        } else {
            self.redis.script(&SCAN).key(table).arg(&prefix[..]).run().await?
        };
        let (pairs, rest) = rows.as_chunks::<2>();
        if !rest.is_empty() {
            return Err(StorageError::Corrupt.into());
        }
        Ok(pairs.iter().map(|[key, value]| (key.clone(), Bytes::copy_from_slice(value))).collect())
    }

    async fn commit(&self, fence: &Fence, changes: Vec<Change>, lock: CommitLock) -> Result<(), EngineError> {
        let number = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let mut tables: Vec<Table> = Vec::new();
        let mut commit = self.redis.script(&COMMIT).key(self.redis.keys().session(&fence.session));
        commit = commit.arg(&self.owner).arg(fence.epoch).arg(number);
        for change in &changes {
            let (Change::Put(table, ..) | Change::Delete(table, _) | Change::Clear(table, _)) = change;
            let known = tables.iter().position(|other| other == table);
            let at = known.unwrap_or_else(|| {
                tables.push(*table);
                tables.len() - 1
            });
            // Tables are counted from 1, because the session's own key comes first.
            let at = at + 2;
            commit = match change {
                Change::Put(_, key, value) => commit.arg("p").arg(at).arg(&key[..]).arg(&value[..]),
                Change::Delete(_, key) => commit.arg("d").arg(at).arg(&key[..]),
                Change::Clear(_, prefix) => commit.arg("c").arg(at).arg(&prefix[..]),
            };
        }
        for table in tables {
            commit = commit.key(self.table(&fence.session, table));
        }
        // The lock is held until the commit has succeeded or failed, even if the caller has gone.
        let run = async move {
            let outcome = commit.run().await;
            drop(lock);
            outcome
        };
        decided(self.redis.finish(run).await??)
    }

    async fn wipe(&self, session: &SessionId) -> Result<(), EngineError> {
        let mut wipe = self.redis.script(&WIPE).key(self.redis.keys().session(session));
        for table in Table::ALL {
            wipe = wipe.key(self.table(session, *table));
        }
        wipe.run::<()>().await?;
        Ok(self.devices.remove(session).await?)
    }

    async fn sessions(&self) -> Result<Vec<SessionId>, EngineError> {
        Ok(self.devices.all().await?)
    }

    fn tell(&self, session: &SessionId, table: Table, damaged: Option<&'static str>) {
        let place = self.table(session, table);
        match damaged {
            Some(why) => self.redis.damage().note(&place, "", Some(session), why),
            None => self.redis.damage().is_whole(&place, ""),
        }
    }

    async fn version(&self) -> Result<Option<StoredVersion>, EngineError> {
        let mut get = redis::cmd("HMGET");
        get.arg(self.redis.keys().whatsapp_version()).arg(field::REVISION).arg(field::LOOKED_UP);
        let (revision, at): (Option<u32>, Option<i64>) = self.redis.query(&get).await?;
        Ok(revision
            .zip(at)
            .map(|(revision, at)| StoredVersion { version: Version(revision), at: Time::from_millis(at) }))
    }

    async fn keep_version(&self, found: StoredVersion) -> Result<(), EngineError> {
        let keep = self.redis.script(&KEEP_VERSION).key(self.redis.keys().whatsapp_version());
        Ok(keep.arg(found.version.0).arg(found.at.as_millis()).run::<()>().await?)
    }
}

/// Reads the answer of the scripts for a claim and a commit.
fn decided(answer: i64) -> Result<(), EngineError> {
    match answer {
        1 => Ok(()),
        0 => Err(EngineError::Fenced),
        // Redis lost its data: the owner writes the lease again, and the call is repeated. Or the commit came too late.
        _ => Err(StorageError::Away.into()),
    }
}
