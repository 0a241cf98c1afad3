//! `qrcast migrate`: moves every session and linked device from the SQLite file of a data folder to Redis, once.
//!
//! Not part of a running server; `main` calls it. Like `server` it names the concrete stores. It can be stopped at any
//! moment and run again, because of the order of its steps:
//!
//! 1. It takes the folder's lock, and checks whether Redis has a session of this folder. If Redis has one that an
//! earlier try did not copy, the migration ends.
//! 2. The note [`MOVING`] keeps the name under which this folder's sessions are owned in that Redis. Their lease
//! outlasts any migration, so replicas leave them alone. Until step 4 the folder is authoritative, and a server may
//! start on it again; the next try then copies everything anew and removes what the folder no longer has.
//! 3. Each session is copied, and when all are, they are read back and compared.
//! 4. The note [`MOVED`] takes the folder out of use, on the disk before anything else happens.
//! 5. Only now are the sessions released, so that a replica runs them. Two processes never run the same device.
//!
//! A session keeps its epoch: every claim in Redis makes a greater one, whatever the clocks say. To raise it here would
//! revive sessions that have ended (see `Session::restored`).
//!
//! Memory: the records of all sessions, as a server has them, and of [`SESSIONS_AT_ONCE`] sessions a log and a table at a time.

mod outcome;
mod source;
mod target;
#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use tracing::{info, warn};

use self::outcome::redis;
pub use self::outcome::{MigrateError, MovedCounts, Outcome};
use self::source::Source;
use self::target::{Holder, Target};
use crate::check_store::Failed;
use crate::config::{Config, RedisSettings};
use crate::event::{Reason, State, Time};
use crate::records::Record;
use crate::server::DATABASE;
use crate::storage::StorageError;
use crate::storage::folder::{FolderLock, MOVED};
use crate::storage::redis::Redis;
use crate::whatsapp::store::{Fence, Table};

/// The note in a folder that is being moved. It holds the owner's name in Redis and the mark of the data there.
const MOVING: &str = "moving-to-redis";

/// How many sessions are copied at a time. Redis must take what all of them send within the time limit of one command.
const SESSIONS_AT_ONCE: usize = 4;

/// How often a step is tried while Redis does not answer.
const TRIES: u32 = 3;

/// How long Redis may take to come back, each time: a managed one fails over in less.
const AWAY: Duration = Duration::from_secs(30);

/// How long to wait until what was written survives a crash of Redis: with `appendfsync everysec` it loses the last
/// second, and on a busy disk the one before it.
const SETTLE: Duration = Duration::from_secs(3);

/// Progress is logged each time this many sessions were copied.
const PROGRESS: usize = 100;

/// Moves the folder of this configuration.
///
/// # Errors
/// See [`MigrateError`].
pub async fn run(config: &Config, redis: &RedisSettings) -> Result<Outcome, MigrateError> {
    let folder = &config.data_dir;
    let database = folder.join(DATABASE);
    // An error here is not reported: the steps that follow fail for the same reason and say it.
    let there = |path: &PathBuf| path.try_exists().unwrap_or(true);
    if !there(&database) && !there(&folder.join(MOVED)) {
        return Err(MigrateError::NoDatabase(folder.clone()));
    }
    let lock = Arc::new(FolderLock::take_even_moved(folder)?);
    let (moving, moved) = (lock.note(MOVING)?, lock.note(MOVED)?.is_some());
    if moved && moving.is_none() {
        return Err(MigrateError::Moved(folder.clone()));
    }
    if !there(&database) {
        return Err(MigrateError::NoDatabase(folder.clone()));
    }
    let source = Source::open(lock.clone(), config.history_events).await?;
    let outcome = move_to(redis, &lock, &source, config.history_events, moved).await;
    source.close().await;
    outcome
}

async fn move_to(
    settings: &RedisSettings,
    lock: &FolderLock,
    source: &Source,
    history: u32,
    moved: bool,
) -> Result<Outcome, MigrateError> {
    let connected = Redis::connect(&settings.url.0, &settings.prefix).await;
    let (redis, warnings) = connected.map_err(MigrateError::Connect)?;
    for warning in warnings {
        warn!("{warning}");
    }
    let outcome = match Migration::new(lock, source, &redis, history) {
        Ok(migration) if moved => migration.finish().await,
        Ok(migration) => migration.run().await,
        Err(error) => Err(error),
    };
    redis.close().await;
    outcome
}

