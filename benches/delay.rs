//! How long an event takes from the replica that owns a session to a viewer on another replica.
//!
//! `cargo bench --features simulator --bench delay [-- EVENTS]`. Two replicas, one redis-server and the simulator on the
//! same machine. One viewer watches at the owner, one over SSE and one over WebSocket at the other replica. Two figures:
//! from the owner's stamp on the event, taken before it is appended, to the frame (the stamp is in whole milliseconds),
//! and from the owner's own viewer to the other's.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on says so by ending")]
#![expect(clippy::disallowed_methods, reason = "its tasks end with it")]
#![expect(clippy::print_stdout, reason = "its result")]

#[expect(dead_code, unused_imports, reason = "the tests' support; a benchmark needs some of it")]
#[path = "../tests/it/support/mod.rs"]
mod support;

use std::time::{SystemTime, UNIX_EPOCH};

use qrcast::event::Time;
use support::redis::Redis;
use support::replicas::Replicas;
use support::{Seen, Viewer};

/// When a frame came, Unix time in milliseconds.
struct Came {
    event: Seen,
    at: f64,
}

#[tokio::main]
async fn main() {
    let events = std::env::args().filter_map(|argument| argument.parse().ok()).next().unwrap_or(200);
    let redis = Redis::start().await;
    // A client that is dropped again and again waits longer each time.
    let replicas = Replicas::on(&redis.url()).variable("WHATSAPP_TIME_FACTOR", "50").start(2).await;
    let linked = replicas.links(0, "ada").await;
    let viewers = [
        replicas.at(0).session(&linked.id).sse().await,
        replicas.at(1).session(&linked.id).sse().await,
        replicas.at(1).session(&linked.id).websocket().await,
    ];
    // Each viewer reads in a task of its own: none waits for another.
    let readers = viewers.map(|viewer| tokio::spawn(read(viewer, events)));
    for _ in 0..events / 2 {
        // One `disconnected`, one `ready`.
        let before = replicas.logins(&linked.jid);
        replicas.whatsapp.drop_connections(Some(&linked.jid)).unwrap();
        support::eventually("a new login", || async { replicas.logins(&linked.jid) > before }).await;
        replicas.at(0).session(&linked.id).reaches("connected").await;
    }
    let [owner, sse, websocket] = futures::future::join_all(readers).await.try_into().ok().unwrap();
    let owner = owner.unwrap();
    for (name, viewer) in [("SSE", sse.unwrap()), ("WebSocket", websocket.unwrap())] {
        assert!(owner.iter().zip(&viewer).all(|(one, other)| one.event == other.event), "the same events");
        let stamps = viewer.iter().map(|came| {
            let stamp: Time = serde_json::from_value(came.event.data["at"].clone()).unwrap();
            came.at - stamp.as_millis() as f64
        });
        let beside = owner.iter().zip(&viewer).map(|(one, other)| other.at - one.at);
        println!(
            "{name}, {} events: {} from the stamp; {} after the owner's own viewer",
            viewer.len(),
            quantiles(stamps.collect()),
            quantiles(beside.collect())
        );
    }
}

async fn read(mut viewer: Viewer, events: usize) -> Vec<Came> {
    viewer.expects("status").await;
    viewer.expects("ready").await;
    let mut came = Vec::with_capacity(events);
    while came.len() < events / 2 * 2 {
        let event = viewer.next().await.unwrap();
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64() * 1000.0;
        came.push(Came { event, at });
    }
    came
}

fn quantiles(mut delays: Vec<f64>) -> String {
    delays.sort_by(f64::total_cmp);
    let at = |share: f64| delays[((delays.len() - 1) as f64 * share) as usize];
    format!("median {:.2} ms, p95 {:.2} ms, p99 {:.2} ms", at(0.5), at(0.95), at(0.99))
}
