//! What is a deployment's own in Redis: two with different prefixes never see each other, and a deleted session leaves
//! nothing.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::redis::Redis;
use crate::support::replicas::Replicas;
use crate::support::{Server, Viewer, eventually};

/// The other one's keys begin with the default's prefix, as badly chosen as can be.
const OTHER: &str = "qrcast:2:";

async fn init(server: &Server, key: &str) -> String {
    let request = server.request(Method::POST, "/api/init-session").header("Idempotency-Key", key);
    let response = request.json(&json!({ "userId": "ada" })).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    response.json::<Value>().await.unwrap()["sessionId"].as_str().unwrap().to_owned()
}

async fn listed(server: &Server) -> Vec<String> {
    let list: Value = server.get("/api/sessions").await.json().await.unwrap();
    let sessions = list["sessions"].as_array().unwrap();
    sessions.iter().map(|session| session["sessionId"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn two_deployments_on_one_redis_never_see_each_other() {
    let redis = Redis::start().await;
    let lease = Duration::from_secs(3);
    let plan = || {
        Replicas::on(&redis.url())
            .variable("LEASE_TTL_MS", &lease.as_millis().to_string())
            .variable("MAX_SESSIONS", "2")
    };
    let mut one = plan().start(1).await;
    let two = plan().variable("REDIS_PREFIX", OTHER).beside(&one).start(2).await;
    // Each has room for two, whatever the other has; a key of one is no key of the other.
    let linked = [one.links(0, "ada").await, two.links(0, "ada").await];
    let [first, second] = [init(one.at(0), "k1").await, init(two.at(1), "k1").await];
    assert_ne!(first, second);
    let mut of_one = [linked[0].id.clone(), first];
    let mut of_two = [linked[1].id.clone(), second];
    of_one.sort();
    of_two.sort();
    assert_eq!(listed(one.at(0)).await, of_one);
    assert_eq!(listed(two.at(1)).await, of_two);
    for (stranger, id) in [(two.at(0), &of_one[0]), (one.at(0), &of_two[0])] {
        let session = stranger.session(id);
        let path = format!("/api/session-status/{id}");
        assert_eq!(stranger.get(&path).await.status(), StatusCode::NOT_FOUND);
        assert_eq!(session.restart().await.status(), StatusCode::NOT_FOUND);
        assert_eq!(Viewer::sse(&stranger.base, id, None).await.err(), Some(StatusCode::NOT_FOUND));
        // Of an unknown session, as far as this deployment knows: nothing is deleted.
        assert_eq!(session.delete().await, StatusCode::NO_CONTENT);
    }
    for key in redis.keys().await {
        let is_twos = key.starts_with(OTHER);
        assert!(is_twos || key.starts_with("qrcast:{"), "{key}");
        let foreign = if is_twos { &of_one } else { &of_two };
        assert!(!foreign.iter().any(|id| key.contains(id.as_str())), "{key}");
    }

    // The one dies: the other leaves its sessions alone.
    one.kills(0).await;
    two.has_clients(2).await;
    tokio::time::sleep(lease * 3).await;
    two.has_clients(2).await;
    assert_eq!(two.logins(&linked[0].jid), 1);
    assert_eq!(listed(two.at(0)).await, of_two);
    let again = one.grows().await;
    one.at(again).session(&linked[0].id).reaches("connected").await;
    assert_eq!(two.at(0).session(&linked[1].id).status().await["status"], "connected");
    one.has_clients(4).await;
}

#[tokio::test]
async fn deleting_leaves_no_key_of_a_session() {
    let redis = Redis::start().await;
    let plan = Replicas::on(&redis.url())
        .variable("SESSION_TTL_ENDED_SECONDS", "6")
        .variable("CLEANUP_INTERVAL_SECONDS", "1");
    let replicas = plan.start(2).await;
    let before = redis.keys().await;
    let linked = replicas.links(0, "linked").await;
    let shows_a_code = replicas.at(0).init("code").await;
    shows_a_code.reaches("scan_qr").await;
    assert_eq!(shows_a_code.pairing_code("+905551234567").await.0, StatusCode::OK);
    let logged_out = replicas.links(1, "out").await;
    replicas.whatsapp.logout(&logged_out.jid).unwrap();
    replicas.at(1).session(&logged_out.id).reaches("disconnected").await;
    let stays = replicas.links(1, "stays").await;

    for id in [&linked.id, &shows_a_code.id, &logged_out.id] {
        assert!(!redis.mentions(id).await.is_empty(), "the test would see it");
        assert_eq!(replicas.at(1).session(id).delete().await, StatusCode::NO_CONTENT);
    }
    for id in [&linked.id, &shows_a_code.id, &logged_out.id] {
        eventually("nothing to be left", async || redis.mentions(id).await.is_empty()).await;
        for number in [0, 1] {
            let path = format!("/api/session-status/{id}");
            assert_eq!(replicas.at(number).get(&path).await.status(), StatusCode::NOT_FOUND);
        }
    }
    assert_eq!(replicas.at(0).session(&stays.id).status().await["status"], "connected");
    assert_eq!(replicas.at(1).session(&stays.id).delete().await, StatusCode::NO_CONTENT);
    eventually("nothing of any user to be left", async || {
        redis.keys().await.iter().all(|key| before.contains(key) || !key.contains("user"))
    })
    .await;
    assert!(replicas.whatsapp.state().devices.iter().all(|device| !device.linked));
}
