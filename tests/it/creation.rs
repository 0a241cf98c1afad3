//! How many sessions there may be, and a request that comes twice.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;

use crate::support::redis::Redis;
use crate::support::replicas::is_ready;
use crate::support::server::Builder;
use crate::support::{Server, whatsapp, world};

#[tokio::test]
async fn a_user_and_a_server_have_their_limits() {
    let whatsapp = whatsapp().await;
    let server = Server::builder(&whatsapp.url())
        .variable("MAX_SESSIONS", "3")
        .variable("MAX_SESSIONS_PER_USER", "2")
        .start()
        .await;
    let init = async |user: &str| {
        let response = server.post("/api/init-session", &json!({ "userId": user })).await;
        let status = response.status();
        (status, response.json::<Value>().await.unwrap())
    };
    let (_, first) = init("ada").await;
    init("ada").await;
    let (status, error) = init("ada").await;
    assert_eq!((status, &error["code"]), (StatusCode::TOO_MANY_REQUESTS, &json!("SESSION_LIMIT")));
    assert_eq!(init("bob").await.0, StatusCode::OK);
    assert_eq!(init("cyd").await.0, StatusCode::TOO_MANY_REQUESTS);
    // A deleted session makes room.
    let first = server.session(first["sessionId"].as_str().unwrap());
    assert_eq!(first.delete().await, StatusCode::NO_CONTENT);
    crate::support::eventually("room for one more", || async { init("ada").await.0 == StatusCode::OK }).await;
}

#[tokio::test]
async fn the_same_request_twice_makes_one_session() {
    let (_whatsapp, server) = world().await;
    let init = async |server: &Server, key: &str, body: Value| {
        let request =
            server.request(Method::POST, "/api/init-session").header("Idempotency-Key", key).json(&body);
        let response = request.send().await.unwrap();
        let status = response.status();
        let mut answer: Value = response.json().await.unwrap();
        // Fresh each time.
        for field in ["streamToken", "streamTokenExpiresAt", "linkUrl"] {
            answer.as_object_mut().unwrap().remove(field);
        }
        (status, answer)
    };
    let ada = json!({ "userId": "ada" });
    let (status, first) = init(&server, "k1", ada.clone()).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(init(&server, "k1", ada.clone()).await, (StatusCode::OK, first.clone()));
    assert_ne!(init(&server, "k2", ada.clone()).await.1, first);
    let (status, error) = init(&server, "k1", json!({ "userId": "bob" })).await;
    assert_eq!(
        (status, &error["code"]),
        (StatusCode::UNPROCESSABLE_ENTITY, &json!("IDEMPOTENCY_KEY_REUSED"))
    );
    let (status, error) = init(&server, &"k".repeat(256), ada.clone()).await;
    assert_eq!((status, &error["code"]), (StatusCode::BAD_REQUEST, &json!("INVALID_IDEMPOTENCY_KEY")));
    // Also after a crash.
    let server = server.crash_and_restart().await;
    assert_eq!(init(&server, "k1", ada).await, (StatusCode::OK, first));
}

/// The session that a request with this key stands for.
async fn once(server: &Server, key: &str, user: &str) -> String {
    let request = server.request(Method::POST, "/api/init-session").header("Idempotency-Key", key);
    let response = request.json(&json!({ "userId": user })).send().await.unwrap();
    let status = response.status();
    let answer: Value = response.json().await.unwrap();
    assert_eq!(status, StatusCode::OK, "{answer}");
    answer["sessionId"].as_str().unwrap().to_owned()
}

/// Whichever of the servers of a deployment is asked; they clear away what nobody links.
async fn a_key_goes_with_its_session(one: &Server, other: &Server) {
    let first = once(one, "k", "ada").await;
    assert_eq!(once(other, "k", "ada").await, first);
    assert_eq!(other.session(&first).delete().await, StatusCode::NO_CONTENT);
    let second = once(one, "k", "ada").await;
    assert_ne!(second, first);
    assert_eq!(once(other, "k", "ada").await, second);
    other.session(&second).reaches("scan_qr").await;
    // With its session gone it stands for nothing, so another body is no mistake.
    assert_eq!(one.session(&second).delete().await, StatusCode::NO_CONTENT);
    let third = once(other, "k", "bob").await;
    assert_eq!(once(one, "k", "bob").await, third);
    // Nobody links it, and nobody asks for its end.
    let path = format!("/api/session-status/{third}");
    crate::support::eventually("it to be cleared away", async || {
        // Its end stays readable for a while; its key does not.
        let answer: Value = other.get(&path).await.json().await.unwrap();
        answer["code"] == "SESSION_NOT_FOUND" || answer["reason"] == "deleted"
    })
    .await;
    let fourth = once(one, "k", "bob").await;
    assert_ne!(fourth, third);
    other.session(&fourth).reaches("scan_qr").await;
}

#[tokio::test]
async fn a_key_goes_with_its_session_in_a_file() {
    let whatsapp = whatsapp().await;
    let server = clears_away(Server::builder(&whatsapp.url())).start().await;
    a_key_goes_with_its_session(&server, &server).await;
    // Also when the server died in between.
    let before = once(&server, "crash", "cyd").await;
    assert_eq!(server.session(&before).delete().await, StatusCode::NO_CONTENT);
    let server = server.crash_and_restart().await;
    assert_ne!(once(&server, "crash", "cyd").await, before);
}

