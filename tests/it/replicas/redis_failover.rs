//! A Redis that answers and takes no writes, over connections that live: another one has taken its place by the same name,
//! or it will be itself again.

use std::time::{Duration, Instant};

use futures::future::join_all;
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::redis_away::{Scene, health};
use crate::support::proxy::free_port;
use crate::support::redis::{Pair, Redis};
use crate::support::replicas::{LEASE, Linked, Replicas};
use crate::support::witness::{Transport, Witness, id, name};
use crate::support::{Server, eventually};

/// Linked sessions of each of the two replicas.
const EACH: usize = 10;

/// From the first moment of the fail-over until everything is whole.
const WHOLE_WITHIN: Duration = Duration::from_secs(10);

async fn is(replicas: &Replicas, word: &str) {
    for number in [0, 1] {
        eventually(word, async || health(replicas.at(number)).await["status"] == word).await;
    }
}

/// The log lines that begin so.
fn lines(server: &Server, message: &str) -> usize {
    let log = server.log();
    let lines = log.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["message"].as_str().is_some_and(|said| said.starts_with(message))).count()
}

async fn comes_back(
    replicas: &Replicas,
    linked: &Linked,
    witnesses: &[Witness],
    after: qrcast::event::Cursor,
) {
    for witness in witnesses {
        witness.awaits("ready", after).await;
    }
    assert_eq!(replicas.at(0).session(&linked.id).status().await["status"], "connected");
}

#[tokio::test]
async fn twenty_sessions_and_forty_viewers_are_whole_after_a_fail_over_that_cuts_no_connection() {
    let pair = Pair::start().await;
    let replicas = Replicas::on(&pair.url()).alone().start(2).await;
    let (of_first, of_second) = tokio::join!(replicas.links_many(0, EACH), replicas.links_many(1, EACH));
    let linked: Vec<_> = of_first.into_iter().chain(of_second).collect();
    let watch = |(number, linked): (usize, &Linked)| {
        let transports = [Transport::Sse, Transport::WebSocket];
        [0, 1].map(|at| replicas.watches(at, &linked.id, transports[(number + at) % 2]))
    };
    let witnesses: Vec<_> = linked.iter().enumerate().map(watch).collect();
    for witness in witnesses.iter().flatten() {
        witness.until("ready", |saw| saw.story() == ["ready"]).await;
    }

    let said = || {
        [0, 1].map(|number| {
            let server = replicas.at(number);
            ["Redis is away: the server takes no writes", "Redis is back"].map(|line| lines(server, line))
        })
    };
    let said_before = said();
    let begun = Instant::now();
    let before: Vec<_> = witnesses.iter().map(|both| id(both[0].saw().last())).collect();
    pair.fails_over().await;
    is(&replicas, "degraded").await;
    // Some of each replica's have something to tell meanwhile.
    let dropped = [0, 3, 7, EACH, EACH + 4];
    for number in dropped {
        assert_eq!(replicas.whatsapp.drop_connections(Some(&linked[number].jid)).unwrap(), 1);
    }
    pair.name_moves();
    is(&replicas, "healthy").await;
    for number in dropped {
        comes_back(&replicas, &linked[number], &witnesses[number], before[number]).await;
    }
    for (number, user) in [(0, "new0"), (1, "new1")] {
        let new = replicas.at(number).init(user).await;
        let mut viewer = replicas.at(1 - number).session(&new.id).sse().await;
        viewer.awaits("qr").await;
    }
    assert!(begun.elapsed() < WHOLE_WITHIN, "{:?}", begun.elapsed());

    // Each has its owner and its keys still: a restart from the other replica is a login without a scan.
    let restarted = linked.iter().enumerate().map(async |(number, linked)| {
        let logins = replicas.logins(&linked.jid);
        let owner = usize::from(number >= EACH);
        assert_eq!(replicas.owner_of(&linked.id).await, Some(owner), "{linked:?}");
        let session = replicas.at(1 - owner).session(&linked.id);
        assert_eq!(session.restart().await.status(), StatusCode::ACCEPTED);
        eventually("a new login", async || replicas.logins(&linked.jid) > logins).await;
        assert_eq!(session.reaches("connected").await["me"]["id"], linked.jid);
    });
    join_all(restarted).await;
    for witness in witnesses.iter().flatten() {
        let saw = replicas.is_whole(witness).await;
        assert_eq!((saw.ends.len(), saw.gaps), (0, 0), "{saw:?}");
        assert!(!saw.story().contains(&"owner_lost".to_owned()), "{saw:?}");
    }
    replicas.never_two_logins();
    let one_more = said_before.map(|[away, back]| [away + 1, back + 1]);
    assert_eq!(said(), one_more, "one line when it begins and one when it ends");
}

