//! `qrcast.js` against the real server, in Node and in Chromium: every transport, whatever stands in the way, and a
//! server that goes away in the middle. What it makes of each close code is in tests/js/rules.test.mjs, and of
//! a passkey in tests/js/passkey.test.mjs, the languages in tests/js/words.test.mjs, and what the dashboard is told in
//! tests/js/sessions.test.mjs, all run from here; tokens that end are in `qrcast_js/tokens.rs`.

mod tokens;

use std::process::Stdio;

use reqwest::StatusCode;
use serde_json::{Value, json};
use simulator::{Scan, Simulator};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::support::browser::{Browser, Screen};
use crate::support::proxy::{Proxy, free_port};
use crate::support::{Seen, Server, Session, soon, whatsapp, world};

/// A program in Node that follows a session with `qrcast.js`.
struct Follower {
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Follower {
    /// Node 20 has no WebSocket of its own, but one behind a flag.
    fn start(base: &str, session: &str, options: &Value, websocket: bool) -> Self {
        let mut process = Command::new("node")
            .args(websocket.then_some("--experimental-websocket"))
            .args(["--no-warnings", "tests/js/follow.mjs", base, session, &options.to_string()])
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        Self { process, lines }
    }

    async fn next(&mut self) -> Value {
        let line = soon("a line of the follower", self.lines.next_line()).await.unwrap();
        serde_json::from_str(&line.expect("the follower ended")).unwrap()
    }

    /// The next event.
    async fn event(&mut self) -> Seen {
        loop {
            let line = self.next().await;
            if let Some(event) = line.get("event") {
                return Seen {
                    id: event["id"].as_str().map(str::to_owned),
                    event: event["event"].as_str().unwrap().to_owned(),
                    data: event["data"].clone(),
                };
            }
        }
    }

    /// Every event up to this one and with it.
    async fn until(&mut self, event: &str) -> Vec<Seen> {
        let mut all = vec![self.event().await];
        while all.last().is_some_and(|seen| seen.event != event) {
            all.push(self.event().await);
        }
        all
    }

    /// Waits until the connection is so; events that come before are dropped.
    async fn is(&mut self, phase: &str) -> Value {
        loop {
            let line = self.next().await;
            if line["state"]["phase"] == phase {
                return line["state"].clone();
            }
        }
    }

    /// The session's end, told and obeyed: the program has nothing left to do.
    async fn ends(mut self) {
        self.is("ended").await;
        assert_eq!(soon("Node to end", self.lines.next_line()).await.unwrap(), None);
    }
}

async fn scan(whatsapp: &Simulator, session: &Session<'_>) -> String {
    let qr = session.qr_code().await.1["qrString"].as_str().unwrap().to_owned();
    soon("a scan", whatsapp.scan(Scan { qr, ..Scan::default() })).await.unwrap()
}

async fn passes_in_node(file: &str) {
    let output = soon(file, Command::new("node").args(["--test", file]).output()).await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[tokio::test]
async fn the_rules_of_the_stream_are_kept() {
    passes_in_node("tests/js/rules.test.mjs").await;
}

#[tokio::test]
async fn the_passkey_step_and_the_extension_keep_to_their_rules() {
    passes_in_node("tests/js/passkey.test.mjs").await;
}

#[tokio::test]
async fn the_dashboard_keeps_to_the_newest_that_it_was_told() {
    passes_in_node("tests/js/sessions.test.mjs").await;
}

#[tokio::test]
async fn every_language_has_every_word() {
    passes_in_node("tests/js/words.test.mjs").await;
}

#[tokio::test]
async fn in_node_the_same_events_come_over_websocket_and_sse() {
    let (whatsapp, server) = world().await;
    let session = server.init("ada").await;
    let follow = |transport: &str| {
        Follower::start(
            &server.base,
            &session.id,
            &json!({ "transports": [transport] }),
            transport == "websocket",
        )
    };
    let (mut websocket, mut sse, mut viewer) = (follow("websocket"), follow("sse"), session.sse().await);
    for follower in [&mut websocket, &mut sse] {
        follower.is("open").await;
    }
    viewer.expects("status").await;
    let mut told = viewer.until("qr").await;
    for follower in [&mut websocket, &mut sse] {
        assert_eq!(follower.until("qr").await, told);
    }
    let jid = scan(&whatsapp, &session).await;
    session.reaches("connected").await;
    whatsapp.drop_connections(Some(&jid)).unwrap();
    told = viewer.until("disconnected").await;
    told.extend(viewer.until("ready").await);
    whatsapp.logout(&jid).unwrap();
    told.extend(viewer.until("disconnected").await);
    for mut follower in [websocket, sse] {
        let mut heard = follower.until("disconnected").await;
        heard.extend(follower.until("disconnected").await);
        assert_eq!(heard, told);
        follower.ends().await;
    }
}

#[tokio::test]
async fn polling_tells_the_newest_state_with_the_ids_of_the_stream() {
    let (whatsapp, server) = world().await;
    let session = server.init("ada").await;
    let mut viewer = session.sse().await;
    let options = json!({ "transports": ["polling"], "pollMs": 50 });
    let mut follower = Follower::start(&server.base, &session.id, &options, false);
    let qr = follower.event().await;
    let streamed = viewer.awaits("qr").await;
    assert_eq!((&qr.id, &qr.event), (&streamed.id, &streamed.event));
    for field in ["sessionId", "qrString", "qrDataUrl", "expiresAt"] {
        assert_eq!(qr.data[field], streamed.data[field], "{field}");
    }
    let jid = scan(&whatsapp, &session).await;
    let ready = follower.until("ready").await.pop().unwrap();
    let streamed = viewer.awaits("ready").await;
    assert_eq!((&ready.id, &ready.data["me"]), (&streamed.id, &streamed.data["me"]));
    assert_eq!(ready.data["connectedAt"], streamed.data["connectedAt"]);
    whatsapp.logout(&jid).unwrap();
    let end = follower.until("disconnected").await.pop().unwrap();
    let streamed = viewer.awaits("disconnected").await;
    assert_eq!((&end.id, &end.data["reason"]), (&streamed.id, &streamed.data["reason"]));
    assert_eq!(end.data["willReconnect"], false);
    follower.ends().await;
}

#[tokio::test]
async fn in_node_what_is_blocked_is_gone_around() {
    let (_whatsapp, server) = world().await;
    let session = server.init("ada").await;
    let plans: [(&'static [&'static str], bool, &str); 4] = [
        (&[], true, "websocket"),
        // A Node without WebSocket.
        (&[], false, "sse"),
        (&["/ws"], true, "sse"),
        (&["/ws", "/events"], true, "polling"),
    ];
    for (blocks, has_websocket, transport) in plans {
        let proxy = Proxy::blocking(&server.base, blocks).await;
        let base = if blocks.is_empty() { &server.base } else { &proxy.base };
        let mut follower = Follower::start(base, &session.id, &json!({}), has_websocket);
        assert_eq!(follower.is("open").await["transport"], transport);
        assert_eq!(follower.event().await.event, "qr", "{transport}");
    }
}

#[tokio::test]
async fn in_chromium_what_is_blocked_is_gone_around_and_the_link_goes_on() {
    let plans: [(&'static [&'static str], &str); 3] =
        [(&[], "websocket"), (&["/ws"], "sse"), (&["/ws", "/events"], "polling")];
    for (blocks, transport) in plans {
        let (whatsapp, server) = world().await;
        let session = server.init("ada").await;
        let proxy = Proxy::blocking(&server.base, blocks).await;
        let base = if blocks.is_empty() { &server.base } else { &proxy.base };
        let browser = Browser::open(Screen::WIDE, base).await;
        browser
            .js::<Value>(&format!(
                "(async () => {{
                   const {{ subscribe }} = await import('/qrcast.js');
                   globalThis.heard = []; globalThis.states = [];
                   subscribe('{}', {{
                     pollMs: 50,
                     onEvent: ({{ event }}) => heard.push(event),
                     onState: (state) => states.push(state),
                   }});
                 }})()",
                session.id
            ))
            .await;
        browser.until("heard.includes('qr')").await;
        let over: String = browser.js("states.find(({ phase }) => phase === 'open').transport").await;
        assert_eq!(over, transport);
        let jid = scan(&whatsapp, &session).await;
        browser.until("heard.includes('ready')").await;
        whatsapp.logout(&jid).unwrap();
        browser.until("states.at(-1).phase === 'ended' && heard.at(-1) === 'disconnected'").await;
        browser.closes().await;
    }
}

