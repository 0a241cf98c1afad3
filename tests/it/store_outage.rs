//! A store that stands still in the middle of a link. Whatever the moment and however long, the link ends in `ready` without a
//! hand, or in a told reason and a QR that links.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use reqwest::StatusCode;
use serde_json::Value;
use simulator::{AttemptKind, Scan, Simulator};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::support::proxy::free_port;
use crate::support::redis::Redis;
use crate::support::{Server, eventually, whatsapp};

/// From the end of the outage until the account is linked.
const ALLOWED: Duration = Duration::from_secs(120);

const LENGTHS: [u64; 4] = [1, 3, 10, 30];

const MOMENTS: [Moment; 8] = [
    Moment::BeforeQr,
    Moment::Scan,
    Moment::Write(1),
    Moment::Write(2),
    Moment::Write(3),
    Moment::Write(5),
    Moment::Authenticated,
    Moment::Login,
];

/// What the store does not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    /// SQLite: another process holds the file.
    Locked,
    /// Redis: it answers nothing.
    Silent,
    /// Redis: it takes no writes.
    ReadOnly,
}

/// When the outage begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    /// The session was made, and nobody has seen a QR.
    BeforeQr,
    /// The phone is about to scan.
    Scan,
    /// The store has just taken the n-th write after the scan.
    Write(usize),
    /// Viewers have heard that the phone has linked the device.
    Authenticated,
    /// The device logs in for the first time.
    Login,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_outlives_a_store_that_stands_still() {
    let troubles = [Trouble::Locked, Trouble::ReadOnly];
    let runs = troubles.into_iter().flat_map(|trouble| {
        MOMENTS.into_iter().map(move |moment| Run { trouble, moment, length: Duration::from_secs(3) })
    });
    all(runs.collect()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: scripts/test --all"]
async fn ninety_six_outages_at_every_moment_of_a_link() {
    let mut runs = Vec::new();
    for length in LENGTHS.map(Duration::from_secs) {
        for moment in MOMENTS {
            for trouble in [Trouble::Locked, Trouble::Silent, Trouble::ReadOnly] {
                runs.push(Run { trouble, moment, length });
            }
        }
    }
    assert_eq!(runs.len(), 96);
    all(runs).await;
}

/// Side by side.
#[expect(clippy::print_stdout, reason = "what became of each")]
async fn all(runs: Vec<Run>) {
    const AT_ONCE: usize = 16;
    let outcomes: Vec<_> =
        futures::stream::iter(runs.into_iter().map(Run::happens)).buffered(AT_ONCE).collect().await;
    for outcome in &outcomes {
        println!("{outcome}");
    }
    let bad: Vec<_> = outcomes.iter().filter(|outcome| outcome.contains("BAD")).collect();
    assert!(bad.is_empty(), "{} of {} ended badly: {bad:#?}", bad.len(), outcomes.len());
}

struct Run {
    trouble: Trouble,
    moment: Moment,
    length: Duration,
}

/// The store under test; SQLite, where there is none.
type Store = Option<Redis>;

impl Run {
    async fn happens(self) -> String {
        let whatsapp = Arc::new(whatsapp().await);
        let store = match self.trouble {
            Trouble::Locked => None,
            Trouble::Silent | Trouble::ReadOnly => Some(Redis::start().await),
        };
        let mut builder = Server::builder(&whatsapp.url());
        if let Some(redis) = &store {
            builder = builder.variable("REDIS_URL", &redis.url());
        }
        let server = builder.start().await;
        eventually("readiness", || async { server.get("/readyz").await.status() == StatusCode::OK }).await;
        let id = server.init("ada").await.id;
        let (scanning, scans) = watch::channel(0_usize);
        let over = Arc::new(AtomicBool::new(false));
        let outage = async {
            self.begins(&server, &id, &whatsapp, &store, scans).await;
            over.store(true, Ordering::Relaxed);
        };
        let person = Person { server: &server, id: &id, whatsapp: &whatsapp, scanning };
        let begun = Instant::now();
        let linking = timeout(self.length + ALLOWED + Duration::from_secs(10), person.links());
        let (linked, ()) = tokio::join!(linking, outage);
        let name = format!("{:?} {:?} {:?}", self.trouble, self.moment, self.length);
        let took = begun.elapsed();
        match linked {
            Ok(linked) => match linked.verdict() {
                Ok(()) => format!("{name}: linked after {took:.1?}, {linked:?}"),
                Err(why) => format!("BAD {name}: {why} after {took:.1?}, {linked:?}"),
            },
            Err(_) => {
                let log = server.log();
                let said = |line: &&String| !line.contains("request answered");
                let log: Vec<_> = log.iter().filter(said).cloned().collect();
                let status = server.session(&id).status().await;
                let end = log[log.len().saturating_sub(60)..].join("\n");
                format!("BAD {name}: not linked after {took:.1?}: {status}\n{end}")
            }
        }
    }

    /// Waits for the moment, and lets the outage begin and end.
    async fn begins(
        &self,
        server: &Server,
        id: &str,
        whatsapp: &Simulator,
        store: &Store,
        mut scans: watch::Receiver<usize>,
    ) {
        let file = server.builder_again().folder().join("qrcast.sqlite");
        let scanned = async { drop(scans.wait_for(|scans| *scans > 0).await) };
        match (self.moment, store) {
            (Moment::BeforeQr, _) => {}
            (Moment::Scan, _) => scanned.await,
            (Moment::Write(count), None) => {
                scanned.await;
                let length = self.length;
                return tokio::task::spawn_blocking(move || locked_after(&file, count, length))
                    .await
                    .unwrap();
            }
            (Moment::Write(count), Some(redis)) => {
                let mut writes = Writes::of(redis, id).await;
                scanned.await;
                writes.comes(count).await;
            }
            (Moment::Authenticated, _) => {
                let mut viewer = server.session(id).sse().await;
                while viewer.read().await.is_ok_and(|seen| seen.event != "authenticated") {}
            }
            (Moment::Login, _) => {
                while !whatsapp.attempts().iter().any(|attempt| attempt.kind == AttemptKind::Login) {
                    sleep(Duration::from_millis(1)).await;
                }
            }
        }
        match (self.trouble, store) {
            (Trouble::Locked, _) => {
                let length = self.length;
                tokio::task::spawn_blocking(move || locked_after(&file, 0, length)).await.unwrap();
            }
            (Trouble::Silent, Some(redis)) => {
                redis.freeze();
                sleep(self.length).await;
                redis.thaw();
            }
            (Trouble::ReadOnly, Some(redis)) => {
                // A copy of nobody's.
                redis.tell::<()>(&["REPLICAOF", "127.0.0.1", &free_port()]).await;
                sleep(self.length).await;
                redis.tell::<()>(&["REPLICAOF", "NO", "ONE"]).await;
            }
            (Trouble::Silent | Trouble::ReadOnly, None) => unreachable!("those are of Redis"),
        }
    }
}

/// Holds the file of SQLite for so long, once another has committed so often.
fn locked_after(file: &std::path::Path, commits: usize, length: Duration) {
    let database = rusqlite::Connection::open(file).unwrap();
    database.busy_timeout(Duration::from_secs(5)).unwrap();
    let version = || database.query_row("PRAGMA data_version", [], |row| row.get::<_, i64>(0)).unwrap();
    let patience = Instant::now() + Duration::from_secs(20);
    let (mut last, mut seen) = (version(), 0);
    while seen < commits && Instant::now() < patience {
        let now = version();
        seen += usize::from(now != last);
        last = now;
        std::thread::sleep(Duration::from_micros(300));
    }
    database.execute_batch("BEGIN IMMEDIATE").unwrap();
    std::thread::sleep(length);
    database.execute_batch("ROLLBACK").unwrap();
}

/// What Redis is told about a session's device and log.
struct Writes {
    lines: tokio::io::Lines<BufReader<TcpStream>>,
    id: String,
}

impl Writes {
    async fn of(redis: &Redis, id: &str) -> Self {
        let url = redis.url();
        let mut socket = TcpStream::connect(url.trim_start_matches("redis://")).await.unwrap();
        socket.write_all(b"MONITOR\r\n").await.unwrap();
        let mut lines = BufReader::new(socket).lines();
        assert_eq!(lines.next_line().await.unwrap().as_deref(), Some("+OK"));
        Self { lines, id: id.to_owned() }
    }

    async fn comes(&mut self, count: usize) {
        let mut seen = 0;
        let waited = async {
            while seen < count {
                let Ok(Some(line)) = self.lines.next_line().await else { return };
                let writes = line.contains("\"EVALSHA\"") && line.contains(&self.id);
                seen += usize::from(writes && (line.contains(":dev:") || line.contains(":log")));
            }
        };
        let _ = timeout(Duration::from_secs(20), waited).await;
    }
}

/// Somebody with a phone, in front of a page.
struct Person<'a> {
    server: &'a Server,
    id: &'a str,
    whatsapp: &'a Simulator,
    scanning: watch::Sender<usize>,
}

/// What it took.
#[derive(Debug, Default)]
struct Linked {
    scans: usize,
    /// The phone said that it had linked the device, so often.
    accepted: usize,
    /// What the page was told.
    told: Vec<String>,
}

impl Linked {
    fn verdict(&self) -> Result<(), &'static str> {
        let reasons = self.told.iter().filter(|event| event.starts_with("pairing_error")).count()
            + self.told.iter().filter(|event| event.starts_with("disconnected")).count();
        match self.accepted {
            0 => Err("linked, and no phone knows of it"),
            1 => Ok(()),
            more if reasons >= more - 1 => Ok(()),
            _ => Err("the person had to scan again without being told why"),
        }
    }
}

