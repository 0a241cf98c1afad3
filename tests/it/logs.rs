//! The log: what an operator finds in it, and what nobody does.

use futures::StreamExt as _;
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use simulator::{EnterCode, Scan, Simulator};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::HeaderValue;

use crate::support::redis::Redis;
use crate::support::replicas::is_ready;
use crate::support::server::Builder;
use crate::support::{Server, eventually, soon, whatsapp, world, world_at};

/// The key of a server that has keys.
const KEY: &str = "an-api-key-that-nobody-may-read";

/// What a server without tokens is given instead of one.
const TOKEN: &str = "SECRETVALUE.of.a.token";

/// Names a request that may be repeated.
const ONCE: &str = "an-idempotency-key-4711";

/// Every target at its most detailed, and by name those that write down credentials.
const EVERYTHING: &str = "trace,Client/Recv=trace,Client/Send=trace,Client/PairCode=trace,tungstenite=trace";

fn parsed(server: &Server) -> Vec<Value> {
    server.log().iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn lines(server: &Server, message: &str) -> Vec<Value> {
    parsed(server).into_iter().filter(|line| line["message"] == message).collect()
}

/// The fields of a line that are its own.
fn fields(line: &Value) -> Vec<&str> {
    let usual = ["timestamp", "level", "message", "target", "spans"];
    let keys = line.as_object().unwrap().keys().map(String::as_str);
    keys.filter(|key| !usual.contains(key)).collect()
}

#[tokio::test]
async fn a_debug_log_holds_no_credential() {
    let whatsapp = whatsapp().await;
    a_whole_life_in_secret(&whatsapp, Server::builder(&whatsapp.url()).variable("RUST_LOG", "debug")).await;
}

#[tokio::test]
async fn a_log_of_everything_holds_no_credential() {
    let whatsapp = whatsapp().await;
    a_whole_life_in_secret(&whatsapp, Server::builder(&whatsapp.url()).variable("RUST_LOG", EVERYTHING))
        .await;
}

#[tokio::test]
async fn a_log_of_everything_on_redis_holds_no_credential() {
    let (whatsapp, redis) = (whatsapp().await, Redis::start().await);
    let builder = Server::builder(&whatsapp.url()).variable("REDIS_URL", &redis.url());
    a_whole_life_in_secret(&whatsapp, builder.variable("RUST_LOG", EVERYTHING)).await;
}

/// What must be in no line.
#[derive(Default)]
struct Secrets(Vec<String>);

impl Secrets {
    fn keep(&mut self, secret: &str) {
        self.0.push(secret.to_owned());
        // As a library may write bytes.
        let bytes = &secret.as_bytes()[..secret.len().min(16)];
        self.0.push(bytes.iter().map(|byte| format!("{byte:02x}")).collect());
        self.0.push(bytes.iter().map(u8::to_string).collect::<Vec<_>>().join(", "));
    }

    fn keep_qr(&mut self, qr: &str) {
        self.keep(qr);
        qr.split(',').filter(|part| part.len() > 16).for_each(|part| self.keep(part));
    }

    fn keep_code(&mut self, code: &str) {
        self.keep(code);
        self.keep(&code.replace('-', ""));
    }

    fn are_in_none_of(&self, log: &[String]) {
        for line in log {
            // A name that holds a part of it by chance would be the test's own fault: all are long.
            let found = self.0.iter().find(|secret| line.contains(secret.as_str()));
            assert!(found.is_none(), "{found:?} in {line}");
        }
    }
}

/// One session by QR and one by code, over every way to bring a credential.
async fn a_whole_life_in_secret(whatsapp: &Simulator, builder: Builder) {
    let mut secrets = Secrets::default();
    [KEY, TOKEN, ONCE].iter().for_each(|secret| secrets.keep(secret));
    let mut server = builder.variable("API_KEYS", &format!("test:{KEY}")).start().await;
    is_ready(&server).await;

    let made = init(&server, "ada").await;
    let token = made["streamToken"].as_str().unwrap_or(TOKEN).to_owned();
    secrets.keep(&token);
    let id = made["sessionId"].as_str().unwrap();
    let qr = qr_over_sse(&server, id, &token).await;
    secrets.keep_qr(&qr);
    secrets.keep_qr(&qr_over_websocket(&server, id, &token).await);
    refused(&server, id).await;
    soon("a scan", whatsapp.scan(Scan { qr, ..Scan::default() })).await.unwrap();
    reaches(&server, id, "connected").await;
    for call in [Method::POST, Method::DELETE] {
        let path = match call {
            Method::POST => format!("/api/sessions/{id}/restart"),
            _ => format!("/api/sessions/{id}"),
        };
        assert!(send(with_key(&server, call, &path)).await.status().is_success(), "{path}");
    }

    let made = init(&server, "bob").await;
    made["streamToken"].as_str().into_iter().for_each(|token| secrets.keep(token));
    let id = made["sessionId"].as_str().unwrap();
    reaches(&server, id, "scan_qr").await;
    let asked = with_key(&server, Method::POST, &format!("/api/sessions/{id}/pairing-code"));
    let answer: Value =
        send(asked.json(&json!({ "phoneNumber": "905551234567" }))).await.json().await.unwrap();
    let code = answer["code"].as_str().unwrap().to_owned();
    secrets.keep_code(&code);
    let enter = EnterCode { phone: "905551234567".into(), code, push_name: None };
    soon("the link", whatsapp.enter_code(enter)).await.unwrap();
    reaches(&server, id, "connected").await;

    assert_eq!(server.terminate().await, Some(0), "{:#?}", server.log());
    let log = server.log();
    let said = |words: &str| log.iter().any(|line| line.contains(words));
    assert!(said("request answered") && said("whatsapp_rust"), "this log says enough to be searched");
    secrets.are_in_none_of(&log);
}

fn with_key(server: &Server, method: Method, path: &str) -> RequestBuilder {
    server.request(method, path).bearer_auth(KEY)
}

async fn send(request: RequestBuilder) -> Response {
    soon("an answer", request.send()).await.unwrap()
}

async fn init(server: &Server, user: &str) -> Value {
    let request = with_key(server, Method::POST, "/api/init-session")
        .header("Idempotency-Key", format!("{ONCE}{user}"));
    let answer = send(request.json(&json!({ "userId": user }))).await;
    assert_eq!(answer.status(), StatusCode::OK);
    answer.json().await.unwrap()
}

async fn reaches(server: &Server, id: &str, status: &str) {
    eventually(status, async || {
        let path = format!("/api/session-status/{id}");
        let answer = send(server.request(Method::GET, &path).header("X-Api-Key", KEY)).await;
        answer.json::<Value>().await.unwrap()["status"] == status
    })
    .await;
}

async fn qr_over_sse(server: &Server, id: &str, token: &str) -> String {
    let stream = send(server.request(Method::GET, &format!("/api/sessions/{id}/events?token={token}"))).await;
    assert_eq!(stream.status(), StatusCode::OK);
    let (mut chunks, mut text) = (stream.bytes_stream(), String::new());
    loop {
        let data = text.split_once("event: qr\ndata: ").and_then(|(_, rest)| rest.split_once("\n\n"));
        if let Some((data, _)) = data {
            return serde_json::from_str::<Value>(data).unwrap()["qrString"].as_str().unwrap().to_owned();
        }
        let chunk = soon("a QR", chunks.next()).await.unwrap().unwrap();
        text.push_str(std::str::from_utf8(&chunk).unwrap());
    }
}

async fn qr_over_websocket(server: &Server, id: &str, token: &str) -> String {
    let url = format!("{}/api/sessions/{id}/ws", server.base.replacen("http", "ws", 1));
    let mut request = url.into_client_request().unwrap();
    let offered = HeaderValue::from_str(&format!("qrcast.v1, bearer.{token}")).unwrap();
    request.headers_mut().insert("Sec-WebSocket-Protocol", offered);
    let (mut socket, _) = soon("an upgrade", tokio_tungstenite::connect_async(request)).await.unwrap();
    loop {
        let frame = soon("a QR", socket.next()).await.unwrap().unwrap();
        let frame: Value = serde_json::from_str(frame.to_text().unwrap()).unwrap();
        if let Some(qr) = frame["data"]["qrString"].as_str() {
            return qr.to_owned();
        }
    }
}

/// Wrong credentials are as secret: they may be right elsewhere. Whether they are refused is no matter of this test.
async fn refused(server: &Server, id: &str) {
    let path = format!("/api/session-status/{id}?token={TOKEN}");
    send(server.request(Method::GET, &path)).await;
    send(server.request(Method::GET, &path).bearer_auth(TOKEN)).await;
    send(server.request(Method::GET, &path).header("X-Api-Key", TOKEN)).await;
    send(server.request(Method::GET, &format!("/no/route?token={TOKEN}"))).await;
}

#[tokio::test]
async fn a_request_has_an_id_in_its_answer_and_in_its_lines() {
    let (_whatsapp, server) = world().await;
    let given = |id: &str| server.request(Method::POST, "/api/init-session").header("X-Request-Id", id);
    let answer =
        send(given("abc/123").header("User-Agent", "tests/1").json(&json!({ "userId": "ada" }))).await;
    assert_eq!(answer.headers()["x-request-id"], "abc/123");
    let created = lines(&server, "session created").pop().unwrap();
    assert_eq!(created["spans"][0]["requestId"], "abc/123");
    assert_eq!((&created["userId"], &created["userAgent"]), (&json!("ada"), &json!("tests/1")));
    assert_eq!((&created["by"], &created["key"]), (&json!("anyone"), &json!("")));
    assert!(created["sessionId"].as_str().unwrap().starts_with("session_ada_"));
    let answered = lines(&server, "request answered");
    let line = answered.iter().find(|line| line["spans"][0]["requestId"] == "abc/123").unwrap();
    assert_eq!(line["spans"][0]["method"], "POST");
    assert_eq!(line["spans"][0]["route"], "/api/init-session");
    assert_eq!(line["status"], 200);
    assert!(line["ms"].is_u64() && line["level"] == "DEBUG", "{line}");

    // A refusal has one as well, and an id that is none is replaced.
    for odd in ["two words", &"x".repeat(129)] {
        let answer = send(given(odd)).await;
        assert_eq!(answer.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
        let made = answer.headers()["x-request-id"].to_str().unwrap().to_owned();
        assert!(made.parse::<uuid::Uuid>().is_ok(), "{made}");
    }
    let lost = server.get("/no/route?x=y").await.headers()["x-request-id"].to_str().unwrap().to_owned();
    let answered = lines(&server, "request answered");
    let line = answered.iter().find(|line| line["spans"][0]["requestId"] == *lost).unwrap();
    assert_eq!((&line["spans"][0]["path"], &line["status"]), (&json!("/no/route"), &json!(404)));
}

#[tokio::test]
async fn every_change_has_a_line_with_who_made_it() {
    let whatsapp = whatsapp().await;
    let server = Server::builder(&whatsapp.url())
        .variable("API_KEYS", "shop:all-of-it,ada:only-ada:ada")
        .variable("WEBHOOK_ALLOW_PRIVATE", "true")
        .variable("RUST_LOG", "warn,qrcast::server=info,qrcast::audit=info")
        .variable("MAX_STRAMS", "5")
        .start()
        .await
        .with_key("only-ada");
    let created = json!({ "userId": "ada", "webhookUrl": "http://127.0.0.1:1/hook?secret=4711" });
    let created: Value = server.post("/api/init-session", &created).await.json().await.unwrap();
    let session = server.session(created["sessionId"].as_str().unwrap());
    let path = |call: &str| format!("/api/sessions/{}/{call}", session.id);
    assert_eq!(server.post(&path("stream-token"), &json!({})).await.status(), 200);
    assert_eq!(session.restart().await.status(), StatusCode::ACCEPTED);
    session.sse().await.awaits("qr").await;
    let again = json!({ "sessionId": session.id, "after": session.status().await["lastEventId"] });
    assert_eq!(server.post("/api/webhooks/resend", &again).await.status(), StatusCode::ACCEPTED);
    // What was refused or changed nothing is no change.
    assert_eq!(server.post("/api/init-session", &json!({ "userId": "bob" })).await.status(), 403);
    let server = server.with_key("all-of-it");
    let session = server.session(created["sessionId"].as_str().unwrap());
    assert_eq!(session.delete().await, StatusCode::NO_CONTENT);
    assert_eq!(session.delete().await, StatusCode::NO_CONTENT);

    let audit: Vec<_> =
        parsed(&server).into_iter().filter(|line| line["target"] == "qrcast::audit").collect();
    let said = |line: &Value| [&line["message"], &line["key"]].map(|text| text.as_str().unwrap().to_owned());
    assert_eq!(
        audit.iter().map(said).collect::<Vec<_>>(),
        [
            ["session created", "ada"],
            ["webhook set", "ada"],
            ["token issued", "ada"],
            ["session restarted", "ada"],
            ["webhooks are sent again", "ada"],
            ["session deleted", "shop"],
        ]
    );
    for line in &audit {
        assert_eq!(fields(line), ["by", "clientIp", "key", "sessionId", "userId"]);
        assert_eq!((&line["sessionId"], &line["userId"]), (&json!(session.id), &json!("ada")));
        assert_eq!((&line["by"], &line["clientIp"]), (&json!("key"), &json!("127.0.0.1")));
        assert!(!line.to_string().contains("4711"), "{line}");
    }
    // Named once, at the start.
    let misspelt = lines(&server, "a variable is set and not read; another one may be meant");
    assert_eq!(misspelt.len(), 1);
    assert_eq!(
        (&misspelt[0]["variable"], &misspelt[0]["meant"]),
        (&json!("MAX_STRAMS"), &json!("MAX_STREAMS"))
    );
}

#[tokio::test]
async fn a_session_is_named_in_every_line_of_its_task_and_its_client() {
    let whatsapp = whatsapp().await;
    let server = Server::builder(&whatsapp.url()).variable("RUST_LOG", "debug").start().await;
    let session = server.init("ada").await;
    session.link(&whatsapp).await;
    assert_eq!(session.delete().await, StatusCode::NO_CONTENT);
    let log = parsed(&server);
    let of = |target: &str| -> Vec<&Value> {
        log.iter().filter(|line| line["target"].as_str().unwrap().starts_with(target)).collect()
    };
    for line in [of("qrcast::link::runner"), of("qrcast::link::journal"), of("whatsapp_rust::")].concat() {
        assert_eq!(line["spans"][0]["sessionId"], *session.id, "{line}");
    }
    assert!(!of("whatsapp_rust::").is_empty());
    eventually("the stream's end in the log", async || !lines(&server, "stream closed").is_empty()).await;
    let closed = lines(&server, "stream closed").pop().unwrap();
    assert_eq!(closed["sessionId"], *session.id);
    assert!(closed["reason"].is_string());
}

#[tokio::test]
async fn a_qr_that_nobody_scanned_is_told() {
    let (whatsapp, server) = world_at(40.0).await;
    let session = server.init("ada").await;
    let seen = session.sse().await.until("disconnected").await;
    assert_eq!(seen.last().unwrap().data["reason"], "qr_exhausted");
    let expired = lines(&server, "qr expired");
    let qrs: Vec<_> = seen.iter().filter(|seen| seen.event == "qr").collect();
    assert_eq!(expired.len(), qrs.len());
    for (line, qr) in expired.iter().zip(qrs) {
        assert_eq!(fields(line), ["expiredAt", "generatedAt", "sessionId"]);
        assert_eq!(line["sessionId"], *session.id);
        assert_eq!((&line["generatedAt"], &line["expiredAt"]), (&qr.data["at"], &qr.data["expiresAt"]));
    }
    // One that was scanned is none.
    let other = server.init("bob").await;
    other.link(&whatsapp).await;
    assert!(lines(&server, "qr expired").iter().all(|line| line["sessionId"] != *other.id));
}

#[tokio::test]
async fn failed_tries_in_a_row_are_counted() {
    let (whatsapp, server) = world_at(40.0).await;
    let session = server.init("ada").await;
    session.link(&whatsapp).await;
    let failed = || lines(&server, "client connection failed");
    whatsapp.pause();
    whatsapp.drop_connections(None).unwrap();
    eventually("three failures", async || failed().len() >= 3).await;
    for (line, count) in failed().iter().zip(1..) {
        assert_eq!(fields(line), ["error", "retryCount", "sessionId"]);
        assert_eq!((&line["sessionId"], &line["retryCount"]), (&json!(session.id), &json!(count)));
    }
    whatsapp.resume();
    session.reaches("connected").await;
    let before = failed().len();
    whatsapp.pause();
    whatsapp.drop_connections(None).unwrap();
    eventually("another failure", async || failed().len() > before).await;
    assert_eq!(failed()[before]["retryCount"], 1, "an answer ends the row");
}

#[tokio::test]
async fn a_name_makes_no_line_and_turns_none_around() {
    let whatsapp = whatsapp().await;
    let forged = "2026-01-01T00:00:00.000000Z  INFO qrcast::http: forged";
    let name = format!("Eve\n{forged}\r\u{85}\u{9b}31m\u{2028}\u{202e}gpj\x1b[8m\u{200b}");
    for format in ["pretty", "json"] {
        let builder = Server::builder(&whatsapp.url()).variable("LOG_FORMAT", format);
        let mut server = builder.variable("RUST_LOG", "debug").start().await;
        let session = server.init("ada").await;
        let qr = session.sse().await.awaits("qr").await.data["qrString"].as_str().unwrap().to_owned();
        let scan = Scan { qr, push_name: Some(name.clone()), ..Scan::default() };
        soon("a scan", whatsapp.scan(scan)).await.unwrap();
        session.reaches("connected").await;
        let agent = server.request(Method::GET, "/api/session-status/x").header("User-Agent", "a\tb");
        send(agent).await;
        assert_eq!(server.terminate().await, Some(0));
        let log = server.log();
        assert!(log.iter().any(|line| line.contains("forged")), "{format}: the name is in no line");
        for line in log {
            let is_one = if format == "pretty" { line.starts_with("20") } else { line.starts_with('{') };
            assert!(is_one && !line.starts_with(forged), "{line:?}");
            let odd = ['\u{85}', '\u{9b}', '\u{2028}', '\u{202e}', '\u{200b}', '\x1b', '\r', '\t'];
            assert!(!line.contains(odd), "{line:?}");
        }
    }
}