/// Lives through it for each of these times, and is whole after all of them.
async fn lives_through(
    times: &[Duration],
    scene: &Scene,
    begins: impl AsyncFn() -> (),
    ends: impl AsyncFn() -> (),
) {
    for time in times {
        begins().await;
        scene.drops(0).await;
        if *time >= Duration::from_secs(3) {
            is(&scene.replicas, "degraded").await;
            let refused = scene.replicas.at(1).post("/api/init-session", &json!({ "userId": "cyd" })).await;
            assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
            assert!(refused.headers().contains_key("retry-after"));
        }
        tokio::time::sleep(*time).await;
        ends().await;
        is(&scene.replicas, "healthy").await;
        scene.is_untouched(1);
        scene.replicas.at(0).session(&scene.linked[0].id).reaches("connected").await;
    }
    scene.is_whole().await;
}

#[tokio::test]
async fn a_primary_that_is_a_copy_for_a_while_costs_nobody_an_event() {
    let redis = Redis::start().await;
    let scene = Scene::of(Replicas::on(&redis.url())).await;
    let nobody = free_port();
    let times = [500, 3000, 15_000].map(Duration::from_millis);
    lives_through(&times, &scene, async || redis.copies(&nobody).await, async || redis.takes_writes().await)
        .await;
}

#[tokio::test]
async fn a_primary_that_its_copies_have_left_costs_nobody_an_event() {
    let redis = Redis::start().await;
    let scene = Scene::of(Replicas::on(&redis.url())).await;
    let wants = async |copies| redis.sets("min-replicas-to-write", copies).await;
    let times = [Duration::from_secs(1), LEASE + Duration::from_secs(3)];
    lives_through(&times, &scene, async || wants("1").await, async || wants("0").await).await;
}

#[tokio::test]
async fn a_copy_that_has_lost_its_primary_costs_nobody_an_event() {
    let redis = Redis::start().await;
    redis.sets("replica-serve-stale-data", "no").await;
    let scene = Scene::of(Replicas::on(&redis.url())).await;
    let nobody = free_port();
    let times = [Duration::from_secs(1), LEASE + Duration::from_secs(3)];
    lives_through(&times, &scene, async || redis.copies(&nobody).await, async || redis.takes_writes().await)
        .await;
}

#[tokio::test]
async fn a_pubsub_connection_that_stays_at_the_old_redis_costs_nobody_an_event() {
    let pair = Pair::start().await;
    let scene = Scene::of(Replicas::on(&pair.url()).variable("WHATSAPP_TIME_FACTOR", "10")).await;
    // Two that take writes, as long as nobody tells the first: what is published at the second is not heard there.
    pair.second.takes_writes().await;
    pair.name_moves();
    pair.first.tell::<i64>(&["CLIENT", "KILL", "TYPE", "normal"]).await;
    scene.goes_on().await;
    scene.is_whole().await;
    let story = scene.witnesses[0][1].saw().events.iter().map(name).collect::<Vec<_>>();
    assert!(story.len() >= 5, "{story:?}");
    let left = pair.first.tell::<String>(&["CLIENT", "LIST", "TYPE", "PUBSUB"]).await;
    assert_eq!(left.lines().filter(|line| !line.is_empty()).count(), 0, "{left}");
}

#[tokio::test]
async fn a_replica_that_starts_at_a_copy_waits_for_one_that_takes_writes() {
    let pair = Pair::start().await;
    let redis = pair.second.url();
    let whatsapp = crate::support::whatsapp().await;
    let server = Server::builder(&whatsapp.url()).variable("REDIS_URL", &redis).start().await;
    eventually("it to say why it waits", async || {
        lines(&server, "Redis answers and takes no writes (READONLY)") == 1
    })
    .await;
    assert_eq!(server.get("/readyz").await.status(), StatusCode::SERVICE_UNAVAILABLE);
    pair.second.takes_writes().await;
    crate::support::replicas::is_ready(&server).await;
    assert_eq!(health(&server).await["status"], "healthy");
}
