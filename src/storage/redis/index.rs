//! Sets of session ids, which find all sessions without a scan over all keys.
//!
//! An index may contain too many sessions, never too few: one is added before its first key is written and removed
//! after its last key is gone. It has 16 shards, so that the nodes of a cluster share it.

use super::schema::Keys;
use super::{Redis, StorageError};
use crate::id::SessionId;

const SHARDS: &str = "0123456789abcdef";

/// The shard of a session: the last digit of its uuid, which is random.
pub(crate) fn shard_of(session: &SessionId) -> &str {
    let id = session.as_str();
    &id[id.len() - 1..]
}

/// Every shard.
pub(crate) fn shards() -> impl Iterator<Item = &'static str> {
    (0..SHARDS.len()).map(|at| &SHARDS[at..=at])
}

/// One index.
#[derive(Clone, Debug)]
pub(crate) struct Index {
    redis: Redis,
    name: fn(&Keys, &str) -> String,
}

impl Index {
    /// `name` makes the key of a shard.
    pub(crate) fn new(redis: Redis, name: fn(&Keys, &str) -> String) -> Self {
        Self { redis, name }
    }

    /// Adds a session. To be called before its first key is written.
    ///
    /// # Errors
    /// See [`Redis::query`].
    pub(crate) async fn add(&self, session: &SessionId) -> Result<(), StorageError> {
        self.change("SADD", session).await
    }

    /// Removes a session. To be called after its last key is gone.
    ///
    /// # Errors
    /// See [`Redis::query`].
    pub(crate) async fn remove(&self, session: &SessionId) -> Result<(), StorageError> {
        self.change("SREM", session).await
    }

    /// All sessions in the index, in no order.
    ///
    /// # Errors
    /// See [`Redis::query`].
    pub(crate) async fn all(&self) -> Result<Vec<SessionId>, StorageError> {
        let mut all = Vec::new();
        for shard in shards() {
            let key = self.key(shard);
            let mut members = redis::cmd("SMEMBERS");
            members.arg(&key);
            all.extend(self.redis.session_ids(&key, &members).await?);
        }
        Ok(all)
    }

    async fn change(&self, command: &str, session: &SessionId) -> Result<(), StorageError> {
        let key = self.key(shard_of(session));
        let changed = self.redis.query(redis::cmd(command).arg(&key).arg(session.as_str())).await;
        self.redis.about(&key, None, changed)
    }

    fn key(&self, shard: &str) -> String {
        (self.name)(self.redis.keys(), shard)
    }
}

impl Redis {
    /// The session ids that this command finds in a key. A member that is not one is noted and left out; a key of
    /// another type is noted too.
    ///
    /// # Errors
    /// See [`Redis::query`].
    pub(crate) async fn session_ids(
        &self,
        key: &str,
        command: &redis::Cmd,
    ) -> Result<Vec<SessionId>, StorageError> {
        let names = match self.about(key, None, self.query(command).await) {
            Err(error) if error.is_damage() => return Ok(Vec::new()),
            names => names?,
        };
        Ok(self.damage().session_ids(key, names, "its member is no session id"))
    }
}
