//! The stores of a deployment: the one file of a replica alone, or the Redis of many.
//!
//! `server.rs` opens one of them, and takes the ports that stand on it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tracing::{error, info, warn};

use super::ServerError;
use crate::cluster::Cluster;
use crate::cluster::alone::Alone;
use crate::cluster::redis::OnRedis;
use crate::config::{Config, RedisSettings};
use crate::id::SessionId;
use crate::log::redis::RedisLog;
use crate::log::sqlite::{self as log, SqliteLog};
use crate::log::{EventLog, Queueing};
use crate::records::Records;
use crate::records::redis::RedisRecords;
use crate::records::sqlite::{self as records, SqliteRecords};
use crate::storage::damage::Damage;
use crate::storage::folder::FolderLock;
use crate::storage::redis::{ConnectError, Redis};
use crate::storage::sqlite::{SchemaStep, Sqlite};
use crate::webhooks::store::HookStore;
use crate::webhooks::{self, RedisHooks, SqliteHooks};
use crate::whatsapp::store::Engine;
use crate::whatsapp::store::redis::RedisEngine;
use crate::whatsapp::store::sqlite::{self as device, SqliteEngine};

/// The schema, over all modules that have tables. A step that was released is never changed. Webhooks are an addition: a version
/// that knows none still uses the file, and sends none.
pub(crate) const MIGRATIONS: &[SchemaStep] = &[
    SchemaStep::needed(1, device::SCHEMA),
    SchemaStep::needed(2, records::SCHEMA),
    SchemaStep::needed(3, log::SCHEMA),
    SchemaStep::needed(4, records::SECRET_SCHEMA),
    SchemaStep::needed(5, records::PROXY_SCHEMA),
    SchemaStep::needed(6, device::VERSION_SCHEMA),
    SchemaStep::additive(7, records::WEBHOOK_SCHEMA),
    SchemaStep::additive(8, webhooks::SCHEMA),
];

/// The database of a data folder.
pub(crate) const DATABASE: &str = "qrcast.sqlite";

/// How many sessions may wait to be looked at for their webhooks; the store has a list of all.
const WOKEN: usize = 4096;

/// Pause between two tries to reach Redis at the start.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// How many tries are made before a replica that may do so runs alone.
const TRIES: u32 = 3;

/// Pause between two tries to store something while nothing can be stored.
const PROBE: Duration = Duration::from_secs(1);

/// Where everything is kept.
pub(super) enum Store {
    /// In a file of this process.
    Alone { sqlite: Sqlite },
    /// In Redis, with other replicas.
    Shared { redis: Redis, lease: Duration },
}

/// How many processes share the store.
pub(super) enum Replicas {
    /// This one alone.
    One(Arc<Alone>),
    /// Any number.
    Many(Arc<OnRedis>),
}

impl Replicas {
    pub(super) fn cluster(&self) -> Arc<dyn Cluster> {
        match self {
            Self::One(alone) => alone.clone(),
            Self::Many(replica) => replica.clone(),
        }
    }
}

/// What stands on the store.
pub(super) struct Stores {
    pub(super) log: Arc<dyn EventLog>,
    pub(super) records: Arc<dyn Records>,
    pub(super) replicas: Replicas,
    pub(super) engine: Arc<dyn Engine>,
    pub(super) hooks: Arc<dyn HookStore>,
    /// Sessions with something new for a receiver of webhooks.
    pub(super) woken: mpsc::Receiver<SessionId>,
    pub(super) damage: Damage,
}

impl Store {
    /// Opening reads the whole file once, and blocks.
    pub(super) async fn alone(data_dir: &Path) -> Result<Self, ServerError> {
        let lock = Arc::new(FolderLock::take(data_dir)?);
        let opened = tokio::task::spawn_blocking(move || Sqlite::open_in(lock, DATABASE, MIGRATIONS)).await;
        Ok(Self::Alone { sqlite: opened.map_err(std::io::Error::other)?? })
    }

    /// Waits for Redis, or not for long where this replica may run alone.
    pub(super) async fn shared(config: &Config) -> Result<Self, ServerError> {
        let Some(settings) = &config.redis else { return Self::alone(&config.data_dir).await };
        match connect(settings).await.map_err(ServerError::Redis)? {
            Some(redis) => Ok(Self::Shared { redis, lease: settings.lease }),
            None => {
                warn!(
                    "Redis cannot be reached: running alone on SQLite, without any session of Redis, until the next restart"
                );
                Self::alone(&config.data_dir).await
            }
        }
    }

