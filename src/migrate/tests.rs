//! Tests of a migration against a real Redis: what arrives, and where it may be interrupted.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::Mutex;

use super::*;
use crate::cluster::Leases as _;
use crate::cluster::redis::OnRedis;
use crate::event::{Cursor, Disconnected, Event, Kind, Me, Qr, State, Status};
use crate::id::SessionId;
use crate::log::redis::RedisLog;
use crate::log::sqlite::SqliteLog;
use crate::log::{EventLog as _, LogTail};
use crate::proxy::ProxyUrl;
use crate::receiver::{OwnReceiver, ReceiverUrl};
use crate::records::redis::RedisRecords;
use crate::records::sqlite::SqliteRecords;
use crate::records::{Records as _, RecordsError, SessionLimits};
use crate::server::MIGRATIONS;
use crate::storage::folder::FolderError;
use crate::storage::redis::tests::Server;
use crate::storage::sqlite::Sqlite;
use crate::storage::sqlite::tests::Folder;
use crate::webhooks::store::{Change as StandingChange, HookStore as _};
use crate::webhooks::{RedisHooks, SqliteHooks};
use crate::whatsapp::store::redis::RedisEngine;
use crate::whatsapp::store::sqlite::SqliteEngine;
use crate::whatsapp::store::{Change, Engine, Key};

const HISTORY: u32 = 10;
const ROOM: SessionLimits = SessionLimits { all: 100, user: 100 };
const LEASE: Duration = Duration::from_secs(5);
const DAY: i64 = 24 * 3600 * 1000;

/// The stores of a server that has stopped.
struct Old {
    folder: Folder,
    sqlite: Sqlite,
    records: SqliteRecords,
    log: SqliteLog,
    engine: SqliteEngine,
}

impl Old {
    fn new() -> Self {
        let folder = Folder::new();
        let sqlite = Sqlite::open(&folder.path().join(DATABASE), MIGRATIONS).unwrap();
        Self {
            records: SqliteRecords::new(sqlite.clone()),
            log: SqliteLog::new(sqlite.clone(), HISTORY),
            engine: SqliteEngine::new(sqlite.clone()),
            sqlite,
            folder,
        }
    }

    /// A session whose first claim is `ahead` milliseconds from now.
    async fn session(&self, user: &str, ahead: i64) -> Record {
        let metadata = serde_json::json!({ "note": ["ü", 1] });
        let record = Record {
            session: SessionId::new(&user.parse().unwrap()),
            created: Time::from_millis(Time::now().as_millis() + ahead),
            device_name: Some("Büro".into()),
            proxy: Some(ProxyUrl::new("http://a:b@127.0.0.1:1")),
            webhook: Some(OwnReceiver {
                url: ReceiverUrl::parse("https://example.com/hook", false).unwrap(),
                key: "web".into(),
            }),
            metadata: metadata.as_object().cloned(),
            epoch: 0,
            claimed: true,
            deleted: None,
        };
        self.records.create(record.clone(), ROOM, None).await.unwrap();
        self.record(&record.session).await
    }

    async fn record(&self, session: &SessionId) -> Record {
        let all = self.records.all().await.unwrap();
        all.into_iter().find(|record| record.session == *session).unwrap()
    }

    async fn says(&self, record: &Record, seq: u64, kind: Kind, state: State) {
        let at = Cursor { epoch: record.epoch, seq };
        let event = Event::new(record.session.clone(), at, Time::now(), kind, state);
        self.log.append(Arc::new(event)).await.unwrap();
    }

    /// A linked device with a log that was cut and more rows than one commit takes.
    async fn linked(&self, user: &str, ahead: i64) -> Record {
        let record = self.session(user, ahead).await;
        for seq in 1..=30 {
            let kind = Kind::Ready { me: me(), connected_at: Time::now(), missing: None };
            self.says(&record, seq, kind, state_of_a_linked_one()).await;
        }
        let big = Bytes::from(vec![7; 1000]);
        let mut rows: Vec<_> =
            (0..200_u32).map(|n| Change::Put(Table::PreKey, n.to_be_bytes().to_vec(), big.clone())).collect();
        rows.push(Change::Put(Table::Device, Key::new(), Bytes::from_static(b"{\0}\xff")));
        rows.push(Change::Put(Table::Session, b"a@s".to_vec(), Bytes::new()));
        self.puts(&record, rows).await;
        record
    }

