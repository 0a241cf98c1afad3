//! The records of many replicas: a hash for each session, which is the only authority on who owns it.
//!
//! `log` and the device store compare `owner` and `epoch` in their own scripts and keep fields of theirs in it. Whatever
//! changes a session is one script on this one key.
//!
//! Beside it, each under a hash tag of its own: the sessions by the end of their lease, an index that may lag; what the
//! limits count; requests with an `Idempotency-Key`; who lives. `docs/redis-keys.md` lists all keys and fields.
//! What several tags must agree on is written in an order after which a crash leaves too much, never too little, and
//! `OnRedis::sweep` (`cluster/redis.rs`) takes the rest away.

mod find;
mod places;
pub(crate) mod record;
#[cfg(test)]
mod tests;

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use async_trait::async_trait;
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;
use tracing::error;

pub(crate) use self::find::each;
use super::{Created, IdempotencyKey, Judgement, KEY_LIFE, Record, Records, RecordsError, SessionLimits};
use crate::event::Time;
use crate::id::SessionId;
use crate::storage::StorageError;
use crate::storage::redis::index::shard_of;
use crate::storage::redis::schema::field;
use crate::storage::redis::{Redis, Script};

/// How long a request with an `Idempotency-Key` may run before another may take its place: its replica has died.
pub(crate) const KEY_RUNS: Duration = Duration::from_secs(30);

static CREATE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("redis/create.lua")));
static CLAIM: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("redis/claim.lua")));
static RELEASE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("redis/release.lua")));
static DELETE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("redis/delete.lua")));
static ONCE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("redis/once.lua")));
static DONE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("redis/done.lua")));

/// Where in the index a session is that is not to run: behind every lease.
pub(crate) const NEVER: &str = "+inf";

/// Records and leases in Redis, as one replica uses them.
#[derive(Clone, Debug)]
pub(crate) struct RedisRecords {
    pub(crate) redis: Redis,
    /// This replica: the `replica` of `/health`. No two live ones share a name.
    pub(crate) owner: Arc<str>,
    pub(crate) lease: Duration,
}

impl RedisRecords {
    /// For the replica of this name; what it claims is its own for `lease`, until renewed.
    pub(crate) fn new(redis: Redis, owner: impl Into<Arc<str>>, lease: Duration) -> Self {
        Self { redis, owner: owner.into(), lease }
    }

    async fn create_within(&self, record: &Record, limits: SessionLimits) -> Result<u64, RecordsError> {
        record.check_reads_back()?;
        let session = &record.session;
        self.take_place(session, limits).await?;
        // Behind what it may take to create it, so that nobody looks for it yet.
        let soon = self.redis.now().await?.saturating_add_unsigned(millis(self.lease));
        self.put_in_index(session, soon).await?;
        let create = self
            .redis
            .script(&CREATE)
            .key(self.redis.keys().session(session))
            .arg(record::encode(record))
            .arg(&*self.owner)
            .arg(millis(self.lease));
        match create.run::<u64>().await? {
            0 => Err(RecordsError::failed("a new session's id is taken")),
            epoch => Ok(epoch),
        }
    }