#[tokio::test]
async fn a_key_goes_with_its_session_on_every_replica() {
    let whatsapp = whatsapp().await;
    let redis = Redis::start().await;
    let start = async || {
        let server = Server::builder(&whatsapp.url()).variable("REDIS_URL", &redis.url());
        let server = clears_away(server).start().await;
        is_ready(&server).await;
        server
    };
    let (one, other) = tokio::join!(start(), start());
    a_key_goes_with_its_session(&one, &other).await;
}

fn clears_away(server: Builder) -> Builder {
    server.variable("SESSION_TTL_UNLINKED_SECONDS", "8").variable("CLEANUP_INTERVAL_SECONDS", "1")
}

#[tokio::test]
async fn what_the_embedder_noted_comes_back() {
    let (_whatsapp, server) = world().await;
    let metadata = json!({ "order": 7, "tags": ["a", "b"], "nested": { "ü": null } });
    let id = server.init_with(json!({ "userId": "ada", "metadata": metadata })).await.id;
    assert_eq!(server.session(&id).status().await["metadata"], metadata);
    let server = server.crash_and_restart().await;
    assert_eq!(server.session(&id).status().await["metadata"], metadata);
}

#[tokio::test]
async fn a_session_that_nobody_links_is_cleared_away_and_a_linked_one_is_not() {
    let whatsapp = whatsapp().await;
    let server = Server::builder(&whatsapp.url())
        .variable("SESSION_TTL_UNLINKED_SECONDS", "3")
        .variable("CLEANUP_INTERVAL_SECONDS", "1")
        .start()
        .await;
    let linked = server.init("linked").await;
    linked.link(&whatsapp).await;
    let unlinked = server.init("unlinked").await;
    let mut viewer = unlinked.sse().await;
    assert_eq!(viewer.awaits("disconnected").await.data["reason"], "deleted");
    viewer.ends().await;
    let path = format!("/api/session-status/{}", unlinked.id);
    crate::support::eventually("it to be forgotten", || async {
        server.get(&path).await.status() == StatusCode::NOT_FOUND
    })
    .await;
    assert_eq!(linked.status().await["status"], "connected");
}

#[tokio::test]
async fn rows_whose_session_is_gone_are_cleared_away() {
    let whatsapp = whatsapp().await;
    let mut server = Server::builder(&whatsapp.url()).variable("CLEANUP_INTERVAL_SECONDS", "1").start().await;
    let kept = server.init("kept").await;
    kept.link(&whatsapp).await;
    let (kept, lost) = (kept.id.clone(), server.init("lost").await);
    lost.reaches("scan_qr").await;
    let lost = lost.id.clone();
    let again = server.builder_again();
    assert_eq!(server.terminate().await, Some(0));
    let file = again.folder().join("qrcast.sqlite");
    let database = rusqlite::Connection::open(&file).unwrap();
    assert_eq!(database.execute("DELETE FROM session WHERE id = ?1", [&lost]).unwrap(), 1);
    let server = again.start().await;
    let rows = |sql: &str, id: &str| database.query_row(sql, [id], |row| row.get::<_, i64>(0)).unwrap();
    let events = "SELECT count(*) FROM event WHERE session = ?1";
    let devices = "SELECT count(*) FROM device WHERE session = ?1";
    crate::support::eventually("the orphans to be gone", || async {
        rows(events, &lost) == 0 && rows(devices, &lost) == 0
    })
    .await;
    assert_eq!(server.session(&kept).reaches("connected").await["status"], "connected");
    assert!(rows(events, &kept) > 0 && rows(devices, &kept) == 1);
}

/// Half a creation would be a session that never shows a QR.
#[tokio::test]
async fn a_client_that_does_not_wait_for_its_answer_gets_a_whole_session_or_none() {
    let (_whatsapp, server) = world().await;
    let address = server.base.strip_prefix("http://").unwrap();
    for n in 0..40 {
        let body = json!({ "userId": format!("hasty{n}") }).to_string();
        let request = format!(
            "POST /api/init-session HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut connection = tokio::net::TcpStream::connect(address).await.unwrap();
        connection.write_all(request.as_bytes()).await.unwrap();
        // Some are gone before the request is read, some while it is carried out.
        tokio::time::sleep(Duration::from_micros(n * 100)).await;
    }
    let file = server.builder_again().folder().join("qrcast.sqlite");
    let stored = rusqlite::Connection::open(file).unwrap();
    let stored = || stored.query_row("SELECT count(*) FROM session", [], |row| row.get::<_, u32>(0)).unwrap();
    assert!(stored() > 0);
    crate::support::eventually("each that is stored to show a QR", || async {
        let path = "/api/sessions?limit=200&status=scan_qr";
        let shown: Value = server.get(path).await.json().await.unwrap();
        shown["sessions"].as_array().unwrap().len() == stored() as usize
    })
    .await;
}
