//! What both stores promise, and what only many replicas need.

use std::sync::Arc;
use std::time::Duration;

use super::redis::RedisHooks;
use super::sqlite::SqliteHooks;
use super::*;
use crate::event::{Disconnected, Event, Kind, Reason, State};
use crate::log::EventLog;
use crate::log::Queueing;
use crate::log::redis::RedisLog;
use crate::log::sqlite::SqliteLog;
use crate::receiver::ReceiverUrl;
use crate::records::redis::RedisRecords;
use crate::records::sqlite::SqliteRecords;
use crate::records::{Created, Record, Records, SessionLimits};
use crate::server::MIGRATIONS;
use crate::storage::redis::tests::Server;
use crate::storage::sqlite::Sqlite;
use crate::storage::sqlite::tests::Folder;

const ROOM: SessionLimits = SessionLimits { all: 100, user: 100 };

/// A store, and what stands beside it.
struct Bench {
    hooks: Arc<dyn HookStore>,
    records: Arc<dyn Records>,
    log: Arc<dyn EventLog>,
    woken: tokio::sync::mpsc::Receiver<SessionId>,
}

fn queueing() -> (Queueing, tokio::sync::mpsc::Receiver<SessionId>) {
    let (wake, woken) = tokio::sync::mpsc::channel(8);
    (Queueing { every: false, wake }, woken)
}

async fn on_redis(server: &Server, name: &str) -> Bench {
    let (redis, (queueing, woken)) = (server.connect().await, queueing());
    let records = RedisRecords::new(redis.clone(), name, Duration::from_secs(60));
    Bench {
        hooks: Arc::new(RedisHooks::new(redis.clone(), records.clone(), name)),
        records: Arc::new(records),
        log: Arc::new(RedisLog::new(redis, name, 10).queueing(queueing)),
        woken,
    }
}

fn on_sqlite(folder: &Folder) -> Bench {
    let sqlite = Sqlite::open(&folder.path().join("db"), MIGRATIONS).unwrap();
    let (queueing, woken) = queueing();
    Bench {
        hooks: Arc::new(SqliteHooks::new(sqlite.clone())),
        records: Arc::new(SqliteRecords::new(sqlite.clone())),
        log: Arc::new(SqliteLog::new(sqlite, 10).queueing(queueing)),
        woken,
    }
}

impl Bench {
    async fn session(&self, own: Option<OwnReceiver>) -> (SessionId, u64) {
        let record = Record {
            session: SessionId::new(&"ada".parse().unwrap()),
            created: Time::now(),
            device_name: None,
            proxy: None,
            webhook: own,
            metadata: None,
            epoch: 0,
            claimed: true,
            deleted: None,
        };
        match self.records.create(record.clone(), ROOM, None).await.unwrap() {
            Created::New(epoch) => (record.session, epoch),
            Created::Existing(other) => panic!("{other}"),
        }
    }

    async fn append(&self, session: &SessionId, epoch: u64, seq: u64) {
        let kind = Kind::Disconnected(Disconnected::new(Reason::ConnectionLost, None));
        let (at, now) = (Cursor { epoch, seq }, Time::now());
        let event = Event::new(session.clone(), at, now, kind, State::initializing(now, None));
        self.log.append(Arc::new(event)).await.unwrap();
    }

    async fn due(&self, later: Duration) -> Vec<(SessionId, Due)> {
        self.hooks.due(Time::now().after(later)).await.unwrap()
    }
}

fn own() -> OwnReceiver {
    OwnReceiver { url: ReceiverUrl::parse("https://example.com/", false).unwrap(), key: "web".into() }
}

