//! The log against a real server: who may append, what is kept, and that a follower misses nothing whatever breaks.

use std::time::Instant;

use futures::{Stream, StreamExt as _};
use rand::RngExt as _;
use tokio::time::{sleep, timeout};

use super::*;
use crate::event::{Disconnected, Reason, State, Time};
use crate::storage::redis::tests::{Cluster, Server};

fn id() -> SessionId {
    "session_ada_7d1f0c36-3f0e-4c5b-9b1e-0a4b4f1f9a11".parse().unwrap()
}

fn at(epoch: u64, seq: u64) -> Cursor {
    Cursor { epoch, seq }
}

fn event(at: Cursor, kind: Kind) -> Arc<Event> {
    let now = Time::now();
    Arc::new(Event::new(id(), at, now, kind, State::initializing(now, None)))
}

fn lost(epoch: u64, seq: u64) -> Arc<Event> {
    event(at(epoch, seq), Kind::Disconnected(Disconnected::new(Reason::ConnectionLost, None)))
}

fn qr(at: Cursor, string: &str, lives_ms: i64) -> Arc<Event> {
    let expires_at = Time::from_millis(Time::now().as_millis() + lives_ms);
    event(at, Kind::Qr(Qr { qr_string: string.into(), expires_at, attempt: 1, max_attempts: 6 }))
}

/// As `records` writes it.
fn lease(server: &Server, owner: &str, epoch: u64) {
    let key = format!("test:{{{}}}", id());
    server.tell(&["HSET", &key, "owner", owner, "epoch", &epoch.to_string()]);
}

async fn connect(server: &Server, history: u32) -> RedisLog {
    RedisLog::new(server.connect().await, "me", history)
}

async fn ids(log: &RedisLog) -> (Vec<String>, Option<String>) {
    let tail = log.read(&id()).await.unwrap();
    (tail.events.iter().map(|event| event.at.to_string()).collect(), tail.trimmed.map(|at| at.to_string()))
}

