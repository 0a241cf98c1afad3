//! Ten thousand hostile requests: the server stays up, keeps nothing of them, and good viewers notice nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures::StreamExt as _;
use futures::future::join_all;
use qrcast::event::Time;
use rand::RngExt as _;
use rand::seq::IndexedRandom as _;
use reqwest::StatusCode;
use serde_json::Value;
use simulator::Simulator;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use crate::support::{Server, Viewer, soon, whatsapp};

const REQUESTS: usize = 10_000;

/// Tasks that attack, and connections that they leave hanging at a time.
const ATTACKERS: usize = 40;
const HANGING: usize = 400;

/// Longest that a hanging connection is left to the server.
const HANGS: Duration = Duration::from_secs(3);

/// Sessions whose viewers must not notice. Their connections to WhatsApp are dropped in turn, one every 200 ms: a
/// `disconnected` and a `ready`, so an event every 100 ms.
const GOOD: usize = 20;
const EVERY: Duration = Duration::from_millis(200);

// The viewers' clock must not wait for the attackers' work: more threads than that keeps busy.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn ten_thousand_hostile_requests_leave_nothing_behind() {
    let whatsapp = whatsapp().await;
    let server = Server::builder(&whatsapp.url())
        .variable("RATE_LIMIT_DISABLED", "true")
        .variable("MAX_STREAMS_PER_IP", "100000")
        .variable("WHATSAPP_TIME_FACTOR", "20")
        .variable("RUST_LOG", "info")
        .start()
        .await;
    let (ids, jids) = linked(&server, &whatsapp).await;
    let over = Arc::new(AtomicBool::new(false));
    let viewers = viewers(&server, &ids).await;
    let watching: Vec<_> =
        viewers.into_iter().map(|viewer| tokio::spawn(watches(viewer, over.clone()))).collect();
    let before = (rss(&server).await, descriptors(&server));

    let begun = Instant::now();
    let attack = Attack::on(&server, &ids[0]);
    let answered = tokio::select! {
        answered = attack.all() => answered,
        () = makes_events(&whatsapp, &jids) => unreachable!("it goes on for ever"),
    };
    let took = begun.elapsed();
    assert!(answered >= REQUESTS / 10, "only {answered} were answered at all");
    assert_eq!(server.get("/livez").await.status(), StatusCode::OK);
    over.store(true, Ordering::Relaxed);
    // One more event for each, so that every viewer looks up.
    whatsapp.drop_connections(None).unwrap();
    let watched = soon("every viewer to look up", join_all(watching)).await;
    let delays: Vec<Duration> = watched.into_iter().flat_map(Result::unwrap).collect();
    let slowest = delays.iter().max().unwrap();
    let expected = took.as_millis() as usize / EVERY.as_millis() as usize * 2;
    eprintln!(
        "{answered} of {REQUESTS} answered in {took:?}; {} events of {expected}, the slowest after {slowest:?}",
        delays.len()
    );
    assert!(*slowest <= Duration::from_secs(1), "{slowest:?}");
    assert!(delays.len() >= expected * 3 / 4, "{} events", delays.len());

    leaves_nothing(&server, before).await;
    let log = server.log();
    assert!(!log.iter().any(|line| line.contains("panicked")), "{log:#?}");
}

/// At the latest a minute after the last request memory and descriptors are what they were.
async fn leaves_nothing(server: &Server, before: (u64, usize)) {
    let (bound, ended) = (before.0 * 11 / 10 + 8 * 1024 * 1024, Instant::now());
    loop {
        let now = (rss(server).await, descriptors(server));
        let is_good = now.0 <= bound && now.1 <= before.1 + 10;
        if is_good || ended.elapsed() > Duration::from_secs(60) {
            let mebibytes = |bytes: u64| bytes as f64 / 1048576.0;
            eprintln!(
                "{:.1} MiB and {} descriptors became {:.1} and {} (at most {:.1}) after {:?}",
                mebibytes(before.0),
                before.1,
                mebibytes(now.0),
                now.1,
                mebibytes(bound),
                ended.elapsed()
            );
            assert!(is_good);
            return;
        }
        sleep(Duration::from_millis(500)).await;
    }
}

async fn linked(server: &Server, whatsapp: &Simulator) -> (Vec<String>, Vec<String>) {
    let link = async |n: usize| {
        let session = server.init(&format!("good{n}")).await;
        let jid = session.link(whatsapp).await;
        (session.id.clone(), jid)
    };
    futures::stream::iter(0..GOOD).map(link).buffered(4).collect::<Vec<_>>().await.into_iter().unzip()
}

