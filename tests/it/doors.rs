//! Who may do what: every route of the table, with every kind of key and token, over HTTP and over WebSocket.

use qrcast::http::{Access, table};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use simulator::Simulator;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::support::{Server, soon, whatsapp};

mod limits;
mod origins;
mod tokens;

const SECRET: &str = "a token secret of more than 32 bytes";
const UNKNOWN: &str = "session_ada_7d1f0c36-3f0e-4c5b-9b1e-0a4b4f1f9a11";

/// With a key for everything, two for some, and one that replaces the first.
async fn locked() -> (Simulator, Server) {
    let whatsapp = whatsapp().await;
    let server = Server::builder(&whatsapp.url())
        .variable("API_KEYS", "main:all-of-it,next:all-of-it-too,ada:only-ada:ada,bob:only-bob:bob")
        .variable("TOKEN_SECRET", SECRET)
        .variable("MAX_SESSIONS_PER_USER", "100")
        .start()
        .await;
    (whatsapp, server)
}

/// What somebody presents.
#[derive(Clone, Debug)]
enum Credential {
    None,
    Bearer(String),
    Header(String),
}

/// A session of Ada's, and everything that could be presented for it.
struct Case {
    id: String,
    of_this: String,
    of_another: String,
    expired: String,
    to_read: String,
}

async fn call(server: &Server, method: Method, path: &str, credential: &Credential) -> (u16, String) {
    let mut request = server.request(method.clone(), path);
    if path.ends_with("/init-session") {
        request = request.json(&json!({ "userId": "ada" }));
    } else if path.ends_with("/pairing-code") {
        request = request.json(&json!({ "phoneNumber": "nonsense" }));
    } else if path.ends_with("/passkey") || path.ends_with("/resend") {
        request = request.json(&json!({}));
    }
    request = match credential {
        Credential::None => request,
        Credential::Bearer(secret) => request.bearer_auth(secret),
        Credential::Header(secret) => request.header("X-Api-Key", secret),
    };
    let response = soon(path, request.send()).await.unwrap();
    let status = response.status();
    if status == StatusCode::UNAUTHORIZED {
        assert_eq!(response.headers()["www-authenticate"], "Bearer");
    }
    let is_json = response.headers().get("content-type").is_some_and(|kind| kind == "application/json");
    let code = if is_json && !status.is_success() {
        response.json::<Value>().await.unwrap()["code"].as_str().unwrap().to_owned()
    } else {
        // A stream would never end: its first piece says enough.
        let mut response = response;
        let first = soon(path, response.chunk()).await.unwrap().unwrap_or_default();
        word_of(std::str::from_utf8(&first).unwrap_or_default())
    };
    (status.as_u16(), code)
}

/// The `code` of a `drain`, if it is one.
fn word_of(text: &str) -> String {
    let drain = text.split_once("event: drain").map(|(_, rest)| rest);
    let data = drain.and_then(|rest| rest.split_once("data: ")).map(|(_, data)| data.trim());
    let data = data.and_then(|data| serde_json::from_str::<Value>(data).ok());
    data.map(|data| data["code"].as_str().unwrap().to_owned()).unwrap_or_default()
}

async fn new_session(server: &Server, user: &str) -> (String, String) {
    let request = server.request(Method::POST, "/api/init-session").bearer_auth("all-of-it");
    let response = request.json(&json!({ "userId": user })).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let answer: Value = response.json().await.unwrap();
    let text = |field: &str| answer[field].as_str().unwrap().to_owned();
    assert_eq!(text("linkUrl"), format!("/?session={}#token={}", text("sessionId"), text("streamToken")));
    (text("sessionId"), text("streamToken"))
}

