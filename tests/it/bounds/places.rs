//! Places for connections: whoever takes more than its share keeps nobody else out.
//!
//! All of 127.0.0.0/8 is loopback, for which places are kept. So this runs in a network namespace of its own, in which
//! loopback has ordinary addresses too: a client at one of them is a stranger, as anywhere.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{sleep, timeout};

use crate::support::{Server, Viewer, soon, whatsapp};

/// From the network for benchmarks (RFC 2544): the server, whoever asks whether it is ready, a viewer, an attacker, and many.
const SERVER: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
const PROBE: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);
const VIEWER: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 3);
const ATTACKER: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 4);
const ATTACKERS: u8 = 8;

/// What an attacker does with its connections.
#[derive(Clone, Copy, Debug)]
enum Way {
    /// A request every 5 s: the server keeps each for 75.
    KeepsAlive,
    /// Half a head, and a new connection when that is over.
    HalfHead,
    /// A body that does not come.
    NoBody,
    /// Not a byte.
    Silent,
}

const WAYS: [Way; 4] = [Way::KeepsAlive, Way::HalfHead, Way::NoBody, Way::Silent];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: scripts/test --all"]
async fn whoever_takes_all_places_keeps_nobody_out() {
    if std::net::TcpListener::bind((SERVER, 0)).is_ok() {
        return in_a_network_of_its_own().await;
    }
    let script =
        "ip link set lo up && ip address add 198.18.0.1/16 dev lo && ulimit -n 8192 && exec \"$0\" \"$@\"";
    let wrapper = ["unshare", "--map-root-user", "--net", "sh", "-c", script];
    let works = Command::new(wrapper[0]).args(&wrapper[1..]).arg("true").status();
    if !works.is_ok_and(|status| status.success()) {
        eprintln!("skipped: this machine lets nobody make a network namespace");
        return;
    }
    let this =
        ["bounds::places::whoever_takes_all_places_keeps_nobody_out", "--exact", "--nocapture", "--ignored"];
    let mut inner = tokio::process::Command::new(wrapper[0]);
    inner.args(&wrapper[1..]).arg(std::env::current_exe().unwrap()).args(this).kill_on_drop(true);
    assert!(inner.status().await.unwrap().success());
}

async fn in_a_network_of_its_own() {
    let whatsapp = whatsapp().await;
    let server = Server::builder(&whatsapp.url())
        .variable("HOST", "0.0.0.0")
        .variable("API_KEYS", "main:all-of-it")
        .variable("MAX_STREAMS", "100")
        .variable("METRICS_PORT", "9")
        .variable("WHATSAPP_TIME_FACTOR", "20")
        .start()
        .await
        .with_key("all-of-it");
    let port = server.base.rsplit(':').next().unwrap().parse().unwrap();
    let session = server.init("ada").await;
    session.link(&whatsapp).await;
    let token = session.answer["streamToken"].as_str().unwrap();
    let http = reqwest::Client::builder().local_address(IpAddr::V4(VIEWER)).build().unwrap();
    let url = format!("http://{SERVER}:{port}/api/sessions/{}/events?token={token}", session.id);
    let mut viewer = soon("a stream", Viewer::sse_by(http.get(&url), None)).await.unwrap();
    let first = viewer.awaits("ready").await.id.unwrap();

    let over = Arc::new(AtomicBool::new(false));
    let watching = {
        let over = over.clone();
        tokio::spawn(async move {
            let mut seen = Vec::new();
            while !over.load(Ordering::Relaxed) {
                seen.extend(viewer.read().await.expect("another client's stream is not closed").id);
            }
            seen
        })
    };
    let makes_events = async {
        loop {
            whatsapp.drop_connections(None).unwrap();
            sleep(Duration::from_millis(500)).await;
        }
    };
    let attack = async {
        // The one of the issue: 1,100 connections of one address for 60 s, each with a request now and then.
        attacked(port, &[ATTACKER], 1100, &WAYS[..1], Duration::from_secs(60)).await;
        // Then by many, who have more than there are, in every way.
        let many: Vec<_> = (0..ATTACKERS).map(|n| Ipv4Addr::new(198, 18, 1, n)).collect();
        attacked(port, &many, 1600, &WAYS, Duration::from_secs(20)).await;
    };
    tokio::select! {
        () = attack => {}
        () = makes_events => unreachable!("it goes on for ever"),
    }
    over.store(true, Ordering::Relaxed);
    whatsapp.drop_connections(None).unwrap();
    let seen = soon("the viewer to look up", watching).await.unwrap();
    // What is replayed from there on is what was seen, event by event.
    let mut again = soon("a replay", Viewer::sse_by(http.get(&url), Some(&first))).await.unwrap();
    assert!(seen.len() > 20, "{seen:?}");
    again.expects("status").await;
    for id in &seen {
        assert_eq!(again.next().await.unwrap().id.as_ref(), Some(id));
    }
}

