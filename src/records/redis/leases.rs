//! What many replicas need beside the records: leases that last and lapse, and who lives.

use std::collections::HashSet;
use std::sync::LazyLock;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use tokio::sync::watch;

use super::{NEVER, RedisRecords, millis, record};
use crate::id::SessionId;
use crate::records::{
    Contact, Found, Leases, News, Record, Records as _, RecordsError, Renewal, Replica, Viewers, WISH_LIFE,
    Wish,
};
use crate::storage::StorageError;
use crate::storage::redis::index::{shard_of, shards};
use crate::storage::redis::{Heard, Script};

static FIND: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("find.lua")));
static WISH: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("wish.lua")));
static RENEW: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("renew.lua")));
static LAPSED: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("lapsed.lua")));
static ASSERT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("assert.lua")));
static BEAT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("beat.lua")));

/// Commands under way at a time, where there is one for each session.
const AT_ONCE: usize = 64;

/// How long a session that cannot be read is left alone (ms): somebody may mend it.
const DAMAGED_AGAIN: i64 = 60_000;

/// A place that is younger may belong to a creation that is under way.
const YOUNG: i64 = 60;

/// Does something for each session, some at a time; the answers in their order.
pub(super) async fn each<F: Future>(sessions: &[SessionId], work: impl Fn(SessionId) -> F) -> Vec<F::Output> {
    stream::iter(sessions.to_vec()).map(work).buffered(AT_ONCE).collect().await
}

#[async_trait]
impl Leases for RedisRecords {
    fn lease(&self) -> Duration {
        self.lease
    }

    async fn find(&self, session: &SessionId) -> Result<Option<Found>, RecordsError> {
        let found = self.look(session).await?;
        if found.is_none() {
            self.surely_unknown(session).await?;
        }
        Ok(found)
    }

    async fn sessions(&self) -> Result<Vec<SessionId>, RecordsError> {
        let mut all = Vec::new();
        for shard in shards() {
            let (mut range, index) = (redis::cmd("ZRANGE"), self.index(shard));
            range.arg(&index).arg(0).arg(-1);
            all.extend(self.redis.session_ids(&index, &range).await?);
        }
        // A list without those that are about to be written again would be taken for the whole.
        if self.redis.has_lost_data(self.lease).await? { Err(RecordsError::away()) } else { Ok(all) }
    }

    async fn claimed(&self) -> Result<usize, RecordsError> {
        Ok(self.redis.query(redis::cmd("ZCARD").arg(self.places())).await?)
    }

    async fn renew(&self, session: &SessionId, epoch: u64, keeps: &(dyn Fn() -> bool + Sync)) -> Renewal {
        let renew = self.redis.script(&RENEW).key(self.session(session)).arg(&*self.owner);
        let renew = renew.arg(epoch).arg(millis(self.lease)).arg(millis(WISH_LIFE));
        match renew.run::<(i64, bool)>().await {
            Ok((0, _)) => Renewal::Lost,
            Ok((-1, _)) => Renewal::Missing,
            Ok((expires, wished)) => {
                // Sent before anything of a release that begins after this look, so a release has the last word: or
                // nobody would find the session for a whole lease.
                if keeps() {
                    // The index may lag: a failure costs a look at a session that has an owner.
                    let _ = self.put_in_index(session, expires).await;
                }
                Renewal::Held { wished }
            }
            Err(_) => Renewal::Unknown,
        }
    }