/// One for each session, half of them over each transport.
async fn viewers(server: &Server, ids: &[String]) -> Vec<Viewer> {
    let open = |(n, id): (usize, &String)| {
        let session = server.session(id);
        async move {
            let mut viewer = if n % 2 == 0 { session.sse().await } else { session.websocket().await };
            viewer.awaits("ready").await;
            viewer
        }
    };
    join_all(ids.iter().enumerate().map(open)).await
}

/// How long each event took from its stamp.
async fn watches(mut viewer: Viewer, over: Arc<AtomicBool>) -> Vec<Duration> {
    let mut delays = Vec::new();
    while !over.load(Ordering::Relaxed) {
        let seen = viewer.read().await.expect("a good viewer is never closed");
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let at: Time = serde_json::from_value(seen.data["at"].clone()).unwrap();
        delays.push(now.saturating_sub(Duration::from_millis(at.as_millis().try_into().unwrap())));
    }
    delays
}

async fn makes_events(whatsapp: &Simulator, jids: &[String]) {
    let mut turns = tokio::time::interval(EVERY);
    for jid in jids.iter().cycle() {
        turns.tick().await;
        whatsapp.drop_connections(Some(jid)).unwrap();
    }
}

async fn rss(server: &Server) -> u64 {
    let health: Value = server.get("/health").await.json().await.unwrap();
    health["memory"]["rssBytes"].as_u64().unwrap()
}

fn descriptors(server: &Server) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap().count()
}

/// Everything that an attacker needs to know.
struct Attack {
    address: String,
    session: String,
    sent: AtomicUsize,
    answered: AtomicUsize,
    hanging: Arc<Semaphore>,
}

/// What is sent, and what is done with the connection then.
enum Blow {
    /// An answer is read: none of them may be a fault of the server.
    Ask(Vec<u8>),
    /// The connection is left hanging, with a byte now and then where there is one.
    Hang(Vec<u8>, Option<&'static [u8]>),
    /// It is closed at once.
    Drop(Vec<u8>),
}

impl Attack {
    fn on(server: &Server, session: &str) -> Self {
        Self {
            address: server.base.trim_start_matches("http://").to_owned(),
            session: session.to_owned(),
            sent: AtomicUsize::default(),
            answered: AtomicUsize::default(),
            hanging: Arc::new(Semaphore::new(HANGING)),
        }
    }

    /// All of it; how many were answered.
    async fn all(&self) -> usize {
        join_all((0..ATTACKERS).map(|_| async {
            while self.sent.fetch_add(1, Ordering::Relaxed) < REQUESTS {
                let blow = self.blow();
                self.strike(blow).await;
            }
        }))
        .await;
        // Those that still hang.
        let _ = self.hanging.acquire_many(HANGING as u32).await.unwrap();
        self.answered.load(Ordering::Relaxed)
    }

    async fn strike(&self, blow: Blow) {
        let mut socket = TcpStream::connect(&self.address).await.expect("the server takes connections in");
        match blow {
            Blow::Drop(bytes) => drop(socket.write_all(&bytes).await),
            Blow::Ask(bytes) => {
                // It may have closed before it had everything.
                let _ = socket.write_all(&bytes).await;
                let mut answer = [0; 1024];
                if let Ok(Ok(count)) = timeout(Duration::from_secs(2), socket.read(&mut answer)).await {
                    self.answered.fetch_add(usize::from(count > 0), Ordering::Relaxed);
                    let answer = String::from_utf8_lossy(&answer[..count]);
                    assert!(
                        !answer.starts_with("HTTP/1.1 5"),
                        "{:?}: {answer}",
                        String::from_utf8_lossy(&bytes)
                    );
                }
            }
            Blow::Hang(bytes, drip) => {
                let place = self.hanging.clone().acquire_owned().await.unwrap();
                tokio::spawn(async move {
                    let _ = timeout(HANGS, hangs(socket, bytes, drip)).await;
                    drop(place);
                });
            }
        }
    }

