//! Bad input gets a clear error that names the field and what is allowed.

use reqwest::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{Server, whatsapp, world};

const UNKNOWN: &str = "session_ada_7d1f0c36-3f0e-4c5b-9b1e-0a4b4f1f9a11";

async fn server() -> Server {
    Server::builder(&whatsapp().await.url()).start().await
}

async fn refusal(response: reqwest::Response) -> (u16, String, Value) {
    let status = response.status().as_u16();
    assert_eq!(response.headers()["content-type"], "application/json");
    let body: Value = response.json().await.unwrap();
    assert!(body["error"].is_string() && body["timestamp"].is_string(), "{body}");
    (status, body["code"].as_str().unwrap().to_owned(), body)
}

#[tokio::test]
async fn a_body_that_does_not_fit_is_told_why() {
    let server = server().await;
    let long = "u".repeat(65);
    for (body, code, field) in [
        (json!({}), "INVALID_USER_ID", "userId"),
        (json!({ "userId": null }), "INVALID_USER_ID", "userId"),
        (json!({ "userId": 7 }), "INVALID_USER_ID", "userId"),
        (json!({ "userId": "" }), "INVALID_USER_ID", "userId"),
        (json!({ "userId": "a b" }), "INVALID_USER_ID", "userId"),
        (json!({ "userId": long }), "INVALID_USER_ID", "userId"),
        (json!({ "userId": "ada", "metadata": 7 }), "INVALID_BODY", "metadata"),
        (json!({ "userId": "ada", "deviceName": "" }), "INVALID_BODY", "deviceName"),
        (json!({ "userId": "ada", "deviceName": ["x"] }), "INVALID_BODY", "deviceName"),
        (json!([]), "INVALID_BODY", ""),
    ] {
        let (status, said, error) = refusal(server.post("/api/init-session", &body).await).await;
        assert_eq!((status, said.as_str()), (400, code), "{body}");
        assert_eq!(error["details"]["field"], field, "{error}");
    }
    let (_, _, error) = refusal(server.post("/api/init-session", &json!({ "userId": "a b" })).await).await;
    assert!(error["error"].as_str().unwrap().contains("A-Z a-z 0-9 . _ @ + -"), "{error}");
}

#[tokio::test]
async fn what_is_no_json_is_refused() {
    let server = server().await;
    let send = |content_type: Option<&'static str>, body: Vec<u8>| {
        let mut request = server.request(Method::POST, "/api/init-session").body(body);
        if let Some(content_type) = content_type {
            request = request.header(CONTENT_TYPE, content_type);
        }
        request.send()
    };
    let json = Some("application/json; charset=utf-8");
    for (content_type, body, expected) in [
        (json, b"{".to_vec(), (400, "INVALID_BODY")),
        (json, b"".to_vec(), (400, "INVALID_BODY")),
        (json, b"{\"userId\":\"ada\"} x".to_vec(), (400, "INVALID_BODY")),
        (json, b"{\"userId\":\"\xff\"}".to_vec(), (400, "INVALID_BODY")),
        (json, format!("{{\"userId\":\"{}\"}}", "a".repeat(16 * 1024)).into_bytes(), (413, "BODY_TOO_LARGE")),
        (None, b"{}".to_vec(), (415, "UNSUPPORTED_MEDIA_TYPE")),
        (Some("text/plain"), b"{}".to_vec(), (415, "UNSUPPORTED_MEDIA_TYPE")),
    ] {
        let (status, code, _) = refusal(send(content_type, body).await.unwrap()).await;
        assert_eq!((status, code.as_str()), expected);
    }
}

/// Sends a body as it stands.
async fn sends(
    server: &Server,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Vec<u8>>,
) -> reqwest::Response {
    let mut request = server.request(Method::POST, path).body(body.into());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.send().await.unwrap()
}

const JSON: (&str, &str) = ("Content-Type", "application/json");

