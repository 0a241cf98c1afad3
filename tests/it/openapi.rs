//! The API's descriptions: they have every route and every frame, and what the server really says is what they say.

mod generated;

use std::collections::BTreeSet;
use std::time::Duration;

use qrcast::event::Kind;
use qrcast::http::{Access, table};
use reqwest::{Method, Response};
use serde_json::{Value, json};

use crate::support::{Seen, Server, Session, Viewer, is_installed, whatsapp, world};

async fn document(server: &Server) -> Value {
    server.get("/openapi.json").await.json().await.unwrap()
}

fn operation<'a>(document: &'a Value, method: &str, path: &str) -> &'a Value {
    let operation = &document["paths"][path][method.to_lowercase()];
    assert!(operation.is_object(), "{method} {path} is not described");
    operation
}

/// Whether a value is what a schema of the document says.
fn check(document: &Value, schema: &Value, value: &Value, what: &str) {
    let whole = json!({ "components": document["components"], "allOf": [schema] });
    let validator = jsonschema::draft202012::new(&whole).unwrap();
    let wrong: Vec<_> = validator.iter_errors(value).map(|error| error.to_string()).collect();
    assert!(wrong.is_empty(), "{what}: {wrong:?} in {value}");
}

/// What a real answer is compared with; its body, where it has one.
async fn is_described(document: &Value, method: &str, path: &str, response: Response) -> Value {
    let (status, what) = (response.status().as_u16(), format!("{method} {path} {}", response.status()));
    let described = &operation(document, method, path)["responses"][status.to_string()];
    assert!(described.is_object(), "{what} is not described");
    let kind = response.headers().get("content-type").map(|kind| kind.to_str().unwrap().to_owned());
    let Some(kind) = kind else {
        assert!(described["content"].is_null(), "{what} has no body");
        return Value::Null;
    };
    let kind = kind.split(';').next().unwrap().to_owned();
    let media = &described["content"][&kind];
    assert!(media.is_object(), "{what}: {kind} is not described");
    if kind != "application/json" {
        return Value::Null;
    }
    let body: Value = response.json().await.unwrap();
    check(document, &media["schema"], &body, &what);
    if let Some(example) = media.get("example") {
        let names = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
        assert_eq!(names(example), names(&body), "{what}: the example has other fields");
    }
    for (code, example) in media["examples"].as_object().into_iter().flatten() {
        check(document, &media["schema"], &example["value"], &format!("{what}, the example {code}"));
    }
    body
}

#[tokio::test]
async fn the_document_has_every_route_and_no_other() {
    let (_whatsapp, server) = world().await;
    let document = document(&server).await;
    let described: BTreeSet<_> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, methods)| {
            methods.as_object().unwrap().keys().map(move |method| (method.clone(), path.clone()))
        })
        .collect();
    let routes: BTreeSet<_> = table()
        .into_iter()
        .map(|(method, path, _)| (method.as_str().to_lowercase(), path.to_owned()))
        .collect();
    assert_eq!(described, routes);
    let mut ids = BTreeSet::new();
    for (method, path, access) in table() {
        let operation = operation(&document, method.as_str(), path);
        let open = operation["security"].as_array().unwrap().is_empty();
        assert_eq!(open, access == Access::Everyone, "{method} {path}");
        if let Some(id) = operation["operationId"].as_str() {
            assert!(ids.insert(id), "{id} stands there twice");
        }
        if let Some(media) = operation["requestBody"]["content"].get("application/json") {
            check(&document, &media["schema"], &media["example"], &format!("the body of {method} {path}"));
        }
        for (status, response) in operation["responses"].as_object().unwrap() {
            for (kind, media) in response["content"].as_object().into_iter().flatten() {
                let example = media.get("example").filter(|_| kind == "application/json");
                if let Some(example) = example {
                    check(&document, &media["schema"], example, &format!("{method} {path} {status}"));
                }
            }
        }
    }
}

/// Asks, and compares the answer with the document.
async fn ask(
    document: &Value,
    session: &Session<'_>,
    method: Method,
    path: &str,
    body: Option<Value>,
) -> u16 {
    let url = path.replace("{id}", &session.id);
    let mut request = session.server.request(method.clone(), &url);
    if let Some(body) = body {
        request = request.json(&body);
    }
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    is_described(document, method.as_str(), path, response).await;
    status
}