/// One folder on its way.
struct Migration<'a> {
    lock: &'a FolderLock,
    source: &'a Source,
    target: Target,
    /// Whether an earlier try may have left something in this Redis.
    again: bool,
    settle: Duration,
}

impl<'a> Migration<'a> {
    fn new(
        lock: &'a FolderLock,
        source: &'a Source,
        redis: &Redis,
        history: u32,
    ) -> Result<Self, MigrateError> {
        let data = target::data_of(redis).map_err(outcome::redis)?;
        let moving = lock.note(MOVING)?;
        let before = moving.as_deref().and_then(|note| note.split_once(' ')).filter(|(_, to)| *to == data);
        let (owner, again) = match before {
            Some((owner, _)) => (owner.to_owned(), true),
            None => (format!("migrate-{}", uuid::Uuid::new_v4().simple()), false),
        };
        let target = Target::new(redis.clone(), data, owner, history);
        Ok(Self { lock, source, target, again, settle: SETTLE })
    }

    async fn run(&self) -> Result<Outcome, MigrateError> {
        let records = self.source.records().await?;
        self.each(&records, async |record| self.refuse_taken(record).await).await?;
        if self.again {
            self.take_away_leftovers(&records).await?;
        } else {
            self.lock.leave(MOVING, &format!("{} {}", self.target.owner, self.target.data))?;
        }
        self.copy(&records).await?;
        let counts = self.compare(&records).await?;
        self.lock.leave(MOVED, &mark(counts))?;
        self.release(&records).await?;
        Ok(Outcome::Moved(counts))
    }

    /// Finishes a migration whose folder is marked already.
    async fn finish(&self) -> Result<Outcome, MigrateError> {
        if !self.again {
            return Err(MigrateError::Elsewhere);
        }
        let records = self.source.records().await?;
        Ok(Outcome::Finished(self.release(&records).await?))
    }

    async fn refuse_taken(&self, record: &Record) -> Result<(), MigrateError> {
        match self.target.holder(&record.session).await.map_err(redis)? {
            Holder::Another => Err(MigrateError::Taken(record.session.clone())),
            Holder::Nobody | Holder::Us(_) => Ok(()),
        }
    }

    /// Removes sessions of an earlier try that the folder no longer has.
    async fn take_away_leftovers(&self, records: &[Record]) -> Result<(), MigrateError> {
        let known: HashSet<_> = records.iter().map(|record| &record.session).collect();
        for session in self.target.sessions().await.map_err(redis)? {
            if !known.contains(&session)
                && let Holder::Us(_) = self.target.holder(&session).await.map_err(redis)?
            {
                self.target.remove(&session).await.map_err(redis)?;
            }
        }
        Ok(())
    }

    async fn copy(&self, records: &[Record]) -> Result<(), MigrateError> {
        let copied = Cell::new(0_usize);
        let copy = async |record: &Record| {
            self.copy_one(record).await?;
            copied.set(copied.get() + 1);
            if copied.get().is_multiple_of(PROGRESS) {
                info!(copied = copied.get(), of = records.len(), "copying");
            }
            Ok(())
        };
        self.each(records, copy).await?;
        for (receiver, since) in self.source.receivers().await? {
            self.target.put_receiver(&receiver, since).await.map_err(redis)?;
        }
        Ok(())
    }

    async fn copy_one(&self, record: &Record) -> Result<(), MigrateError> {
        let session = &record.session;
        if let Holder::Us(_) = self.target.holder(session).await.map_err(redis)? {
            // An earlier try may have copied rows that are deleted by now.
            self.target.clear(session).await.map_err(redis)?;
        }
        if !self.target.take(record).await.map_err(redis)? {
            return Err(MigrateError::Taken(session.clone()));
        }
        let log = self.source.log(session).await?;
        self.target.put_log(record, &log).await.map_err(redis)?;
        let standings = self.source.standings(session).await?;
        self.target.put_standings(session, &standings).await.map_err(redis)?;
        let fence = Fence { session: session.clone(), epoch: record.epoch };
        for table in Table::ALL {
            let rows = self.source.rows(session, *table).await?;
            self.target.put_rows(&fence, *table, rows).await.map_err(redis)?;
        }
        Ok(())
    }