    async fn puts(&self, record: &Record, changes: Vec<Change>) {
        let fence = Fence { session: record.session.clone(), epoch: record.epoch };
        self.engine.claim(&fence).await.unwrap();
        let turn = Arc::new(Mutex::new(())).lock_owned().await;
        self.engine.commit(&fence, changes, turn).await.unwrap();
    }

    /// One session of each kind: linked, waiting for a scan, ended, being deleted.
    async fn of_all_kinds(&self) -> [Record; 4] {
        let linked = self.linked("ada", DAY).await;
        let waiting = self.session("bob", 0).await;
        let expires_at = Time::now().after(Duration::from_secs(60));
        let qr = Qr { qr_string: "2@secret".into(), expires_at, attempt: 1, max_attempts: 6 };
        let state = State { status: Status::ScanQr, ..State::initializing(Time::now(), None) };
        self.says(&waiting, 1, Kind::Qr(qr), state).await;
        let ended = self.session("cat", 0).await;
        let reason = Reason::LoggedOut;
        let state = State { ended: true, reason: Some(reason), ..State::initializing(Time::now(), None) };
        self.says(&ended, 1, Kind::Disconnected(Disconnected::new(reason, None)), state).await;
        self.records.release(&ended.session, ended.epoch).await.unwrap();
        let deleted = self.linked("dan", -DAY).await;
        self.records.delete(&deleted.session, Time::now()).await.unwrap();
        let (ended, deleted) = (self.record(&ended.session).await, self.record(&deleted.session).await);
        [linked, waiting, ended, deleted]
    }

    async fn stop(&self) {
        self.sqlite.close().await.unwrap();
    }

    fn config(&self, url: &str) -> Config {
        let folder = self.folder.path().to_str().unwrap().to_owned();
        let variables = [("DATA_DIR", folder.as_str()), ("REDIS_URL", url), ("HISTORY_EVENTS", "10")];
        let variable = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, v)| (*v).into());
        Config::read(variable).unwrap()
    }

    /// A complete run of `qrcast migrate`.
    async fn moves(&self, server: &Server) -> Result<Outcome, MigrateError> {
        let config = self.config(&server.url());
        run(&config, config.redis.as_ref().unwrap()).await
    }
}

fn me() -> Me {
    Me { id: "905:1@s.whatsapp.net".into(), push_name: None, platform: None }
}

fn state_of_a_linked_one() -> State {
    let state = State::initializing(Time::now(), Some(me()));
    State { status: Status::Connected, linked: true, ..state }
}

/// A migration that can be stopped between its steps, with its stores.
struct Halves {
    lock: Arc<FolderLock>,
    source: Source,
    redis: Redis,
}

impl Halves {
    async fn of(old: &Old, server: &Server) -> Self {
        let config = old.config(&server.url());
        let settings = config.redis.unwrap();
        let lock = Arc::new(FolderLock::take_even_moved(old.folder.path()).unwrap());
        Self {
            source: Source::open(lock.clone(), HISTORY).await.unwrap(),
            lock,
            redis: Redis::connect(&settings.url.0, &settings.prefix).await.unwrap().0,
        }
    }

    fn migration(&self) -> Migration<'_> {
        let migration = Migration::new(&self.lock, &self.source, &self.redis, HISTORY).unwrap();
        Migration { settle: Duration::ZERO, ..migration }
    }

    /// Runs the first steps, up to the mark.
    async fn copies(&self) -> Vec<Record> {
        let migration = self.migration();
        let records = self.source.records().await.unwrap();
        let note = format!("{} {}", migration.target.owner, migration.target.data);
        self.lock.leave(MOVING, &note).unwrap();
        migration.copy(&records).await.unwrap();
        records
    }

    /// `kill -9`.
    async fn dies(self) {
        self.source.close().await;
        self.redis.close().await;
    }
}

