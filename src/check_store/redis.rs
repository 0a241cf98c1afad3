//! Checks the Redis of many replicas. Damaged keys are renamed to `<prefix>{<tag>}:quarantine:<ms>:…`, which no replica
//! reads.

mod deployment;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::time::Duration;

use super::report::StoreReport;
use super::{CheckError, Wanted, survey};
use crate::cluster::redis::OnRedis;
use crate::config::{Config, RedisSettings};
use crate::event::Time;
use crate::id::SessionId;
use crate::log::EventLog as _;
use crate::log::redis::{RedisLog, kept};
use crate::records::Records as _;
use crate::records::redis::RedisRecords;
use crate::storage::StorageError;
use crate::storage::damage::{Damaged, shown};
use crate::storage::redis::Redis;
use crate::storage::redis::schema::{Keys, field};
use crate::whatsapp::store::redis::RedisEngine;
use crate::whatsapp::store::{Engine as _, Table};

/// The owner's name in our calls; no replica has it.
const OURSELVES: &str = "check-store";

/// An entry of a stream: its id, names and values.
type Entry = (String, Vec<Vec<u8>>);

pub(super) async fn check(
    config: &Config,
    settings: &RedisSettings,
    wanted: Wanted,
) -> Result<StoreReport, CheckError> {
    let (redis, _) = Redis::connect(&settings.url.0, &settings.prefix).await.map_err(CheckError::Connect)?;
    let report = Store::new(&redis, settings.lease, config.history_events).report(wanted).await;
    redis.close().await;
    report
}

struct Store {
    redis: Redis,
    records: RedisRecords,
    cluster: OnRedis,
    log: RedisLog,
    engine: RedisEngine,
    /// The time in the names of the keys that this run sets aside, Unix time in milliseconds.
    at: i64,
}

impl Store {
    fn new(redis: &Redis, lease: Duration, history: u32) -> Self {
        let records = RedisRecords::new(redis.clone(), OURSELVES, lease);
        Self {
            cluster: OnRedis::new(records.clone()),
            records,
            log: RedisLog::new(redis.clone(), OURSELVES, history),
            engine: RedisEngine::new(redis.clone(), OURSELVES),
            redis: redis.clone(),
            at: Time::now().as_millis(),
        }
    }

    async fn report(&self, wanted: Wanted) -> Result<StoreReport, CheckError> {
        self.look_at_the_deployment().await.map_err(CheckError::Read)?;
        let sessions = survey(&self.records, &self.log, &self.engine).await?;
        let damaged = self.redis.damage().list();
        let set_aside = wanted.quarantine && !damaged.is_empty();
        if set_aside {
            // One that runs would write again, from its own memory, what is taken away under it.
            let living = self.living(&damaged).await?;
            if living > 0 {
                return Err(CheckError::Living(living));
            }
            self.set_aside(&damaged).await.map_err(CheckError::SetAside)?;
        }
        Ok(StoreReport { sessions, damaged, set_aside })
    }

    async fn set_aside(&self, damaged: &[Damaged]) -> Result<(), StorageError> {
        let mut whole = BTreeSet::new();
        let (mut logs, mut ends) = (BTreeSet::new(), BTreeSet::new());
        for Damaged { table, key, session, .. } in damaged {
            match session {
                None if key.is_empty() => self.rename(table).await?,
                None => self.set_member_aside(table, key).await?,
                Some(session) if *table == self.redis.keys().log(session) && !key.is_empty() => {
                    logs.insert((session.clone(), table.clone()));
                }
                Some(session) if key == field::EVENT => {
                    ends.insert(session.clone());
                }
                Some(session) => {
                    whole.insert(session.clone());
                }
            }
        }
        for (session, log) in logs {
            let bad = damaged.iter().filter(|damaged| damaged.table == log).map(|damaged| &*damaged.key);
            if !whole.contains(&session)
                && !self.rebuild_log(&session, &log, &bad.collect::<Vec<_>>()).await?
            {
                whole.insert(session);
            }
        }
        for session in ends {
            if !whole.contains(&session) && !self.mend_end(&session).await? {
                whole.insert(session);
            }
        }
        for session in whole {
            self.set_session_aside(&session).await?;
        }
        self.make_anew(damaged).await
    }