    pub(super) fn open(&self, config: &Config, replica: &str) -> Stores {
        let (wake, woken) = mpsc::channel(WOKEN);
        let queueing = Queueing { every: !config.webhooks.urls.is_empty(), wake };
        match self {
            Self::Alone { sqlite } => {
                let records = Arc::new(SqliteRecords::new(sqlite.clone()));
                Stores {
                    log: Arc::new(SqliteLog::new(sqlite.clone(), config.history_events).queueing(queueing)),
                    records: records.clone(),
                    replicas: Replicas::One(Arc::new(Alone::new(replica, records))),
                    engine: Arc::new(SqliteEngine::new(sqlite.clone())),
                    hooks: Arc::new(SqliteHooks::new(sqlite.clone())),
                    woken,
                    damage: sqlite.damage().clone(),
                }
            }
            Self::Shared { redis, lease } => {
                let records = RedisRecords::new(redis.clone(), replica, *lease);
                let log = RedisLog::new(redis.clone(), replica, config.history_events);
                Stores {
                    log: Arc::new(log.queueing(queueing)),
                    records: Arc::new(records.clone()),
                    replicas: Replicas::Many(Arc::new(OnRedis::new(records.clone()))),
                    engine: Arc::new(RedisEngine::new(redis.clone(), replica)),
                    hooks: Arc::new(RedisHooks::new(redis.clone(), records.clone(), replica)),
                    woken,
                    damage: redis.damage().clone(),
                }
            }
        }
    }

    pub(super) async fn close(&self) {
        match self {
            Self::Alone { sqlite } => {
                if let Err(error) = sqlite.close().await {
                    error!(%error, "the database was not closed well");
                }
            }
            Self::Shared { redis, .. } => redis.close().await,
        }
    }
}

/// As long as writes fail, stores something now and then: what it is to that which waits for the store to take writes again.
pub(super) async fn probe(records: Arc<dyn Records>) {
    let mut health = records.health();
    while health.wait_for(|judgement| judgement.writes.is_some()).await.is_ok() {
        tokio::time::sleep(PROBE).await;
        // How it went is in its health.
        let _ = records.check().await;
    }
}

