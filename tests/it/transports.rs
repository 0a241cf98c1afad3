//! What each transport owes its viewer beside the events.

use qrcast::event::Time;
use reqwest::{Method, StatusCode};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use crate::support::{Server, Session, Viewer, eventually, soon, whatsapp, world};

#[tokio::test]
async fn sse_says_first_when_to_come_back() {
    let (_whatsapp, server) = world().await;
    let session = server.init("ada").await;
    let mut viewer = session.sse().await;
    viewer.expects("status").await;
    assert_eq!(viewer.asides, ["retry: 2000"]);
}

/// `httpx-sse` and `fetch-event-source` hand over a message at each empty line, whatever stood before it: each block has
/// its data, at the opening, between events, after a keep-alive, at the end, and where a stream is refused.
#[tokio::test]
async fn no_block_is_an_empty_message() {
    let whatsapp = whatsapp().await;
    let server = Server::builder(&whatsapp.url()).variable("MAX_STREAMS_PER_IP", "2").start().await;
    let session = server.init("ada").await;
    let jid = session.link(&whatsapp).await;
    let cursor = session.reaches("connected").await["lastEventId"].as_str().unwrap().to_owned();
    let open = async |cursor: Option<&str>| {
        let request = server.request(Method::GET, &format!("/api/sessions/{}/events", session.id));
        let request = cursor.iter().fold(request, |request, cursor| request.header("Last-Event-ID", *cursor));
        request.send().await.unwrap()
    };
    let (mut fresh, resumed) = (open(None).await, open(Some(&cursor)).await);
    let refused = open(None).await.text().await.unwrap();
    assert!(refused.starts_with("retry: ") && refused.contains("\nevent: drain\n"), "{refused:?}");
    let mut told = String::new();
    let hears = async |stream: &mut reqwest::Response, told: &mut String, what: &str| {
        while !told.contains(what) {
            let chunk = soon(what, stream.chunk()).await.unwrap().expect("the stream goes on");
            told.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    };
    hears(&mut fresh, &mut told, ": keep-alive\n").await;
    whatsapp.logout(&jid).unwrap();
    told += &soon("the end", fresh.text()).await.unwrap();
    let resumed = soon("the end", resumed.text()).await.unwrap();
    assert!(told.contains("\n\n: keep-alive\nid: "), "{told:?}");
    for text in [told, resumed, refused] {
        assert!(text.starts_with("retry: ") && text.ends_with("\n\n"), "{text:?}");
        for block in text.trim_end_matches('\n').split("\n\n") {
            let data = block.lines().filter(|line| line.starts_with("data: {")).count();
            let event = block.lines().filter(|line| line.starts_with("event: ")).count();
            assert_eq!((data, event), (1, 1), "{block:?} in {text:?}");
        }
    }
}

#[tokio::test]
async fn a_client_that_talks_too_much_is_closed() {
    let (_whatsapp, server) = world().await;
    let session = server.init("ada").await;
    let mut viewer = session.websocket().await;
    viewer.awaits("qr").await;
    viewer.says("x".repeat(4096)).await;
    viewer.says("x".repeat(4097)).await;
    assert_eq!(viewer.ends().await, Some(1009));
}

#[tokio::test]
async fn only_our_subprotocol_is_spoken() {
    let (_whatsapp, server) = world().await;
    let session = server.init("ada").await;
    let url = format!("{}/api/sessions/{}/ws", server.base.replacen("http", "ws", 1), session.id);
    let offer = async |protocols: &str| {
        let mut request = url.as_str().into_client_request().unwrap();
        request.headers_mut().insert("sec-websocket-protocol", protocols.parse().unwrap());
        tokio_tungstenite::connect_async(request).await.map(|(_, response)| response)
    };
    for offered in ["qrcast.v1", "other, qrcast.v1"] {
        let response = offer(offered).await.unwrap();
        assert_eq!(response.headers()["sec-websocket-protocol"], "qrcast.v1");
    }
    assert!(offer("other").await.unwrap_err().to_string().contains("400"));
}

#[tokio::test]
async fn whoever_does_not_speak_our_websocket_is_told_what_is_spoken() {
    let (_whatsapp, server) = world().await;
    let session = server.init("ada").await;
    let path = format!("/api/sessions/{}/ws", session.id);
    let asks = async |headers: &[(&str, &str)]| {
        let mut request = server.request(Method::GET, &path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send().await.unwrap()
    };
    let upgrade = [
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-key", "AAAAAAAAAAAAAAAAAAAAAA=="),
    ];
    let with = |version| [&upgrade[..], &[("sec-websocket-version", version)]].concat();
    for headers in [vec![], upgrade.to_vec(), with("12"), with("8"), with("0"), with("13, 8"), with("")] {
        let response = asks(&headers).await;
        assert_eq!(response.status(), StatusCode::UPGRADE_REQUIRED, "{headers:?}");
        assert_eq!(response.headers()["sec-websocket-version"], "13", "{headers:?}");
        assert_eq!(response.headers()["upgrade"], "websocket", "{headers:?}");
    }
    assert_eq!(asks(&with("13")).await.status(), StatusCode::SWITCHING_PROTOCOLS);
}

/// A cursor that comes twice is a page's own and the one that a polyfill adds.
#[tokio::test]
async fn the_last_of_several_cursors_counts() {
    let (whatsapp, server) = world().await;
    let session = server.init("ada").await;
    session.link(&whatsapp).await;
    let last = session.reaches("connected").await["lastEventId"].as_str().unwrap().to_owned();
    let (epoch, _) = last.split_once('-').unwrap();
    let query = format!("{epoch}-1&lastEventId={last}&lastEventId=");
    let path = format!("/api/sessions/{}/events?lastEventId={query}", session.id);
    let mut over_sse = Viewer::sse_by(server.request(Method::GET, &path), None).await.unwrap();
    let mut over_websocket = session.websocket_after(Some(&query)).await;
    for viewer in [&mut over_sse, &mut over_websocket] {
        let opening = viewer.expects("status").await;
        assert_eq!((&opening.data["resumed"], &opening.data["gap"]), (&true.into(), &false.into()));
        assert!(viewer.is_quiet().await, "all that came before the last one is not said again");
    }
}

/// A page cannot see a ping.
#[tokio::test]
async fn a_quiet_websocket_has_a_heartbeat() {
    let (_whatsapp, server) = world().await;
    let session = server.init("ada").await;
    let mut viewer = session.websocket().await;
    let began = Time::now();
    let frame = viewer.heartbeat().await;
    let now: Time = serde_json::from_value(frame["data"]["now"].clone()).unwrap();
    assert_eq!(frame, json!({ "event": "heartbeat", "data": { "now": now } }));
    assert!(began <= now && now <= Time::now(), "{now}");
}

/// A client's frame of less than 126 bytes, masked with nothing.
fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    [&[first, 0x80 | u8::try_from(payload.len()).unwrap(), 0, 0, 0, 0], payload].concat()
}

/// Upgrades, sends these bytes, and reads up to a close frame: what it says, if one comes.
async fn answer_to(session: &Session<'_>, bytes: &[u8]) -> Option<Vec<u8>> {
    let mut socket = TcpStream::connect(session.server.base.trim_start_matches("http://")).await.unwrap();
    let head = format!(
        "GET /api/sessions/{}/ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
        session.id
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut read = Vec::new();
    while !read.ends_with(b"\r\n\r\n") {
        read.push(socket.read_u8().await.unwrap());
    }
    socket.write_all(bytes).await.unwrap();
    loop {
        let first = socket.read_u8().await.ok()?;
        let length = match socket.read_u8().await.unwrap() {
            126 => socket.read_u16().await.unwrap().into(),
            127 => socket.read_u64().await.unwrap(),
            length => length.into(),
        };
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        socket.read_exact(&mut payload).await.unwrap();
        if first == 0x88 {
            return Some(payload);
        }
    }
}

#[tokio::test]
async fn a_close_is_answered_and_a_broken_frame_is_named() {
    let (_whatsapp, server) = world().await;
    let session = server.init("ada").await;
    let close = |code: u16, reason: &[u8]| masked(0x88, &[&code.to_be_bytes(), reason].concat());
    // RFC 6455, section 5.5.1.
    for (code, reason) in [(1000, ""), (1001, "going away"), (1011, ""), (3000, "mine"), (4999, "")] {
        let echo = soon("an echo", answer_to(&session, &close(code, reason.as_bytes()))).await;
        let expected = [&code.to_be_bytes(), reason.as_bytes()].concat();
        assert_eq!(echo, Some(expected), "{code}");
    }
    assert_eq!(soon("an echo", answer_to(&session, &masked(0x88, b""))).await, Some(Vec::new()));
    // One that comes right behind a message, and one in the middle of a message.
    let behind = [masked(0x81, b"hello"), masked(0x89, b"ping"), close(1000, b"")].concat();
    assert_eq!(soon("an echo", answer_to(&session, &behind)).await, Some(vec![3, 232]));
    let amid = [masked(0x01, b"hel"), close(1001, b"")].concat();
    assert_eq!(soon("an echo", answer_to(&session, &amid)).await, Some(vec![3, 233]));
    for (what, bytes, code) in [
        ("a code that nobody may send", close(1005, b""), 1002),
        ("half a code", masked(0x88, &[3]), 1002),
        ("no mask", vec![0x81, 2, b'h', b'i'], 1002),
        ("a reserved bit", masked(0xC1, b"hi"), 1002),
        ("a kind of frame that does not exist", masked(0x83, b"hi"), 1002),
        ("a kind of control frame that does not exist", masked(0x8B, b""), 1002),
        ("a ping in pieces", masked(0x09, b"hi"), 1002),
        ("the end of nothing", masked(0x80, b"hi"), 1002),
        ("a ping that is too long", [&[0x89, 0xFE, 0, 126, 0, 0, 0, 0][..], &[b'x'; 126]].concat(), 1002),
        ("a text that is none", masked(0x81, &[0xFF, 0xFE]), 1007),
        ("a text that is cut", masked(0x81, "ü".as_bytes().get(..1).unwrap()), 1007),
        ("a reason that is no text", close(1000, &[0xFF]), 1007),
        ("too much", [&[0x82, 0xFE, 0x20, 0, 0, 0, 0, 0][..], &[b'x'; 0x2000]].concat(), 1009),
    ] {
        let closed = soon(what, answer_to(&session, &bytes)).await;
        let said =
            closed.as_deref().and_then(|payload| payload.first_chunk()).map(|code| u16::from_be_bytes(*code));
        assert_eq!(said, Some(code), "{what}");
    }
}

/// Two pings of 25 s: the one that stays unanswered, and the one that would have been the next.
#[tokio::test]
async fn a_peer_whose_pong_stays_out_is_dropped() {
    let (_whatsapp, server) = world().await;
    let session = server.init("ada").await;
    let _silent = session.websocket().await;
    let mut awake = session.websocket().await;
    let viewers = async || {
        let list: serde_json::Value = server.get("/api/sessions").await.json().await.unwrap();
        list["sessions"][0]["viewers"].as_u64().unwrap()
    };
    assert_eq!(viewers().await, 2);
    let dropped = eventually("the silent one to be dropped", || async { viewers().await == 1 });
    // Reading is what answers pings.
    tokio::select! {
        () = dropped => {}
        _ = async { loop { awake.awaits("never").await; } } => {}
    }
    assert_eq!(viewers().await, 1);
}

/// Asks for page after page and then for the stream, and reads nothing: the buffers fill, the stream waits behind them.
#[tokio::test]
async fn a_viewer_that_accepts_no_bytes_is_closed() {
    let whatsapp = whatsapp().await;
    let server = Server::builder(&whatsapp.url()).variable("SLOW_VIEWER_SECONDS", "1").start().await;
    let session = server.init("ada").await;
    let mut socket = TcpStream::connect(server.base.trim_start_matches("http://")).await.unwrap();
    let request = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let filler = request("/live.js").repeat(100);
    let closed = soon("the server to close", async {
        loop {
            let written = tokio::time::timeout(
                std::time::Duration::from_millis(200),
                socket.write_all(filler.as_bytes()),
            );
            match written.await {
                Ok(Ok(())) => {}
                // Its own buffers are full: now it is the server's move.
                Ok(Err(_)) => return true,
                Err(_) => break,
            }
        }
        let _ = socket.write_all(request(&format!("/api/sessions/{}/events", session.id)).as_bytes()).await;
        loop {
            // Only a closed connection refuses another byte.
            if socket.write_all(b" ").await.is_err() {
                return true;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    });
    assert!(closed.await);
    let mut rest = Vec::new();
    let _ = socket.read_to_end(&mut rest).await;
    // Nobody else was slowed.
    session.sse().await.awaits("qr").await;
}

/// The bytes that come until the server closes, or until these are among them.
async fn reads_until(socket: &mut TcpStream, end: &str) -> String {
    let mut read = Vec::new();
    while !String::from_utf8_lossy(&read).contains(end) {
        match socket.read_u8().await {
            Ok(byte) => read.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8(read).unwrap()
}

#[tokio::test]
async fn the_head_of_a_stream_is_like_any_other_and_no_request_follows_it() {
    let (_whatsapp, server) = world().await;
    let session = server.init("ada").await;
    let connect = async || TcpStream::connect(server.base.trim_start_matches("http://")).await.unwrap();
    let path = format!("/api/sessions/{}/events", session.id);
    for version in ["1.0", "1.1"] {
        let mut socket = connect().await;
        let pipelined = "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n";
        let request = format!("GET {path} HTTP/{version}\r\nHost: localhost\r\n\r\n{pipelined}");
        socket.write_all(request.as_bytes()).await.unwrap();
        let answer = soon("a QR", reads_until(&mut socket, "event: qr\n")).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with(&format!("HTTP/{version} 200 OK\r\n")), "{head}");
        for header in ["content-type: text/event-stream", "connection: close", "date: ", "x-request-id: "] {
            assert!(head.contains(&format!("\r\n{header}")), "no {header} in {head}");
        }
        assert!(!head.contains("content-length") && !head.contains("transfer-encoding"), "{head}");
        assert!(body.starts_with("retry: ") && !body.contains("HTTP/"), "{body}");
    }
    let mut socket = connect().await;
    socket.write_all(format!("HEAD {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes()).await.unwrap();
    let answer = soon("the end", reads_until(&mut socket, "never")).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\n"), "{answer}");
    let list = async || server.get("/api/sessions").await.json::<serde_json::Value>().await.unwrap();
    eventually("nobody to watch", || async { list().await["sessions"][0]["viewers"] == 0 }).await;
}

#[tokio::test]
async fn what_comes_in_one_packet_is_all_read() {
    let (_whatsapp, server) = world().await;
    let session = server.init("ada").await;
    let mut socket = TcpStream::connect(server.base.trim_start_matches("http://")).await.unwrap();
    let head = format!(
        "GET /api/sessions/{}/ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
        session.id
    );
    // Behind the head, before the answer, and more than is read at a time.
    let pings: Vec<u8> = (0..100).flat_map(|_| masked(0x89, b"")).collect();
    let close = masked(0x88, &1000_u16.to_be_bytes());
    socket.write_all(&[head.as_bytes(), &pings, &close].concat()).await.unwrap();
    let mut answer = Vec::new();
    // The server is the one that closes.
    soon("the end", socket.read_to_end(&mut answer)).await.unwrap();
    assert!(answer.ends_with(&[0x88, 2, 3, 232]), "{answer:?}");
}
