//! Webhooks on a real file, with a receiver that a test plays, in paused time where a day must pass. What waits in thousands is in
//! `tests/many.rs`.

mod many;

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::post::{Answer, Letter};
use super::*;
use crate::event::{Cursor, Disconnected, Event, Kind, Me, Reason, State};
use crate::log::Queueing;
use crate::log::sqlite::SqliteLog;
use crate::receiver::{OwnReceiver, SigningKey};
use crate::records::sqlite::SqliteRecords;
use crate::records::{Record, Records as _, SessionLimits};
use crate::server::MIGRATIONS;
use crate::storage::sqlite::Sqlite;
use crate::storage::sqlite::tests::Folder;

const ROOM: SessionLimits = SessionLimits { all: u32::MAX, user: u32::MAX };
const SHARED: &str = "https://all.example/";

/// Answers by the URL, and keeps what it was sent.
#[derive(Default)]
struct Played {
    answers: Mutex<HashMap<String, Answer>>,
    /// URLs that say nothing.
    hang: Mutex<Vec<String>>,
    letters: Mutex<Vec<(String, String)>>,
    sent: AtomicUsize,
}

impl Played {
    fn answers(&self, url: &str, answer: Answer) {
        self.answers.lock().insert(url.to_owned(), answer);
    }

    /// The ids of what was taken at a URL.
    fn taken(&self, url: &str) -> Vec<String> {
        let letters = self.letters.lock();
        letters.iter().filter(|(to, _)| to == url).map(|(_, id)| id.clone()).collect()
    }
}

#[async_trait]
impl Post for Played {
    async fn post(&self, letter: Letter) -> Answer {
        self.sent.fetch_add(1, Ordering::Relaxed);
        let url = letter.url.as_str().to_owned();
        if self.hang.lock().contains(&url) {
            tokio::time::sleep(post::LIMIT).await;
            return Answer::Unreachable("no answer within 15 s".into());
        }
        let answer = self.answers.lock().get(&url).cloned().unwrap_or(Answer::Taken);
        if answer == Answer::Taken {
            self.letters.lock().push((url, letter.id));
        }
        answer
    }
}

/// A file, and whoever sends from it.
struct Bench {
    _folder: Folder,
    sqlite: Sqlite,
    post: Arc<Played>,
    history: u32,
    begun: (Instant, Time),
}

impl Bench {
    fn new(history: u32) -> Self {
        let folder = Folder::new();
        let sqlite = Sqlite::open(&folder.path().join("db"), MIGRATIONS).unwrap();
        let begun = (Instant::now(), Time::now());
        Self { _folder: folder, sqlite, post: Arc::default(), history, begun }
    }

    /// Begins to send, as a process does; what its log is told to.
    fn start(&self, shutdown: &Shutdown) -> (Webhooks, SqliteLog) {
        let (wake, woken) = mpsc::channel(64);
        let log = SqliteLog::new(self.sqlite.clone(), self.history).queueing(Queueing { every: true, wake });
        let (since, begun) = self.begun;
        let parts = Parts {
            settings: settings(),
            store: Arc::new(SqliteHooks::new(self.sqlite.clone())),
            log: Arc::new(SqliteLog::new(self.sqlite.clone(), self.history)),
            woken,
            speed: 1.0,
            shutdown: shutdown.clone(),
        };
        let clock = Arc::new(move || begun.after(since.elapsed()));
        let webhooks = Webhooks::start_with(parts, self.post.clone(), clock);
        webhooks.set_secret("0123456789abcdef0123456789abcdef");
        (webhooks, log)
    }

    async fn session(&self, own: Option<&str>) -> SessionId {
        let record = record(own);
        let session = record.session.clone();
        SqliteRecords::new(self.sqlite.clone()).create(record, ROOM, None).await.unwrap();
        session
    }

    fn event(&self, session: &SessionId, seq: u64) -> Arc<Event> {
        event(session, Cursor { epoch: 7, seq })
    }
}

