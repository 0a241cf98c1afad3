//! The core of it all on what else speaks Redis: a cluster of three nodes, and Valkey where it is installed.

use reqwest::StatusCode;

use crate::support::redis::{Redis, RedisCluster};
use crate::support::replicas::Replicas;
use crate::support::witness::{Transport, id, name};
use crate::support::{eventually, is_installed};

/// Linked on one replica, watched on the others; its owner dies; restarted and deleted from elsewhere.
async fn core(url: &str) {
    let mut replicas = Replicas::on(url).start(3).await;
    let linked = replicas.links_many(0, 6).await;
    let witnesses: Vec<_> = linked
        .iter()
        .flat_map(|linked| {
            [(1, Transport::Sse), (2, Transport::WebSocket)]
                .map(|(number, transport)| replicas.watches(number, &linked.id, transport))
        })
        .collect();
    let mut ends = Vec::new();
    for witness in &witnesses {
        ends.push(id(witness.until("ready", |saw| saw.story() == ["ready"]).await.last()));
    }

    replicas.kills(0).await;
    for (witness, end) in witnesses.iter().zip(&mut ends) {
        *end = id(&witness.awaits("ready", *end).await);
        let saw = replicas.is_whole(witness).await;
        assert_eq!(saw.story(), ["ready", "owner_lost", "ready"]);
    }
    // From each of the two in turn, so that the other one may be the owner.
    for (n, linked) in linked.iter().enumerate() {
        let response = replicas.at(1 + n % 2).session(&linked.id).restart().await;
        assert_eq!(response.status(), StatusCode::ACCEPTED);
    }
    for (witness, end) in witnesses.iter().zip(&ends) {
        let ready = witness.awaits("ready", *end).await;
        let jid = &linked.iter().find(|linked| linked.id == witness.session).unwrap().jid;
        assert_eq!(ready.data["me"]["id"], jid.as_str());
        let saw = replicas.is_whole(witness).await;
        assert_eq!((saw.ends.len(), saw.gaps), (0, 0), "{saw:?}");
    }
    for (n, linked) in linked.iter().enumerate() {
        assert_eq!(replicas.at(1 + n % 2).session(&linked.id).delete().await, StatusCode::NO_CONTENT);
    }
    for witness in &witnesses {
        let saw = witness.until("the end", |saw| saw.over).await;
        assert_eq!(name(saw.last()), "deleted");
    }
    eventually("the phones to list none of them", || async {
        replicas.whatsapp.state().devices.iter().all(|device| !device.linked)
    })
    .await;
    replicas.has_clients(0).await;
    replicas.never_two_logins();
}

#[tokio::test]
async fn on_a_cluster_of_three_nodes() {
    let cluster = RedisCluster::start().await;
    core(&cluster.url()).await;
    for node in cluster.nodes() {
        assert!(!node.keys().await.is_empty(), "every node has its part");
    }
}

#[tokio::test]
async fn on_valkey() {
    const PROGRAM: &str = "valkey-server";
    if !is_installed(PROGRAM) {
        return;
    }
    let valkey = Redis::start_program(PROGRAM).await;
    core(&valkey.url()).await;
}

/// The tests' own cluster is one.
#[tokio::test]
async fn each_node_of_the_cluster_serves_its_keys_and_no_others() {
    let cluster = RedisCluster::start().await;
    let mut served = [0; 3];
    for key in 0..30 {
        let key = key.to_string();
        for (node, served) in cluster.nodes().iter().zip(&mut served) {
            // Another node's key is refused with its address.
            if node.try_tell::<()>(&["SET", &key, "value"]).await.is_ok() {
                assert_eq!(node.tell::<String>(&["GET", &key]).await, "value");
                *served += 1;
            }
        }
    }
    assert_eq!(served.iter().sum::<i32>(), 30);
    assert!(served.iter().all(|count| *count > 0), "{served:?}");
}

/// What the other tests do to a Redis is what they say.
#[tokio::test]
async fn a_redis_keeps_forgets_and_is_set_back() {
    let mut redis = Redis::start().await;
    redis.tell::<()>(&["SET", "one", "1"]).await;
    let copy = redis.copy();
    redis.tell::<()>(&["XADD", "two", "1-1", "field", "needle"]).await;
    assert_eq!(redis.mentions("needle").await, ["two"]);
    redis.kill().await;
    assert!(redis.try_tell::<()>(&["PING"]).await.is_err());
    redis.launch().await;
    assert_eq!(redis.keys().await, ["one", "two"]);
    redis.restore(copy).await;
    assert_eq!(redis.keys().await, ["one"]);
    redis.freeze();
    redis.thaw();
    redis.holds_everyone(std::time::Duration::from_millis(100)).await;
    redis.forget().await;
    redis.launch().await;
    assert!(redis.keys().await.is_empty());
}