    /// Writes a log again without its damaged entries and keeps the old one whole. If the last entry was damaged, the
    /// copy in the session's hash replaces it. Returns false if that copy is damaged too: then the state of the session
    /// is unknown.
    async fn rebuild_log(&self, session: &SessionId, log: &str, bad: &[&str]) -> Result<bool, StorageError> {
        let read = self.log.read(session).await;
        let end = match read {
            Ok(read) => read.events.last().cloned(),
            Err(error) if error.is_damage() => return Ok(false),
            Err(error) => return Err(error),
        };
        let mut range = redis::cmd("XRANGE");
        range.arg(log).arg("-").arg("+");
        let entries: Vec<Entry> = self.redis.query(&range).await?;
        self.rename(log).await?;
        let is_bad = |id: &String| bad.contains(&shown(id).as_str());
        let last_is_bad = entries.last().is_some_and(|(id, _)| is_bad(id));
        for (id, fields) in entries.iter().filter(|(id, _)| !is_bad(id)) {
            self.redis.query::<()>(redis::cmd("XADD").arg(log).arg(id).arg(fields)).await?;
        }
        if let Some(end) = end.filter(|_| last_is_bad) {
            let mut add = redis::cmd("XADD");
            add.arg(log).arg(end.at.to_string()).arg(field::ENTRY).arg(kept(&end));
            self.redis.query::<()>(&add).await?;
        }
        Ok(true)
    }

    /// Writes the last event in the session's hash again from the log. Returns false if the log's end cannot be read
    /// either.
    async fn mend_end(&self, session: &SessionId) -> Result<bool, StorageError> {
        let end = match self.log.last(session).await {
            Ok(Some(end)) => end,
            Ok(None) => return Ok(false),
            Err(error) if error.is_damage() => return Ok(false),
            Err(error) => return Err(error),
        };
        let key = self.redis.keys().session(session);
        let old: Option<Vec<u8>> = self.redis.query(redis::cmd("HGET").arg(&key).arg(field::EVENT)).await?;
        let aside = Keys::quarantine(&format!("{key}:{}", field::EVENT), self.at);
        self.redis.query::<()>(redis::cmd("SET").arg(aside).arg(old.unwrap_or_default())).await?;
        let mut set = redis::cmd("HSET");
        set.arg(&key).arg(field::LAST).arg(end.at.to_string()).arg(field::EVENT).arg(kept(&end));
        self.redis.query::<()>(&set).await?;
        Ok(true)
    }

    async fn set_session_aside(&self, session: &SessionId) -> Result<(), StorageError> {
        let keys = self.redis.keys();
        for key in [keys.session(session), keys.log(session), keys.qr(session)] {
            self.rename(&key).await?;
        }
        for table in Table::ALL {
            self.rename(&keys.device(session, table.name())).await?;
        }
        // What remains are the session's entries in the indexes and in the counts of the limits.
        self.records.remove(session).await.map_err(|error| super::Failed::from(error).0)?;
        self.log.forget(session).await?;
        self.engine.wipe(session).await.map_err(|error| super::Failed::from(error).0)
    }

    /// Sets aside a member of an index that is not a session id.
    async fn set_member_aside(&self, index: &str, key: &str) -> Result<(), StorageError> {
        let sorted = self.redis.query::<String>(redis::cmd("TYPE").arg(index)).await? == "zset";
        let mut members = redis::cmd(if sorted { "ZRANGE" } else { "SMEMBERS" });
        members.arg(index);
        if sorted {
            members.arg(0).arg(-1);
        }
        let members: Vec<Vec<u8>> = self.redis.query(&members).await?;
        for member in members.iter().filter(|member| shown(&String::from_utf8_lossy(member)) == key) {
            self.redis
                .query::<()>(redis::cmd("SADD").arg(Keys::quarantine(index, self.at)).arg(member))
                .await?;
            let remove = if sorted { "ZREM" } else { "SREM" };
            self.redis.query::<()>(redis::cmd(remove).arg(index).arg(member)).await?;
        }
        Ok(())
    }

    async fn rename(&self, key: &str) -> Result<(), StorageError> {
        if self.redis.query::<bool>(redis::cmd("EXISTS").arg(key)).await? {
            self.redis.query::<()>(redis::cmd("RENAME").arg(key).arg(Keys::quarantine(key, self.at))).await?;
        }
        Ok(())
    }
}