async fn token(server: &Server, id: &str, key: &str, body: &Value) -> (u16, Value) {
    let request = server.request(Method::POST, &format!("/api/sessions/{id}/stream-token"));
    let response = request.bearer_auth(key).json(body).send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

impl Case {
    async fn new(server: &Server) -> Self {
        let (id, of_this) = new_session(server, "ada").await;
        let (_, of_another) = new_session(server, "ada").await;
        let (status, read) = token(server, &id, &of_this, &json!({ "scope": "read" })).await;
        assert_eq!((status, &read["scope"]), (200, &json!("read")), "{read}");
        let (_, short) = token(server, &id, "all-of-it", &json!({ "ttlSeconds": 1 })).await;
        let expired = short["streamToken"].as_str().unwrap().to_owned();
        let path = format!("/api/session-status/{id}");
        soon("the token to expire", async {
            while call(server, Method::GET, &path, &Credential::Bearer(expired.clone())).await.0 == 200 {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        })
        .await;
        let to_read = read["streamToken"].as_str().unwrap().to_owned();
        Self { id, of_this, of_another, expired, to_read }
    }

    /// What is presented, and who is turned away with what; `None`: the caller is let in.
    fn rows(&self) -> Vec<Row> {
        use Access::{Follow, Link, Operator, Read};
        let bearer = |text: &str| Credential::Bearer(text.to_owned());
        let unauthorized: Verdict = |_, _| Some((401, "UNAUTHORIZED"));
        let forbidden: Verdict = |_, _| Some((403, "FORBIDDEN"));
        let let_in: Verdict = |_, _| None;
        // An EventSource gives up for good on a 401.
        let expired: Verdict = |_, path| Some((if is_stream(path) { 200 } else { 401 }, "TOKEN_EXPIRED"));
        vec![
            ("no key", Credential::None, unauthorized),
            ("a wrong key", bearer("all-of-i"), unauthorized),
            ("a wrong key in its header", Credential::Header("all-of-it-".into()), unauthorized),
            ("an empty key", bearer(""), unauthorized),
            ("no token of ours", bearer(&format!("{}x", self.of_this)), unauthorized),
            ("the key", bearer("all-of-it"), let_in),
            ("the key in its header", Credential::Header("all-of-it".into()), let_in),
            ("the next key", bearer("all-of-it-too"), let_in),
            ("the tenant's key", bearer("only-ada"), |access, _| {
                (access == Operator).then_some((403, "FORBIDDEN"))
            }),
            // The list and the feed have then nothing of Ada's: see below, and feed.rs.
            ("another tenant's key", bearer("only-bob"), |_, path| {
                let of_all =
                    ["/api/sessions", "/api/events", "/api/ws", "/api/webhooks", "/api/webhooks/resend"]
                        .contains(&path);
                (!of_all).then_some((403, "FORBIDDEN"))
            }),
            ("a token of this session", bearer(&self.of_this), |access, _| {
                (!matches!(access, Follow | Read | Link)).then_some((403, "FORBIDDEN"))
            }),
            ("a token to read", bearer(&self.to_read), |access, _| {
                (!matches!(access, Follow | Read)).then_some((403, "FORBIDDEN"))
            }),
            ("a token of another session", bearer(&self.of_another), forbidden),
            ("an expired token", bearer(&self.expired), expired),
        ]
    }
}

fn is_stream(path: &str) -> bool {
    path.ends_with("/events") || path.ends_with("/ws")
}

type Verdict = fn(Access, &str) -> Option<(u16, &'static str)>;
type Row = (&'static str, Credential, Verdict);

/// What a route answers to whoever is let in.
fn answer(method: &Method, path: &str) -> u16 {
    match (method.as_str(), path) {
        ("POST", "/api/init-session" | "/api/sessions/{id}/stream-token")
        | (
            "GET",
            "/api/sessions"
            | "/api/webhooks"
            | "/api/qr-code/{id}"
            | "/api/session-status/{id}"
            | "/api/sessions/{id}/log"
            | "/api/sessions/{id}/events"
            | "/api/events"
            | "/health"
            | "/livez"
            | "/readyz"
            | "/metrics",
        ) => 200,
        ("POST", "/api/sessions/{id}/restart") => 202,
        ("DELETE", "/api/sessions/{id}") => 204,
        // The number is nonsense, and there is no upgrade: but the door was open.
        (
            "POST",
            "/api/sessions/{id}/pairing-code" | "/api/sessions/{id}/passkey" | "/api/webhooks/resend",
        )
        // It does not say whose.
        | ("DELETE", "/api/sessions") => 400,
        ("POST", "/api/sessions/{id}/passkey/confirm") => 409,
        ("GET", "/api/sessions/{id}/ws" | "/api/ws") => 426,
        ("GET", "/" | "/live.js" | "/key.js" | "/style.css" | "/reference.css" | "/docs.css" | "/icon.svg" | "/qrcast.js") => 200,
        ("GET", "/admin" | "/admin.css") => 200,
        ("GET", "/openapi.json" | "/asyncapi.json" | "/docs" | "/docs/api" | "/docs/search") => 200,
        // There is no document that is called so.
        ("GET", "/docs/{name}") => 404,
        ("GET", file)
            if ["/qrcast/", "/admin/", "/words/"].iter().any(|folder| file.starts_with(folder))
                && file.ends_with(".js") =>
        {
            200
        }
        other => panic!("a route without a row: {other:?}"),
    }
}

#[tokio::test]
async fn every_route_lets_in_whom_it_should() {
    let (_whatsapp, server) = locked().await;
    let case = Case::new(&server).await;
    for (method, path, access) in table() {
        for (who, credential, verdict) in case.rows() {
            let refusal = if access == Access::Everyone { None } else { verdict(access, path) };
            // What a viewer is told after the upgrade needs one.
            let refusal = refusal.filter(|(status, _)| *status != 200 || !path.ends_with("/ws"));
            // Whoever may delete it deletes another one.
            let id = if method == Method::DELETE && refusal.is_none() { UNKNOWN } else { &case.id };
            if path.starts_with("/api/qr-code") && refusal.is_none() {
                has_qr(&server, id).await;
            }
            let (status, code) = call(&server, method.clone(), &path.replace("{id}", id), &credential).await;
            let expected = refusal.map_or_else(|| answer(&method, path), |(status, _)| status);
            assert_eq!(status, expected, "{who}: {method} {path}: {code}");
            if let Some((_, word)) = refusal {
                assert_eq!(code, word, "{who}: {method} {path}");
            }
        }
    }
}

async fn has_qr(server: &Server, id: &str) {
    let path = format!("/api/qr-code/{id}");
    soon("a QR", async {
        while call(server, Method::GET, &path, &Credential::Bearer("all-of-it".into())).await.0 != 200 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await;
}

/// The same door over WebSocket: an upgrade with its first frame, or the status of a refusal.
async fn upgrade(server: &Server, path: &str, header: Option<(&'static str, String)>) -> Result<Value, u16> {
    let mut request =
        format!("{}{path}", server.base.replacen("http", "ws", 1)).into_client_request().unwrap();
    if let Some((name, value)) = header {
        request.headers_mut().insert(name, value.parse().unwrap());
    }
    let (mut socket, response) = match soon(path, tokio_tungstenite::connect_async(request)).await {
        Ok(open) => open,
        Err(Error::Http(response)) => return Err(response.status().as_u16()),
        Err(error) => panic!("{error}"),
    };
    let echoed = response.headers().get("sec-websocket-protocol");
    assert!(echoed.is_none_or(|protocol| protocol == "qrcast.v1"), "{echoed:?}");
    let first = soon("a frame", futures::StreamExt::next(&mut socket)).await.unwrap().unwrap();
    let first: Value = serde_json::from_str(first.to_text().unwrap()).unwrap();
    if first["event"] == "drain" {
        let close = soon("a close", futures::StreamExt::next(&mut socket)).await.unwrap().unwrap();
        let Message::Close(Some(frame)) = close else { panic!("{close:?}") };
        return Ok(json!([first["data"]["code"], u16::from(frame.code)]));
    }
    Ok(first["event"].clone())
}

#[tokio::test]
async fn a_websocket_has_the_same_door() {
    let (_whatsapp, server) = locked().await;
    let case = Case::new(&server).await;
    let path = format!("/api/sessions/{}/ws", case.id);
    for (who, credential, verdict) in case.rows() {
        let (secret, header) = match &credential {
            Credential::None => ("", None),
            Credential::Bearer(secret) => {
                (secret.as_str(), Some(("authorization", format!("Bearer {secret}"))))
            }
            Credential::Header(secret) => (secret.as_str(), Some(("x-api-key", secret.clone()))),
        };
        let expected = match verdict(Access::Follow, "/ws") {
            None => Ok(json!("status")),
            Some((200, _)) => Ok(json!(["TOKEN_EXPIRED", 4401])),
            Some((status, _)) => Err(status),
        };
        assert_eq!(upgrade(&server, &path, header).await, expected, "{who}");
        if !secret.is_empty() && !matches!(credential, Credential::Header(_)) {
            // A key comes in a header only.
            let expected = if secret.contains('.') { expected } else { Err(401) };
            let offered = format!("qrcast.v1, bearer.{secret}");
            let by_protocol = upgrade(&server, &path, Some(("sec-websocket-protocol", offered))).await;
            assert_eq!(by_protocol, expected, "{who}, as subprotocol");
            let by_query = upgrade(&server, &format!("{path}?token={secret}"), None).await;
            assert_eq!(by_query, expected, "{who}, in the query");
        }
    }
    // Without the protocol itself there is nothing to agree on.
    let offered = format!("bearer.{}", case.of_this);
    assert_eq!(upgrade(&server, &path, Some(("sec-websocket-protocol", offered))).await, Err(400));
}

#[tokio::test]
async fn a_deleted_session_is_there_to_be_read_and_for_nothing_else() {
    let (_whatsapp, server) = locked().await;
    let case = Case::new(&server).await;
    let (key, token) = (Credential::Bearer("only-ada".into()), Credential::Bearer(case.of_this.clone()));
    let delete = format!("/api/sessions/{}", case.id);
    assert_eq!(call(&server, Method::DELETE, &delete, &key).await.0, 204);
    for (method, path, access) in table() {
        if !path.contains("{id}") {
            continue;
        }
        let (with_key, with_token) = match access {
            Access::Follow => ((200, ""), (200, "")),
            _ if method == Method::DELETE => ((204, ""), (401, "UNAUTHORIZED")),
            _ => ((410, "SESSION_ENDED"), (401, "UNAUTHORIZED")),
        };
        // Without an upgrade it is none.
        let is_ws = path.ends_with("/ws");
        for (credential, (status, code)) in [(&key, with_key), (&token, with_token)] {
            let expected = if is_ws { (426, "UPGRADE_REQUIRED") } else { (status, code) };
            let path = path.replace("{id}", &case.id);
            let (status, code) = call(&server, method.clone(), &path, credential).await;
            assert_eq!((status, code.as_str()), expected, "{method} {path} {credential:?}");
        }
    }
    let socket = format!("/api/sessions/{}/ws?token={}", case.id, case.of_this);
    assert_eq!(upgrade(&server, &socket, None).await, Ok(json!("status")));
}

#[tokio::test]
async fn a_tenant_sees_and_makes_sessions_of_its_own_users_only() {
    let (_whatsapp, server) = locked().await;
    let (ada, _) = new_session(&server, "ada").await;
    let (bob, _) = new_session(&server, "bob.2").await;
    for (key, seen) in [("all-of-it", vec![&ada, &bob]), ("only-ada", vec![&ada]), ("only-bob", vec![&bob])] {
        let response = server.request(Method::GET, "/api/sessions").bearer_auth(key).send().await.unwrap();
        let answer: Value = response.json().await.unwrap();
        let listed: Vec<_> =
            answer["sessions"].as_array().unwrap().iter().map(|s| s["sessionId"].as_str().unwrap()).collect();
        assert_eq!(listed, seen, "{key}");
    }
    // The same Idempotency-Key of two tenants is two requests.
    for (key, user) in [("only-ada", "ada"), ("only-bob", "bob")] {
        let request = server.request(Method::POST, "/api/init-session").bearer_auth(key);
        let request = request.header("Idempotency-Key", "1").json(&json!({ "userId": user }));
        assert_eq!(request.send().await.unwrap().status(), StatusCode::OK);
    }
    let (status, error) = {
        let request = server.request(Method::POST, "/api/init-session").bearer_auth("only-ada");
        let response = request.json(&json!({ "userId": "bob" })).send().await.unwrap();
        (response.status().as_u16(), response.json::<Value>().await.unwrap())
    };
    assert_eq!((status, &error["code"]), (403, &json!("FORBIDDEN")), "{error}");
}
