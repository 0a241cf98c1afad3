//! The standings of many replicas: a hash under each session's own tag, and the list of sessions that are due, whose shards
//! are elsewhere.
//!
//! A receiver of a session is claimed by one replica at a time, for [`CLAIM`]; what is stored is compared with what was
//! read before, so that a replica whose claim has passed overwrites nothing. `docs/redis-keys.md` lists keys and fields.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use async_trait::async_trait;

use super::{Change, Due, Found, HookStore};
use crate::event::Time;
use crate::id::SessionId;
use crate::records::RecordsError;
use crate::records::redis::RedisRecords;
use crate::storage::StorageError;
use crate::storage::redis::index::{shard_of, shards};
use crate::storage::redis::{Redis, Script};

static CLAIM_SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("redis/claim.lua")));
static SAVE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("redis/save.lua")));
static RELEASE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("redis/release.lua")));
static SETTLE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("redis/settle.lua")));

/// How long a claim lasts: longer than a try may take, and renewed by each change.
const CLAIM: Duration = Duration::from_secs(30);

/// How long a session stays on the list after it looked as if nothing waited. It is put there before its event is in the
/// log, on another node of a cluster perhaps, and a command that is sent late may be carried out for a while.
const LINGER: Duration = Duration::from_secs(30);

/// How many sessions one look at a shard finds.
const AT_ONCE: usize = 128;

/// What the field of a claim begins with.
const CLAIMED: &str = "claim:";

/// Standings in Redis, as one replica uses them.
pub(crate) struct RedisHooks {
    redis: Redis,
    records: RedisRecords,
    /// This replica.
    me: Arc<str>,
}

impl RedisHooks {
    pub(crate) fn new(redis: Redis, records: RedisRecords, me: impl Into<Arc<str>>) -> Self {
        Self { redis, records, me: me.into() }
    }

    fn list(&self, session: &SessionId) -> String {
        self.redis.keys().due_hooks(shard_of(session))
    }

    async fn due_of(&self, shard: &str, now: i64) -> Result<Vec<(SessionId, Due)>, StorageError> {
        let key = self.redis.keys().due_hooks(shard);
        let mut range = redis::cmd("ZRANGEBYSCORE");
        range.arg(&key).arg("-inf").arg(now).arg("WITHSCORES").arg("LIMIT").arg(0).arg(AT_ONCE);
        let found: Vec<(Vec<u8>, f64)> = self.redis.about(&key, None, self.redis.query(&range).await)?;
        let mut due = Vec::new();
        for (name, at) in found {
            match std::str::from_utf8(&name).ok().and_then(|name| name.parse().ok()) {
                Some(session) => due.push((session, Due(at))),
                // The list is a hint: what names no session may go.
                None => self.redis.query(redis::cmd("ZREM").arg(&key).arg(name)).await?,
            }
        }
        Ok(due)
    }
}

#[async_trait]
impl HookStore for RedisHooks {
    async fn known_since(&self, receiver: &str, now: Time) -> Result<Time, StorageError> {
        let (key, now) = (self.redis.keys().webhooks(), now.as_millis());
        let mut set = redis::cmd("HSETNX");
        set.arg(&key).arg(receiver).arg(now);
        self.redis.query::<()>(&set).await?;
        let mut get = redis::cmd("HGET");
        get.arg(&key).arg(receiver);
        let since: Option<i64> = self.redis.about(&key, None, self.redis.query(&get).await)?;
        Ok(Time::from_millis(since.unwrap_or(now)))
    }

    async fn due(&self, now: Time) -> Result<Vec<(SessionId, Due)>, StorageError> {
        let (mut due, now) = (Vec::new(), now.as_millis());
        for shard in shards() {
            due.extend(self.due_of(shard, now).await?);
        }
        Ok(due)
    }

    async fn put(&self, session: &SessionId, now: Time) -> Result<(), StorageError> {
        let mut add = redis::cmd("ZADD");
        add.arg(self.list(session)).arg(now.as_millis()).arg(session.as_str());
        self.redis.query(&add).await
    }

    async fn settle(&self, session: &SessionId, seen: Due, next: Option<Time>) -> Result<(), StorageError> {
        let lingers = Time::now().after(LINGER).as_millis() as f64 + 0.5;
        let next = match next {
            Some(next) => next.as_millis().to_string(),
            None if seen.0.fract() == 0.0 => lingers.to_string(),
            None => String::new(),
        };
        let settle = self.redis.script(&SETTLE).key(self.list(session)).arg(session.as_str());
        settle.arg(seen.0.to_string()).arg(next).run().await
    }

    async fn look(&self, session: &SessionId) -> Result<Option<Found>, StorageError> {
        let found = match self.records.look(session).await {
            Ok(found) => found,
            Err(RecordsError::Storage(error)) => return Err(error),
            Err(other) => return Err(StorageError::failed(other)),
        };
        let Some(found) = found else { return Ok(None) };
        let mut found = Found { own: found.record.webhook, last: found.last, ..Found::default() };
        let key = self.redis.keys().hooks(session);
        let mut all = redis::cmd("HGETALL");
        all.arg(&key);
        let fields: Vec<(String, String)> =
            self.redis.about(&key, Some(session), self.redis.query(&all).await)?;
        for (field, value) in fields {
            match field.strip_prefix(CLAIMED) {
                None => _ = found.standings.insert(field, value),
                Some(receiver) => {
                    let (holder, until) = value.split_once(' ').unwrap_or_default();
                    if let Ok(until) = until.parse().map(Time::from_millis)
                        && holder != &*self.me
                    {
                        found.claims.insert(receiver.to_owned(), until);
                    }
                }
            }
        }
        Ok(Some(found))
    }

    async fn claim(&self, session: &SessionId, receiver: &str) -> Result<Option<String>, StorageError> {
        let keys = self.redis.keys();
        let key = keys.hooks(session);
        let claim = self.redis.script(&CLAIM_SCRIPT).key(&key).key(keys.session(session));
        let claim = claim.arg(receiver).arg(format!("{CLAIMED}{receiver}")).arg(&*self.me).arg(millis(CLAIM));
        let (claimed, standing): (bool, Vec<u8>) =
            self.redis.about(&key, Some(session), claim.run().await)?;
        // What is no text is not what was stored: it begins again.
        Ok(claimed.then(|| String::from_utf8_lossy(&standing).into_owned()))
    }

    async fn save(
        &self,
        session: &SessionId,
        receiver: &str,
        change: Change<'_>,
    ) -> Result<bool, StorageError> {
        let keys = self.redis.keys();
        let save = self.redis.script(&SAVE).key(keys.hooks(session)).key(keys.session(session));
        let save = save.arg(receiver).arg(change.before).arg(change.after);
        let save = save.arg(format!("{CLAIMED}{receiver}")).arg(if change.claimed { &*self.me } else { "" });
        save.arg(millis(CLAIM)).run().await
    }

    async fn release(&self, session: &SessionId, receiver: &str) -> Result<(), StorageError> {
        let release = self.redis.script(&RELEASE).key(self.redis.keys().hooks(session));
        release.arg(format!("{CLAIMED}{receiver}")).arg(&*self.me).run().await
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