/// One receiver of all sessions.
fn settings() -> WebhookSettings {
    WebhookSettings {
        urls: vec![ReceiverUrl::parse(SHARED, false).unwrap()],
        secrets: vec![SigningKey::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap()],
        ..WebhookSettings::default()
    }
}

fn record(own: Option<&str>) -> Record {
    let url = own.map(|own| ReceiverUrl::parse(own, false).unwrap());
    Record {
        session: SessionId::new(&"ada".parse().unwrap()),
        created: Time::now(),
        device_name: None,
        proxy: None,
        webhook: url.map(|url| OwnReceiver { url, key: "web".into() }),
        metadata: None,
        epoch: 0,
        claimed: true,
        deleted: None,
    }
}

/// An hour from now, so that it is after a receiver was known.
fn event(session: &SessionId, at: Cursor) -> Arc<Event> {
    let now = Time::now().after(Duration::from_secs(3600));
    let kind = Kind::Disconnected(Disconnected::new(Reason::ConnectionLost, None));
    Arc::new(Event::new(session.clone(), at, now, kind, State::initializing(now, None)))
}

fn ids(session: &SessionId, seqs: impl IntoIterator<Item = u64>) -> Vec<String> {
    seqs.into_iter().map(|seq| format!("{session}:7-{seq}")).collect()
}

async fn until(mut holds: impl FnMut() -> bool) {
    for _ in 0..10_000_000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    panic!("it never came");
}

