//! The feed: every event of all sessions of a key, over both transports and from any replica, and what a viewer is told that has
//! missed some.

use std::collections::HashMap;
use std::process::Stdio;

use qrcast::event::Cursor;
use reqwest::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::handshake::client::Request;

use crate::support::program::{Program, example};
use crate::support::redis::Redis;
use crate::support::replicas::Replicas;
use crate::support::{Seen, Server, Viewer, soon, whatsapp};

fn upgrade(base: &str, key: &str) -> Request {
    let mut request = format!("{}/api/ws", base.replacen("http", "ws", 1)).into_client_request().unwrap();
    request.headers_mut().insert("x-api-key", key.parse().unwrap());
    request
}

async fn sse(server: &Server) -> Viewer {
    soon("the feed", Viewer::sse_by(server.request(Method::GET, "/api/events"), None)).await.unwrap()
}

/// The id of an event, and its session.
fn told(seen: &Seen) -> (Cursor, String) {
    let text = |field: &str| seen.data[field].as_str().unwrap().to_owned();
    assert!(seen.id.as_ref().is_none_or(|id| *id == text("id")), "{seen:?}");
    (text("id").parse().unwrap(), text("sessionId"))
}

#[tokio::test]
async fn a_key_hears_of_all_its_sessions_and_of_no_qr_that_could_be_scanned() {
    let whatsapp = whatsapp().await;
    let server = Server::builder(&whatsapp.url())
        .variable("API_KEYS", "main:all-of-it,shop:only-shop:shop-")
        .start()
        .await
        .with_key("all-of-it");
    let mut all = sse(&server).await;
    let mut shop = Viewer::websocket_by(upgrade(&server.base, "only-shop")).await;
    let other = server.init("ada").await;
    let seen = all.expects("qr").await;
    assert_eq!((seen.id.as_deref(), told(&seen).1), (None, other.id.clone()));
    assert_eq!(all.asides, ["retry: 2000"]);

    let session = server.init("shop-1").await;
    for viewer in [&mut all, &mut shop] {
        let qr = viewer.expects("qr").await;
        assert_eq!(told(&qr).1, session.id);
        let fields: Vec<_> = qr.data.as_object().unwrap().keys().map(String::as_str).collect();
        let mut expected = ["id", "sessionId", "at", "expiresAt", "attempt", "maxAttempts"];
        expected.sort_unstable();
        let mut sorted = fields;
        sorted.sort_unstable();
        assert_eq!(sorted, expected);
    }
    let mut own = session.sse().await;
    own.until("qr").await;
    let jid = session.link(&whatsapp).await;
    whatsapp.logout(&jid).unwrap();
    for event in ["authenticated", "ready", "disconnected"] {
        let [by_sse, by_websocket] = [all.expects(event).await, shop.expects(event).await];
        assert_eq!(by_sse.data, by_websocket.data);
        let expected = own.expects(event).await;
        assert_eq!((by_sse.data["id"].as_str(), &by_websocket.id), (expected.id.as_deref(), &expected.id));
        let mut data = by_sse.data;
        data.as_object_mut().unwrap().remove("id");
        assert_eq!(data, expected.data);
    }
    // The session has ended; the feed goes on.
    assert!(shop.is_quiet().await);
    assert_eq!(other.delete().await, 204);
    let deleted = all.expects("disconnected").await;
    assert_eq!((told(&deleted).1, &deleted.data["reason"]), (other.id.clone(), &json!("deleted")));
    assert!(shop.is_quiet().await, "nothing of another's");
}

#[tokio::test]
async fn every_replica_tells_of_all_sessions_and_sends_its_viewers_away_when_it_was_cut_off() {
    let redis = Redis::start().await;
    let replicas = Replicas::on(&redis.url()).start(2).await;
    let mut viewers =
        [sse(replicas.at(0)).await, Viewer::websocket_by(upgrade(&replicas.at(1).base, "none")).await];
    let mut story = Vec::new();
    for (number, user) in [(0, "ada"), (1, "bob")] {
        let session = replicas.at(number).init(user).await;
        let mut seen = session.sse().await.awaits("qr").await;
        replicas.scans(&seen).await;
        for event in ["qr", "authenticated", "ready"] {
            for viewer in &mut viewers {
                seen = viewer.expects(event).await;
                assert_eq!(told(&seen).1, session.id);
                story.push(told(&seen).0);
            }
        }
    }
    assert!(story.chunks(2).all(|pair| pair[0] == pair[1]), "{story:?}");

    redis.cuts_pubsub().await;
    let [by_sse, by_websocket] = &mut viewers;
    for viewer in [&mut *by_sse, &mut *by_websocket] {
        assert_eq!(viewer.expects("drain").await.data["code"], "OVERLOADED");
    }
    assert_eq!((by_sse.ends().await, by_websocket.ends().await), (None, Some(1013)));

    // Back again, and told of what happens from now on.
    let mut again = sse(replicas.at(1)).await;
    let session = replicas.at(0).init("cyd").await;
    assert_eq!(told(&again.expects("qr").await).1, session.id);
}

