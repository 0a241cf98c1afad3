//! What somebody without a key can take of a server has a bound: memory by the answers that libraries give by themselves,
//! and places for connections.

mod places;

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::support::{Server, eventually, soon, whatsapp};

/// How long a peer asks and does not listen.
const ASKS: Duration = Duration::from_secs(30);

/// A frame of a client, with a mask of zeros.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap();
    assert!(length <= 125);
    [&[first, 0x80 | length, 0, 0, 0, 0], payload].concat()
}

fn ping(payload: &[u8]) -> Vec<u8> {
    frame(0x89, payload)
}

/// A WebSocket on a session, after the head of the upgrade.
async fn upgraded(server: &Server, id: &str) -> TcpStream {
    let mut socket = TcpStream::connect(server.base.trim_start_matches("http://")).await.unwrap();
    let request = format!(
        "GET /api/sessions/{id}/ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(soon("the upgrade", socket.read_u8()).await.unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
    socket
}

fn rss(server: &Server) -> usize {
    let pages = std::fs::read_to_string(format!("/proc/{}/statm", server.pid())).unwrap();
    pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

/// Writes the same frames for as long, or until the server has had enough; reads nothing.
async fn asks(mut socket: TcpStream, frames: Vec<u8>) -> usize {
    let (many, until) = (frames.repeat(64), Instant::now() + ASKS);
    let mut sent = 0;
    while let Some(left) = until.checked_duration_since(Instant::now()) {
        match timeout(left, socket.write(&many)).await {
            // What is cut in the middle goes on there.
            Ok(Ok(count)) => {
                sent += count;
                if count < many.len() && timeout(left, socket.write_all(&many[count..])).await.is_err() {
                    break;
                }
            }
            Ok(Err(_)) | Err(_) => break,
        }
    }
    sleep(until.saturating_duration_since(Instant::now())).await;
    sent
}

#[tokio::test]
async fn a_peer_that_asks_and_does_not_listen_costs_no_memory() {
    let whatsapp = whatsapp().await;
    let server = Server::builder(&whatsapp.url()).variable("SLOW_VIEWER_SECONDS", "3600").start().await;
    let session = server.init("ada").await;
    session.link(&whatsapp).await;
    let empty_data = frame(0x02, b"");
    for (kind, frames) in [
        ("long pings", ping(&[b'x'; 125])),
        ("empty pings", ping(b"")),
        ("pings within a message", [frame(0x01, b"x"), ping(&[b'x'; 125]), frame(0x80, b"x")].concat()),
        ("pings, pongs and data", [ping(&[b'x'; 99]), frame(0x8a, b"unasked"), empty_data].concat()),
    ] {
        // What the first of its kind makes a process allocate is no growth.
        let mut first = upgraded(&server, &session.id).await;
        first.write_all(&frames.repeat(64)).await.unwrap();
        let mut part = [0; 64];
        first.read_exact(&mut part).await.unwrap();
        drop(first);
        let before = rss(&server);
        let sent = asks(upgraded(&server, &session.id).await, frames).await;
        let grown = rss(&server).saturating_sub(before);
        eprintln!("{kind}: {sent} bytes in {ASKS:?}, {grown} bytes more of memory");
        assert!(grown < 1024 * 1024, "{kind}: {grown} bytes");
    }
}

#[tokio::test]
async fn a_peer_that_asks_and_does_not_listen_is_too_slow() {
    let whatsapp = whatsapp().await;
    let server = Server::builder(&whatsapp.url()).variable("SLOW_VIEWER_SECONDS", "1").start().await;
    let session = server.init("ada").await;
    session.link(&whatsapp).await;
    let mut socket = upgraded(&server, &session.id).await;
    let many = ping(&[b'x'; 125]).repeat(64);
    soon("the server to have enough", async { while socket.write_all(&many).await.is_ok() {} }).await;
    eventually("its end in the log", async || {
        server.log().iter().any(|line| line.contains("stream closed") && line.contains("too_slow"))
    })
    .await;
}

#[tokio::test]
async fn a_peer_that_listens_is_answered_each_time() {
    let whatsapp = whatsapp().await;
    let server = Server::builder(&whatsapp.url()).start().await;
    let session = server.init("ada").await;
    let (mut reading, mut writing) = upgraded(&server, &session.id).await.into_split();
    let asking = async {
        for number in 0..500_u32 {
            writing.write_all(&ping(&number.to_be_bytes())).await.unwrap();
            // One that asks before it has the answer may be answered for the last one alone: RFC 6455, section 5.5.3.
            if number % 50 == 0 {
                tokio::task::yield_now().await;
            }
        }
    };
    let last = async {
        let mut seen = Vec::new();
        let mut part = [0; 4096];
        let last = [&[0x8a, 4][..], &499_u32.to_be_bytes()].concat();
        while !seen.windows(6).any(|bytes| bytes == last) {
            let count = reading.read(&mut part).await.unwrap();
            assert!(count > 0, "closed");
            seen.extend_from_slice(&part[..count]);
        }
    };
    soon("the last answer", async { tokio::join!(asking, last) }).await;
}