#[tokio::test]
async fn what_a_client_notes_comes_back_as_it_was_also_after_a_restart() {
    let server = server().await;
    let list = async |server: &Server| server.get("/api/sessions").await.json::<Value>().await.unwrap();
    let init = async |metadata: &str| {
        let body = format!(r#"{{"userId":"ada","metadata":{metadata}}}"#);
        sends(&server, "/api/init-session", &[JSON], body).await
    };
    let levels = |n: usize| format!("{}1{}", r#"{"a":"#.repeat(n), "}".repeat(n));
    let inner = format!("{}1{}", "[".repeat(100), "]".repeat(100));
    let mine = format!(r#"{{"$serde_json::private::RawValue":"{inner}"}}"#);
    let deep = format!("{}{mine}{}", r#"{"a":"#.repeat(99), "}".repeat(99));
    for bad in [
        deep.as_str(),
        &mine,
        &levels(17),
        r#"{"a":[{"$serde_json::private::Number":"1"}]}"#,
        r#"{"\u0024serde_json::private::RawValue":"1"}"#,
        r#"{"n":12345678901234567890123}"#,
        r#"{"n":-0.12345678901234567890123}"#,
        r#"{"n":[1e-400]}"#,
        r#"{"a":1,"a":2}"#,
    ] {
        let (status, code, error) = refusal(init(bad).await).await;
        assert_eq!((status, code.as_str()), (400, "INVALID_BODY"), "{error}");
        assert!(error["details"]["field"].as_str().unwrap().starts_with("metadata"), "{error}");
    }
    let good = format!(
        r#"{{"n":[9007199254740993,18446744073709551615,0.30000000000000004],"deep":{}}}"#,
        levels(15)
    );
    assert_eq!(init(&good).await.status(), StatusCode::OK);
    let good: Value = serde_json::from_str(&good).unwrap();
    assert_eq!(list(&server).await["sessions"][0]["metadata"], good);
    // All of it is read at a start: what cannot be read there would stop it.
    let server = server.crash_and_restart().await;
    assert_eq!(list(&server).await["sessions"][0]["metadata"], good);
}

#[tokio::test]
async fn a_body_in_another_form_is_told_which_one() {
    let server = server().await;
    let gzip: &[u8] = b"\x1f\x8b\x08\0\0\0\0\0\0\0\x03";
    for (headers, body, status, said) in [
        (vec![JSON], b"\xef\xbb\xbf{\"userId\":\"ada\"}".as_slice(), 400, "byte order mark"),
        (vec![JSON], b"\xff\xfe{\0}\0", 400, "UTF-16"),
        (vec![JSON, ("Content-Encoding", "gzip")], gzip, 415, "Content-Encoding"),
        (vec![JSON, ("Content-Encoding", "identity, br")], b"{}", 415, "Content-Encoding"),
        (vec![("Content-Type", "application/json; charset=utf-16")], b"{}", 415, "UTF-8"),
    ] {
        let (code, _, error) = refusal(sends(&server, "/api/init-session", &headers, body).await).await;
        assert_eq!(code, status, "{error}");
        assert!(error["error"].as_str().unwrap().contains(said), "{error}");
    }
    let plain = [("Content-Type", "Application/JSON; charset=\"UTF-8\""), ("Content-Encoding", "identity")];
    let taken = sends(&server, "/api/init-session", &plain, r#"{"userId":"ada"}"#).await;
    assert_eq!(taken.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_body_that_may_be_missing_may_be_empty_or_null() {
    let (_whatsapp, server) = world().await;
    let session = server.init("ada").await;
    let path = format!("/api/sessions/{}/stream-token", session.id);
    let chunked = |body: &'static str| {
        reqwest::Body::wrap_stream(futures::stream::iter([Ok::<_, std::io::Error>(body)]))
    };
    let json = Some("application/json");
    for (body, kind) in [
        ("", None),
        ("", json),
        ("", Some("text/plain")),
        ("null", json),
        (" null\n", None),
        ("  ", json),
        ("{}", json),
    ] {
        for body in [chunked(body), body.into()] {
            let mut request = server.request(Method::POST, &path).body(body);
            if let Some(kind) = kind {
                request = request.header(CONTENT_TYPE, kind);
            }
            assert_eq!(request.send().await.unwrap().status(), StatusCode::OK, "{kind:?}");
        }
    }
    let wish = server.request(Method::POST, &path).body(chunked(r#"{"ttlSeconds":0}"#));
    let (status, _, error) =
        refusal(wish.header(CONTENT_TYPE, "application/json").send().await.unwrap()).await;
    assert_eq!((status, &error["details"]["field"]), (400, &json!("ttlSeconds")));
    for (body, expected) in [("nul", 400), ("[]", 400), ("null null", 400)] {
        assert_eq!(sends(&server, &path, &[JSON], body).await.status(), expected, "{body}");
    }
}

#[tokio::test]
async fn fields_that_no_call_knows_are_named_beside_the_answer() {
    let (_whatsapp, server) = world().await;
    let warned = |answer: &Value| answer["warnings"].as_array().cloned().unwrap_or_default();
    let names = |field: &str| json!(format!("{field}: this call has no such field, it was ignored"));
    let post =
        async |path: &str, body: Value| -> Value { server.post(path, &body).await.json().await.unwrap() };

    let odd =
        json!({ "userId": "ada", "colour": "red", "metadata": { "own": { "field": 1 } }, "webhookURL": "x" });
    let made = post("/api/init-session", odd).await;
    assert_eq!(warned(&made), [names("colour"), names("webhookURL")], "{made}");
    let session = server.session(made["sessionId"].as_str().unwrap());
    assert_eq!(session.status().await["metadata"], json!({ "own": { "field": 1 } }));
    // A client of the old service gets what it always got.
    let plain = post("/api/init-session", json!({ "userId": "ada" })).await;
    assert!(plain.get("warnings").is_none(), "{plain}");
    // What was meant may be why it is refused.
    let refused = post("/api/init-session", json!({ "userid": "ada" })).await;
    assert_eq!((&refused["code"], warned(&refused)), (&json!("INVALID_USER_ID"), vec![names("userid")]));

    let call = |name: &str| format!("/api/sessions/{}/{name}", session.id);
    let token = post(&call("stream-token"), json!({ "ttl": 5 })).await;
    assert!(token["streamToken"].is_string() && warned(&token) == [names("ttl")], "{token}");
    session.sse().await.awaits("qr").await;
    let phone = json!({ "phoneNumber": "+90 555 111 22 33", "number": 1 });
    let code = post(&call("pairing-code"), phone).await;
    assert!(code["code"].is_string() && warned(&code) == [names("number")], "{code}");
    for (path, body) in [
        (call("pairing-code"), json!({ "odd": 1 })),
        (call("stream-token"), json!({ "scope": "all", "odd": 1 })),
        (call("passkey"), json!({ "credential": {}, "odd": 1 })),
        ("/api/webhooks/resend".to_owned(), json!({ "odd": 1 })),
    ] {
        let refused = post(&path, body).await;
        assert_eq!(
            (&refused["code"], warned(&refused)),
            (&json!("INVALID_BODY"), vec![names("odd")]),
            "{path}"
        );
    }
}

#[tokio::test]
async fn an_unknown_session_is_not_found_and_a_malformed_id_is_bad() {
    let server = server().await;
    for path in [
        "/api/qr-code/ID",
        "/api/qr-code/ID.png",
        "/api/session-status/ID",
        "/api/sessions/ID/events",
        "/api/sessions/ID/ws",
    ] {
        let (status, code, _) = refusal(server.get(&path.replace("ID", UNKNOWN)).await).await;
        assert_eq!((status, code.as_str()), (404, "SESSION_NOT_FOUND"), "{path}");
        for malformed in
            ["nonsense", "session_ada_1", "%ff", "session_a%2Fb_7d1f0c36-3f0e-4c5b-9b1e-0a4b4f1f9a11"]
        {
            let (status, code, error) = refusal(server.get(&path.replace("ID", malformed)).await).await;
            assert_eq!((status, code.as_str()), (400, "INVALID_SESSION_ID"), "{path} {malformed}");
            assert_eq!(error["details"]["field"], "sessionId");
        }
    }
}

#[tokio::test]
async fn paths_are_taken_as_the_old_service_took_them() {
    let (_whatsapp, server) = world().await;
    let session = server.init("Ada").await;
    session.reaches("scan_qr").await;
    let id = &session.id;
    for path in [
        "/health/".to_owned(),
        "/Health".to_owned(),
        "/HEALTH/?x=1".to_owned(),
        "/readyz/".to_owned(),
        format!("/api/qr-code/{id}/"),
        format!("/API/QR-code/{id}/?x=1"),
        format!("/api/Session-Status/{id}/"),
        format!("/api/session-status/{id}/"),
    ] {
        let response = server.get(&path).await;
        assert_eq!(response.status(), StatusCode::OK, "{path}");
    }
    let made = server.post("/api/init-session/", &json!({ "userId": "bob" })).await;
    assert_eq!(made.status(), StatusCode::OK);
    let head = server.request(Method::HEAD, "/health/").send().await.unwrap();
    assert_eq!(head.status(), StatusCode::OK);
    for path in ["/live.js/", "/health//", "//health", "/api/nothing/"] {
        assert_eq!(server.get(path).await.status(), StatusCode::NOT_FOUND, "{path}");
    }
}

#[tokio::test]
async fn unknown_routes_and_methods_are_told_in_json() {
    let server = server().await;
    assert_eq!(refusal(server.get("/api/nothing").await).await.0, 404);
    let response = server.get("/api/init-session").await;
    assert_eq!(response.headers()["allow"], "POST");
    let (status, code, _) = refusal(response).await;
    assert_eq!((status, code.as_str()), (405, "METHOD_NOT_ALLOWED"));
}

#[tokio::test]
async fn a_cursor_that_is_no_cursor_is_refused_and_an_unknown_one_is_a_gap() {
    let (_whatsapp, server) = world().await;
    let session = server.init("ada").await;
    session.reaches("scan_qr").await;
    let events = format!("/api/sessions/{}/events", session.id);
    for cursor in ["x", "7", "7-", "-7", "7-x"] {
        let from_query = server.get(&format!("{events}?lastEventId={cursor}")).await;
        let from_header =
            server.request(Method::GET, &events).header("Last-Event-ID", cursor).send().await.unwrap();
        for response in [from_query, from_header] {
            let (status, code, _) = refusal(response).await;
            assert_eq!((status, code.as_str()), (400, "INVALID_CURSOR"), "{cursor}");
        }
    }
    for mut viewer in
        [session.sse_after(Some("7-3")).await, session.websocket_after(Some("99999999999999-1")).await]
    {
        let opening = viewer.expects("status").await;
        assert_eq!((&opening.data["gap"], &opening.data["resumed"]), (&json!(true), &json!(false)));
        viewer.expects("qr").await;
    }
    // An empty one counts as none, and the header wins.
    let request = server.request(Method::GET, &format!("{events}?lastEventId=x"));
    let header = (HeaderName::from_static("last-event-id"), HeaderValue::from_static("7-3"));
    assert_eq!(request.header(header.0, header.1).send().await.unwrap().status(), StatusCode::OK);
    let mut viewer = session.sse_after(Some("")).await;
    assert_eq!(viewer.expects("status").await.data["gap"], false);
}
