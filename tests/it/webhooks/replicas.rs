//! Many replicas: any of them sends, once and in order, whoever dies.

use qrcast::event::Cursor;
use serde_json::json;

use super::SECRET;
use crate::support::eventually;
use crate::support::receiver::{Conduct, Receiver};
use crate::support::redis::{Redis, RedisCluster};
use crate::support::replicas::{Plan, Replicas};

fn plan(url: &str, receiver: &Receiver) -> Plan {
    Replicas::on(url)
        .variable("WEBHOOK_ALLOW_PRIVATE", "true")
        .variable("WHATSAPP_TIME_FACTOR", "10")
        .variable("WEBHOOK_URLS", &receiver.url)
        .variable("WEBHOOK_SECRET", SECRET)
        .variable("WEBHOOK_EVENTS", "authenticated,ready,disconnected")
}

/// The ids of what was taken of a session rise, each once.
fn is_in_order(receiver: &Receiver, session: &str) {
    let ids: Vec<Cursor> = receiver
        .taken(session)
        .iter()
        .map(|letter| letter.event()["id"].as_str().unwrap().parse().unwrap())
        .collect();
    assert!(ids.is_sorted_by(|one, other| one < other), "{ids:?}");
    assert!(receiver.letters().iter().all(|letter| letter.is_signed_with(SECRET)));
}

#[tokio::test]
async fn the_owner_dies_between_two_tries_and_nothing_is_lost() {
    let (redis, receiver) = (Redis::start().await, Receiver::start().await);
    let mut replicas = plan(&redis.url(), &receiver).start(2).await;
    receiver.behaves(Conduct::Says(500, ""));
    let session = replicas.anyone().init("ada").await;
    session.link(&replicas.whatsapp).await;
    let id = session.id.clone();
    receiver.has_letters(2).await;
    let owner = replicas.owner_of(&id).await.unwrap();
    replicas.kills(owner).await;
    receiver.behaves(Conduct::Takes);
    // The next owner says that the connection was lost, and that it is back.
    eventually("all events", || async {
        receiver.events(&id) == ["authenticated", "ready", "disconnected", "ready"]
    })
    .await;
    is_in_order(&receiver, &id);
}

#[tokio::test]
async fn what_an_ended_session_left_is_sent_by_whoever_lives() {
    let (redis, receiver) = (Redis::start().await, Receiver::start().await);
    let mut replicas = plan(&redis.url(), &receiver).start(2).await;
    let own = Receiver::start().await;
    let body = json!({ "userId": "ada", "webhookUrl": own.url });
    let session = replicas.anyone().init_with(body).await;
    session.link(&replicas.whatsapp).await;
    let id = session.id.clone();
    receiver.awaits(&id, "ready").await;
    own.behaves(Conduct::Closes);
    session.delete().await;
    receiver.awaits(&id, "disconnected").await;
    let tried = || own.letters().iter().any(|letter| letter.event()["event"] == "disconnected");
    eventually("a try", || async { tried() }).await;
    let owner = replicas.owner_of(&id).await.unwrap_or(0);
    replicas.kills(owner).await;
    own.behaves(Conduct::Takes);
    own.awaits(&id, "disconnected").await;
    assert_eq!(own.events(&id), ["authenticated", "ready", "disconnected"]);
    assert_eq!(receiver.events(&id), ["authenticated", "ready", "disconnected"], "who had it got it once");
    is_in_order(&receiver, &id);
}

/// A session's standing and the list of what is due are on different nodes there.
#[tokio::test]
async fn on_a_cluster_the_owner_of_half_of_the_sessions_dies_and_nothing_is_lost() {
    let (cluster, receiver) = (RedisCluster::start().await, Receiver::start().await);
    let mut replicas = plan(&cluster.url(), &receiver).start(2).await;
    receiver.behaves(Conduct::Says(500, ""));
    let mut ids = Vec::new();
    for number in 0..6 {
        let session = replicas.at(number % 2).init(&format!("user{number}")).await;
        session.link(&replicas.whatsapp).await;
        ids.push(session.id.clone());
    }
    receiver.has_letters(ids.len()).await;
    let owner = replicas.owner_of(&ids[0]).await.unwrap();
    replicas.kills(owner).await;
    receiver.behaves(Conduct::Takes);
    for (number, id) in ids.iter().enumerate() {
        let died = number % 2 == 0;
        let expected: &[_] = if died {
            &["authenticated", "ready", "disconnected", "ready"]
        } else {
            &["authenticated", "ready"]
        };
        eventually("all events", || async { receiver.events(id) == expected }).await;
        is_in_order(&receiver, id);
    }
}
