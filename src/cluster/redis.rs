//! One of many replicas: leases that last and lapse, who lives, and words between them, all in Redis.

use std::collections::HashSet;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

use super::{
    Cluster, Contact, HandOver, Lease, Leases, News, Renewal, Replica, Storage, Viewers, Whereabouts,
};
use crate::cluster::contact::StoreContact;
use crate::cluster::peers::Peers;
use crate::id::SessionId;
use crate::records::redis::{NEVER, RedisRecords, each, millis, record};
use crate::records::{OwnerRequest, REQUEST_LIFE, Record, Records as _, RecordsError};
use crate::storage::StorageError;
use crate::storage::redis::index::shards;
use crate::storage::redis::schema::Kind;
use crate::storage::redis::{Heard, Script};

static WISH: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("redis/wish.lua")));
static RENEW: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("redis/renew.lua")));
static LAPSED: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("redis/lapsed.lua")));
static ASSERT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("redis/assert.lua")));
static BEAT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("redis/beat.lua")));

/// How long a session that cannot be read is left alone (ms): somebody may mend it.
const DAMAGED_AGAIN: i64 = 60_000;

/// A place that is younger may belong to a creation that is under way.
const YOUNG: i64 = 60;

/// How many sessions are handed over at a time: each of them needs its next owner as well.
const HAND_OVERS: usize = 16;

/// How long a session waits for others to be handed over first.
const TURN: Duration = Duration::from_secs(1);

/// Redis, as one of its replicas uses it.
pub(crate) struct OnRedis {
    pub(crate) records: RedisRecords,
    contact: StoreContact,
    peers: Peers,
    hand_overs: Arc<Semaphore>,
}

impl OnRedis {
    /// The replica that these records are used by.
    pub(crate) fn new(records: RedisRecords) -> Self {
        let contact = StoreContact::new(records.redis.state());
        Self { records, contact, peers: Peers::default(), hand_overs: Arc::new(Semaphore::new(HAND_OVERS)) }
    }
}

#[async_trait]
impl Cluster for OnRedis {
    fn me(&self) -> &str {
        &self.records.owner
    }

    fn lease(&self) -> Lease {
        Lease::of(self.records.lease)
    }

    /// None: each has to be claimed, or is another's.
    async fn at_start(&self) -> Result<Vec<Record>, RecordsError> {
        Ok(Vec::new())
    }

    async fn find(&self, session: &SessionId) -> Result<Whereabouts, RecordsError> {
        let found = self.records.find(session).await?;
        let shared = |found| Whereabouts::Shared(Box::new(self.contact.believe(found, self.records.lease)));
        Ok(found.map_or(Whereabouts::Nowhere, shared))
    }

    async fn sessions(&self, _: Vec<SessionId>) -> Result<Vec<SessionId>, RecordsError> {
        self.records.sessions().await
    }