    /// Repairs the index where that lags.
    async fn lapsed(&self, since: Option<Duration>, limit: usize) -> Result<Vec<SessionId>, RecordsError> {
        let now = self.redis.now().await?;
        let mut lapsed = Vec::new();
        // Each time from another shard on, so that two replicas seldom reach for the same sessions.
        let mut order: Vec<_> = shards().collect();
        let first = usize::from(uuid::Uuid::new_v4().as_bytes()[0]) % order.len();
        order.rotate_left(first);
        for shard in order {
            let (mut range, index) = (redis::cmd("ZRANGEBYSCORE"), self.index(shard));
            range.arg(&index).arg("-inf").arg(now).arg("LIMIT").arg(0).arg(limit);
            let sessions = self.redis.session_ids(&index, &range).await?;
            let waits = each(&sessions, |session| self.waits(session, since)).await;
            for (session, waits) in sessions.into_iter().zip(waits) {
                if self.redis.damage().is_about(&session) {
                    // It would be the first of every look, and leave no room for those behind it.
                    self.note(&session, &now.saturating_add(DAMAGED_AGAIN).to_string()).await?;
                }
                // On a cluster one node may be away: the others' sessions need not wait for it.
                if matches!(waits, Ok(true)) {
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

    async fn hand_over(&self, session: &SessionId, epoch: u64) -> Result<(), RecordsError> {
        if self.give_up(session, epoch, true).await? {
            let mut publish = redis::cmd("PUBLISH");
            publish.arg(self.released()).arg(session.as_str());
            self.redis.query::<()>(&publish).await?;
        }
        Ok(())
    }

    async fn reassert(&self, record: &Record) -> Result<bool, RecordsError> {
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

    /// What crashes and lost answers left.
    async fn sweep(&self) -> Result<usize, RecordsError> {
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
            match self.find(session).await {
                Ok(Some(found)) if found.record.claimed => {}
                Ok(_) => self.give_place_back(session).await?,
                // Nobody can tell whether it runs: it keeps its place.
                Err(error) if error.is_damage() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(places.len())
    }

    async fn beat(&self, viewers: &Viewers) -> Result<Vec<Replica>, RecordsError> {
        let mut set = redis::cmd("SET");
        let counts = serde_json::to_string(viewers).map_err(RecordsError::failed)?;
        set.arg(self.viewers_of(&self.owner)).arg(counts).arg("PX").arg(millis(self.lease));
        self.redis.query::<()>(&set).await?;
        self.replicas(i64::try_from(self.lease.as_millis()).unwrap_or(i64::MAX)).await
    }

    async fn leave(&self) -> Result<Vec<Replica>, RecordsError> {
        self.redis.query::<()>(redis::cmd("UNLINK").arg(self.viewers_of(&self.owner))).await?;
        self.replicas(-1).await
    }

    async fn viewers(&self) -> Result<Viewers, RecordsError> {
        let mut all = Viewers::new();
        for replica in self.replicas(0).await? {
            let key = self.viewers_of(&replica.name);
            let counts: Option<Vec<u8>> = match self.redis.query(redis::cmd("GET").arg(&key)).await {
                Err(error) if error.is_damage() => Some(Vec::new()),
                counts => counts?,
            };
            let counts = counts.map(|text| serde_json::from_slice::<Viewers>(&text));
            let counts = counts.transpose().unwrap_or_else(|_| {
                // Its replica writes it again with its next beat.
                tracing::warn!(key, "the viewers of a replica cannot be read");
                None
            });
            for (session, count) in counts.unwrap_or_default() {
                *all.entry(session).or_default() += count;
            }
        }
        Ok(all)
    }

    async fn wish(&self, session: &SessionId, wish: &Wish) -> Result<bool, RecordsError> {
        let text = serde_json::to_string(wish).map_err(RecordsError::failed)?;
        let write = self.redis.script(&WISH).key(self.session(session)).arg(text);
        let told = write.arg(self.wishes("")).arg(session.as_str()).run::<i64>().await?;
        if told < 0 {
            self.surely_unknown(session).await?;
            return Err(RecordsError::Unknown);
        }
        Ok(told == 1)
    }

    fn news(&self) -> BoxStream<'static, News> {
        let hear = |channel: String, make: fn(SessionId) -> News| {
            let heard = stream::unfold(self.redis.listen(channel), async |mut channel| {
                channel.next().await.map(|heard| (heard, channel))
            });
            let news = heard.map(move |heard| match heard {
                Heard::Missed => Some(News::Missed),
                Heard::Message(id) => std::str::from_utf8(&id).ok()?.parse().ok().map(make),
            });
            // Not ours to read: a later version says more.
            news.filter_map(std::future::ready).boxed()
        };
        let released = hear(self.released(), News::Released);
        stream::select(released, hear(self.wishes(&self.owner), News::Wished)).boxed()
    }

    fn contact(&self) -> watch::Receiver<Contact> {
        self.redis.state()
    }
}

impl RedisRecords {
    /// What is there at this moment, even if that may be less than was there: see [`Leases::find`] for anybody who cannot tell.
    ///
    /// # Errors
    /// See [`RecordsError`].
    pub async fn look(&self, session: &SessionId) -> Result<Option<Found>, RecordsError> {
        let key = self.session(session);
        let fields = match self.redis.script(&FIND).key(&key).run().await {
            Err(error) if error.is_damage() => {
                self.redis.damage().note(&key, "", Some(session), "it is of another type");
                return Err(RecordsError::damaged());
            }
            fields => fields?,
        };
        let found = record::parse(session, fields).map_err(|why| {
            self.redis.damage().note(&key, "", Some(session), why);
            RecordsError::damaged()
        })?;
        self.redis.damage().is_whole(&key, "");
        if let Some(proxy) = found.as_ref().and_then(|found| found.record.proxy.as_ref()) {
            match proxy.parse() {
                Ok(_) => self.redis.damage().is_whole(&key, "proxy"),
                // It goes no other way than its own, so it waits and says why.
                Err(_) => self.redis.damage().note(&key, "proxy", Some(session), "its proxy cannot be read"),
            }
        }
        Ok(found)
    }

    async fn waits(&self, session: SessionId, since: Option<Duration>) -> Result<bool, StorageError> {
        let lapsed = self.redis.script(&LAPSED).key(self.session(&session));
        let since = since.map_or(-1, |since| since.as_millis().cast_signed());
        let lapsed = lapsed.arg(since).arg(&*self.owner).run::<(i64, String)>().await;
        let (what, expires) = lapsed.inspect_err(|error| {
            if error.is_damage() {
                let key = self.session(&session);
                self.redis.damage().note(&key, "", Some(&session), "it is of another type");
            }
        })?;
        match what {
            1 => return Ok(true),
            0 => self.note(&session, &expires).await?,
            -1 => self.note(&session, NEVER).await?,
            _ => self.take_out_of_index(&session).await?,
        }
        Ok(false)
    }

    /// There is no such session in Redis: Ok where there is none at all. For one lease after Redis has lost its data, or may
    /// have lost the end of it, its owner may be about to write it again: by then each one that lives has. The same where the
    /// index, which may be on another node of a cluster, names an owner whose lease lasts or has just lapsed.
    pub(super) async fn surely_unknown(&self, session: &SessionId) -> Result<(), RecordsError> {
        let mut score = redis::cmd("ZSCORE");
        score.arg(self.index(shard_of(session))).arg(session.as_str());
        let expires: Option<f64> = self.redis.query(&score).await?;
        if let Some(expires) = expires.filter(|at| at.is_finite()) {
            let lapsed = self.redis.now().await? as f64 - expires;
            if lapsed < self.lease.as_millis() as f64 {
                return Err(RecordsError::away());
            }
        }
        if self.redis.knows_all(self.lease).await? { Ok(()) } else { Err(RecordsError::away()) }
    }

    /// The channel on which every replica hears of sessions that are handed over.
    fn released(&self) -> String {
        self.redis.key("replicas", ":released")
    }

    /// The channel on which a replica hears of wishes.
    pub(super) fn wishes(&self, owner: &str) -> String {
        self.redis.key("replicas", ":wishes:") + owner
    }

    fn viewers_of(&self, replica: &str) -> String {
        self.redis.key("replicas", ":viewers:") + replica
    }

    async fn replicas(&self, life: i64) -> Result<Vec<Replica>, RecordsError> {
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
}
