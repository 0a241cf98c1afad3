//! What many replicas need of the ledger beside its port: leases that last and lapse, and who lives.

use std::collections::HashSet;
use std::sync::LazyLock;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream;

use super::{NEVER, RedisLedger, millis, record};
use crate::id::SessionId;
use crate::ledger::{Ledger as _, LedgerError, Record};
use crate::storage::StorageError;
use crate::storage::redis::index::{shard_of, shards};
use crate::storage::redis::{Script, Subscription};

static RENEW: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("renew.lua")));
static LAPSED: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("lapsed.lua")));
static ASSERT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("assert.lua")));
static BEAT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("beat.lua")));

/// Commands under way at a time, where there is one for each session.
const AT_ONCE: usize = 64;

/// A place that is younger may belong to a creation that is under way.
const YOUNG: i64 = 60;

/// What became of a lease that was to be renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// It lasts for a whole lease, counted from when the call began.
    Held,
    /// Somebody else has the session: stop its link task, quietly.
    Lost,
    /// Redis has no such session: it lost its data. See [`RedisLedger::reassert`].
    Missing,
    /// No answer: the lease lasts as it did before.
    Unknown,
}

/// A replica that lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replica {
    /// Its name, the `owner` of leases.
    pub name: String,
    /// How long ago it appeared.
    pub age: Duration,
}

/// Does something for each session, some at a time; the answers in their order.
pub(super) async fn each<F: Future>(sessions: &[SessionId], work: impl Fn(SessionId) -> F) -> Vec<F::Output> {
    stream::iter(sessions.to_vec()).map(work).buffered(AT_ONCE).collect().await
}

impl RedisLedger {
    /// Renews the leases of these sessions, each of the epoch that this replica holds; the answers in their order.
    pub async fn renew(&self, held: &[(SessionId, u64)]) -> Vec<Renewal> {
        let renewals = stream::iter(held.to_vec()).map(|(session, epoch)| self.renew_one(session, epoch));
        let renewed: Vec<_> = renewals.buffered(AT_ONCE).collect().await;
        // The index may lag: a failure costs a look at a session that has an owner.
        for shard in shards() {
            let mut add = redis::cmd("ZADD");
            add.arg(self.index(shard)).arg("XX");
            let mut any = false;
            for ((session, _), (_, expires)) in held.iter().zip(&renewed) {
                if *expires > 0 && shard_of(session) == shard {
                    add.arg(*expires).arg(session.as_str());
                    any = true;
                }
            }
            if any {
                let _ = self.redis.query::<()>(&add).await;
            }
        }
        renewed.into_iter().map(|(renewal, _)| renewal).collect()
    }

    async fn renew_one(&self, session: SessionId, epoch: u64) -> (Renewal, i64) {
        let renew = self.redis.script(&RENEW).key(self.session(&session)).arg(&*self.owner);
        match renew.arg(epoch).arg(millis(self.lease)).run::<i64>().await {
            Ok(0) => (Renewal::Lost, 0),
            Ok(-1) => (Renewal::Missing, 0),
            Ok(expires) => (Renewal::Held, expires),
            Err(_) => (Renewal::Unknown, 0),
        }
    }

    /// Up to `limit` sessions that are to run and have no owner, or one whose lease has lapsed for longer than `since`.
    /// Repairs the index where that lags.
    ///
    /// # Errors
    /// See [`LedgerError`].
    pub async fn lapsed(&self, since: Duration, limit: usize) -> Result<Vec<SessionId>, LedgerError> {
        let now = self.redis.now().await?;
        let mut lapsed = Vec::new();
        for shard in shards() {
            let mut range = redis::cmd("ZRANGEBYSCORE");
            range.arg(self.index(shard)).arg("-inf").arg(now).arg("LIMIT").arg(0).arg(limit);
            let sessions = self.sessions_of(&range).await?;
            let waits = each(&sessions, |session| self.waits(session, since)).await;
            for (session, waits) in sessions.into_iter().zip(waits) {
                if waits? {
                    lapsed.push(session);
                }
            }
            if lapsed.len() >= limit {
                break;
            }
        }
        lapsed.truncate(limit);
        Ok(lapsed)
    }

    async fn waits(&self, session: SessionId, since: Duration) -> Result<bool, StorageError> {
        let lapsed = self.redis.script(&LAPSED).key(self.session(&session)).arg(millis(since));
        let (what, expires): (i64, String) = lapsed.run().await?;
        match what {
            1 => return Ok(true),
            0 => self.note(&session, &expires).await?,
            -1 => self.note(&session, NEVER).await?,
            _ => self.take_out_of_index(&session).await?,
        }
        Ok(false)
    }

