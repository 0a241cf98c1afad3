//! Redis away and back with its data: streams and WhatsApp connections stay, and every viewer ends with the whole log.

use std::time::{Duration, Instant};

use qrcast::event::Cursor;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::redis::Redis;
use crate::support::replicas::{LEASE, Linked, Plan, Replicas, is_ready};
use crate::support::witness::{Transport, Witness, id};
use crate::support::{Server, eventually};

/// Two replicas, each with a linked session of its own, which is watched on both of them over both transports.
pub(super) struct Scene {
    pub(super) replicas: Replicas,
    /// By replica.
    pub(super) linked: [Linked; 2],
    /// By session.
    pub(super) witnesses: [Vec<Witness>; 2],
}

impl Scene {
    pub(super) async fn of(plan: Plan) -> Self {
        let replicas = plan.start(2).await;
        let linked = [replicas.links(0, "ada").await, replicas.links(1, "bob").await];
        let places =
            [(0, Transport::Sse), (1, Transport::WebSocket), (0, Transport::WebSocket), (1, Transport::Sse)];
        let witnesses: [Vec<Witness>; 2] = linked.each_ref().map(|linked| {
            places.map(|(number, transport)| replicas.watches(number, &linked.id, transport)).into()
        });
        for witness in witnesses.iter().flatten() {
            witness.until("ready", |saw| saw.story() == ["ready"]).await;
        }
        Self { replicas, linked, witnesses }
    }

    /// The last event that any viewer of a session knows.
    pub(super) fn last(&self, session: usize) -> Cursor {
        self.witnesses[session].iter().map(|witness| id(witness.saw().last())).max().unwrap()
    }

    /// WhatsApp drops a session's connection, once it has one: two events.
    pub(super) async fn drops(&self, session: usize) {
        let drop = || self.replicas.whatsapp.drop_connections(Some(&self.linked[session].jid)).unwrap();
        eventually("a connection to drop", async || drop() == 1).await;
    }

    pub(super) async fn redis_is_connected(&self, connected: bool) {
        for number in [0, 1] {
            eventually("Redis to be noticed", async || {
                let health = health(self.replicas.at(number)).await;
                health["storage"]["redis_connected"] == connected
            })
            .await;
        }
    }

    /// Something new happens to each session and is seen by everyone.
    pub(super) async fn goes_on(&self) {
        for session in [0, 1] {
            // Of a connection that is not logged in yet nobody hears that it broke.
            self.replicas.at(session).session(&self.linked[session].id).reaches("connected").await;
            let last = self.last(session);
            self.drops(session).await;
            for witness in &self.witnesses[session] {
                witness.awaits("connection_lost", last).await;
            }
            for witness in &self.witnesses[session] {
                witness.awaits("ready", last).await;
            }
        }
    }

    /// Everyone has all that there was, in order, and nobody's stream was lost. Nobody changed the owner.
    pub(super) async fn is_whole(&self) {
        self.goes_on().await;
        for (number, witnesses) in self.witnesses.iter().enumerate() {
            for witness in witnesses {
                let saw = self.replicas.is_whole(witness).await;
                assert_eq!((saw.ends.len(), saw.gaps), (0, 0), "{saw:?}");
                assert!(!saw.story().contains(&"owner_lost".to_owned()), "{saw:?}");
                let epochs: Vec<_> = saw.events.iter().map(|seen| id(seen).epoch).collect();
                assert!(epochs.iter().all(|epoch| *epoch == epochs[0]), "{epochs:?}");
            }
            assert_eq!(self.replicas.owner_of(&self.linked[number].id).await, Some(number));
        }
        self.replicas.never_two_logins();
    }

    /// Nothing at all happened to a session.
    pub(super) fn is_untouched(&self, session: usize) {
        assert_eq!(self.replicas.logins(&self.linked[session].jid), 1, "no reconnect at WhatsApp");
        for witness in &self.witnesses[session] {
            let saw = witness.saw();
            assert_eq!((saw.story(), saw.ends), (vec!["ready".to_owned()], vec![]));
        }
    }
}

pub(super) async fn health(server: &Server) -> Value {
    server.get("/health").await.json().await.unwrap()
}

#[tokio::test]
async fn thirty_seconds_without_redis_cost_nobody_a_stream_or_an_event() {
    const AWAY: Duration = Duration::from_secs(30);
    let mut redis = Redis::start().await;
    let scene = Scene::of(Replicas::on(&redis.url())).await;
    let unpaired = scene.replicas.at(0).init("cyd").await.id;
    let at_both = [0, 1].map(|number| scene.replicas.watches(number, &unpaired, Transport::Sse));
    for witness in &at_both {
        witness.until("a QR", |saw| saw.story() == ["qr"]).await;
    }
    let old = at_both[0].saw().last().clone();

    let killed = Instant::now();
    redis.kill().await;
    scene.drops(0).await;
    scene.redis_is_connected(false).await;
    for number in [0, 1] {
        assert_eq!(health(scene.replicas.at(number)).await["status"], "degraded");
    }
    // Nobody can scan what could not be stored.
    let reference = old.data["qrString"].as_str().unwrap().split(',').next().unwrap().to_owned();
    eventually("the unpaired client to stop", async || {
        !scene.replicas.whatsapp.state().waiting.contains(&reference)
    })
    .await;
    assert!(killed.elapsed() < AWAY, "{:?}", killed.elapsed());
    scene.is_untouched(1);
    // And once more, long after the lease, if it was let in meanwhile.
    scene.replicas.whatsapp.drop_connections(Some(&scene.linked[0].jid)).unwrap();
    tokio::time::sleep(AWAY.saturating_sub(killed.elapsed())).await;
    redis.launch().await;

    scene.redis_is_connected(true).await;
    let new = at_both[1].awaits("qr", id(&old)).await;
    scene.is_untouched(1);
    scene.is_whole().await;
    let jid = scene.replicas.scans(&new).await;
    for witness in &at_both {
        assert_eq!(witness.awaits("ready", id(&new)).await.data["me"]["id"], jid);
        let saw = scene.replicas.is_whole(witness).await;
        assert_eq!((saw.ends.len(), saw.gaps), (0, 0), "{saw:?}");
    }
}