impl Person<'_> {
    /// Scans what is on screen until the account is linked.
    async fn links(&self) -> Linked {
        let mut linked = Linked::default();
        let mut last_qr = String::new();
        let mut first = None;
        loop {
            sleep(Duration::from_millis(50)).await;
            let Some(status) = self.asks("session-status").await else { continue };
            let word = status["status"].as_str().unwrap_or_default();
            if word == "connected" && status["incomplete"] != true {
                linked.told = self.story(first.as_deref()).await;
                return linked;
            }
            if word != "scan_qr" {
                continue;
            }
            first = first.or_else(|| status["lastEventId"].as_str().map(str::to_owned));
            let Some(qr) = self.asks("qr-code").await else { continue };
            let Some(qr) = qr["qrString"].as_str().filter(|qr| **qr != *last_qr) else { continue };
            last_qr = qr.to_owned();
            linked.scans += 1;
            self.scanning.send_replace(linked.scans);
            let scan = self.whatsapp.scan(Scan { qr: qr.to_owned(), ..Scan::default() });
            if matches!(timeout(Duration::from_secs(20), scan).await, Ok(Ok(_))) {
                linked.accepted += 1;
            }
        }
    }

    async fn asks(&self, what: &str) -> Option<Value> {
        let path = format!("/api/{what}/{}", self.id);
        let answer = self.server.request(reqwest::Method::GET, &path).send().await.ok()?;
        answer.status().is_success().then_some(())?;
        answer.json().await.ok()
    }

    /// Every event since the first QR, with its reason.
    async fn story(&self, first: Option<&str>) -> Vec<String> {
        let end = self.server.session(self.id).status().await["lastEventId"].as_str().unwrap().to_owned();
        let mut viewer = self.server.session(self.id).sse_after(first).await;
        let mut story = Vec::new();
        loop {
            let Ok(seen) = viewer.next().await else { return story };
            let why = seen.data["reason"].as_str().or(seen.data["code"].as_str()).unwrap_or_default();
            let mark = if seen.data["incomplete"] == true { " incomplete" } else { "" };
            story.push(format!("{} {why}{mark}", seen.event).trim_end().to_owned());
            if seen.id.as_deref() == Some(&end) {
                return story;
            }
        }
    }
}