    /// Gives a running session to whoever claims it next, at once, and says so to all replicas. Of another replica's
    /// session: nothing.
    ///
    /// # Errors
    /// See [`LedgerError`].
    pub async fn hand_over(&self, session: &SessionId) -> Result<(), LedgerError> {
        if self.give_up(session, true).await? {
            let mut publish = redis::cmd("PUBLISH");
            publish.arg(self.redis.key("replicas", ":released")).arg(session.as_str());
            self.redis.query::<()>(&publish).await?;
        }
        Ok(())
    }

    /// Hears the id of each session that is [handed over](Self::hand_over).
    pub fn released(&self) -> Subscription {
        self.redis.listen(self.redis.key("replicas", ":released"))
    }

    /// Writes record and lease again, as the owner of `record.epoch` knows them: after Redis came back, perhaps without
    /// its end. False when somebody else has claimed the session.
    ///
    /// # Errors
    /// See [`LedgerError`].
    pub async fn reassert(&self, record: &Record) -> Result<bool, LedgerError> {
        let assert = self
            .redis
            .script(&ASSERT)
            .key(self.session(&record.session))
            .arg(record::encode(record))
            .arg(&*self.owner)
            .arg(record.epoch)
            .arg(millis(self.lease))
            .arg(record.deleted.map_or_else(String::new, |at| at.as_millis().to_string()));
        // The index first: it may name too much, never too little.
        let expires = self.redis.now().await?.saturating_add_unsigned(millis(self.lease));
        self.put_in_index(&record.session, expires).await?;
        if assert.run::<i64>().await? == 0 {
            return Ok(false);
        }
        self.restore_place(&record.session).await?;
        Ok(true)
    }

    /// Makes the places that the limits count agree with the records: what crashes and lost answers left. How many
    /// places were given back.
    ///
    /// # Errors
    /// See [`LedgerError`].
    pub async fn sweep(&self) -> Result<usize, LedgerError> {
        let before = self.redis.now().await? / 1000 - YOUNG;
        let records = self.all().await?;
        let claimed: Vec<_> = records.into_iter().filter(|r| r.claimed).map(|r| r.session).collect();
        for restored in each(&claimed, |session| async move { self.restore_place(&session).await }).await {
            restored?;
        }
        let claimed: HashSet<_> = claimed.into_iter().collect();
        let mut places = self.places_before(before).await?;
        places.retain(|session| !claimed.contains(session));
        for session in &places {
            // It may have been claimed since all were read.
            if !self.find(session).await?.is_some_and(|(record, _)| record.claimed) {
                self.give_place_back(session).await?;
            }
        }
        Ok(places.len())
    }

    /// Says that this replica lives, for `life`, and who else does.
    ///
    /// # Errors
    /// See [`LedgerError`].
    pub async fn beat(&self, life: Duration) -> Result<Vec<Replica>, LedgerError> {
        self.replicas(i64::try_from(life.as_millis()).unwrap_or(i64::MAX)).await
    }

    /// Who lives.
    ///
    /// # Errors
    /// See [`LedgerError`].
    pub async fn live_replicas(&self) -> Result<Vec<Replica>, LedgerError> {
        self.replicas(0).await
    }

    /// This replica goes: the others need not wait for its next beat.
    ///
    /// # Errors
    /// See [`LedgerError`].
    pub async fn leave(&self) -> Result<(), LedgerError> {
        self.replicas(-1).await.map(drop)
    }

    async fn replicas(&self, life: i64) -> Result<Vec<Replica>, LedgerError> {
        let beat = self
            .redis
            .script(&BEAT)
            .key(self.redis.key("replicas", ":life"))
            .key(self.redis.key("replicas", ":since"))
            .arg(&*self.owner)
            .arg(life);
        let living: Vec<(String, u64)> = beat.run().await?;
        let replica = |(name, age)| Replica { name, age: Duration::from_millis(age) };
        Ok(living.into_iter().map(replica).collect())
    }

    pub(super) async fn sessions_of(&self, command: &redis::Cmd) -> Result<Vec<SessionId>, StorageError> {
        let names: Vec<String> = self.redis.query(command).await?;
        names.iter().map(|name| name.parse().map_err(|_| StorageError::Corrupt)).collect()
    }
}