    async fn begin(
        &self,
        once: &IdempotencyKey,
        session: &SessionId,
    ) -> Result<Option<SessionId>, RecordsError> {
        // A key goes with its session, which is on another node of a cluster: looked for before it is believed.
        let mut gone: Option<SessionId> = None;
        loop {
            let begin = self.redis.script(&ONCE).key(self.request(once)).arg(hex(&once.body));
            let begin = begin.arg(session.as_str()).arg(millis(KEY_RUNS));
            let begin = begin.arg(gone.as_ref().map_or("", SessionId::as_str));
            let (said, made) = match begin.run::<(String, Vec<u8>)>().await {
                Ok((said, made)) => (said, made),
                Err(error) if error.is_damage() => {
                    self.replace_request(once, "it is of another type").await?;
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            if said == "new" {
                return Ok(None);
            }
            let Some(made) = std::str::from_utf8(&made).ok().and_then(|made| made.parse::<SessionId>().ok())
            else {
                self.replace_request(once, "its session is not a session id").await?;
                continue;
            };
            if said != "running" && self.is_gone(&made).await? && gone.as_ref() != Some(&made) {
                gone = Some(made);
                continue;
            }
            return match said.as_str() {
                "running" => Err(RecordsError::KeyRunning),
                "reused" => Err(RecordsError::KeyReused),
                _ => Ok(Some(made)),
            };
        }
    }

    /// A damaged key is as good as none: the request that finds it takes its place.
    async fn replace_request(&self, once: &IdempotencyKey, why: &'static str) -> Result<(), RecordsError> {
        let key = self.request(once);
        error!(table = key, why, "a stored record is damaged and was replaced");
        Ok(self.redis.query(redis::cmd("UNLINK").arg(key)).await?)
    }

    /// Whether a session was deleted or cleared away.
    async fn is_gone(&self, session: &SessionId) -> Result<bool, RecordsError> {
        Ok(self.find(session).await?.is_none_or(|found| found.record.deleted.is_some()))
    }

    async fn end(
        &self,
        once: &IdempotencyKey,
        session: &SessionId,
        keep: Duration,
    ) -> Result<(), StorageError> {
        let done = self.redis.script(&DONE).key(self.request(once));
        done.arg(session.as_str()).arg(millis(keep)).run().await
    }

    /// Releases a session; false where it is another's, or was claimed again since.
    pub(crate) async fn release_lease(
        &self,
        session: &SessionId,
        epoch: u64,
        runs_on: bool,
    ) -> Result<bool, RecordsError> {
        let release = self.redis.script(&RELEASE).key(self.redis.keys().session(session)).arg(&*self.owner);
        let ours = release.arg(epoch).arg(u8::from(runs_on)).run::<i64>().await? == 1;
        if ours {
            self.note(session, if runs_on { "0" } else { NEVER }).await?;
        }
        Ok(ours)
    }

    /// A client's text can be anything: its hash is a good tag.
    fn request(&self, once: &IdempotencyKey) -> String {
        self.redis.keys().request(hex(&Sha256::digest(&once.key)))
    }

    /// The shard of the index that a session is in.
    pub(crate) fn index(&self, session: &SessionId) -> String {
        self.redis.keys().sessions(shard_of(session))
    }

    pub(crate) async fn put_in_index(&self, session: &SessionId, at: i64) -> Result<(), StorageError> {
        self.change_index(session, redis::cmd("ZADD"), &[&at.to_string()]).await
    }

    /// Changes the session's place in the index; does not put it there.
    pub(crate) async fn note(&self, session: &SessionId, at: &str) -> Result<(), StorageError> {
        self.change_index(session, redis::cmd("ZADD"), &["XX", at]).await
    }

    pub(crate) async fn take_out_of_index(&self, session: &SessionId) -> Result<(), StorageError> {
        self.change_index(session, redis::cmd("ZREM"), &[]).await
    }

    /// Sends a command about a session to its shard of the index.
    async fn change_index(
        &self,
        session: &SessionId,
        mut command: redis::Cmd,
        how: &[&str],
    ) -> Result<(), StorageError> {
        let index = self.index(session);
        command.arg(&index).arg(how).arg(session.as_str());
        self.redis.about(&index, None, self.redis.query(&command).await)
    }
}

#[async_trait]
impl Records for RedisRecords {
    async fn create(
        &self,
        record: Record,
        limits: SessionLimits,
        once: Option<IdempotencyKey>,
    ) -> Result<Created, RecordsError> {
        if let Some(once) = &once
            && let Some(made) = self.begin(once, &record.session).await?
        {
            return Ok(Created::Existing(made));
        }
        let created = self.create_within(&record, limits).await;
        if let Some(once) = &once {
            let keep = if created.is_ok() { KEY_LIFE } else { Duration::ZERO };
            if let Err(error) = self.end(once, &record.session, keep).await {
                // It then counts as running for a while, and as never made after that.
                tracing::warn!(sessionId = %record.session, %error, "an Idempotency-Key could not be stored");
            }
        }
        created.map(Created::New)
    }

    /// [`RecordsError::OwnedElsewhere`] while another replica's lease lasts.
    async fn claim(&self, session: &SessionId, limits: SessionLimits) -> Result<u64, RecordsError> {
        let mut runs = redis::cmd("HGET");
        runs.arg(self.redis.keys().session(session)).arg(field::RUNS);
        let runs: Option<String> = self.redis.query(&runs).await?;
        let new_place = match runs.as_deref() {
            None => {
                self.surely_unknown(session).await?;
                return Err(RecordsError::Unknown);
            }
            Some("1") => false,
            Some(_) => self.take_place(session, limits).await?,
        };
        let claim = self.redis.script(&CLAIM).key(self.redis.keys().session(session)).arg(&*self.owner);
        let refused = match claim.arg(millis(self.lease)).run::<i64>().await? {
            -1 => RecordsError::Unknown,
            -2 => RecordsError::OwnedElsewhere,
            epoch => {
                let expires = self.redis.now().await?.saturating_add_unsigned(millis(self.lease));
                self.put_in_index(session, expires).await?;
                return Ok(epoch.cast_unsigned());
            }
        };
        if new_place {
            self.give_place_back(session).await?;
        }
        if matches!(refused, RecordsError::Unknown) {
            self.surely_unknown(session).await?;
        }
        Err(refused)
    }

    /// Of another replica's session: nothing, while its lease lasts.
    async fn release(&self, session: &SessionId, epoch: u64) -> Result<(), RecordsError> {
        if self.release_lease(session, epoch, false).await? {
            self.give_place_back(session).await?;
        }
        Ok(())
    }

    async fn delete(&self, session: &SessionId, at: Time) -> Result<(), RecordsError> {
        let delete = self.redis.script(&DELETE).key(self.redis.keys().session(session)).arg(at.as_millis());
        let delete = delete.arg(self.redis.keys().wishes("")).arg(session.as_str());
        match delete.run::<i64>().await? {
            // Nobody owns it: the next replica that looks for work finds it.
            2 => Ok(self.put_in_index(session, 0).await?),
            // To say yes would be wrong where its owner writes it again.
            -1 => self.surely_unknown(session).await,
            _ => Ok(()),
        }
    }

    async fn remove(&self, session: &SessionId) -> Result<(), RecordsError> {
        self.redis.query::<()>(redis::cmd("UNLINK").arg(self.redis.keys().session(session))).await?;
        self.give_place_back(session).await?;
        Ok(self.take_out_of_index(session).await?)
    }

    async fn all(&self) -> Result<Vec<Record>, RecordsError> {
        let sessions = self.sessions().await?;
        let found = each(&sessions, |session| async move { self.find(&session).await }).await;
        let mut records = Vec::new();
        for found in found {
            match found {
                Ok(found) => records.extend(found.map(|found| found.record)),
                // Noted where it was read.
                Err(error) if error.is_damage() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(records)
    }

    /// Nothing to do: Redis forgets them by itself.
    async fn forget_keys(&self) -> Result<(), RecordsError> {
        Ok(())
    }

    async fn token_secret(&self, new: &str) -> Result<String, RecordsError> {
        let key = self.redis.keys().token_secret();
        let mut set = redis::cmd("SET");
        set.arg(&key).arg(new).arg("NX");
        let _: Option<String> = self.redis.query(&set).await?;
        let mut get = redis::cmd("GET");
        get.arg(&key);
        Ok(self.redis.about(&key, None, self.redis.query(&get).await)?)
    }

    async fn check(&self) -> Result<(), RecordsError> {
        let mut set = redis::cmd("SET");
        set.arg(self.redis.keys().beat()).arg(Time::now().as_millis());
        self.redis.query::<()>(&set).await?;
        self.redis.health().stored();
        Ok(())
    }

    fn health(&self) -> watch::Receiver<Judgement> {
        self.redis.health().watch()
    }
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // A String takes everything.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
