//! A thousand linked sessions stored: from the start of the process to the first answered request, to the first hundred
//! sessions connected, and to all of them.
//!
//! `cargo bench --features simulator --bench start [-- SESSIONS]`. WhatsApp is the simulator, in this process on the same
//! two cores, so the figures are an upper bound. Logins are not held back (`WA_LOGINS_PER_SECOND` 1000): with the usual 20
//! a thousand sessions take 50 s. Medians of [`ROUNDS`] starts after a `kill -9`.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on says so by ending")]
#![expect(clippy::disallowed_methods, reason = "its tasks end with it")]
#![expect(clippy::print_stdout, reason = "its result")]

#[expect(dead_code, unused_imports, reason = "the tests' support; a benchmark needs some of it")]
#[path = "../tests/it/support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use futures::StreamExt as _;
use serde_json::Value;
use simulator::{Config, Simulator};
use support::{Server, eventually};

const ROUNDS: usize = 3;

#[tokio::main]
async fn main() {
    let sessions = std::env::args().filter_map(|argument| argument.parse().ok()).next().unwrap_or(1000);
    let whatsapp = Simulator::start(Config::default()).await.unwrap();
    let mut server = Server::builder(&whatsapp.url()).variable("MAX_SESSIONS", "100000").start().await;
    let linking = Instant::now();
    futures::stream::iter(0..sessions)
        .for_each_concurrent(8, async |n| {
            server.init(&format!("user{n}")).await.link(&whatsapp).await;
        })
        .await;
    println!("linked {sessions} sessions in {:.1?}", linking.elapsed());
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let crashed = server.crash().await;
        // The simulator asks an older login for a sign of life before it lets in another of the same device: not what is
        // measured here.
        eventually("WhatsApp to see the crash", || async { whatsapp.state().clients == 0 }).await;
        let begun = Instant::now();
        server = crashed.start().await;
        assert!(server.get("/livez").await.status().is_success());
        let answered = begun.elapsed();
        let hundred = until_connected(&server, begun, sessions.min(100)).await;
        let all = until_connected(&server, begun, sessions).await;
        rounds.push([answered, hundred, all]);
    }
    let health: Value = server.get("/health").await.json().await.unwrap();
    let rss = health["memory"]["rssBytes"].as_u64().unwrap();
    for (index, name) in ["first answer", "100 connected", "all connected"].into_iter().enumerate() {
        let mut times: Vec<_> = rounds.iter().map(|round| round[index]).collect();
        times.sort();
        println!("{name}: {:.0?} (of {times:.0?})", times[ROUNDS / 2]);
    }
    println!(
        "rss: {:.1} MiB, {:.0} KiB a session",
        rss as f64 / 1048576.0,
        rss as f64 / 1024.0 / sessions as f64
    );
}

async fn until_connected(server: &Server, begun: Instant, wanted: usize) -> Duration {
    loop {
        let mut connected = 0;
        let mut cursor = String::new();
        loop {
            let path = format!("/api/sessions?status=connected&limit=200{cursor}");
            let page: Value = server.get(&path).await.json().await.unwrap();
            connected += page["sessions"].as_array().unwrap().len();
            match page["nextCursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        if connected >= wanted {
            return begun.elapsed();
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