/// Asks from elsewhere, all the time, while these attack.
async fn attacked(port: u16, from: &[Ipv4Addr], connections: usize, ways: &[Way], duration: Duration) {
    let (open, until) = (Arc::new(AtomicUsize::new(0)), Instant::now() + duration);
    let attackers: Vec<_> = (0..connections)
        .map(|n| tokio::spawn(attacks(port, from[n % from.len()], ways[n % ways.len()], open.clone())))
        .collect();
    let (mut slowest, mut most, mut asked) = (Duration::ZERO, 0, 0);
    while Instant::now() < until {
        for (from, port) in [(PROBE, port), (Ipv4Addr::LOCALHOST, port), (PROBE, 9)] {
            let begun = Instant::now();
            assert!(is_ready(from, port).await, "asked from {from} at {port}, after {:?}", begun.elapsed());
            slowest = slowest.max(begun.elapsed());
            asked += 1;
        }
        most = most.max(open.load(Ordering::Relaxed));
        sleep(Duration::from_millis(100)).await;
    }
    attackers.iter().for_each(tokio::task::JoinHandle::abort);
    eprintln!(
        "{ways:?}: at most {most} connections of {connections}; {asked} answers, the slowest after {slowest:?}"
    );
    assert!(slowest <= Duration::from_secs(1), "{slowest:?}");
    assert!(most >= 150, "only {most} were open");
}

async fn connected(from: Ipv4Addr, port: u16) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from((from, 0)))?;
    let to = if from.is_loopback() { Ipv4Addr::LOCALHOST } else { SERVER };
    socket.connect(SocketAddr::from((to, port))).await
}

async fn is_ready(from: Ipv4Addr, port: u16) -> bool {
    let asks = async {
        let mut socket = connected(from, port).await?;
        let request = format!("GET /readyz HTTP/1.1\r\nHost: {SERVER}\r\nConnection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await?;
        std::io::Result::Ok(answer.starts_with("HTTP/1.1 200 "))
    };
    timeout(Duration::from_secs(5), asks).await.is_ok_and(|answered| answered.unwrap_or(false))
}

/// One connection, and another one when the server has closed it.
async fn attacks(port: u16, from: Ipv4Addr, way: Way, open: Arc<AtomicUsize>) {
    let bytes: &[u8] = match way {
        Way::KeepsAlive => b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n",
        Way::HalfHead => b"GET /livez HTTP/1.1\r\nHost:",
        Way::NoBody => {
            b"POST /api/init-session HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n"
        }
        Way::Silent => b"",
    };
    loop {
        if let Ok(mut socket) = connected(from, port).await {
            open.fetch_add(1, Ordering::Relaxed);
            holds(&mut socket, bytes, way).await;
            open.fetch_sub(1, Ordering::Relaxed);
        }
        sleep(Duration::from_millis(500)).await;
    }
}

/// Until the server closes it.
async fn holds(socket: &mut TcpStream, bytes: &[u8], way: Way) {
    let mut part = [0; 1024];
    loop {
        if socket.write_all(bytes).await.is_err() {
            return;
        }
        let pause = sleep(Duration::from_secs(if matches!(way, Way::KeepsAlive) { 5 } else { 3600 }));
        tokio::pin!(pause);
        loop {
            tokio::select! {
                () = &mut pause => break,
                read = socket.read(&mut part) => match read {
                    Ok(0) | Err(_) => return,
                    Ok(_) => {}
                },
            }
        }
    }
}
