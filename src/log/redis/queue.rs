//! Notes in Redis which sessions have something new for receivers of webhooks, before that is put into their logs.
//!
//! The list is on other nodes of a cluster than the logs, so it may name a session too many, and never one too few: an
//! append whose note failed is not made. `webhooks` takes a session off only some time after it was noted.

use std::collections::HashSet;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::event::Time;
use crate::id::SessionId;
use crate::log::Queueing;
use crate::storage::StorageError;
use crate::storage::redis::Redis;
use crate::storage::redis::index::shard_of;
use crate::storage::redis::schema::field;

#[derive(Clone)]
pub(super) struct Queue {
    redis: Redis,
    queueing: Queueing,
    /// The sessions that this process writes and whose record names a receiver.
    own: Arc<Mutex<HashSet<SessionId>>>,
}

/// What of a record matters here.
#[derive(Deserialize)]
struct Record {
    webhook: Option<IgnoredAny>,
}

impl Queue {
    pub(super) fn new(redis: Redis, queueing: Queueing) -> Self {
        Self { redis, queueing, own: Arc::default() }
    }

    /// Notes the session where it has a receiver; whether it has. Its record never changes, so it is read once for each
    /// time that this process begins to write the session.
    pub(super) async fn add(&self, session: &SessionId, begins: bool) -> Result<bool, StorageError> {
        if !self.queueing.every {
            if begins {
                self.learn(session).await?;
            }
            if !self.own.lock().contains(session) {
                return Ok(false);
            }
        }
        let mut add = redis::cmd("ZADD");
        add.arg(self.redis.keys().due_hooks(shard_of(session)))
            .arg(Time::now().as_millis())
            .arg(session.as_str());
        self.redis.query::<()>(&add).await?;
        Ok(true)
    }

    async fn learn(&self, session: &SessionId) -> Result<(), StorageError> {
        let mut get = redis::cmd("HGET");
        get.arg(self.redis.keys().session(session)).arg(field::RECORD);
        let record: Option<Vec<u8>> = self.redis.query(&get).await?;
        let record = record.and_then(|record| serde_json::from_slice::<Record>(&record).ok());
        if record.is_some_and(|record| record.webhook.is_some()) {
            self.own.lock().insert(session.clone());
        } else {
            self.own.lock().remove(session);
        }
        Ok(())
    }

    pub(super) fn wake(&self, session: &SessionId) {
        self.queueing.wake(session);
    }

    pub(super) fn forget(&self, session: &SessionId) {
        self.own.lock().remove(session);
    }
}