    async fn viewers(&self, _: Viewers) -> Result<Viewers, RecordsError> {
        let mut all = Viewers::new();
        for replica in self.replicas(0).await? {
            let key = self.records.redis.keys().viewers(&replica.name);
            let counts: Option<Vec<u8>> = match self.records.redis.query(redis::cmd("GET").arg(&key)).await {
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

    async fn owns(&self, session: &SessionId, epoch: u64) -> bool {
        matches!(self.renew(session, epoch, &|| true).await, Renewal::Kept { .. })
    }

    async fn turn_to_hand_over(&self) -> HandOver {
        // A WhatsApp that says nothing must not hold up those behind.
        let turn = timeout(TURN, self.hand_overs.clone().acquire_owned()).await;
        HandOver(turn.ok().and_then(Result::ok))
    }

    async fn hand_over(&self, session: &SessionId, epoch: u64) -> Result<(), RecordsError> {
        if self.records.release_lease(session, epoch, true).await? {
            let mut publish = redis::cmd("PUBLISH");
            publish.arg(self.records.redis.keys().released()).arg(session.as_str());
            self.records.redis.query::<()>(&publish).await?;
        }
        Ok(())
    }

    fn owner_at_rest(&self) -> Option<String> {
        None
    }

    async fn ask_owner(&self, session: &SessionId, request: &OwnerRequest) -> Result<bool, RecordsError> {
        let text = serde_json::to_string(request).map_err(RecordsError::failed)?;
        let write =
            self.records.redis.script(&WISH).key(self.records.redis.keys().session(session)).arg(text);
        let told = write.arg(self.records.redis.keys().wishes("")).arg(session.as_str()).run::<i64>().await?;
        if told < 0 {
            self.records.surely_unknown(session).await?;
            return Err(RecordsError::Unknown);
        }
        Ok(told == 1)
    }

    /// What crashes and lost answers left.
    async fn sweep(&self) -> Result<usize, RecordsError> {
        let before = self.records.redis.now().await? / 1000 - YOUNG;
        let records = self.records.all().await?;
        let claimed: Vec<_> = records.into_iter().filter(|r| r.claimed).map(|r| r.session).collect();
        for restored in
            each(&claimed, |session| async move { self.records.restore_place(&session).await }).await
        {
            match restored {
                // Named where it was met: it stops none of the others.
                Err(error) if error.is_damage() => {}
                restored => restored?,
            }
        }
        let claimed: HashSet<_> = claimed.into_iter().collect();
        let mut places = self.records.places_before(before).await?;
        places.retain(|session| !claimed.contains(session));
        for session in &places {
            // It may have been claimed since all were read.
            let given_back = match self.records.find(session).await {
                Ok(Some(found)) if found.record.claimed => Ok(()),
                Ok(_) => self.records.give_place_back(session).await.map_err(RecordsError::from),
                Err(error) => Err(error),
            };
            match given_back {
                // Nobody can tell whether it runs, or which places there are: it keeps its own.
                Err(error) if error.is_damage() => {}
                given_back => given_back?,
            }
        }
        Ok(places.len())
    }

    async fn is_last(&self) -> bool {
        self.peers.are_gone(&self.records.owner).await
    }

    fn storage(&self) -> Storage {
        self.contact.storage()
    }

    async fn store_changed(&self) {
        self.contact.changed().await;
    }
}

#[async_trait]
impl Leases for OnRedis {
    fn duration(&self) -> Duration {
        self.records.lease
    }

    async fn claimed(&self) -> Result<usize, RecordsError> {
        let (redis, places) = (&self.records.redis, self.records.redis.keys().places());
        Ok(redis.about(&places, None, redis.query(redis::cmd("ZCARD").arg(&places)).await)?)
    }

    async fn renew(&self, session: &SessionId, epoch: u64, keeps: &(dyn Fn() -> bool + Sync)) -> Renewal {
        let renew = self
            .records
            .redis
            .script(&RENEW)
            .key(self.records.redis.keys().session(session))
            .arg(&*self.records.owner);
        let renew = renew.arg(epoch).arg(millis(self.records.lease)).arg(millis(REQUEST_LIFE));
        match renew.run::<(i64, bool)>().await {
            Ok((0, _)) => Renewal::Lost,
            Ok((-1, _)) => Renewal::Missing,
            Ok((expires, requested)) => {
                // Sent before anything of a release that begins after this look, so a release has the last word: or
                // nobody would find the session for a whole lease.
                if keeps() {
                    // The index may lag: a failure costs a look at a session that has an owner.
                    let _ = self.records.put_in_index(session, expires).await;
                }
                Renewal::Kept { requested }
            }
            Err(_) => Renewal::Unknown,
        }
    }

    /// Repairs the index where that lags.
    async fn lapsed(&self, since: Option<Duration>, limit: usize) -> Result<Vec<SessionId>, RecordsError> {
        let now = self.records.redis.now().await?;
        let mut lapsed = Vec::new();
        // Each time from another shard on, so that two replicas seldom reach for the same sessions.
        let mut order: Vec<_> = shards().collect();
        let first = usize::from(uuid::Uuid::new_v4().as_bytes()[0]) % order.len();
        order.rotate_left(first);
        for shard in order {
            let (mut range, index) = (redis::cmd("ZRANGEBYSCORE"), self.records.redis.keys().sessions(shard));
            range.arg(&index).arg("-inf").arg(now).arg("LIMIT").arg(0).arg(limit);
            let sessions = self.records.redis.session_ids(&index, &range).await?;
            let waits = each(&sessions, |session| self.waits(session, since)).await;
            for (session, waits) in sessions.into_iter().zip(waits) {
                if self.records.redis.damage().is_about(&session) {
                    // It would be the first of every look, and leave no room for those behind it.
                    self.records.note(&session, &now.saturating_add(DAMAGED_AGAIN).to_string()).await?;
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

    async fn reassert(&self, record: &Record) -> Result<bool, RecordsError> {
        let assert = self
            .records
            .redis
            .script(&ASSERT)
            .key(self.records.redis.keys().session(&record.session))
            .arg(record::encode(record))
            .arg(&*self.records.owner)
            .arg(record.epoch)
            .arg(millis(self.records.lease))
            .arg(record.deleted.map_or_else(String::new, |at| at.as_millis().to_string()));
        // The index first: it may name too much, never too little.
        let expires = self.records.redis.now().await?.saturating_add_unsigned(millis(self.records.lease));
        self.records.put_in_index(&record.session, expires).await?;
        if assert.run::<i64>().await? == 0 {
            return Ok(false);
        }
        self.records.restore_place(&record.session).await?;
        Ok(true)
    }

    async fn beat(&self, viewers: &Viewers) -> Result<(), RecordsError> {
        let mut set = redis::cmd("SET");
        let counts = serde_json::to_string(viewers).map_err(RecordsError::failed)?;
        set.arg(self.records.redis.keys().viewers(&self.records.owner))
            .arg(counts)
            .arg("PX")
            .arg(millis(self.records.lease));
        self.records.redis.query::<()>(&set).await?;
        self.peers
            .set(self.replicas(i64::try_from(self.records.lease.as_millis()).unwrap_or(i64::MAX)).await?);
        Ok(())
    }

    async fn leave(&self) {
        let leave = async {
            self.records
                .redis
                .query::<()>(redis::cmd("UNLINK").arg(self.records.redis.keys().viewers(&self.records.owner)))
                .await?;
            self.replicas(-1).await
        };
        // The others would know by its next beat.
        self.peers.leave(leave.await.ok());
    }

    fn living(&self) -> Vec<Replica> {
        self.peers.living()
    }

    fn news(&self) -> BoxStream<'static, News> {
        let hear = |channel: String, make: fn(SessionId) -> News| {
            let heard = stream::unfold(self.records.redis.listen(channel), async |mut channel| {
                channel.next().await.map(|heard| (heard, channel))
            });
            let news = heard.map(move |heard| match heard {
                Heard::Missed => Some(News::Missed),
                Heard::Message(id) => std::str::from_utf8(&id).ok()?.parse().ok().map(make),
            });
            // Not ours to read: a later version says more.
            news.filter_map(std::future::ready).boxed()
        };
        let released = hear(self.records.redis.keys().released(), News::Released);
        stream::select(released, hear(self.records.redis.keys().wishes(&self.records.owner), News::Requested))
            .boxed()
    }

    fn contact(&self) -> watch::Receiver<Contact> {
        self.contact.watch()
    }
}

impl OnRedis {
    async fn waits(&self, session: SessionId, since: Option<Duration>) -> Result<bool, StorageError> {
        let redis = &self.records.redis;
        let key = redis.keys().session(&session);
        let since = since.map_or(-1, |since| since.as_millis().cast_signed());
        let lapsed = redis.script(&LAPSED).key(&key).arg(since).arg(&*self.records.owner);
        let (what, expires) = redis.about(&key, Some(&session), lapsed.run::<(i64, String)>().await)?;
        match what {
            1 => return Ok(true),
            0 => self.records.note(&session, &expires).await?,
            -1 => self.records.note(&session, NEVER).await?,
            _ => self.records.take_out_of_index(&session).await?,
        }
        Ok(false)
    }

    /// Who lives, once this one has said that it does for so many milliseconds more; 0 says nothing, and -1 that it goes.
    pub(crate) async fn replicas(&self, life: i64) -> Result<Vec<Replica>, RecordsError> {
        let redis = &self.records.redis;
        let (lives, since) = (redis.keys().life(), redis.keys().since());
        let beat = redis.script(&BEAT).key(&lives).key(&since).arg(&*self.records.owner).arg(life);
        let living = beat.run::<Vec<(String, u64)>>().await;
        if living.as_ref().is_err_and(StorageError::is_damage) || redis.damage().count() > 0 {
            // It may be either of the two.
            redis.check_kind(&lives, Kind::SortedSet).await?;
            redis.check_kind(&since, Kind::Hash).await?;
        }
        let replica = |(name, age)| Replica { name, age: Duration::from_millis(age) };
        Ok(living?.into_iter().map(replica).collect())
    }
}