/// What a replica finds in Redis.
struct New {
    records: RedisRecords,
    log: RedisLog,
    engine: RedisEngine,
}

impl New {
    async fn on(server: &Server) -> Self {
        let redis = Redis::connect(&server.url(), "qrcast:").await.unwrap().0;
        Self {
            records: RedisRecords::new(redis.clone(), "b", LEASE),
            log: RedisLog::new(redis.clone(), "b", HISTORY),
            engine: RedisEngine::new(redis, "b"),
        }
    }

    async fn waiting(&self) -> Vec<SessionId> {
        let mut waiting = OnRedis::new(self.records.clone()).lapsed(None, 100).await.unwrap();
        waiting.sort_by(|a, b| a.as_str().cmp(b.as_str()));
        waiting
    }

    /// Checks that the session in Redis is the same as in the folder.
    async fn has(&self, old: &Old, record: &Record) {
        let session = &record.session;
        let found = self.records.find(session).await.unwrap().unwrap();
        assert_eq!((&found.record, found.owner), (record, None));
        let (there, here) = (old.log.read(session).await.unwrap(), self.log.read(session).await.unwrap());
        assert_eq!(texts(&here), texts(&there));
        for table in Table::ALL {
            let mut there = old.engine.scan(session, *table, Key::new()).await.unwrap();
            let mut here = self.engine.scan(session, *table, Key::new()).await.unwrap();
            there.sort();
            here.sort();
            assert_eq!(here, there, "{table:?}");
        }
    }
}

fn texts(log: &LogTail) -> (Option<Cursor>, Vec<(Cursor, String)>) {
    (log.trimmed, log.events.iter().map(|event| (event.at, event.to_log())).collect())
}

#[tokio::test]
async fn everything_arrives_and_the_folder_is_out_of_use() {
    let (old, server) = (Old::new(), Server::start());
    let records = old.of_all_kinds().await;
    // The file stays open beside it: it is compared with what arrived.
    let outcome = old.moves(&server).await.unwrap();
    let counts = MovedCounts { sessions: 4, linked: 2, events: 11 + 1 + 1 + 11 };
    assert_eq!(outcome, Outcome::Moved(counts));
    let new = New::on(&server).await;
    for record in &records {
        new.has(&old, record).await;
    }
    let mut runs: Vec<_> =
        records.iter().filter(|record| record.claimed).map(|record| record.session.clone()).collect();
    runs.sort_by(|a, b| a.as_str().cmp(b.as_str()));
    assert_eq!(new.waiting().await, runs);
    assert_eq!(OnRedis::new(new.records.clone()).claimed().await.unwrap(), runs.len());
    for record in &records {
        assert!(new.records.claim(&record.session, ROOM).await.unwrap() > record.epoch);
    }
    let refused = FolderLock::take(old.folder.path()).unwrap_err();
    assert!(matches!(refused, FolderError::Moved(_)), "{refused}");
    assert!(matches!(old.moves(&server).await, Err(MigrateError::Moved(_))));
    old.stop().await;
}

