//! Replicas whose clocks differ: what is left of a QR is the same on all of them, and `/health` says by how much.

use qrcast::event::Time;
use serde_json::Value;
use simulator::{Scan, Simulator};

use super::redis_away::health;
use crate::support::clock::Clock;
use crate::support::redis::Redis;
use crate::support::replicas::is_ready;
use crate::support::{Server, eventually, soon, whatsapp};

/// QRs last 15 s, then 5 s: less than any of these clocks is off.
const FACTOR: &str = "4";

async fn start(whatsapp: &Simulator, redis: &Redis, clock: Option<&Clock>) -> Server {
    let server = Server::builder(&whatsapp.url())
        .variable("REDIS_URL", &redis.url())
        .variable("LEASE_TTL_MS", "5000")
        .variable("WHATSAPP_TIME_FACTOR", FACTOR);
    let server = match clock {
        Some(clock) => clock.of(server),
        None => server,
    };
    let server = server.start().await;
    is_ready(&server).await;
    server
}

async fn skew(server: &Server) -> i64 {
    health(server).await["clock"]["skewMs"].as_i64().expect("measured")
}

fn time(value: &Value) -> i64 {
    serde_json::from_value::<Time>(value.clone()).unwrap().as_millis()
}

/// What a newcomer sees of a session that waits for a phone; the QR.
async fn newcomer_sees_a_qr(server: &Server, session: &str) -> String {
    server.session(session).reaches("scan_qr").await;
    let mut viewer = server.session(session).sse().await;
    let opening = viewer.expects("status").await;
    assert_eq!(opening.data["status"], "scan_qr");
    let qr = viewer.awaits("qr").await;
    // The page counts down from these two.
    let left = time(&qr.data["expiresAt"]) - time(&opening.data["now"]);
    assert!((-1000..=16_000).contains(&left), "{left} ms left: {opening:?} {qr:?}");
    // It may just be expiring.
    eventually("the QR of the REST API", async || {
        let answer: Value = server.get(&format!("/api/qr-code/{session}")).await.json().await.unwrap();
        answer["isValid"] == true
            && answer["timeRemaining"].as_i64().is_some_and(|ms| (1..=15_000).contains(&ms))
    })
    .await;
    qr.data["qrString"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn newcomers_see_the_qr_whatever_the_clocks_of_its_owner_and_of_their_replica_say() {
    let Some(ahead) = Clock::ahead(25) else { return };
    let behind = Clock::ahead(-90).unwrap();
    let (whatsapp, redis) = (whatsapp().await, Redis::start().await);
    let clocks = [None, Some(&ahead), Some(&behind)];
    let servers = futures::future::join_all(clocks.map(|clock| start(&whatsapp, &redis, clock))).await;
    for (server, off) in servers.iter().zip([0, 25_000, -90_000]) {
        let skew = skew(server).await;
        assert!((skew - off).abs() < 2_000, "{skew} of {off}");
    }
    for (number, owner) in servers.iter().enumerate() {
        let session = owner.init(&format!("user{number}")).await.id;
        owner.session(&session).reaches("scan_qr").await;
        for server in &servers {
            newcomer_sees_a_qr(server, &session).await;
        }
        // At each of them the same event says that it was just now.
        let (here, now) = (Time::now().as_millis(), owner.session(&session).status().await);
        assert_eq!(now["status"], "scan_qr");
        let mut viewer = servers[(number + 1) % 3].session(&session).sse().await;
        viewer.expects("status").await;
        let qr = viewer.awaits("qr").await;
        assert!((time(&qr.data["at"]) - here).abs() < 16_000, "{qr:?}");
        let qr = qr.data["qrString"].as_str().unwrap().to_owned();
        soon("a scan", whatsapp.scan(Scan { qr, ..Scan::default() })).await.unwrap();
        viewer.awaits("ready").await;
    }
}

#[tokio::test]
async fn a_clock_that_jumps_under_a_running_replica_is_noticed() {
    let Some(clock) = Clock::ahead(0) else { return };
    let (whatsapp, redis) = (whatsapp().await, Redis::start().await);
    let (right, jumps) = tokio::join!(start(&whatsapp, &redis, None), start(&whatsapp, &redis, Some(&clock)));
    for seconds in [25, -3600, 0] {
        clock.is_ahead(seconds);
        eventually("the skew", async || (skew(&jumps).await - seconds * 1000).abs() < 2_000).await;
        let session = right.init("ada").await.id;
        newcomer_sees_a_qr(&jumps, &session).await;
        // What it writes down itself is read by the others.
        let own = jumps.init("bob").await.id;
        newcomer_sees_a_qr(&right, &own).await;
        for made in [own, session] {
            right.session(&made).delete().await;
        }
    }
    let health = health(&jumps).await;
    assert_eq!(health["status"], "healthy", "{health}");
}

#[tokio::test]
async fn without_redis_there_is_no_clock_to_compare_with() {
    let (_whatsapp, server) = crate::support::world().await;
    assert_eq!(health(&server).await["clock"]["skewMs"], Value::Null);
}
