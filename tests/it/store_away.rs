//! A store that cannot be used for a while: said once, refused with a time to come back, and nothing is stopped that cannot be
//! started again.

use std::time::{Duration, Instant};

use reqwest::{Response, StatusCode};
use serde_json::{Value, json};
use simulator::Simulator;

use crate::support::lock::Lock;
use crate::support::redis::Redis;
use crate::support::{Server, eventually, whatsapp};

async fn alone(whatsapp: &Simulator) -> Server {
    Server::builder(&whatsapp.url()).start().await
}

async fn health(server: &Server) -> Value {
    server.get("/health").await.json().await.unwrap()
}

fn alerts(health: &Value) -> Vec<&str> {
    health["alerts"].as_array().unwrap().iter().map(|alert| alert["name"].as_str().unwrap()).collect()
}

fn said(server: &Server, words: &str) -> usize {
    server.log().iter().filter(|line| line.contains(words)).count()
}

/// 503, when to come back, and the code; its words.
async fn refused(response: Response, code: &str) -> String {
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    let pause: u64 = response.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=60).contains(&pause), "{pause}");
    let body: Value = response.json().await.unwrap();
    assert_eq!(body["code"], code);
    body["error"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_locked_database_is_said_once_and_stops_nobody() {
    let whatsapp = whatsapp().await;
    let server = alone(&whatsapp).await;
    let session = server.init("ada").await;
    let jid = session.link(&whatsapp).await;
    let before = session.status().await;
    let waiting = server.init("bob").await;
    let mut viewer = waiting.sse().await;
    viewer.awaits("qr").await;

    let lock = Lock::of(server.builder_again().folder()).await;
    let words =
        refused(server.post("/api/init-session", &json!({ "userId": "eve" })).await, "INIT_ERROR").await;
    assert_eq!(words, "Session başlatma hatası");
    // Nothing was stopped: its link task goes on as it was.
    refused(session.restart().await, "STORE_AWAY").await;
    refused(waiting.restart().await, "STORE_AWAY").await;
    let status = session.status().await;
    for field in ["status", "connectedAt", "lastEventId", "clientActive"] {
        assert_eq!(status[field], before[field], "{field}");
    }
    let logins = whatsapp.state().devices.iter().find(|device| device.jid == jid).unwrap().logins;
    eventually("health to say so", || async {
        let health = health(&server).await;
        health["status"] == "degraded" && alerts(&health) == ["storage_failing"]
    })
    .await;

    drop(lock);
    eventually("health to be well", || async { health(&server).await["status"] == "healthy" }).await;
    assert_eq!(said(&server, "the store takes no writes"), 1);
    assert_eq!(said(&server, "the store takes writes again"), 1);
    assert_eq!(whatsapp.state().devices[0].logins, logins, "it was not built anew");
    assert_eq!(session.restart().await.status(), StatusCode::ACCEPTED);
    session.reaches("connected").await;
    waiting.link(&whatsapp).await;
}

#[tokio::test]
async fn a_start_on_a_locked_database_goes_on_when_it_is_free() {
    let whatsapp = whatsapp().await;
    let mut server = alone(&whatsapp).await;
    let (linked, waiting) = (server.init("ada").await, server.init("bob").await);
    linked.link(&whatsapp).await;
    let ids = [linked.id.clone(), waiting.id.clone()];
    let builder = server.builder_again();
    assert_eq!(server.terminate().await, Some(0));

    let lock = Lock::of(builder.folder()).await;
    let server = builder.start().await;
    eventually("the start to have failed", || async { said(&server, "not started yet") == 2 }).await;
    for id in &ids {
        assert_eq!(server.session(id).status().await["clientActive"], false);
    }
    drop(lock);
    let free = Instant::now();
    let status = server.session(&ids[0]).reaches("connected").await;
    assert_eq!(status["clientActive"], true);
    server.session(&ids[1]).reaches("scan_qr").await;
    assert!(free.elapsed() < Duration::from_secs(15), "{:?}", free.elapsed());
    assert!(said(&server, "a session without a link task was started again") <= 2);
    eventually("no alert", || async { alerts(&health(&server).await).is_empty() }).await;
}

#[tokio::test]
async fn without_redis_a_new_session_is_refused_in_the_old_words() {
    let (whatsapp, redis) = (whatsapp().await, Redis::start().await);
    let server = Server::builder(&whatsapp.url()).variable("REDIS_URL", &redis.url()).start().await;
    eventually("readiness", || async { server.get("/readyz").await.status() == StatusCode::OK }).await;
    let session = server.init("ada").await;
    session.reaches("scan_qr").await;
    redis.freeze();
    let words =
        refused(server.post("/api/init-session", &json!({ "userId": "eve" })).await, "INIT_ERROR").await;
    assert_eq!(words, "Session başlatma hatası");
    refused(session.restart().await, "STORE_AWAY").await;
    redis.thaw();
    eventually("health to be well", || async { health(&server).await["status"] == "healthy" }).await;
    assert_eq!((said(&server, "Redis is away"), said(&server, "Redis is back")), (1, 1));
    assert_eq!(said(&server, "the store takes no writes"), 0);
    session.link(&whatsapp).await;
}

/// Redis answers, and stores nothing.
#[tokio::test]
async fn a_redis_that_is_full_is_said_and_passes() {
    let (whatsapp, redis) = (whatsapp().await, Redis::start().await);
    let server = Server::builder(&whatsapp.url()).variable("REDIS_URL", &redis.url()).start().await;
    eventually("readiness", || async { server.get("/readyz").await.status() == StatusCode::OK }).await;
    let session = server.init("ada").await;
    session.link(&whatsapp).await;
    redis.tell::<()>(&["CONFIG", "SET", "maxmemory", "1"]).await;
    eventually("health to say so", || async {
        let response = server.get("/health").await;
        response.status() == StatusCode::SERVICE_UNAVAILABLE
            && response.json::<Value>().await.unwrap()["status"] == "unhealthy"
    })
    .await;
    assert_ne!(session.restart().await.status(), StatusCode::ACCEPTED);
    assert_eq!(session.status().await["status"], "connected");
    redis.tell::<()>(&["CONFIG", "SET", "maxmemory", "0"]).await;
    eventually("health to be well", || async { health(&server).await["status"] == "healthy" }).await;
    assert_eq!(said(&server, "the store takes no writes"), 1);
    assert_eq!(session.restart().await.status(), StatusCode::ACCEPTED);
    session.reaches("connected").await;
}

/// Somebody's script runs and runs: Redis says BUSY to everybody.
#[tokio::test]
async fn a_redis_that_is_busy_is_said_and_passes() {
    let (whatsapp, redis) = (whatsapp().await, Redis::start().await);
    redis.tell::<()>(&["CONFIG", "SET", "busy-reply-threshold", "50"]).await;
    let server = Server::builder(&whatsapp.url()).variable("REDIS_URL", &redis.url()).start().await;
    eventually("readiness", || async { server.get("/readyz").await.status() == StatusCode::OK }).await;
    let session = server.init("ada").await;
    session.link(&whatsapp).await;
    let script = redis.try_tell::<()>(&["EVAL", "while true do end", "0"]);
    let busy = async {
        eventually("health to say so", || async { health(&server).await["status"] == "degraded" }).await;
        let refusal = server.post("/api/init-session", &json!({ "userId": "eve" })).await;
        assert_eq!(refused(refusal, "INIT_ERROR").await, "Session başlatma hatası");
        refused(session.restart().await, "STORE_AWAY").await;
        assert_eq!(session.status().await["status"], "connected");
        redis.tell::<()>(&["SCRIPT", "KILL"]).await;
    };
    let (killed, ()) = tokio::join!(script, busy);
    assert!(killed.is_err());
    eventually("health to be well", || async { health(&server).await["status"] == "healthy" }).await;
    assert_eq!((said(&server, "Redis is away"), said(&server, "Redis is back")), (1, 1));
    server.init("eve").await.link(&whatsapp).await;
}