#[tokio::test]
async fn a_redis_that_holds_every_command_back_costs_nobody_an_event() {
    let redis = Redis::start().await;
    let scene = Scene::of(Replicas::on(&redis.url())).await;
    for pause in [LEASE / 3, LEASE + Duration::from_secs(3)] {
        redis.holds_everyone(pause).await;
        scene.drops(0).await;
        tokio::time::sleep(pause).await;
        scene.redis_is_connected(true).await;
        scene.is_untouched_but_for_drops().await;
    }
    scene.is_whole().await;
}

#[tokio::test]
async fn a_frozen_redis_costs_nobody_an_event() {
    let redis = Redis::start().await;
    let scene = Scene::of(Replicas::on(&redis.url())).await;
    for pause in [LEASE / 3, LEASE + Duration::from_secs(3)] {
        redis.freeze();
        scene.drops(0).await;
        tokio::time::sleep(pause).await;
        redis.thaw();
        scene.redis_is_connected(true).await;
        scene.is_untouched_but_for_drops().await;
    }
    scene.is_whole().await;
}

impl Scene {
    /// Session 0 comes back by itself; session 1 was not touched.
    async fn is_untouched_but_for_drops(&self) {
        self.is_untouched(1);
        let back = self.replicas.at(0).session(&self.linked[0].id);
        back.reaches("connected").await;
    }
}

#[tokio::test]
async fn a_cut_of_the_pubsub_connections_alone_costs_nobody_an_event() {
    let redis = Redis::start().await;
    let scene = Scene::of(Replicas::on(&redis.url()).variable("WHATSAPP_TIME_FACTOR", "10")).await;
    for _ in 0..5 {
        // One of each replica, as soon as both are back.
        eventually("both Pub/Sub connections", async || {
            redis.tell::<String>(&["CLIENT", "LIST", "TYPE", "PUBSUB"]).await.lines().count() >= 2
        })
        .await;
        assert!(redis.cuts_pubsub().await >= 2);
        // What happens now is heard by nobody: it is in the log.
        scene.drops(0).await;
        scene.drops(1).await;
    }
    scene.is_whole().await;
}

#[tokio::test]
async fn without_redis_foreign_sessions_are_refused_until_it_is_back() {
    let mut redis = Redis::start().await;
    let replicas = Replicas::on(&redis.url()).start(2).await;
    let linked = replicas.links(0, "ada").await;
    let foreign = replicas.at(1).session(&linked.id);
    redis.kill().await;
    eventually("Redis to be missed", async || {
        let health = health(replicas.at(1)).await;
        health["status"] == "degraded" && health["storage"]["redis_connected"] == false
    })
    .await;
    for path in ["/api/session-status/", "/api/qr-code/"] {
        let refused = replicas.at(1).get(&format!("{path}{}", linked.id)).await;
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE, "{path}");
        assert!(refused.headers().contains_key("retry-after"), "{path}");
        assert_eq!(refused.json::<Value>().await.unwrap()["code"], "STORE_AWAY");
    }
    assert_eq!(foreign.restart().await.status(), StatusCode::SERVICE_UNAVAILABLE);
    let made = replicas.at(1).post("/api/init-session", &json!({ "userId": "bob" })).await;
    assert_eq!(made.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(replicas.at(1).get("/livez").await.status(), StatusCode::OK);
    // A stream is refused so that an EventSource comes back.
    let mut sse = foreign.sse().await;
    let drain = sse.expects("drain").await;
    assert_eq!(drain.data["code"], "STORE_AWAY");
    assert!(drain.data["retryAfterMs"].as_u64().unwrap() > 0);
    assert_eq!(sse.ends().await, None);
    let mut websocket = foreign.websocket().await;
    let end = loop {
        match websocket.next().await {
            Ok(frame) => assert_eq!(frame.event, "drain"),
            Err(end) => break end,
        }
    };
    assert_eq!(end, Some(1013));
    // The owner knows its own.
    assert_eq!(replicas.at(0).session(&linked.id).status().await["status"], "connected");

    redis.launch().await;
    for number in [0, 1] {
        is_ready(replicas.at(number)).await;
        eventually("health", async || health(replicas.at(number)).await["status"] == "healthy").await;
        let mut viewer = replicas.at(number).session(&linked.id).sse().await;
        assert_eq!(viewer.expects("status").await.data["status"], "connected");
    }
    assert_eq!(replicas.logins(&linked.jid), 1);
    assert_eq!(foreign.status().await["owner"], replicas.name(0));
}