#[tokio::test]
async fn in_chromium_the_page_links_by_code_where_only_polling_gets_through() {
    let (_whatsapp, server) = world().await;
    let session = server.init("ada").await;
    let proxy = Proxy::blocking(&server.base, &["/ws", "/events"]).await;
    let browser = Browser::open(Screen::PHONE, &format!("{}/?session={}", proxy.base, session.id)).await;
    session.reaches("scan_qr").await;
    browser.sees("phone").await;
    browser.types("+90 555 123 45 67").await;
    browser.clicks("Get a code").await;
    browser.sees("code").await;
    browser.closes().await;
}

#[tokio::test]
async fn a_server_that_goes_away_in_the_middle_is_followed_from_where_it_was() {
    let whatsapp = whatsapp().await;
    let server = Server::builder(&whatsapp.url()).variable("PORT", &free_port()).start().await;
    let session = server.init("ada").await;
    let id = session.id.clone();
    let follow = |transport: &str| {
        Follower::start(&server.base, &id, &json!({ "transports": [transport] }), transport == "websocket")
    };
    let mut followers = [follow("websocket"), follow("sse")];
    for follower in &mut followers {
        follower.until("qr").await;
    }
    let jid = scan(&whatsapp, &session).await;
    let mut heard = Vec::new();
    for follower in &mut followers {
        heard.push(follower.until("ready").await);
    }
    let server = server.crash_and_restart().await;
    for follower in &mut followers {
        follower.is("waiting").await;
        let again = follower.is("open").await;
        assert_eq!((&again["status"]["resumed"], &again["status"]["gap"]), (&json!(true), &json!(false)));
    }
    server.session(&id).reaches("connected").await;
    whatsapp.logout(&jid).unwrap();
    for (follower, heard) in followers.iter_mut().zip(&mut heard) {
        loop {
            heard.extend(follower.until("disconnected").await);
            if heard.last().unwrap().data["reason"] == "logged_out" {
                break;
            }
        }
    }
    assert_eq!(heard[0], heard[1]);
    let cursors: Vec<qrcast::event::Cursor> =
        heard[0].iter().map(|seen| seen.id.as_deref().unwrap().parse().unwrap()).collect();
    assert!(cursors.is_sorted_by(|a, b| a < b), "{cursors:?}");
    for follower in followers {
        follower.ends().await;
    }
}

#[tokio::test]
async fn a_server_that_stops_says_when_to_return_and_is_obeyed() {
    let whatsapp = whatsapp().await;
    let mut server = Server::builder(&whatsapp.url()).variable("PORT", &free_port()).start().await;
    let id = server.init("ada").await.id;
    let mut follower = Follower::start(&server.base, &id, &json!({}), true);
    follower.until("qr").await;
    let again = server.builder_again();
    assert_eq!(server.terminate().await, Some(0));
    let pause = follower.is("waiting").await["retryInMs"].as_u64().unwrap();
    assert!(pause >= 1000, "drain asks for a second: {pause} ms");
    let _server = again.start().await;
    assert_eq!(follower.is("open").await["status"]["resumed"], true);
}

#[tokio::test]
async fn it_is_served_as_modules_that_import_one_another() {
    let (_whatsapp, server) = world().await;
    for file in ["qrcast.js", "qrcast/subscribe.js", "live.js"] {
        let answer = server.get(&format!("/{file}")).await;
        assert_eq!(answer.status(), StatusCode::OK, "{file}");
        assert_eq!(answer.headers()["content-type"], "text/javascript; charset=utf-8");
    }
}