/// A receiver goes on where it was.
#[tokio::test]
async fn how_far_receivers_of_webhooks_are_arrives() {
    let (server, old) = (Server::start(), Old::new());
    let record = old.session("ada", 0).await;
    let hooks = SqliteHooks::new(old.sqlite.clone());
    let since = Time::from_millis(7);
    hooks.known_since("0123", since).await.unwrap();
    for receiver in ["own", "0123"] {
        let change = StandingChange { before: "", after: "{\"tries\":3}", claimed: false };
        assert!(hooks.save(&record.session, receiver, change).await.unwrap());
    }
    let before = hooks.look(&record.session).await.unwrap().unwrap();
    old.stop().await;
    old.moves(&server).await.unwrap();
    let redis = Redis::connect(&server.url(), "qrcast:").await.unwrap().0;
    let hooks = RedisHooks::new(redis.clone(), RedisRecords::new(redis, "a", LEASE), "a");
    let after = hooks.look(&record.session).await.unwrap().unwrap();
    assert_eq!((after.own, after.standings), (before.own, before.standings));
    assert_eq!(hooks.known_since("0123", Time::now()).await.unwrap(), since);
    assert_eq!(hooks.due(Time::now()).await.unwrap()[0].0, record.session);
}

#[tokio::test]
async fn a_session_that_somebody_else_has_stops_it_before_anything_changes() {
    let (old, server) = (Old::new(), Server::start());
    let record = old.session("ada", 0).await;
    old.session("bob", 0).await;
    let new = New::on(&server).await;
    new.records.create(record.clone(), ROOM, None).await.unwrap();
    let before = server.keys();
    let refused = old.moves(&server).await.unwrap_err();
    assert!(matches!(&refused, MigrateError::Taken(session) if *session == record.session), "{refused}");
    assert_eq!(server.keys(), before);
    assert!(!old.folder.path().join(MOVING).exists() && !old.folder.path().join(MOVED).exists());
}

#[tokio::test]
async fn a_try_that_ended_early_is_copied_anew() {
    let (old, server) = (Old::new(), Server::start());
    let [linked, waiting, ended, deleted] = old.of_all_kinds().await;
    let halves = Halves::of(&old, &server).await;
    halves.copies().await;
    let new = New::on(&server).await;
    assert!(new.waiting().await.is_empty(), "a replica takes nothing that is half copied");
    assert!(matches!(new.records.claim(&linked.session, ROOM).await, Err(RecordsError::OwnedElsewhere)));
    halves.dies().await;
    // A server ran on the folder for a while.
    FolderLock::take(old.folder.path()).unwrap();
    let epoch = old.records.claim(&linked.session, ROOM).await.unwrap();
    let linked = Record { epoch, ..linked };
    old.puts(&linked, vec![Change::Delete(Table::PreKey, 5_u32.to_be_bytes().to_vec())]).await;
    old.says(
        &linked,
        1,
        Kind::Ready { me: me(), connected_at: Time::now(), missing: None },
        state_of_a_linked_one(),
    )
    .await;
    old.engine.wipe(&deleted.session).await.unwrap();
    old.records.remove(&waiting.session).await.unwrap();
    old.log.forget(&waiting.session).await.unwrap();
    let halves = Halves::of(&old, &server).await;
    let outcome = halves.migration().run().await.unwrap();
    assert!(matches!(outcome, Outcome::Moved(MovedCounts { sessions: 3, linked: 1, .. })), "{outcome:?}");
    for record in [&linked, &ended, &deleted] {
        new.has(&old, record).await;
    }
    let left: Vec<_> =
        server.keys().into_iter().filter(|key| key.contains(waiting.session.as_str())).collect();
    assert_eq!(left, [""; 0]);
    assert_eq!(new.records.sessions().await.unwrap().len(), 3);
    assert!(!old.folder.path().join(MOVING).exists());
}

#[tokio::test]
async fn what_was_not_handed_over_is_at_the_next_try() {
    let (old, server) = (Old::new(), Server::start());
    let records = old.of_all_kinds().await;
    let halves = Halves::of(&old, &server).await;
    let copied = halves.copies().await;
    let counts = halves.migration().compare(&copied).await.unwrap();
    halves.lock.leave(MOVED, &mark(counts)).unwrap();
    let new = New::on(&server).await;
    // One session is deleted through a replica meanwhile, so it must be logged out.
    new.records.delete(&records[2].session, Time::now()).await.unwrap();
    assert!(new.waiting().await.is_empty());
    halves.dies().await;
    let another = Server::start();
    let elsewhere = old.moves(&another).await;
    assert!(matches!(elsewhere, Err(MigrateError::Elsewhere)), "{elsewhere:?}");
    assert_eq!(old.moves(&server).await.unwrap(), Outcome::Finished(4));
    assert_eq!(new.waiting().await.len(), 4);
    assert!(matches!(old.moves(&server).await, Err(MigrateError::Moved(_))));
}

