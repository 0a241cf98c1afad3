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
