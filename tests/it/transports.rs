//! What each transport owes its viewer beside the events.

use reqwest::{Method, StatusCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use crate::support::{Server, eventually, soon, whatsapp, world};

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
async fn a_plain_request_to_the_websocket_is_told_to_upgrade() {
    let (_whatsapp, server) = world().await;
    let session = server.init("ada").await;
    let response =
        server.request(Method::GET, &format!("/api/sessions/{}/ws", session.id)).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::UPGRADE_REQUIRED);
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
