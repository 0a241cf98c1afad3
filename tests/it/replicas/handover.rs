//! SIGTERM of an owner: its sessions go on elsewhere within a second, and nobody's stream is lost but those of the
//! replica that leaves.

use std::time::{Duration, Instant};

use futures::future::join_all;
use serde_json::json;

use crate::support::redis::Redis;
use crate::support::replicas::Replicas;
use crate::support::witness::{Saw, Transport, Witness, id, time};

const SESSIONS: usize = 15;

/// From `shutdown` to the `ready` after it.
fn pause(saw: &Saw) -> Duration {
    time(&saw.events[2]).remaining(time(&saw.events[1]))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_go_on_elsewhere_within_a_second_and_their_viewers_stay() {
    let redis = Redis::start().await;
    let mut replicas = Replicas::on(&redis.url()).alone().start(3).await;
    let linked = replicas.links_many(0, SESSIONS).await;
    let watch = |number, transport| -> Vec<Witness> {
        linked.iter().map(|linked| replicas.watches(number, &linked.id, transport)).collect()
    };
    let elsewhere = [watch(1, Transport::Sse), watch(2, Transport::WebSocket)];
    let at_home = [watch(0, Transport::Sse), watch(0, Transport::WebSocket)];
    let all = || elsewhere.iter().chain(&at_home).flatten();
    let mut ends = Vec::new();
    for witness in all() {
        ends.push(id(witness.until("ready", |saw| saw.story() == ["ready"]).await.last()));
    }
    replicas.stops(0).await;

    join_all(all().zip(&ends).map(|(witness, end)| witness.awaits("ready", *end))).await;
    for witness in all() {
        let saw = replicas.is_whole(witness).await;
        assert_eq!(saw.story(), ["ready", "shutdown", "ready"], "{}", witness.session);
        assert_eq!(saw.events[1].data["willReconnect"], true);
        assert_eq!(saw.gaps, 0);
    }
    for witness in elsewhere.iter().flatten() {
        assert_eq!(witness.saw().ends, [], "{}", witness.session);
    }
    let mut pauses: Vec<Duration> = elsewhere[0].iter().map(|witness| pause(&witness.saw())).collect();
    pauses.sort();
    assert!(pauses[SESSIONS / 2] <= Duration::from_secs(1), "{pauses:?}");
    // Told to come back, and came back elsewhere with their cursor: once.
    for (witnesses, end) in at_home.iter().zip([None, Some(1012)]) {
        for witness in witnesses {
            let saw = witness.saw();
            assert_eq!((saw.ends, saw.drains), (vec![end], vec!["DRAINING".to_owned()]));
        }
    }
    replicas.has_clients(SESSIONS).await;
    // Each session is heard of twice, by the word of its release and by the look for such: it is taken, and counted, once.
    let mut taken = 0;
    for number in [1, 2] {
        let metrics = replicas.at(number).get("/metrics").await.text().await.unwrap();
        let count = metrics.lines().find_map(|line| line.strip_prefix("qrcast_takeovers_total ")).unwrap();
        taken += count.parse::<usize>().unwrap();
        let said = |line: &&String| line.contains("\"session taken over\"");
        assert_eq!(replicas.at(number).log().iter().filter(said).count().to_string(), count);
    }
    assert_eq!(taken, SESSIONS);
    replicas.never_two_logins();
    for linked in &linked {
        assert_ne!(replicas.owner_of(&linked.id).await, Some(0));
        assert_eq!(replicas.at(1).session(&linked.id).status().await["me"]["id"], linked.jid);
    }
}

#[tokio::test]
async fn an_unpaired_session_is_handed_over_and_gets_a_new_qr() {
    let redis = Redis::start().await;
    let mut replicas = Replicas::on(&redis.url()).start(2).await;
    let session = replicas.at(0).init("ada").await.id;
    let witness = replicas.watches(1, &session, Transport::Sse);
    let old = witness.until("a QR", |saw| saw.story() == ["qr"]).await.last().clone();
    replicas.stops(0).await;
    let shutdown = witness.awaits("shutdown", id(&old)).await;
    let new = witness.awaits("qr", id(&shutdown)).await;
    assert!(id(&new).epoch > id(&old).epoch, "{new:?}");
    assert_ne!(new.data["qrString"], old.data["qrString"]);
    let jid = replicas.scans(&new).await;
    assert_eq!(witness.awaits("ready", id(&new)).await.data["me"]["id"], jid);
    let saw = replicas.is_whole(&witness).await;
    assert_eq!(saw.story(), ["qr", "shutdown", "qr", "authenticated", "ready"]);
    assert_eq!((saw.ends, saw.gaps), (vec![], 0));
}

/// Released, not lapsed: whoever comes need not wait for the lease.
#[tokio::test]
async fn what_the_last_replica_left_is_taken_at_once_by_the_next() {
    const LEASE: Duration = Duration::from_secs(60);
    let redis = Redis::start().await;
    let plan = Replicas::on(&redis.url()).variable("LEASE_TTL_MS", &LEASE.as_millis().to_string());
    let mut replicas = plan.start(1).await;
    let linked = replicas.links(0, "ada").await;
    let cursor = replicas.end_of(&linked.id).await;
    let stopped = Instant::now();
    replicas.stops(0).await;
    let next = replicas.grows().await;
    let session = replicas.at(next).session(&linked.id);
    let mut viewer = session.sse_after(Some(&cursor.to_string())).await;
    let opening = viewer.expects("status").await;
    assert_eq!((&opening.data["resumed"], &opening.data["gap"]), (&json!(true), &json!(false)));
    let shutdown = viewer.expects("disconnected").await;
    assert_eq!(shutdown.data["reason"], "shutdown");
    assert_eq!(viewer.expects("ready").await.data["me"]["id"], linked.jid);
    assert!(stopped.elapsed() < LEASE / 2, "{:?}", stopped.elapsed());
}
