//! 10,000 webhooks that wait when a process begins, on both stores.

use super::*;
use crate::log::redis::RedisLog;
use crate::records::Created;
use crate::records::redis::RedisRecords;
use crate::storage::redis::tests::Server;

const SESSIONS: usize = 1000;

/// 10,000 events wait when a process begins; it is stopped in between, and another goes on.
async fn all_that_wait_are_sent_after_a_restart(post: &Played, start: impl Fn(&Shutdown) -> Webhooks) {
    let first = Shutdown::new();
    let _first = start(&first);
    until(|| post.letters.lock().len() > 3000).await;
    first.begin();
    assert_eq!(first.finished(Duration::from_secs(60)).await, 0);
    let second = Shutdown::new();
    let webhooks = start(&second);
    let distinct = || post.letters.lock().iter().cloned().collect::<std::collections::HashSet<_>>().len();
    until(|| distinct() == 10 * SESSIONS).await;
    let sent = post.letters.lock().clone();
    // What was on its way when the first one ended may have come twice.
    assert!(sent.len() <= 10 * SESSIONS + 16, "{}", sent.len());
    let mut of_session: HashMap<String, Vec<u64>> = HashMap::new();
    for (_, id) in sent {
        let (session, at) = id.rsplit_once(':').unwrap();
        of_session.entry(session.to_owned()).or_default().push(at.parse::<Cursor>().unwrap().seq);
    }
    for (session, mut got) in of_session {
        got.dedup();
        assert_eq!(got, (1..=10).collect::<Vec<_>>(), "{session}");
    }
    assert_eq!(webhooks.lost_lately(), 0);
    second.begin();
}

/// Appends ten events to each of a thousand sessions, of which nobody is told: as if the process ended before it sends.
async fn queues_ten_thousand(log: &dyn EventLog, sessions: &[(SessionId, u64)]) {
    for seq in 1..=10 {
        // As many at once as a Redis on a busy machine answers in time.
        for some in sessions.chunks(50) {
            let appended =
                some.iter().map(|(session, epoch)| log.append(event(session, Cursor { epoch: *epoch, seq })));
            for outcome in futures::future::join_all(appended).await {
                outcome.unwrap();
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_that_wait_are_sent_on_sqlite() {
    let bench = Bench::new(50);
    let (wake, _) = mpsc::channel(1);
    let log = SqliteLog::new(bench.sqlite.clone(), 50).queueing(Queueing { every: true, wake });
    let mut sessions = Vec::new();
    for _ in 0..SESSIONS {
        sessions.push((bench.session(None).await, 7));
    }
    queues_ten_thousand(&log, &sessions).await;
    all_that_wait_are_sent_after_a_restart(&bench.post, |shutdown| bench.start(shutdown).0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_that_wait_are_sent_on_redis() {
    let (server, post) = (Server::start(), Arc::new(Played::default()));
    let redis = server.connect().await;
    let records = RedisRecords::new(redis.clone(), "here", Duration::from_secs(60));
    let (wake, _) = mpsc::channel(1);
    let log = RedisLog::new(redis.clone(), "here", 50).queueing(Queueing { every: true, wake });
    let mut sessions = Vec::new();
    for _ in 0..SESSIONS {
        let record = record(None);
        let session = record.session.clone();
        let Created::New(epoch) = records.create(record, ROOM, None).await.unwrap() else {
            panic!("{session} was there before")
        };
        sessions.push((session, epoch));
    }
    queues_ten_thousand(&log, &sessions).await;
    let start = |shutdown: &Shutdown| {
        let parts = Parts {
            settings: settings(),
            store: Arc::new(RedisHooks::new(redis.clone(), records.clone(), "here")),
            log: Arc::new(RedisLog::new(redis.clone(), "here", 50)),
            woken: mpsc::channel(1).1,
            speed: 1.0,
            shutdown: shutdown.clone(),
        };
        Webhooks::start_with(parts, post.clone(), Arc::new(Time::now))
    };
    all_that_wait_are_sent_after_a_restart(&post, start).await;
}