#[tokio::test]
async fn real_answers_are_as_the_document_says() {
    let whatsapp = whatsapp().await;
    let server = Server::builder(&whatsapp.url()).start().await;
    let document = document(&server).await;
    let session = server.init("ada").await;
    let init = server.post("/api/init-session", &json!({ "userId": "bob", "metadata": { "a": 1 } })).await;
    is_described(&document, "POST", "/api/init-session", init).await;
    session.sse().await.awaits("qr").await;
    let (get, post) = (Method::GET, Method::POST);
    let number = || Some(json!({ "phoneNumber": "+90 555 111 22 33" }));
    for (method, path, body, expected) in [
        (&get, "/api/qr-code/{id}", None, 200),
        (&get, "/api/session-status/{id}", None, 200),
        (&get, "/api/sessions/{id}/log", None, 200),
        (&get, "/api/sessions", None, 200),
        (&get, "/api/webhooks", None, 200),
        (&post, "/api/webhooks/resend", Some(json!({ "sessionId": "no" })), 400),
        (&post, "/api/sessions/{id}/stream-token", Some(json!({ "scope": "read" })), 200),
        (&post, "/api/sessions/{id}/stream-token", Some(json!({ "scope": "all" })), 400),
        (&post, "/api/sessions/{id}/pairing-code", number(), 200),
        (&post, "/api/sessions/{id}/pairing-code", Some(json!({ "phoneNumber": "no" })), 400),
        (&post, "/api/sessions/{id}/passkey/confirm", None, 409),
        (&post, "/api/sessions/{id}/passkey", Some(json!({})), 400),
        (&post, "/api/init-session", Some(json!({ "userId": "a b" })), 400),
        (&get, "/health", None, 200),
        (&get, "/livez", None, 200),
        (&get, "/readyz", None, 200),
        (&get, "/metrics", None, 200),
        (&get, "/docs", None, 200),
        (&get, "/docs/api", None, 200),
        (&get, "/docs/search", None, 200),
        (&get, "/docs/{name}", None, 404),
    ] {
        assert_eq!(ask(&document, &session, method.clone(), path, body).await, expected, "{path}");
    }
    session.link(&whatsapp).await;
    for (method, path, body, expected) in [
        (&get, "/api/qr-code/{id}", None, 409),
        (&post, "/api/sessions/{id}/pairing-code", number(), 409),
        (&get, "/api/session-status/{id}", None, 200),
        (&post, "/api/sessions/{id}/restart", None, 202),
        (&Method::DELETE, "/api/sessions/{id}", None, 204),
        (&Method::DELETE, "/api/sessions", None, 400),
        (&get, "/api/qr-code/{id}", None, 410),
        (&post, "/api/sessions/{id}/restart", None, 410),
    ] {
        assert_eq!(ask(&document, &session, method.clone(), path, body).await, expected, "{path}");
    }
    let nobody = server.session("session_ada_7d1f0c36-3f0e-4c5b-9b1e-0a4b4f1f9a11");
    for path in ["/api/qr-code/{id}", "/api/session-status/{id}"] {
        assert_eq!(ask(&document, &nobody, Method::GET, path, None).await, 404);
    }
}

/// What a stranger's requests are answered: of each operation the examples, the edges of what it takes, and thirty that were made
/// up. The streams are not asked: `real_frames_are_as_the_document_says` has them.
#[tokio::test]
async fn no_request_is_answered_otherwise_than_the_document_says() {
    if !is_installed("schemathesis") {
        return;
    }
    let whatsapp = whatsapp().await;
    let server = Server::builder(&whatsapp.url())
        .variable("MAX_SESSIONS", "100000")
        .variable("MAX_SESSIONS_PER_USER", "100000")
        .start()
        .await;
    let session = server.init("ada").await;
    session.sse().await.awaits("qr").await;
    let folder = tempfile::tempdir().unwrap();
    let settings = folder.path().join("schemathesis.toml");
    // Another one is deleted.
    let sessions = format!(
        "[parameters]\n\"path.id\" = \"{}\"\n[[operations]]\ninclude-method = \"DELETE\"\n\
         parameters = {{ \"path.id\" = \"session_bob_7d1f0c36-3f0e-4c5b-9b1e-0a4b4f1f9a11\", \"query.userId\" = \"bob\" }}\n",
        session.id
    );
    std::fs::write(&settings, sessions).unwrap();
    let checks = "status_code_conformance,content_type_conformance,response_headers_conformance,\
                  response_schema_conformance,not_a_server_error";
    let mut command = tokio::process::Command::new("schemathesis");
    command.arg("--config-file").arg(&settings).args(["run", &format!("{}/openapi.json", server.base)]);
    command.args(["--seed", "7", "--max-examples", "30", "--request-timeout", "30", "--checks", checks]);
    command.args(["--exclude-path-regex", "/(events|ws)$", "--phases", "examples,coverage,fuzzing"]);
    let run = command.arg("--continue-on-failure").current_dir(folder.path()).kill_on_drop(true).output();
    let run = tokio::time::timeout(Duration::from_secs(300), run).await.expect("five minutes").unwrap();
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success(), "{said}");
    assert!(said.contains("Tested: ") && said.contains(" passed"), "{said}");
}

