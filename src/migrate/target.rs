//! Where sessions are moved to: the stores of many replicas, used by an owner that is not a replica.
//!
//! Each step may be done twice.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Mutex, watch};
use tokio::time::{sleep, timeout};

use super::Failed;
use crate::cluster::redis::OnRedis;
use crate::cluster::{Cluster as _, Leases as _};
use crate::event::{Cursor, Event, Time};
use crate::id::SessionId;
use crate::log::EventLog as _;
use crate::log::redis::RedisLog;
use crate::records::redis::RedisRecords;
use crate::records::{Record, Records as _};
use crate::storage::StorageError;
use crate::storage::redis::{ConnectionState, Redis};
use crate::webhooks::RedisHooks;
use crate::webhooks::store::{self as hooks, HookStore as _};
use crate::whatsapp::store::redis::RedisEngine;
use crate::whatsapp::store::{Change, Engine as _, Fence, Key, Table};

/// The lease of a session that is being copied: a hundred years, so that no replica ever claims a half-copied one.
const LEASE: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// About how many bytes of rows one commit holds. It must be done within a second, even over a slow line.
const CHUNK: usize = 64 * 1024;

/// The pause before the next try if the connection was not lost.
const PAUSE: Duration = Duration::from_secs(1);

pub(super) struct Target {
    redis: Redis,
    records: RedisRecords,
    cluster: OnRedis,
    log: RedisLog,
    engine: RedisEngine,
    hooks: RedisHooks,
    /// The owner's name.
    pub(super) owner: String,
    /// The mark of the data that Redis had at the start.
    pub(super) data: String,
}

/// The mark of the data that Redis has now.
pub(super) fn data_of(redis: &Redis) -> Result<String, StorageError> {
    match &*redis.state().borrow() {
        ConnectionState::Up(server) => Ok(server.data.clone()),
        ConnectionState::Away => Err(StorageError::Away),
        ConnectionState::Closed => Err(StorageError::Closed),
    }
}

/// Who owns a session in Redis.
pub(super) enum Holder {
    /// The session is not in Redis.
    Nobody,
    /// The migration of this folder.
    Us(Box<Record>),
    /// Somebody else: a replica, the migration of another folder, or nobody at the moment.
    Another,
}

impl Target {
    pub(super) fn new(redis: Redis, data: String, owner: String, history: u32) -> Self {
        let records = RedisRecords::new(redis.clone(), owner.as_str(), LEASE);
        Self {
            cluster: OnRedis::new(records.clone()),
            hooks: RedisHooks::new(redis.clone(), records.clone(), owner.as_str()),
            records,
            log: RedisLog::new(redis.clone(), owner.as_str(), history),
            engine: RedisEngine::new(redis.clone(), owner.as_str()),
            redis,
            data,
            owner,
        }
    }

    pub(super) async fn holder(&self, session: &SessionId) -> Result<Holder, Failed> {
        // Only this migration can write what is missing, because only the folder has it.
        Ok(match self.records.look(session).await? {
            None => Holder::Nobody,
            Some(found) if found.owner.as_ref() == Some(&self.owner) => Holder::Us(Box::new(found.record)),
            Some(_) => Holder::Another,
        })
    }

    pub(super) async fn sessions(&self) -> Result<Vec<SessionId>, Failed> {
        Ok(self.records.sessions().await?)
    }

    /// Writes the record with our lease; limits on the number of sessions do not apply. False if the session has
    /// another owner.
    pub(super) async fn take(&self, record: &Record) -> Result<bool, Failed> {
        Ok(self.cluster.reassert(record).await?)
    }

    pub(super) async fn put_log(&self, record: &Record, events: &[Arc<Event>]) -> Result<(), Failed> {
        if events.is_empty() {
            return Ok(());
        }
        Ok(self.log.restore(&record.session, record.epoch, events).await?)
    }

    /// Writes how far each receiver of a session's webhooks is. Some replica then looks whether anything waits.
    pub(super) async fn put_standings(
        &self,
        session: &SessionId,
        standings: &HashMap<String, String>,
    ) -> Result<(), Failed> {
        for (receiver, standing) in standings {
            let change = hooks::Change { before: "", after: standing, claimed: false };
            self.hooks.save(session, receiver, change).await?;
        }
        Ok(self.hooks.put(session, Time::now()).await?)
    }

    pub(super) async fn standings(&self, session: &SessionId) -> Result<HashMap<String, String>, Failed> {
        Ok(self.hooks.look(session).await?.map(|found| found.standings).unwrap_or_default())
    }

    pub(super) async fn put_receiver(&self, receiver: &str, since: Time) -> Result<(), Failed> {
        self.hooks.known_since(receiver, since).await?;
        Ok(())
    }

    pub(super) async fn put_rows(
        &self,
        fence: &Fence,
        table: Table,
        rows: Vec<(Key, Bytes)>,
    ) -> Result<(), Failed> {
        if rows.is_empty() {
            return Ok(());
        }
        self.engine.claim(fence).await?;
        let (mut changes, mut bytes) = (Vec::new(), 0);
        for (key, value) in rows {
            bytes += key.len() + value.len();
            changes.push(Change::Put(table, key, value));
            if bytes >= CHUNK {
                self.commit(fence, std::mem::take(&mut changes)).await?;
                bytes = 0;
            }
        }
        if changes.is_empty() { Ok(()) } else { self.commit(fence, changes).await }
    }

    async fn commit(&self, fence: &Fence, changes: Vec<Change>) -> Result<(), Failed> {
        // This migration is the device's only writer and waits for each commit.
        let turn = Arc::new(Mutex::new(())).lock_owned().await;
        Ok(self.engine.commit(fence, changes, turn).await?)
    }

    /// The ids of a log, including the one that marks where it was cut.
    pub(super) async fn ids(&self, session: &SessionId) -> Result<Vec<Cursor>, Failed> {
        let log = self.log.read(session).await?;
        Ok(log.trimmed.into_iter().chain(log.events.iter().map(|event| event.at)).collect())
    }

    pub(super) async fn count(&self, session: &SessionId, table: Table) -> Result<usize, Failed> {
        Ok(self.engine.count(session, table).await?)
    }

    /// Removes a session's log and device.
    pub(super) async fn clear(&self, session: &SessionId) -> Result<(), Failed> {
        self.log.forget(session).await?;
        Ok(self.engine.wipe(session).await?)
    }

    /// Removes all of a session.
    pub(super) async fn remove(&self, session: &SessionId) -> Result<(), Failed> {
        self.records.remove(session).await?;
        self.clear(session).await
    }

    /// Releases a session. `runs` says whether a replica takes it at once.
    pub(super) async fn release(&self, session: &SessionId, epoch: u64, runs: bool) -> Result<(), Failed> {
        if runs {
            self.cluster.hand_over(session, epoch).await?;
        } else {
            self.records.release(session, epoch).await?;
        }
        Ok(())
    }

    pub(super) fn contact(&self) -> watch::Receiver<ConnectionState> {
        self.redis.state()
    }

    /// Whether Redis answers at this moment.
    pub(super) async fn answers(&self) -> Result<(), Failed> {
        self.redis.now().await?;
        Ok(())
    }

    /// Waits for a moment, then until Redis answers, at most this long.
    pub(super) async fn wait(&self, longest: Duration) {
        sleep(PAUSE).await;
        let mut contact = self.redis.state();
        // The caller tries again in both cases.
        let _ = timeout(longest, contact.wait_for(|state| matches!(state, ConnectionState::Up(_)))).await;
    }
}
