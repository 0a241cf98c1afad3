//! Sets of session ids, to find what there is without a walk over all keys.
//!
//! An index may name too much, never too little: a session is added before its first key is written and taken out after
//! its last one is gone. 16 shards, so that a cluster shares them.

use super::schema::Keys;
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
    name: fn(&Keys, &str) -> String,
}

impl Index {
    /// `name` makes the key of a shard.
    pub(crate) fn new(redis: Redis, name: fn(&Keys, &str) -> String) -> Self {
        Self { redis, name }
    }

    /// Before the first key of the session.
    ///
    /// # Errors
    /// See [`Redis::query`].
    pub async fn add(&self, session: &SessionId) -> Result<(), StorageError> {
        self.change("SADD", session).await
    }

    /// After the last key of the session.
    ///
    /// # Errors
    /// See [`Redis::query`].
    pub async fn remove(&self, session: &SessionId) -> Result<(), StorageError> {
        self.change("SREM", session).await
    }

    /// Every session named, in no order.
    ///
    /// # Errors
    /// See [`Redis::query`].
    pub async fn all(&self) -> Result<Vec<SessionId>, StorageError> {
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
    /// The session ids that this command finds in a key. What is none is left out, and noted, and so is a key of another kind.
    ///
    /// # Errors
    /// See [`Redis::query`].
    pub async fn session_ids(&self, key: &str, command: &redis::Cmd) -> Result<Vec<SessionId>, StorageError> {
        let names = match self.about(key, None, self.query(command).await) {
            Err(error) if error.is_damage() => return Ok(Vec::new()),
            names => names?,
        };
        Ok(self.damage().session_ids(key, names, "its member is no session id"))
    }
}