/// The frames of one stream, as the description has them.
async fn are_described(document: &Value, channel: &str, frames: &[Seen]) {
    let messages = &document["channels"][channel]["messages"];
    for Seen { id, event, data } in frames {
        let message = &messages[event];
        assert!(message.is_object(), "{event} on {channel}");
        let mut frame = json!({ "event": event, "data": data });
        if let Some(id) = id {
            frame["id"] = json!(id);
        }
        let said = if channel.ends_with("WebSocket") { &frame } else { data };
        check(document, &message["payload"], said, &format!("{event} on {channel}"));
        let example = &message["examples"][0]["payload"];
        check(document, &message["payload"], example, &format!("the example of {event} on {channel}"));
        if !["qr", "passkey", "pairing_error", "disconnected", "ready"].contains(&event.as_str()) {
            let names = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
            assert_eq!(names(example), names(said), "{event} on {channel}");
        }
    }
}

#[tokio::test]
async fn real_frames_are_as_the_document_says() {
    let whatsapp = whatsapp().await;
    let server = Server::builder(&whatsapp.url()).start().await;
    let document: Value = server.get("/asyncapi.json").await.json().await.unwrap();
    let feed = server.request(Method::GET, "/api/events");
    let mut feed = Viewer::sse_by(feed, None).await.unwrap();
    let mut feed_by_websocket =
        Viewer::websocket_by(format!("{}/api/ws", server.base.replacen("http", "ws", 1))).await;
    let session = server.init("ada").await;
    let (mut own, mut by_websocket) = (session.sse().await, session.websocket().await);
    own.awaits("qr").await;
    assert_eq!(session.pairing_code("+90 555 111 22 33").await.0, 200);
    let jid = session.link(&whatsapp).await;
    whatsapp.logout(&jid).unwrap();
    let mut heard = own.until("disconnected").await;
    heard.extend(session.sse().await.until("disconnected").await);
    are_described(&document, "session", &heard).await;
    for (channel, viewer) in [
        ("sessionByWebSocket", &mut by_websocket),
        ("feed", &mut feed),
        ("feedByWebSocket", &mut feed_by_websocket),
    ] {
        let heard = viewer.until("disconnected").await;
        let kinds: BTreeSet<_> = heard.iter().map(|seen| seen.event.as_str()).collect();
        assert!(
            kinds.is_superset(&["qr", "code", "authenticated", "ready", "disconnected"].into()),
            "{kinds:?}"
        );
        are_described(&document, channel, &heard).await;
    }
    // Every kind and every control frame stands in it, also those that did not come here.
    for (channel, control) in [
        ("session", &["status", "drain"][..]),
        ("sessionByWebSocket", &["status", "drain", "heartbeat"]),
        ("feed", &["drain"]),
        ("feedByWebSocket", &["drain", "heartbeat"]),
        ("webhooks", &[]),
    ] {
        let messages = document["channels"][channel]["messages"].as_object().unwrap();
        let expected: BTreeSet<_> = Kind::NAMES.iter().chain(control).copied().collect();
        assert_eq!(messages.keys().map(String::as_str).collect::<BTreeSet<_>>(), expected);
        for (name, message) in messages {
            let example = &message["examples"][0]["payload"];
            check(&document, &message["payload"], example, &format!("the example of {name} on {channel}"));
        }
    }
}
