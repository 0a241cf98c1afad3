//! Redis back without its data, or with that of a moment ago: ids never fall, nobody is stuck, and whoever cannot be told
//! everything is told `gap`.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::StatusCode;
use serde_json::json;

use super::redis_away::{Scene, health};
use crate::support::redis::{Pair, Redis};
use crate::support::replicas::{LEASE, Replicas};
use crate::support::witness::{Transport, id, name};
use crate::support::{eventually, soon};

/// What a log keeps in these tests.
const HISTORY: usize = 10;

#[tokio::test]
async fn a_redis_that_forgot_everything_at_once_is_told_it_again() {
    without_its_data(Duration::ZERO).await;
}

#[tokio::test]
async fn a_redis_that_forgot_everything_and_stayed_away_is_told_it_again() {
    without_its_data(LEASE + Duration::from_secs(3)).await;
}

async fn without_its_data(away: Duration) {
    let mut redis = Redis::start().await;
    let plan = Replicas::on(&redis.url()).variable("HISTORY_EVENTS", &HISTORY.to_string());
    // A client that is dropped again and again waits longer each time.
    let scene = Scene::of(plan.variable("WHATSAPP_TIME_FACTOR", "10")).await;
    let replicas = &scene.replicas;
    // Nobody runs this one: nobody can write it again.
    let ended = replicas.links(0, "ended").await;
    replicas.whatsapp.logout(&ended.jid).unwrap();
    replicas.at(1).session(&ended.id).reaches("disconnected").await;
    // Two events each: more than a log keeps.
    for _ in 0..HISTORY / 2 + 1 {
        scene.goes_on().await;
    }
    let before = [0, 1].map(|session| scene.last(session));
    let logins = scene.linked.each_ref().map(|linked| replicas.logins(&linked.jid));

    redis.forget().await;
    tokio::time::sleep(away).await;
    redis.launch().await;
    for number in [0, 1] {
        eventually("the alert", async || {
            let health = health(replicas.at(number)).await;
            let alerts = health["alerts"].as_array().cloned().unwrap_or_default();
            health["status"] == "degraded" && alerts.iter().any(|alert| alert["name"] == "storage_lost")
        })
        .await;
        eventually("the ended session to be unknown", async || {
            let path = format!("/api/session-status/{}", ended.id);
            replicas.at(number).get(&path).await.status() == StatusCode::NOT_FOUND
        })
        .await;
        for linked in &scene.linked {
            eventually("it to be served as before", || async {
                let path = format!("/api/session-status/{}", linked.id);
                let answer = replicas.at(number).get(&path).await;
                // To a browser that would be the end.
                assert_ne!(answer.status(), StatusCode::NOT_FOUND);
                answer.status() == StatusCode::OK
            })
            .await;
            assert_eq!(replicas.at(number).session(&linked.id).status().await["status"], "connected");
        }
    }
    for (session, linked) in scene.linked.iter().enumerate() {
        assert_eq!(replicas.logins(&linked.jid), logins[session], "no reconnect at WhatsApp");
        assert_eq!(replicas.owner_of(&linked.id).await, Some(session));
    }
    // It goes on, for those who watched all the time.
    scene.goes_on().await;
    for (session, witnesses) in scene.witnesses.iter().enumerate() {
        for witness in witnesses {
            let saw = replicas.is_whole_after(witness, before[session]).await;
            assert_eq!((saw.ends.len(), saw.gaps), (0, 0), "{saw:?}");
        }
        whoever_comes_back_is_told_everything_or_gap(&scene, session).await;
    }
    // A new replica finds them as they are.
    let mut replicas = scene.replicas;
    let third = replicas.grows().await;
    for linked in &scene.linked {
        let session = replicas.at(third).session(&linked.id);
        assert_eq!(session.status().await["me"]["id"], linked.jid);
        // The device itself was written again: a new client is let in without a scan.
        let logins = replicas.logins(&linked.jid);
        assert_eq!(session.restart().await.status(), StatusCode::ACCEPTED);
        eventually("a new login", async || replicas.logins(&linked.jid) > logins).await;
        assert_eq!(session.reaches("connected").await["me"]["id"], linked.jid);
    }
}