/// The same on both.
async fn keeps_its_promises(mut bench: Bench) {
    let hooks = bench.hooks.clone();
    let (first, later) = (Time::from_millis(7), Time::from_millis(9));
    assert_eq!(hooks.known_since("a", first).await.unwrap(), first);
    assert_eq!(hooks.known_since("a", later).await.unwrap(), first);

    let (without, epoch) = bench.session(None).await;
    bench.append(&without, epoch, 1).await;
    assert!(
        bench.due(Duration::ZERO).await.is_empty() && bench.woken.try_recv().is_err(),
        "nobody is to be told"
    );
    let (session, epoch) = bench.session(Some(own())).await;
    assert_eq!(hooks.look(&session).await.unwrap().unwrap().own, Some(own()), "before its first event too");
    bench.append(&session, epoch, 1).await;
    assert_eq!(bench.woken.try_recv().unwrap(), session);
    let due = bench.due(Duration::ZERO).await.remove(0);
    assert_eq!(due.0, session);

    assert_eq!(hooks.claim(&session, "own").await.unwrap().as_deref(), Some(""));
    let change = |before, after| Change { before, after, claimed: true };
    assert!(hooks.save(&session, "own", change("", "1")).await.unwrap());
    assert!(!hooks.save(&session, "own", change("", "2")).await.unwrap(), "something else is stored");
    let wish = Change { before: "1", after: "3", claimed: false };
    assert!(hooks.save(&session, "own", wish).await.unwrap());
    assert!(!hooks.save(&session, "own", change("1", "2")).await.unwrap(), "a person has changed it");
    hooks.release(&session, "own").await.unwrap();
    let found = hooks.look(&session).await.unwrap().unwrap();
    assert_eq!((found.own, found.last), (Some(own()), Some(Cursor { epoch, seq: 1 })));
    assert_eq!((found.standings["own"].as_str(), found.claims.len()), ("3", 0));

    // What comes after somebody has looked stays.
    bench.append(&session, epoch, 2).await;
    let newer = bench.due(Duration::ZERO).await.remove(0).1;
    hooks.settle(&session, Due(newer.0 - 1.0), None).await.unwrap();
    assert_eq!(bench.due(Duration::ZERO).await, [(session.clone(), newer)]);
    hooks.settle(&session, newer, Some(Time::now().after(Duration::from_secs(60)))).await.unwrap();
    assert!(bench.due(Duration::ZERO).await.is_empty());
    let late = Duration::from_secs(120);
    for _ in 0..2 {
        if let Some((_, due)) = bench.due(late).await.pop() {
            hooks.settle(&session, due, None).await.unwrap();
        }
    }
    assert!(bench.due(late).await.is_empty());

    // With its session it goes.
    hooks.put(&session, Time::now()).await.unwrap();
    bench.records.remove(&session).await.unwrap();
    bench.log.forget(&session).await.unwrap();
    assert!(
        hooks.look(&session).await.unwrap().is_none()
            && hooks.claim(&session, "own").await.unwrap().is_none()
    );
    assert!(!hooks.save(&session, "own", wish).await.unwrap());
    for _ in 0..2 {
        if let Some((_, due)) = bench.due(late).await.pop() {
            hooks.settle(&session, due, None).await.unwrap();
        }
    }
    assert!(bench.due(late).await.is_empty());
}

#[tokio::test]
async fn sqlite_keeps_its_promises() {
    let folder = Folder::new();
    keeps_its_promises(on_sqlite(&folder)).await;
}

#[tokio::test]
async fn redis_keeps_its_promises() {
    let server = Server::start();
    keeps_its_promises(on_redis(&server, "a").await).await;
    let left: Vec<_> = server.keys().into_iter().filter(|key| key.ends_with(":hooks")).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn one_replica_at_a_time_and_none_that_has_lost_its_claim() {
    let server = Server::start();
    let (a, b) = (on_redis(&server, "a").await, on_redis(&server, "b").await);
    let (session, _) = a.session(Some(own())).await;
    assert!(a.hooks.claim(&session, "own").await.unwrap().is_some());
    assert!(a.hooks.claim(&session, "own").await.unwrap().is_some(), "its answer may have been lost");
    assert!(b.hooks.claim(&session, "own").await.unwrap().is_none());
    assert!(b.hooks.claim(&session, "other").await.unwrap().is_some(), "another receiver is another matter");
    assert_eq!(
        b.hooks.look(&session).await.unwrap().unwrap().claims.into_keys().collect::<Vec<_>>(),
        ["own"]
    );
    b.hooks.release(&session, "own").await.unwrap();
    assert!(b.hooks.claim(&session, "own").await.unwrap().is_none(), "it was not its own");
    // The claim of a process that was paused has passed.
    let key =
        server.keys().into_iter().find(|key| key.ends_with(":hooks") && key.contains("session")).unwrap();
    server.tell(&["HSET", &key, "claim:own", "a 1"]);
    assert!(b.hooks.claim(&session, "own").await.unwrap().is_some());
    let change = Change { before: "", after: "1", claimed: true };
    assert!(
        !a.hooks.save(&session, "own", change).await.unwrap()
            && b.hooks.save(&session, "own", change).await.unwrap()
    );
    assert!(b.hooks.save(&session, "own", change).await.unwrap(), "the same again, whose answer was lost");
}

#[tokio::test]
async fn a_session_stays_on_the_list_for_a_while_after_nothing_was_found() {
    let server = Server::start();
    let bench = on_redis(&server, "a").await;
    let (session, epoch) = bench.session(Some(own())).await;
    bench.append(&session, epoch, 1).await;
    let due = bench.due(Duration::ZERO).await.remove(0).1;
    bench.hooks.settle(&session, due, None).await.unwrap();
    assert!(bench.due(Duration::ZERO).await.is_empty());
    let lingers = bench.due(Duration::from_secs(60)).await.remove(0).1;
    // Whoever appends meanwhile puts it back.
    bench.append(&session, epoch, 2).await;
    bench.hooks.settle(&session, lingers, None).await.unwrap();
    assert_eq!(bench.due(Duration::ZERO).await.len(), 1);
}
