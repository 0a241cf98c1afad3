//! A start while Redis cannot be reached: waiting for it, or alone on SQLite where that was asked for.

use reqwest::StatusCode;
use serde_json::{Value, json};

use super::redis_away::health;
use crate::support::redis::Redis;
use crate::support::replicas::is_ready;
use crate::support::server::Builder;
use crate::support::{Server, eventually, whatsapp};

fn on(redis: &Redis, whatsapp: &simulator::Simulator) -> Builder {
    Server::builder(&whatsapp.url()).variable("REDIS_URL", &redis.url()).variable("READY_DELAY_MS", "0")
}

#[tokio::test]
async fn a_replica_waits_for_redis_and_then_serves() {
    let whatsapp = whatsapp().await;
    let mut redis = Redis::asleep();
    let server = on(&redis, &whatsapp).start().await;
    assert_eq!(server.get("/livez").await.status(), StatusCode::OK);
    assert_eq!(server.get("/readyz").await.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(health(&server).await["storage"], json!({ "type": "Redis", "redis_connected": false }));
    let made = server.post("/api/init-session", &json!({ "userId": "ada" })).await;
    assert_eq!(made.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(made.headers().contains_key("retry-after"));
    redis.launch().await;
    is_ready(&server).await;
    assert_eq!(health(&server).await["storage"]["redis_connected"], true);
    server.init("ada").await.link(&whatsapp).await;
}

#[tokio::test]
async fn a_replica_that_waits_for_redis_ends_when_told() {
    let whatsapp = whatsapp().await;
    let redis = Redis::asleep();
    let mut server = on(&redis, &whatsapp).start().await;
    assert_eq!(server.get("/readyz").await.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(server.terminate().await, Some(0), "{:#?}", server.log());
}

/// `REDISCLOUD_URL`, which some hosts set by themselves.
#[tokio::test]
async fn the_other_name_of_the_url_is_as_good() {
    let whatsapp = whatsapp().await;
    let redis = Redis::start().await;
    let server = Server::builder(&whatsapp.url()).variable("REDISCLOUD_URL", &redis.url()).start().await;
    is_ready(&server).await;
    let session = server.init("ada").await;
    session.reaches("scan_qr").await;
    assert!(!redis.mentions(&session.id).await.is_empty());
    // Nothing of it is in the folder.
    assert!(!server.builder_again().folder().join("qrcast.sqlite").exists());
}

#[tokio::test]
async fn alone_on_sqlite_until_the_next_restart_where_that_was_asked_for() {
    let whatsapp = whatsapp().await;
    let mut redis = Redis::start().await;
    let builder = on(&redis, &whatsapp).variable("REDIS_FALLBACK", "local");
    let mut server = builder.clone().start().await;
    is_ready(&server).await;
    assert_eq!(health(&server).await["status"], "healthy");
    let shared = server.init("shared").await;
    let jid = shared.link(&whatsapp).await;
    let shared = shared.id.clone();
    assert_eq!(server.terminate().await, Some(0), "{:#?}", server.log());
    redis.kill().await;

    let mut server = builder.clone().start().await;
    is_ready(&server).await;
    let alone = health(&server).await;
    assert_eq!(alone["status"], "degraded");
    assert_eq!(alone["storage"], json!({ "type": "SQLite", "redis_connected": false }));
    let warned = server.log().iter().any(|line| {
        let line: Value = serde_json::from_str(line).unwrap();
        line["level"] == "WARN" && line.to_string().to_lowercase().contains("redis")
    });
    assert!(warned, "{:#?}", server.log());
    let local = server.init("local").await;
    local.link(&whatsapp).await;
    let local = local.id.clone();
    let unknown = async |server: &Server, id: &str| {
        server.get(&format!("/api/session-status/{id}")).await.status() == StatusCode::NOT_FOUND
    };
    assert!(unknown(&server, &shared).await);
    assert_eq!(listed(&server).await, [local.as_str()]);

    // Redis comes back: nothing of it is run or served by this process.
    redis.launch().await;
    server.init("later").await.reaches("scan_qr").await;
    assert!(unknown(&server, &shared).await);
    assert_eq!(health(&server).await["status"], "degraded");
    assert!(redis.mentions(&local).await.is_empty());
    let logins = || whatsapp.state().devices.iter().find(|device| device.jid == jid).unwrap().logins;
    assert_eq!(logins(), 1);
    assert_eq!(server.terminate().await, Some(0), "{:#?}", server.log());

    let server = builder.start().await;
    is_ready(&server).await;
    server.session(&shared).reaches("connected").await;
    assert_eq!(health(&server).await["storage"], json!({ "type": "Redis", "redis_connected": true }));
    assert!(unknown(&server, &local).await, "nothing is merged");
    assert_eq!(listed(&server).await, [shared.as_str()]);
    eventually("one client", async || whatsapp.state().clients == 1).await;
}

async fn listed(server: &Server) -> Vec<String> {
    let list: Value = server.get("/api/sessions").await.json().await.unwrap();
    let sessions = list["sessions"].as_array().unwrap();
    sessions.iter().map(|session| session["sessionId"].as_str().unwrap().to_owned()).collect()
}