/// From every id that was ever shown, and from one that never was.
async fn whoever_comes_back_is_told_everything_or_gap(scene: &Scene, session: usize) {
    let events = scene.witnesses[session][0].saw().events;
    let cursors = events.iter().map(|seen| id(seen).to_string()).chain(["1-1".to_owned()]);
    let mut gaps = Vec::new();
    for cursor in cursors {
        for number in [0, 1] {
            let place = scene.replicas.at(number).session(&scene.linked[session].id);
            let mut viewer = place.sse_after(Some(&cursor)).await;
            let opening = viewer.expects("status").await;
            let gap = opening.data["gap"] == json!(true);
            let after: qrcast::event::Cursor = cursor.parse().unwrap();
            let owed = events.iter().filter(|seen| id(seen) > after);
            let owed: Vec<_> = if gap { events.last().into_iter().collect() } else { owed.collect() };
            for seen in owed {
                assert_eq!(
                    viewer.expects(&seen.event).await,
                    *seen,
                    "after {cursor} from {number}: {opening:?}"
                );
            }
            gaps.push((cursor.clone(), gap));
        }
    }
    let told = |cursor: &str| gaps.iter().filter(|(of, gap)| of == cursor && *gap).count();
    assert_eq!(told("1-1"), 2, "{gaps:?}");
    assert_eq!(told(&id(&events[0]).to_string()), 2, "older than the log: {gaps:?}");
    assert_eq!(told(&id(events.last().unwrap()).to_string()), 0, "{gaps:?}");
}

#[tokio::test]
async fn writes_that_redis_lost_are_written_again_by_the_owner() {
    let mut redis = Redis::start().await;
    let scene = Scene::of(Replicas::on(&redis.url())).await;
    for _ in 0..3 {
        let copy = redis.copy();
        scene.goes_on().await;
        redis.restore(copy).await;
        scene.redis_is_connected(true).await;
    }
    // The log has them, from the first on, also for whoever was not there.
    scene.is_whole().await;
    for linked in &scene.linked {
        // Linked, and each time dropped, without another reconnect.
        assert_eq!(scene.replicas.logins(&linked.jid), 1 + 4, "{linked:?}");
    }
}

#[tokio::test]
async fn ids_rise_also_when_the_owner_dies_with_the_writes_that_redis_lost() {
    let mut redis = Redis::start().await;
    let mut scene = Scene::of(Replicas::on(&redis.url())).await;
    let copy = redis.copy();
    scene.goes_on().await;
    let shown = scene.last(0);
    scene.replicas.kills(0).await;
    redis.restore(copy).await;
    for witness in &scene.witnesses[0] {
        // A witness takes no id that does not rise.
        let ready = witness.awaits("ready", shown).await;
        assert!(id(&ready).epoch > shown.epoch, "{ready:?}");
    }
    let dropped = scene.last(0);
    scene.drops(0).await;
    for witness in &scene.witnesses[0] {
        witness.awaits("connection_lost", dropped).await;
        witness.until("ready", |saw| name(saw.last()) == "ready").await;
        scene.replicas.is_whole_after(witness, dropped).await;
    }
    assert_eq!(scene.replicas.owner_of(&scene.linked[0].id).await, Some(1));
    // With a cursor that Redis does not know any more.
    let mut late =
        scene.replicas.at(1).session(&scene.linked[0].id).sse_after(Some(&shown.to_string())).await;
    assert_eq!(late.expects("status").await.data["status"], "connected");
    let end = scene.replicas.end_of(&scene.linked[0].id).await;
    soon("the end of the log", async { while id(&late.next().await.unwrap()) < end {} }).await;
}

/// In the copy the dead one still owns it.
#[tokio::test]
async fn a_takeover_that_redis_lost_is_made_again() {
    let mut redis = Redis::start().await;
    let mut scene = Scene::of(Replicas::on(&redis.url())).await;
    let copy = redis.copy();
    let first = scene.last(0);
    scene.replicas.kills(0).await;
    for witness in &scene.witnesses[0] {
        witness.awaits("ready", first).await;
    }
    let taken = scene.last(0);
    redis.restore(copy).await;
    scene.replicas.at(1).session(&scene.linked[0].id).reaches("connected").await;
    let third = scene.replicas.grows().await;
    let late = scene.replicas.watches(third, &scene.linked[0].id, Transport::WebSocket);
    late.until("ready", |saw| saw.events.iter().any(|seen| name(seen) == "ready" && id(seen) >= taken)).await;
    let dropped = scene.last(0).max(id(late.saw().last()));
    scene.drops(0).await;
    for witness in scene.witnesses[0].iter().chain([&late]) {
        witness.awaits("connection_lost", dropped).await;
        witness.until("ready", |saw| name(saw.last()) == "ready").await;
        scene.replicas.is_whole_after(witness, dropped).await;
    }
    scene.replicas.never_two_logins();
    let story = scene.witnesses[0][1].saw().story();
    assert!(!story.contains(&"replaced".to_owned()), "{story:?}");
}