/// `None` when this replica gives up waiting, which it may.
async fn connect(settings: &RedisSettings) -> Result<Option<Redis>, ConnectError> {
    let mut tries = 0;
    loop {
        match Redis::connect(&settings.url.0, &settings.prefix).await {
            Ok((redis, warnings)) => {
                for warning in warnings {
                    warn!("{warning}");
                }
                info!("Redis answers");
                return Ok(Some(redis));
            }
            Err(ConnectError::Away(error)) => {
                if tries == 0 {
                    warn!(%error, "Redis does not answer; waiting for it");
                }
            }
            Err(error @ ConnectError::WrongServer(_)) => {
                if tries == 0 {
                    warn!("{error}; waiting for one that does");
                }
            }
            Err(error) => return Err(error),
        }
        tries += 1;
        if settings.fallback && tries >= TRIES {
            return Ok(None);
        }
        tokio::time::sleep(TRY_AGAIN).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::ProxyUrl;
    use crate::records::{Record, SessionLimits};
    use crate::storage::sqlite::tests::Folder;

    #[tokio::test]
    async fn a_file_from_before_proxies_keeps_its_sessions() {
        let folder = Folder::new();
        let path = folder.path().join(DATABASE);
        let before = Sqlite::open(&path, &MIGRATIONS[..4]).unwrap();
        let old = "session_ada_7d1f0c36-3f0e-4c5b-9b1e-0a4b4f1f9a11";
        let insert = "INSERT INTO session (id, user, created, device_name, epoch, claimed)
            VALUES (?1, 'ada', 1, 'desk', 7, 1)";
        before.write(move |tx| tx.execute(insert, [old])).await.unwrap();
        before.close().await.unwrap();

        let records = SqliteRecords::new(Sqlite::open(&path, MIGRATIONS).unwrap());
        let found = records.all().await.unwrap().remove(0);
        assert_eq!((found.session.as_str(), found.epoch, &found.proxy), (old, 7, &None));
        let new = Record {
            session: crate::id::SessionId::new(&"bob".parse().unwrap()),
            proxy: Some(ProxyUrl::new("http://a:b@127.0.0.1:1")),
            ..found
        };
        records.create(new.clone(), SessionLimits { all: 9, user: 9 }, None).await.unwrap();
        let all = records.all().await.unwrap();
        let stored = all.iter().find(|record| record.session == new.session).unwrap();
        assert_eq!(stored.proxy, new.proxy);
    }

    #[tokio::test]
    async fn a_record_that_cannot_be_read_hides_no_other() {
        let folder = Folder::new();
        let sqlite = Sqlite::open(&folder.path().join(DATABASE), MIGRATIONS).unwrap();
        let records = SqliteRecords::new(sqlite.clone());
        let whole = Record {
            session: crate::id::SessionId::new(&"bob".parse().unwrap()),
            created: crate::event::Time::now(),
            device_name: Some("desk".into()),
            proxy: None,
            webhook: None,
            metadata: serde_json::json!({ "a": 1 }).as_object().cloned(),
            epoch: 0,
            claimed: true,
            deleted: None,
        };
        let create = async |record: Record| {
            records.create(record, SessionLimits { all: 99, user: 99 }, None).await.unwrap();
        };
        let damages = [
            ("metadata = 'null'", "its metadata is not a JSON object"),
            ("metadata = ''", "its metadata is not a JSON object"),
            ("metadata = CAST(x'7b22ff227d' AS TEXT)", "its metadata is not a JSON object"),
            ("metadata = '\"text\"'", "its metadata is not a JSON object"),
            ("device_name = CAST(x'c3' AS TEXT)", "its device's name is not text"),
            ("proxy = CAST(x'ff' AS TEXT)", "its proxy is not text"),
            ("proxy = 'no proxy'", "its proxy cannot be read"),
            ("epoch = -7", "its epoch is none"),
            ("created = 253402300800000", "the time of its creation is none"),
            ("deleted = -1", "the time of its deletion is none"),
            ("id = upper(id)", "its id is not a session id"),
            ("id = ''", "its id is not a session id"),
        ];
        create(whole.clone()).await;
        // A request that is to be done once, and whose row is damaged, is as good as new.
        let once = crate::records::IdempotencyKey { key: "k".into(), body: [7; 32] };
        let is_new = async || {
            let record =
                Record { session: crate::id::SessionId::new(&"eve".parse().unwrap()), ..whole.clone() };
            let made = records
                .create(record, SessionLimits { all: 99, user: 99 }, Some(once.clone()))
                .await
                .unwrap();
            matches!(made, crate::records::Created::New(_))
        };
        assert!(is_new().await && !is_new().await);
        for spoil in ["session = 'x'", "session = CAST(x'ff' AS TEXT)", "body = x'00'"] {
            let spoil = format!("UPDATE idempotency SET {spoil}");
            sqlite.write(move |tx| tx.execute(&spoil, [])).await.unwrap();
            assert!(is_new().await && !is_new().await);
        }
        sqlite.write(|tx| tx.execute("DELETE FROM session WHERE user = 'eve'", [])).await.unwrap();
        for (damage, _) in damages {
            let record =
                Record { session: crate::id::SessionId::new(&"eve".parse().unwrap()), ..whole.clone() };
            create(record).await;
            let spoil = format!("UPDATE session SET user = 'x', {damage} WHERE user = 'eve'");
            sqlite.write(move |tx| tx.execute(&spoil, [])).await.unwrap();
        }
        let read = records.all().await.unwrap();
        let proxied = read.iter().filter(|record| record.proxy.is_some()).count();
        // One whose proxy cannot be read runs, says why it is not connected, and is named as well.
        assert_eq!((read.len(), proxied, sqlite.damage().count()), (2, 1, damages.len()));
        let mut said: Vec<_> = sqlite.damage().list().into_iter().map(|damaged| damaged.why).collect();
        let mut expected = damages.map(|(_, why)| why);
        said.sort_unstable();
        expected.sort_unstable();
        assert_eq!(said, expected);
    }
}
