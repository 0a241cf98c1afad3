//! Sets of session ids, to find what there is without a walk over all keys.
//!
//! An index may name too much, never too little: a session is added before its first key is written and taken out after
//! its last one is gone. 16 shards, so that a cluster shares them.

use super::{Redis, StorageError};
use crate::id::SessionId;

const SHARDS: &str = "0123456789abcdef";

/// The shard of a session: the last digit of its uuid, which is random.
pub fn shard_of(session: &SessionId) -> &str {
    let id = session.as_str();
    &id[id.len() - 1..]
}

/// Every shard.
pub fn shards() -> impl Iterator<Item = &'static str> {
    (0..SHARDS.len()).map(|at| &SHARDS[at..=at])
}

/// One index.
#[derive(Clone, Debug)]
pub struct Index {
    redis: Redis,
    name: &'static str,
}

impl Index {
    /// `name` begins with a colon.
    pub fn new(redis: Redis, name: &'static str) -> Self {
        Self { redis, name }
    }

    /// Before the first key of the session.
    ///
    /// # Errors
    /// See [`Redis::query`].
    pub async fn add(&self, session: &SessionId) -> Result<(), StorageError> {
        self.redis.query(redis::cmd("SADD").arg(self.key(shard_of(session))).arg(session.as_str())).await
    }

    /// After the last key of the session.
    ///
    /// # Errors
    /// See [`Redis::query`].
    pub async fn remove(&self, session: &SessionId) -> Result<(), StorageError> {
        self.redis.query(redis::cmd("SREM").arg(self.key(shard_of(session))).arg(session.as_str())).await
    }

    /// Every session named, in no order.
    ///
    /// # Errors
    /// See [`Redis::query`]; [`StorageError::Corrupt`] for what is no session id.
    pub async fn all(&self) -> Result<Vec<SessionId>, StorageError> {
        let members = shards().map(|shard| self.members(shard));
        let mut all = Vec::new();
        for names in futures::future::try_join_all(members).await? {
            for name in names {
                all.push(name.parse().map_err(|_| StorageError::Corrupt)?);
            }
        }
        Ok(all)
    }

    async fn members(&self, shard: &str) -> Result<Vec<String>, StorageError> {
        self.redis.query(redis::cmd("SMEMBERS").arg(self.key(shard))).await
    }

    fn key(&self, shard: &str) -> String {
        self.redis.key(shard, self.name)
    }
}
