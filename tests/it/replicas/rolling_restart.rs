//! A rolling restart, as a deployment makes one: the next replica leaves when its successor is ready.

use std::collections::BTreeSet;

use futures::future::join_all;
use qrcast::event::Cursor;

use crate::support::redis::Redis;
use crate::support::replicas::{Linked, Replicas};
use crate::support::witness::{Transport, Witness, id, name};

const REPLICAS: usize = 3;
const SESSIONS: usize = 60;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_sessions_move_at_most_once_per_restart_and_their_viewers_see_everything() {
    let redis = Redis::start().await;
    let mut replicas = Replicas::on(&redis.url()).alone().start(REPLICAS).await;
    let mut linked: Vec<Linked> = Vec::new();
    for number in 0..REPLICAS {
        linked.extend(replicas.links_many(number, SESSIONS / REPLICAS).await);
    }
    // Two a session, on different replicas: 120.
    let witnesses: Vec<Witness> = linked
        .iter()
        .enumerate()
        .flat_map(|(n, linked)| {
            let watch = |number, transport| replicas.watches(number % REPLICAS, &linked.id, transport);
            [watch(n, Transport::Sse), watch(n + 1, Transport::WebSocket)]
        })
        .collect();
    for witness in &witnesses {
        witness.until("ready", |saw| saw.story() == ["ready"]).await;
    }

    for leaving in 0..REPLICAS {
        let before = ends(&replicas, &linked).await;
        replicas.stops(leaving).await;
        // Whoever lost its session has it back, whoever lost its stream has another one.
        all_are_connected(&replicas, &linked).await;
        replicas.grows().await;
        for (linked, before) in linked.iter().zip(before) {
            let log = replicas.log_after(&linked.id, before).await;
            let epochs: BTreeSet<u64> =
                log.iter().map(|seen| id(seen).epoch).filter(|epoch| *epoch != before.epoch).collect();
            assert!(epochs.len() <= 1, "moved more than once when {leaving} left: {log:#?}");
        }
    }

    for (n, pair) in witnesses.chunks(2).enumerate() {
        for witness in pair {
            let saw = replicas.is_whole(witness).await;
            assert_eq!(saw.gaps, 0, "{saw:?}");
            assert!(saw.ends.len() <= REPLICAS, "{saw:?}");
            assert_eq!(name(saw.last()), "ready");
            let moved = saw.events.len() / 2;
            let story = [vec!["ready"], ["shutdown", "ready"].repeat(moved)].concat();
            assert_eq!(saw.story(), story, "session {n}");
            assert!((1..=REPLICAS).contains(&moved), "each was on a replica that left: {story:?}");
        }
    }
    replicas.has_clients(SESSIONS).await;
    replicas.never_two_logins();
    for linked in &linked {
        let status = replicas.anyone().session(&linked.id).status().await;
        assert_eq!(
            (&status["status"], &status["me"]["id"]),
            (&"connected".into(), &linked.jid.as_str().into())
        );
    }
}

async fn ends(replicas: &Replicas, linked: &[Linked]) -> Vec<Cursor> {
    join_all(linked.iter().map(|linked| replicas.end_of(&linked.id))).await
}

async fn all_are_connected(replicas: &Replicas, linked: &[Linked]) {
    for linked in linked {
        replicas.anyone().session(&linked.id).reaches("connected").await;
    }
}