#[tokio::test]
async fn without_the_mark_nothing_is_handed_over() {
    let (old, server) = (Old::new(), Server::start());
    old.linked("ada", 0).await;
    // A folder has the name of the mark's draft, so the mark cannot be written.
    std::fs::create_dir(old.folder.path().join(format!("{MOVED}.new"))).unwrap();
    let halves = Halves::of(&old, &server).await;
    let refused = halves.migration().run().await.unwrap_err();
    assert!(matches!(refused, MigrateError::Folder(FolderError::Unwritable(..))), "{refused}");
    assert!(New::on(&server).await.waiting().await.is_empty());
    halves.dies().await;
    FolderLock::take(old.folder.path()).unwrap();
}

#[tokio::test]
async fn what_redis_lost_is_noticed_and_the_folder_stays() {
    let (old, server) = (Old::new(), Server::start());
    let record = old.linked("ada", 0).await;
    let halves = Halves::of(&old, &server).await;
    let copied = halves.copies().await;
    server.tell(&["HDEL", &format!("qrcast:{{{}}}:dev:session", record.session), "a@s"]);
    let refused = halves.migration().compare(&copied).await.unwrap_err();
    assert!(matches!(&refused, MigrateError::Differs(session) if *session == record.session), "{refused}");
    halves.dies().await;
    let halves = Halves::of(&old, &server).await;
    server.tell(&["FLUSHALL"]);
    assert!(matches!(halves.migration().compare(&copied).await, Err(MigrateError::Differs(_))));
    halves.dies().await;
    FolderLock::take(old.folder.path()).unwrap();
    let outcome = old.moves(&server).await.unwrap();
    assert!(matches!(outcome, Outcome::Moved(_)), "{outcome:?}");
    New::on(&server).await.has(&old, &record).await;
}

#[tokio::test]
async fn a_redis_that_is_away_for_a_moment_is_waited_for() {
    let (old, mut server) = (Old::new(), Server::start());
    let record = old.linked("ada", 0).await;
    let halves = Halves::of(&old, &server).await;
    let migration = halves.migration();
    server.kill();
    let (outcome, ()) = tokio::join!(migration.run(), async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        server.launch();
    });
    assert!(matches!(outcome, Ok(Outcome::Moved(_))), "{outcome:?}");
    New::on(&server).await.has(&old, &record).await;
}

#[tokio::test]
async fn a_folder_without_a_database_is_not_even_made() {
    let (parent, server) = (Folder::new(), Server::start());
    let folder = parent.path().join("data");
    let variable = |name: &str| match name {
        "DATA_DIR" => Some(folder.to_str().unwrap().to_owned()),
        "REDIS_URL" => Some(server.url()),
        _ => None,
    };
    let config = Config::read(variable).unwrap();
    let refused = run(&config, config.redis.as_ref().unwrap()).await.unwrap_err();
    assert!(matches!(refused, MigrateError::NoDatabase(_)) && !folder.exists(), "{refused}");
}

#[tokio::test]
async fn what_is_said_holds_no_password() {
    let (old, server) = (Old::new(), Server::with(&["--requirepass", "right"]));
    old.session("ada", 0).await;
    let wrong = server.url().replace("right", "hush");
    let config = old.config(&wrong);
    let refused = run(&config, config.redis.as_ref().unwrap()).await.unwrap_err();
    let said = format!("{:#} {config:?}", anyhow::Error::from(refused));
    assert!(said.starts_with("cannot use the Redis of REDIS_URL: Redis refuses"), "{said}");
    assert!(!said.contains("hush"), "{said}");
}