/// Asks a replica for a session as fast as it can; which answers there were.
async fn asks_all_the_time(base: String, id: String, answers: Arc<Mutex<Vec<String>>>) {
    let http = reqwest::Client::new();
    loop {
        for path in [
            format!("/api/session-status/{id}"),
            format!("/api/qr-code/{id}"),
            format!("/api/sessions/{id}/events"),
        ] {
            // A stream's answer is its head; the body is dropped.
            let answer = http.get(format!("{base}{path}")).send().await.unwrap();
            answers.lock().unwrap().push(format!("{path}: {}", answer.status().as_u16()));
        }
        let token = http.post(format!("{base}/api/sessions/{id}/stream-token")).send().await.unwrap();
        answers.lock().unwrap().push(format!("stream-token: {}", token.status().as_u16()));
    }
}

#[tokio::test]
async fn a_flush_makes_no_living_session_unknown_at_the_replica_that_does_not_own_it() {
    let redis = Redis::start().await;
    let replicas = Replicas::on(&redis.url()).start(3).await;
    let linked = replicas.links(0, "ada").await;
    let witnesses = [
        replicas.watches(1, &linked.id, Transport::Sse),
        replicas.watches(2, &linked.id, Transport::WebSocket),
    ];
    let answers = Arc::new(Mutex::new(Vec::new()));
    let hammers = [1, 1, 2, 2].map(|number| {
        let (base, id) = (replicas.at(number).base.clone(), linked.id.clone());
        tokio::spawn(asks_all_the_time(base, id, answers.clone()))
    });
    let unknown = "/api/session-status/session_nobody_7d1f0c36-3f0e-4c5b-9b1e-0a4b4f1f9a11";
    for _ in 0..3 {
        assert_eq!(replicas.at(1).get(unknown).await.status(), StatusCode::NOT_FOUND);
        redis.tell::<()>(&["FLUSHALL"]).await;
        for number in [1, 2] {
            eventually("it to be written again", async || {
                let path = format!("/api/session-status/{}", linked.id);
                replicas.at(number).get(&path).await.status() == StatusCode::OK
            })
            .await;
            // What nobody has is unknown again soon after.
            eventually("the unknown to be unknown", async || {
                replicas.at(number).get(unknown).await.status() == StatusCode::NOT_FOUND
            })
            .await;
        }
    }
    for hammer in hammers {
        hammer.abort();
    }
    let answers = answers.lock().unwrap().clone();
    let good = |answer: &&String| [": 200", ": 409", ": 503"].iter().any(|end| answer.ends_with(end));
    let bad: Vec<_> = answers.iter().filter(|answer| !good(answer)).collect();
    assert!(bad.is_empty(), "{} of {}: {bad:?}", bad.len(), answers.len());
    assert!(answers.iter().any(|answer| answer.ends_with(": 200")));
    let last = id(witnesses[0].saw().last());
    assert_eq!(replicas.whatsapp.drop_connections(Some(&linked.jid)).unwrap(), 1);
    for witness in &witnesses {
        witness.awaits("ready", last).await;
        assert_eq!(witness.saw().gaps, 0);
    }
    assert_eq!(replicas.logins(&linked.jid), 2, "the drop alone");
}

/// A second primary that has never heard of anything, behind the same name: as a managed Redis that was made anew.
#[tokio::test]
async fn an_empty_redis_by_the_same_name_makes_no_living_session_unknown() {
    let pair = Pair::start().await;
    let replicas = Replicas::on(&pair.url()).start(2).await;
    let linked = replicas.links(0, "ada").await;
    let answers = Arc::new(Mutex::new(Vec::new()));
    let hammer =
        tokio::spawn(asks_all_the_time(replicas.at(1).base.clone(), linked.id.clone(), answers.clone()));
    pair.second.takes_writes().await;
    pair.second.tell::<()>(&["FLUSHALL"]).await;
    pair.name_moves();
    pair.first.tell::<i64>(&["CLIENT", "KILL", "TYPE", "normal"]).await;
    eventually("it to be written again", async || {
        let record: bool =
            pair.second.tell(&["HEXISTS", &format!("qrcast:{{{}}}", linked.id), "record"]).await;
        record
            && replicas.at(1).get(&format!("/api/session-status/{}", linked.id)).await.status().is_success()
    })
    .await;
    hammer.abort();
    let answers = answers.lock().unwrap().clone();
    assert!(!answers.iter().any(|answer| answer.ends_with(": 404")), "{answers:?}");
}