/// The whole server on a scripted WhatsApp. Its standard input says when something happens, and how much.
async fn scripted(sessions: usize, per_second: u32, redis: Option<&str>) -> (Program, String) {
    let mut command = example("scripted");
    command.args(["--events", "life", "--wait", "--sessions", &sessions.to_string()]);
    command.args(["--per-second", &per_second.to_string()]).stdin(Stdio::piped());
    command.envs(redis.map(|url| ("REDIS_URL", url)));
    let mut program = Program::start(&mut command);
    let base = program.until("listening").await.replace("listening ", "http://");
    (program, base)
}

/// A viewer of the feed that has sent its request and reads when it is told to. Its window is small.
async fn silent(base: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(base.trim_start_matches("http://").parse().unwrap()).await.unwrap();
    stream.write_all(b"GET /api/events HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    // Its head: it is open.
    let mut first = [0; 16];
    stream.read_exact(&mut first).await.unwrap();
    stream
}

#[tokio::test]
async fn a_viewer_that_falls_behind_is_told_and_no_other_misses_anything() {
    const EVENTS: usize = 40_000;
    let (mut server, base) = scripted(50, 1_000_000, None).await;
    server.until("ready").await;
    let mut slow = silent(&base).await;
    let mut quick = Viewer::websocket_by(upgrade(&base, "none")).await;
    server.hears(&format!("go {EVENTS}")).await;
    let mut last = HashMap::new();
    for number in 0..EVENTS {
        let seen = quick.next().await.unwrap_or_else(|end| panic!("{end:?} after {number}"));
        follows(&mut last, &seen);
    }
    let mut text = Vec::new();
    soon("the end of what the slow one is told", slow.read_to_end(&mut text)).await.unwrap();
    let text = String::from_utf8(text).unwrap();
    let (heard, end) = text.rsplit_once("\n\nretry: ").expect("a drain");
    assert_eq!(end, "1000\nevent: drain\ndata: {\"retryAfterMs\":1000,\"code\":\"OVERLOADED\"}\n\n");
    let heard = heard.matches("\nevent: ").count();
    assert!(heard < EVENTS, "it was never behind");
    // Up to there it has missed nothing.
    let mut last = HashMap::new();
    for line in text.lines().filter_map(|line| line.strip_prefix("data: ")).take(heard) {
        let data = serde_json::from_str(line).unwrap();
        follows(&mut last, &Seen { id: None, event: String::new(), data });
    }
}

/// The next event of its session.
fn follows(last: &mut HashMap<String, Cursor>, seen: &Seen) {
    let (at, session) = told(seen);
    if let Some(before) = last.insert(session, at) {
        assert_eq!(at, before.next(), "{seen:?}");
    }
}

/// On the replica that owns none of them.
async fn tells(sessions: usize, events: usize) {
    let redis = Redis::start().await;
    let (mut server, _) = scripted(sessions, 100, Some(&redis.url())).await;
    server.until("ready").await;
    let replicas = Replicas::on(&redis.url()).start(1).await;
    let mut viewer = sse(replicas.at(0)).await;
    server.hears(&format!("go {events}")).await;
    let mut last = HashMap::new();
    for number in 0..events {
        let seen = viewer.next().await.unwrap_or_else(|end| panic!("{end:?} after {number}"));
        follows(&mut last, &seen);
    }
    assert_eq!(last.len(), sessions.min(events));
}

#[tokio::test]
async fn a_replica_that_owns_nothing_tells_of_what_others_run() {
    tells(100, 300).await;
}

#[tokio::test]
#[ignore = "long: makes 5,000 sessions"]
async fn a_replica_that_owns_none_of_5_000_sessions_tells_of_100_events_a_second() {
    tells(5000, 6000).await;
}