#[tokio::test(start_paused = true)]
async fn after_a_day_of_tries_an_event_is_given_up_and_the_next_follows() {
    let (bench, stop) = (Bench::new(50), Shutdown::new());
    let (webhooks, log) = bench.start(&stop);
    let session = bench.session(None).await;
    bench.post.answers(SHARED, Answer::Refused { status: 500, wait: None });
    for seq in 1..=3 {
        log.append(bench.event(&session, seq)).await.unwrap();
    }
    let begun = Instant::now();
    until(|| webhooks.lost_lately() > 0).await;
    let day = Duration::from_secs(24 * 3600);
    assert!(begun.elapsed() >= day && begun.elapsed() < day * 21 / 20, "{:?}", begun.elapsed());
    let tries = bench.post.sent.load(Ordering::Relaxed);
    assert!((25..60).contains(&tries), "{tries}");
    let listed = loop {
        let listed = webhooks.list(&session).await.unwrap().remove(0);
        // It is counted, then stored.
        if listed.lost > 0 {
            break listed;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    };
    assert_eq!((listed.lost, listed.error.as_deref()), (1, Some("HTTP 500")));
    bench.post.answers(SHARED, Answer::Taken);
    until(|| bench.post.taken(SHARED).len() == 2).await;
    assert_eq!(bench.post.taken(SHARED), ids(&session, 2..=3));
    stop.begin();
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_is_away_for_an_hour_gets_all_in_order_and_holds_up_no_other() {
    let (bench, stop) = (Bench::new(50), Shutdown::new());
    let (webhooks, log) = bench.start(&stop);
    let own = "https://own.example/";
    let session = bench.session(Some(own)).await;
    bench.post.hang.lock().push(own.to_owned());
    let begun = Instant::now();
    for seq in 1..=20 {
        log.append(bench.event(&session, seq)).await.unwrap();
    }
    until(|| bench.post.taken(SHARED).len() == 20).await;
    assert!(bench.post.taken(own).is_empty());
    until(|| begun.elapsed() > Duration::from_secs(3600)).await;
    let listed = webhooks.list(&session).await.unwrap();
    let states: Vec<_> = listed.iter().map(|one| (one.is_shared, one.state, one.waiting)).collect();
    assert_eq!(states, [(true, "ok", 0), (false, "failing", 20)]);
    bench.post.hang.lock().clear();
    until(|| bench.post.taken(own).len() == 20).await;
    assert_eq!(
        (bench.post.taken(own), bench.post.taken(SHARED)),
        (ids(&session, 1..=20), ids(&session, 1..=20))
    );
    stop.begin();
}

#[tokio::test(start_paused = true)]
async fn what_the_log_no_longer_has_is_counted_and_the_rest_comes() {
    let (bench, stop) = (Bench::new(10), Shutdown::new());
    let (webhooks, log) = bench.start(&stop);
    let session = bench.session(None).await;
    bench.post.answers(SHARED, Answer::Unreachable("nobody".into()));
    log.append(bench.event(&session, 1)).await.unwrap();
    until(|| bench.post.sent.load(Ordering::Relaxed) > 0).await;
    for seq in 2..=64 {
        log.append(bench.event(&session, seq)).await.unwrap();
    }
    bench.post.answers(SHARED, Answer::Taken);
    until(|| bench.post.taken(SHARED).last() == ids(&session, [64]).last()).await;
    // The eleven newest, the oldest of which says where the log was cut.
    assert_eq!(bench.post.taken(SHARED), ids(&session, 54..=64));
    assert_eq!((webhooks.lost_lately(), webhooks.list(&session).await.unwrap()[0].lost), (53, 53));
    stop.begin();
}

#[tokio::test(start_paused = true)]
async fn who_wants_no_more_gets_no_more_until_somebody_asks() {
    let (bench, stop) = (Bench::new(50), Shutdown::new());
    let (webhooks, log) = bench.start(&stop);
    let session = bench.session(None).await;
    bench.post.answers(SHARED, Answer::Gone);
    for seq in 1..=3 {
        log.append(bench.event(&session, seq)).await.unwrap();
    }
    until(|| bench.post.sent.load(Ordering::Relaxed) > 0).await;
    bench.post.answers(SHARED, Answer::Taken);
    while webhooks.list(&session).await.unwrap()[0].state != "gone" {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    tokio::time::sleep(Duration::from_secs(7200)).await;
    assert!(bench.post.taken(SHARED).is_empty());
    let first = Cursor { epoch: 7, seq: 1 };
    assert!(matches!(
        webhooks.resend(&session, Cursor { epoch: 8, seq: 1 }).await,
        Err(ResendError::NotYet(_))
    ));
    assert_eq!(webhooks.resend(&session, first).await.unwrap(), 1);
    until(|| bench.post.taken(SHARED).len() == 2).await;
    // Once more from the beginning.
    webhooks.resend(&session, Cursor::start_of(0)).await.unwrap();
    until(|| bench.post.taken(SHARED).len() == 5).await;
    assert_eq!(bench.post.taken(SHARED), ids(&session, [2, 3, 1, 2, 3]));
    stop.begin();
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_is_new_gets_what_happens_from_now_on_and_nothing_stale() {
    let (bench, stop) = (Bench::new(50), Shutdown::new());
    let session = bench.session(None).await;
    let old = SqliteLog::new(bench.sqlite.clone(), 50);
    let (past, future) = (Time::from_millis(0), Time::now().after(Duration::from_secs(3600)));
    let event = |seq, time, kind| {
        Arc::new(Event::new(
            session.clone(),
            Cursor { epoch: 7, seq },
            time,
            kind,
            State::initializing(time, None),
        ))
    };
    let qr = |expires_at| {
        Kind::Qr(crate::event::Qr { qr_string: "2@x".into(), expires_at, attempt: 1, max_attempts: 6 })
    };
    let me = Me { id: "905:1@s.whatsapp.net".into(), push_name: None, platform: None };
    old.append(event(1, past, Kind::Authenticated { me })).await.unwrap();
    let (_webhooks, log) = bench.start(&stop);
    log.append(event(2, future, qr(past))).await.unwrap();
    log.append(event(3, future, qr(future.after(Duration::from_secs(3600))))).await.unwrap();
    until(|| !bench.post.taken(SHARED).is_empty()).await;
    assert_eq!(bench.post.taken(SHARED), ids(&session, [3]));
    stop.begin();
}
