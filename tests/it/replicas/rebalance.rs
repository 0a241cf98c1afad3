//! More than its share: a replica gives linked sessions away, one at a time, when no replica is new any more.

use std::time::{Duration, Instant};

use crate::support::redis::Redis;
use crate::support::replicas::Replicas;
use crate::support::witness::Transport;

/// No session moves before.
const SETTLED: Duration = Duration::from_secs(60);
/// Long enough for all that are to move.
const PATIENCE: Duration = Duration::from_secs(120);

#[tokio::test]
async fn what_is_more_than_its_share_moves_after_a_minute_and_what_is_watched_last() {
    let redis = Redis::start().await;
    let mut replicas = Replicas::on(&redis.url()).start(1).await;
    let linked = replicas.links_many(0, 6).await;
    // Its QRs last longer than this test.
    let unlinked = replicas.at(0).init("unlinked").await.id;
    let begun = Instant::now();
    let other = replicas.grows().await;
    let watched = &linked[2];
    let witness = replicas.watches(other, &watched.id, Transport::Sse);

    let mut moved = Vec::new();
    // Seven sessions on two replicas: four each at most.
    while moved.len() < 3 {
        assert!(begun.elapsed() < PATIENCE, "{moved:?}");
        for linked in &linked {
            if replicas.owner_of(&linked.id).await == Some(other) && !moved.contains(&linked.id) {
                assert!(begun.elapsed() >= SETTLED, "after {:?}", begun.elapsed());
                moved.push(linked.id.clone());
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(!moved.contains(&watched.id), "the others come first");
    assert_eq!(replicas.owner_of(&unlinked).await, Some(0), "a QR is on somebody's screen");
    for linked in &linked {
        replicas.anyone().session(&linked.id).reaches("connected").await;
        let logins = if moved.contains(&linked.id) { 2 } else { 1 };
        assert_eq!(replicas.logins(&linked.jid), logins, "{linked:?}");
    }
    assert_eq!(witness.saw().story(), ["ready"]);
    replicas.never_two_logins();
}