    /// One of twenty. A table, and so longer than a screen.
    fn blow(&self) -> Blow {
        let mut rng = rand::rng();
        let id = &self.session;
        let post = |more: &str| {
            format!("POST /api/init-session HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n{more}")
        };
        let json = |body: &[u8]| {
            let mut bytes = post(&format!("Content-Length: {}\r\n\r\n", body.len())).into_bytes();
            bytes.extend_from_slice(body);
            Blow::Ask(bytes)
        };
        let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: a\r\n");
        let ask = |head: String| Blow::Ask(format!("{head}\r\n").into_bytes());
        let upgrade = format!(
            "{}Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            get(&format!("/api/sessions/{id}/ws"))
        );
        let garbage: Vec<u8> = (0..rng.random_range(1..2000)).map(|_| rng.random()).collect();
        match rng.random_range(0..20) {
            // JSON that is none, that does not fit, that is deep, that is too big.
            0 => json(
                [b"{".as_slice(), b"nul", b"[[", b"{\"userId\":}", b"\x00", b"{\"userId\":1e999}"]
                    .choose(&mut rng)
                    .unwrap(),
            ),
            1 => json(
                [br#"{"userId":7}"#.as_slice(), br#"{"userId":"../x"}"#, br#"{"userId":"a","metadata":[]}"#]
                    .choose(&mut rng)
                    .unwrap(),
            ),
            2 => json("[".repeat(rng.random_range(1000..16_000)).as_bytes()),
            3 => json(&vec![b'x'; rng.random_range(17_000..200_000)]),
            4 => json(&garbage),
            // Heads that are too much.
            5 => {
                ask(format!("{}X-Huge: {}\r\n", get("/livez"), "x".repeat(rng.random_range(16_000..200_000))))
            }
            6 => ask(format!("{}{}", get("/livez"), "X-Many: x\r\n".repeat(rng.random_range(100..2000)))),
            // Heads and bodies that do not end.
            7 => Blow::Hang(get("/health").into_bytes(), Some(b"X")),
            8 => Blow::Hang(post("Content-Length: 1000\r\n\r\n{").into_bytes(), Some(b" ")),
            9 => Blow::Hang(
                post("Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n").into_bytes(),
                Some(b"1\r\n \r\n"),
            ),
            // WebSockets: silence, half a frame, a frame that is none, one that is never there.
            10 => Blow::Hang(upgrade.into_bytes(), None),
            11 => Blow::Hang([upgrade.as_bytes(), b"\x81\xfe\x0f"].concat(), None),
            12 => Blow::Hang([upgrade.as_bytes(), &garbage].concat(), Some(b"\xff")),
            13 => Blow::Drop(upgrade.into_bytes()),
            // A stream that nobody reads, and one that is left at once.
            14 => Blow::Hang(ask_stream(id), None),
            15 => Blow::Drop(ask_stream(id)),
            16 => ask(get(&trick(&mut rng, id))),
            17 => match rng.random_range(0..4) {
                0 => Blow::Ask([b"GET /\xff\xfe HTTP/1.1\r\nHost: a\r\n\r\n".as_slice()].concat()),
                1 => Blow::Ask(
                    [
                        get(&format!("/api/sessions/{id}/events")).as_bytes(),
                        b"Last-Event-ID: \xff\xc0\r\n\r\n",
                    ]
                    .concat(),
                ),
                2 => Blow::Ask(garbage),
                // Another protocol altogether.
                _ => Blow::Ask(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec()),
            },
            18 => {
                let method = ["FROB", "TRACE", "CONNECT", "PROPFIND", "get", "DELETE", "PUT"]
                    .choose(&mut rng)
                    .unwrap();
                Blow::Ask(
                    format!(
                        "{method} /api/init-session HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
                    )
                    .into_bytes(),
                )
            }
            _ => {
                let more = [
                    "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /health HTTP/1.1\r\nHost: a\r\n\r\n",
                    "Content-Length: 0\r\nContent-Length: 9\r\n\r\n",
                    "Host: b\r\n\r\n",
                    "X: a\r\n b\r\n\r\n",
                    "X: \0\r\n\r\n",
                ];
                Blow::Ask(post(more.choose(&mut rng).unwrap()).into_bytes())
            }
        }
    }
}

fn ask_stream(id: &str) -> Vec<u8> {
    format!("GET /api/sessions/{id}/events HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes()
}

/// A path that leads nowhere.
fn trick(rng: &mut impl rand::Rng, id: &str) -> String {
    match rng.random_range(0..8) {
        0 => "//".into(),
        1 => "/..%2f..%2fetc/passwd".into(),
        2 => "/%00".into(),
        3 => format!("/{}", "a/".repeat(rng.random_range(100..8000))),
        4 => format!("/api/sessions/{id}%2f../events"),
        5 => format!("/api/sessions/{id}/events?lastEventId={}", "9".repeat(rng.random_range(1..8000))),
        6 => format!("/api/qr-code/{}.png", "%ff".repeat(rng.random_range(1..2000))),
        _ => "/api/sessions?limit=-1&cursor=%00&status=%f0%9f%98%80".into(),
    }
}

/// Keeps a connection open until the server closes it, and reads nothing but its end.
async fn hangs(mut socket: TcpStream, bytes: Vec<u8>, drip: Option<&'static [u8]>) {
    let _ = socket.write_all(&bytes).await;
    loop {
        sleep(Duration::from_millis(300)).await;
        if let Some(drip) = drip
            && socket.write_all(drip).await.is_err()
        {
            return;
        }
    }
}