async fn next_id(follower: &mut (impl Stream<Item = Followed> + Unpin)) -> Cursor {
    match timeout(Duration::from_secs(20), follower.next()).await.expect("in time") {
        Some(Followed::Event(event)) => event.at,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn ids_rise_or_are_refused_and_the_same_again_is_no_harm() {
    let server = Server::start();
    let log = connect(&server, 10).await;
    let away = log.append(lost(7, 1)).await;
    assert!(matches!(away, Err(AppendError::Away)), "no lease at all: {away:?}");
    for (lease_of, epoch, seq, taken) in [
        (7, 7, 1, true),
        (7, 7, 1, true),
        (7, 7, 2, true),
        (7, 7, 1, true),
        (9, 9, 1, true),
        (9, 7, 3, false),
        (9, 8, 9, false),
        (9, 9, 2, true),
    ] {
        lease(&server, "me", lease_of);
        let answer = log.append(lost(epoch, seq)).await;
        assert_eq!(answer.is_ok(), taken, "{epoch}-{seq}");
        assert!(taken || matches!(answer, Err(AppendError::Fenced)));
    }
    lease(&server, "another", 9);
    assert!(matches!(log.append(lost(9, 3)).await, Err(AppendError::Fenced)));
    lease(&server, "another", 8);
    assert!(matches!(log.append(lost(9, 3)).await, Err(AppendError::Away)), "Redis has lost its end");
    assert_eq!(ids(&log).await, (["7-1", "7-2", "9-1", "9-2"].map(String::from).to_vec(), None));
    assert_eq!(log.sessions().await.unwrap(), [id()]);
    log.forget(&id()).await.unwrap();
    assert!(log.sessions().await.unwrap().is_empty());
    assert_eq!(server.keys(), ["test:{data}:word".to_owned(), format!("test:{{{}}}", id())], "but the lease");
}

/// After that the events that Redis has lost could not be written any more.
#[tokio::test]
async fn an_event_waits_for_those_before_it() {
    let server = Server::start();
    let log = connect(&server, 10).await;
    lease(&server, "me", 7);
    let events: Vec<_> = (1..=3).map(|seq| lost(7, seq)).collect();
    log.append(events[0].clone()).await.unwrap();
    assert!(matches!(log.append(events[2].clone()).await, Err(AppendError::Away)));
    log.restore(&id(), 7, &events).await.unwrap();
    log.append(lost(7, 4)).await.unwrap();
    assert_eq!(ids(&log).await.0, ["7-1", "7-2", "7-3", "7-4"]);
    lease(&server, "me", 9);
    assert!(matches!(log.append(lost(9, 2)).await, Err(AppendError::Away)));
    log.append(lost(9, 1)).await.unwrap();
}

#[tokio::test]
async fn a_log_keeps_its_end_and_says_where_it_was_cut() {
    let server = Server::start();
    let log = connect(&server, 10).await;
    lease(&server, "me", 7);
    for seq in 1..=100 {
        log.append(lost(7, seq)).await.unwrap();
        let (events, trimmed) = ids(&log).await;
        assert_eq!(events.len() as u64, seq.min(10));
        assert_eq!(trimmed, (seq > 10).then(|| at(7, seq - 10).to_string()));
    }
}

#[tokio::test]
async fn the_string_of_a_qr_is_not_in_the_log_and_goes_by_itself() {
    let server = Server::start();
    let log = connect(&server, 10).await;
    lease(&server, "me", 7);
    let strings = async || {
        let tail = log.read(&id()).await.unwrap();
        let string = |event: &Arc<Event>| match &event.kind {
            Kind::Qr(qr) => qr.qr_string.clone(),
            other => panic!("{other:?}"),
        };
        tail.events.iter().map(string).collect::<Vec<_>>()
    };
    log.append(qr(at(7, 1), "2@first", 60_000)).await.unwrap();
    assert_eq!(strings().await, ["2@first"]);
    log.append(qr(at(7, 2), "2@second", 60_000)).await.unwrap();
    assert_eq!(strings().await, ["", "2@second"]);
    let kept = format!("{:?}", server.tell(&["XRANGE", &format!("test:{{{}}}:log", id()), "-", "+"]));
    assert!(kept.contains("expiresAt") && !kept.contains("2@"), "{kept}");
    let margin = i64::try_from(QR_MARGIN.as_millis()).unwrap();
    log.append(qr(at(7, 3), "2@third", 300 - margin)).await.unwrap();
    assert_eq!(strings().await, ["", "", "2@third"]);
    sleep(Duration::from_millis(600)).await;
    assert_eq!(strings().await, ["", "", ""]);
    log.blank_expired().await.unwrap();
}

#[tokio::test]
async fn a_follower_gets_what_is_stored_then_what_comes_each_once() {
    let server = Server::start();
    let (writer, reader) = (connect(&server, 100).await, connect(&server, 100).await);
    lease(&server, "me", 7);
    for seq in 1..=3 {
        writer.append(lost(7, seq)).await.unwrap();
    }
    let mut all = Box::pin(reader.follow(id(), None));
    let mut late = Box::pin(reader.follow(id(), Some(at(7, 2))));
    for seq in 1..=3 {
        assert_eq!(next_id(&mut all).await, at(7, seq));
    }
    assert_eq!(next_id(&mut late).await, at(7, 3));
    let mut delays = Vec::new();
    for seq in 4..=60 {
        let began = Instant::now();
        writer.append(qr(at(7, seq), "2@live", 60_000)).await.unwrap();
        for follower in [&mut all, &mut late] {
            match follower.next().await {
                Some(Followed::Event(event)) => {
                    assert_eq!(event.at, at(7, seq));
                    assert!(matches!(&event.kind, Kind::Qr(qr) if qr.qr_string == "2@live"));
                }
                other => panic!("{other:?}"),
            }
        }
        delays.push(began.elapsed());
    }
    delays.sort();
    println!("median from append to follower: {:?}", delays[delays.len() / 2]);
    lease(&server, "me", 9);
    writer.append(lost(9, 1)).await.unwrap();
    assert_eq!((next_id(&mut all).await, next_id(&mut late).await), (at(9, 1), at(9, 1)));
    writer.forget(&id()).await.unwrap();
    for follower in [&mut all, &mut late] {
        assert!(matches!(follower.next().await, Some(Followed::Gone)));
        assert!(follower.next().await.is_none());
    }
    drop((all, late));
    let end = Instant::now() + Duration::from_secs(5);
    while server.tell(&["PUBSUB", "CHANNELS", "*:live"]) != redis::Value::Array(vec![]) {
        assert!(Instant::now() < end, "the channel is left");
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_follower_is_told_what_is_lost() {
    let server = Server::start();
    let (writer, reader) = (connect(&server, 5).await, connect(&server, 5).await);
    lease(&server, "me", 7);
    for seq in 1..=20 {
        writer.append(lost(7, seq)).await.unwrap();
    }
    let mut follower = Box::pin(reader.follow(id(), Some(at(7, 3))));
    assert!(matches!(follower.next().await, Some(Followed::Cut(cut)) if cut == at(7, 15)));
    for seq in 16..=20 {
        assert_eq!(next_id(&mut follower).await, at(7, seq));
    }
    let mut whole = Box::pin(reader.follow(id(), Some(at(7, 15))));
    assert_eq!(next_id(&mut whole).await, at(7, 16), "15 was the last cut: nothing is missing");
}

#[tokio::test]
async fn an_owner_writes_again_what_redis_lost() {
    let mut server = Server::start();
    let (writer, reader) = (connect(&server, 100).await, connect(&server, 100).await);
    lease(&server, "me", 7);
    let mut follower = Box::pin(reader.follow(id(), None));
    let history: Vec<_> = (1..=4).map(|seq| lost(7, seq)).collect();
    for event in &history {
        writer.append(event.clone()).await.unwrap();
        assert_eq!(next_id(&mut follower).await, event.at);
    }
    server.forget();
    server.launch();
    crate::storage::redis::tests::until(&writer.redis, crate::storage::redis::tests::is_up).await;
    lease(&server, "me", 8);
    let end = Instant::now() + Duration::from_secs(10);
    while writer.restore(&id(), 8, &history).await.is_err() {
        assert!(Instant::now() < end);
        sleep(Duration::from_millis(20)).await;
    }
    writer.restore(&id(), 8, &history).await.unwrap();
    writer.append(lost(8, 1)).await.unwrap();
    assert_eq!(ids(&writer).await.0, ["7-1", "7-2", "7-3", "7-4", "8-1"]);
    assert_eq!(writer.sessions().await.unwrap(), [id()]);
    assert_eq!(next_id(&mut follower).await, at(8, 1), "nothing twice");
}

/// Appends until it is done, as a journal does.
async fn write(log: &RedisLog, event: Arc<Event>) {
    loop {
        match log.append(event.clone()).await {
            Ok(()) => return,
            Err(AppendError::Away) => sleep(Duration::from_millis(10)).await,
            Err(error) => panic!("{}: {error:?}", event.at),
        }
    }
}

/// What may happen to a deployment while events go on.
fn break_something(server: &mut Server, what: u32) {
    match what {
        0..=3 => drop(server.tell(&["CLIENT", "KILL", "TYPE", "pubsub"])),
        4..=6 => drop(server.tell(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"])),
        7 => {
            server.signal("-STOP");
            std::thread::sleep(Duration::from_millis(2500));
            server.signal("-CONT");
        }
        8 => drop(server.tell(&["CLIENT", "PAUSE", "700", "ALL"])),
        _ => {
            server.kill();
            server.launch();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_follower_ends_with_the_whole_log_in_order_whatever_breaks() {
    let mut server = Server::start();
    let (writer, reader) = (connect(&server, 10_000).await, connect(&server, 10_000).await);
    let mut expected = Vec::new();
    for epoch in [7, 9, 20] {
        expected.extend((1..=60).map(|seq| at(epoch, seq)));
    }
    let starts = [None, Some(at(7, 30)), Some(at(9, 1))];
    let followers = starts.map(|start| {
        let mut follower = Box::pin(reader.follow(id(), start));
        let wanted: Vec<_> = expected.iter().copied().filter(|at| start.is_none_or(|s| *at > s)).collect();
        async move {
            for wanted in wanted {
                assert_eq!(next_id(&mut follower).await, wanted, "from {start:?}");
            }
        }
    });
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let stopped = stop.clone();
    let breaking = std::thread::spawn(move || {
        // Each thing once, then anything.
        let mut round = 0;
        while !stopped.load(std::sync::atomic::Ordering::Relaxed) || round < 10 {
            std::thread::sleep(Duration::from_millis(rand::rng().random_range(50..400)));
            break_something(&mut server, if round < 10 { round } else { rand::rng().random_range(0..10) });
            round += 1;
        }
        server
    });
    let lease_key = writer.redis.keys().session(id());
    let writing = async {
        for wanted in &expected {
            if wanted.seq == 1 {
                let mut lease = redis::cmd("HSET");
                lease.arg(&lease_key).arg("owner").arg("me").arg("epoch").arg(wanted.epoch);
                while writer.redis.query::<()>(&lease).await.is_err() {
                    sleep(Duration::from_millis(10)).await;
                }
            }
            write(&writer, lost(wanted.epoch, wanted.seq)).await;
            sleep(Duration::from_millis(rand::rng().random_range(0..100))).await;
        }
    };
    tokio::join!(writing, futures::future::join_all(followers));
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    drop(breaking.join().unwrap());
}

#[tokio::test]
async fn on_a_cluster_a_follower_gets_it_all_as_well() {
    let cluster = Cluster::start();
    let writer = RedisLog::new(cluster.connect().await, "me", 100);
    let reader = RedisLog::new(cluster.connect().await, "you", 100);
    for user in ["ada", "bob", "cat", "dan", "eve", "fay"] {
        let id = SessionId::new(&user.parse().unwrap());
        let mut lease = redis::cmd("HSET");
        lease.arg(writer.redis.keys().session(&id)).arg("owner").arg("me").arg("epoch").arg(7);
        writer.redis.query::<()>(&lease).await.unwrap();
        let mut follower = Box::pin(reader.follow(id.clone(), None));
        for seq in 1..=20 {
            let event = lost(7, seq);
            let event = Event::new(id.clone(), event.at, event.time, event.kind.clone(), event.state.clone());
            writer.append(Arc::new(event)).await.unwrap();
            assert_eq!(next_id(&mut follower).await, at(7, seq));
        }
        writer.forget(&id).await.unwrap();
    }
    assert!(writer.sessions().await.unwrap().is_empty());
}

#[tokio::test]
async fn every_event_is_told_to_the_deployment_without_its_qr() {
    let server = Server::start();
    let log = connect(&server, 10).await;
    lease(&server, "me", 7);
    let mut all = log.follow_all();
    assert!(matches!(all.next().await, Some(Appended::Missed)));
    log.append(qr(at(7, 1), "2@secret", 60_000)).await.unwrap();
    log.append(lost(7, 2)).await.unwrap();
    let Some(Appended::Event(first)) = all.next().await else { panic!("no event") };
    assert_eq!((&first.session, first.at), (&id(), at(7, 1)));
    assert!(matches!(&first.kind, Kind::Qr(qr) if qr.qr_string.is_empty()));
    let Some(Appended::Event(second)) = all.next().await else { panic!("no event") };
    assert_eq!(second.at, at(7, 2));
    // What cannot be read may have been an event.
    server.tell(&["PUBLISH", "test:{all}:live", "nonsense"]);
    assert!(matches!(all.next().await, Some(Appended::Missed)));
}

/// As between two nodes of a cluster, where nothing else tells of the loss.
#[tokio::test]
async fn a_message_that_was_lost_without_a_sign_is_read_from_the_log() {
    let server = Server::start();
    let log = connect(&server, 10).await;
    lease(&server, "me", 7);
    let mut follower = Box::pin(log.follow(id(), None));
    log.append(lost(7, 1)).await.unwrap();
    assert_eq!(next_id(&mut follower).await, at(7, 1));
    let unpublished = |event: Arc<Event>| {
        let log = format!("test:{{{}}}:log", id());
        server.tell(&["XADD", &log, &event.at.to_string(), "e", &event.to_log()]);
        server.tell(&["HSET", &format!("test:{{{}}}", id()), "last", &event.at.to_string()]);
    };
    unpublished(lost(7, 2));
    log.append(lost(7, 3)).await.unwrap();
    unpublished(lost(7, 4));
    lease(&server, "me", 9);
    log.append(lost(9, 1)).await.unwrap();
    for wanted in [at(7, 2), at(7, 3), at(7, 4), at(9, 1)] {
        assert_eq!(next_id(&mut follower).await, wanted);
    }
}