    /// Reads everything back, and again if Redis was away meanwhile, because it may have lost its last writes.
    async fn compare(&self, records: &[Record]) -> Result<MovedCounts, MigrateError> {
        for _ in 0..TRIES {
            let mut contact = self.target.contact();
            contact.borrow_and_update();
            let counts = self.each(records, async |record| self.compare_one(record).await).await?;
            tokio::time::sleep(self.settle).await;
            let answers = self.target.answers().await;
            if answers.is_ok() && matches!(contact.has_changed(), Ok(false)) {
                return Ok(counts.into_iter().fold(MovedCounts::default(), MovedCounts::and));
            }
        }
        Err(redis(StorageError::Away))
    }

    async fn compare_one(&self, record: &Record) -> Result<MovedCounts, MigrateError> {
        let session = &record.session;
        let differs = || MigrateError::Differs(session.clone());
        let holder = self.target.holder(session).await.map_err(redis)?;
        if !matches!(holder, Holder::Us(found) if found.epoch == record.epoch) {
            return Err(differs());
        }
        let log = self.source.log(session).await?;
        let ids: Vec<_> = log.iter().map(|event| event.at).collect();
        if self.target.ids(session).await.map_err(redis)? != ids {
            return Err(differs());
        }
        if self.target.standings(session).await.map_err(redis)? != self.source.standings(session).await? {
            return Err(differs());
        }
        let mut rows = 0;
        for table in Table::ALL {
            let count = self.source.rows(session, *table).await?.len();
            if self.target.count(session, *table).await.map_err(redis)? != count {
                return Err(differs());
            }
            rows += count;
        }
        let linked = rows > 0 && log.last().is_some_and(|event| is_linked(&event.state));
        Ok(MovedCounts { sessions: 1, linked: usize::from(linked), events: log.len() })
    }

    /// Releases every session that is still ours to the replicas, and returns their number.
    async fn release(&self, records: &[Record]) -> Result<usize, MigrateError> {
        let release = async |record: &Record| {
            let Holder::Us(found) = self.target.holder(&record.session).await.map_err(redis)? else {
                return Ok(0);
            };
            // The session may have been deleted through a replica: then a replica has to log it out.
            let runs = record.claimed || found.deleted != record.deleted;
            self.target.release(&record.session, found.epoch, runs).await.map_err(redis)?;
            Ok(1)
        };
        let released = self.each(records, release).await.map_err(|error| match error {
            MigrateError::Redis(cause) => MigrateError::Unfinished(cause),
            error => error,
        })?;
        self.lock.take_away(MOVING)?;
        Ok(released.into_iter().sum())
    }

    /// Does something for each session, a few at a time, and repeats it while Redis does not answer.
    async fn each<T>(
        &self,
        records: &[Record],
        work: impl AsyncFn(&Record) -> Result<T, MigrateError>,
    ) -> Result<Vec<T>, MigrateError> {
        let patient = async |record| {
            for _ in 1..TRIES {
                match work(record).await {
                    Err(MigrateError::Redis(StorageError::Away)) => {
                        warn!("Redis does not answer; waiting for it");
                        self.target.wait(AWAY).await;
                    }
                    done => return done,
                }
            }
            work(record).await
        };
        stream::iter(records).map(patient).buffer_unordered(SESSIONS_AT_ONCE).try_collect().await
    }
}

/// Whether a phone lists the device, as far as this process knows.
fn is_linked(state: &State) -> bool {
    state.linked && !(state.ended && state.reason == Some(Reason::LoggedOut))
}

fn mark(counts: MovedCounts) -> String {
    let now = Time::now();
    format!(
        "{now} `qrcast migrate` moved {counts} to Redis. What is in this folder is an old copy: no server may run it again."
    )
}
