//! WhatsApp no longer takes the version of any client of a deployment: each replica looks a newer one up once, and every
//! session comes back.

use simulator::{Latest, Version};

use crate::support::eventually;
use crate::support::redis::Redis;
use crate::support::replicas::Replicas;

/// Sessions on each of the two.
const EACH: usize = 25;

/// Above what the simulator's `sw.js` says at first.
const NEWER: u32 = 1_050_000_001;

#[tokio::test]
async fn all_sessions_come_back_after_one_look_up_of_each_replica() {
    let redis = Redis::start().await;
    let replicas = Replicas::on(&redis.url()).start(2).await;
    let mut linked = replicas.links_many(0, EACH).await;
    linked.extend(replicas.links_many(1, EACH).await);
    let before = replicas.whatsapp.state().lookups;
    assert!(before >= 1, "the first to start has looked it up");
    let version = Version { min: Some(NEWER), latest: Some(Latest::Build(NEWER)), expires: None };
    replicas.whatsapp.version(version);
    replicas.whatsapp.drop_connections(None).unwrap();
    for linked in &linked {
        eventually("a second login", async || replicas.logins(&linked.jid) >= 2).await;
        let status = replicas.anyone().session(&linked.id).reaches("connected").await;
        assert_eq!(status["reason"], "client_outdated", "{status}");
    }
    let state = replicas.whatsapp.state();
    assert_eq!(state.lookups - before, 2);
    assert!(state.outdated >= linked.len() as u64, "{} were refused", state.outdated);
    replicas.never_two_logins();
}
