//! What `/health` says an operator should know, and when it stops saying so.

use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::support::redis::Redis;
use crate::support::replicas::is_ready;
use crate::support::{Server, eventually, whatsapp, world};

async fn health(server: &Server) -> Value {
    let response = server.get("/health").await;
    assert_eq!(response.status(), StatusCode::OK);
    response.json().await.unwrap()
}

fn alert(health: &Value, name: &str) -> Option<Value> {
    health["alerts"].as_array().unwrap().iter().find(|alert| alert["name"] == name).cloned()
}

/// The metric's word for the same.
async fn metric(server: &Server, name: &str) -> bool {
    let text = server.get("/metrics").await.text().await.unwrap();
    text.contains(&format!("qrcast_alert{{name=\"{name}\"}} 1\n"))
}

/// The log lines with this message about this alert.
fn lines(server: &Server, message: &str, name: &str) -> Vec<Value> {
    let log = server.log();
    let lines = log.iter().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line["message"] == message && line["name"] == name).collect()
}

#[tokio::test]
async fn too_much_memory_degrades() {
    let whatsapp = whatsapp().await;
    let server = Server::builder(&whatsapp.url()).variable("ALERT_MEMORY_MB", "1").start().await;
    let first = health(&server).await;
    assert_eq!(first["status"], "degraded");
    let memory = alert(&first, "memory").unwrap();
    assert_eq!(memory["threshold"], 1024 * 1024);
    assert!(memory["value"].as_u64().unwrap() > 1024 * 1024);
    assert!(metric(&server, "memory").await);
    // It is the same alert as long as it holds.
    assert_eq!(alert(&health(&server).await, "memory").unwrap()["since"], memory["since"]);
    // The log comes by another way than the answers.
    eventually("the log to say so", async || !lines(&server, "alert started", "memory").is_empty()).await;
    let started = lines(&server, "alert started", "memory");
    assert_eq!(started.len(), 1, "{started:?}");
    assert_eq!(started[0]["level"], "WARN");
    assert_eq!(started[0]["threshold"], memory["threshold"]);
    assert!(started[0]["value"].is_u64());
    assert!(lines(&server, "alert ended", "memory").is_empty());
}

#[tokio::test]
async fn memory_that_is_given_back_is_healthy_again() {
    let whatsapp = whatsapp().await;
    // All connections come from one client.
    let builder = Server::builder(&whatsapp.url()).variable("MAX_STREAMS_PER_IP", "1000");
    let idle = health(&builder.clone().start().await).await["memory"]["rssBytes"].as_u64().unwrap();
    let limit = idle / 1024 / 1024 + 15;
    let server = builder.variable("ALERT_MEMORY_MB", &limit.to_string()).start().await;
    assert_eq!(health(&server).await["status"], "healthy");
    let held = requests_without_an_end(&server, 600).await;
    eventually("too much memory", async || health(&server).await["status"] == "degraded").await;
    assert!(metric(&server, "memory").await);
    drop(held);
    eventually("less memory", async || health(&server).await["status"] == "healthy").await;
    assert!(!metric(&server, "memory").await);
    // The log comes by another way than the answers.
    eventually("the log to say so", async || !lines(&server, "alert ended", "memory").is_empty()).await;
    assert_eq!(lines(&server, "alert started", "memory").len(), 1);
    let ended = lines(&server, "alert ended", "memory");
    assert_eq!(ended.len(), 1, "{ended:?}");
    assert_eq!(ended[0]["level"], "INFO");
}

/// Connections that keep some 50 KB each, in small blocks, as many viewers do.
async fn requests_without_an_end(server: &Server, count: usize) -> Vec<TcpStream> {
    let address = server.base.strip_prefix("http://").unwrap();
    let head = "POST /api/init-session HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
    let mut held = Vec::new();
    for _ in 0..count {
        let mut socket = TcpStream::connect(address).await.unwrap();
        socket.write_all(format!("{head}Content-Length: 16000\r\n\r\n").as_bytes()).await.unwrap();
        socket.write_all(&[b' '; 15_000]).await.unwrap();
        held.push(socket);
    }
    held
}

#[tokio::test]
async fn many_sessions_are_told_and_are_no_illness() {
    let whatsapp = whatsapp().await;
    let server = Server::builder(&whatsapp.url()).variable("ALERT_SESSIONS", "1").start().await;
    let first = server.init("ada").await;
    assert!(alert(&health(&server).await, "sessions").is_none(), "one is allowed");
    server.init("bob").await;
    let two = health(&server).await;
    assert_eq!(two["status"], "healthy");
    let mut sessions = alert(&two, "sessions").unwrap();
    assert!(sessions["since"].take().is_string());
    assert_eq!(sessions, json!({ "name": "sessions", "since": null, "value": 2, "threshold": 1 }));
    assert!(metric(&server, "sessions").await);
    first.delete().await;
    // Nobody asks /health: the server looks by itself.
    eventually("the end of the alert", async || {
        lines(&server, "alert ended", "sessions").len() == 1 && !metric(&server, "sessions").await
    })
    .await;
    assert!(alert(&health(&server).await, "sessions").is_none());
    assert_eq!(lines(&server, "alert started", "sessions").len(), 1);
}

#[tokio::test]
async fn redis_may_be_away_for_five_seconds_before_it_is_an_alert() {
    let whatsapp = whatsapp().await;
    let mut redis = Redis::start().await;
    let server = Server::builder(&whatsapp.url()).variable("REDIS_URL", &redis.url()).start().await;
    is_ready(&server).await;
    redis.kill().await;
    eventually("Redis away", async || health(&server).await["status"] == "degraded").await;
    assert!(alert(&health(&server).await, "redis_lost").is_none());
    eventually("the alert", async || !lines(&server, "alert started", "redis_lost").is_empty()).await;
    let lost = alert(&health(&server).await, "redis_lost").unwrap();
    assert!(lost["value"].as_u64() > lost["threshold"].as_u64() && lost["threshold"] == 5, "{lost}");
    assert!(metric(&server, "redis_lost").await);
    redis.launch().await;
    eventually("the end of the alert", async || health(&server).await["status"] == "healthy").await;
    eventually("the log to say so", async || lines(&server, "alert ended", "redis_lost").len() == 1).await;
    assert!(!metric(&server, "redis_lost").await);
}

#[tokio::test]
async fn a_calm_server_has_nothing_to_tell() {
    let (_whatsapp, server) = world().await;
    let calm = health(&server).await;
    assert_eq!((&calm["status"], &calm["alerts"]), (&json!("healthy"), &json!([])));
}
