//! The simulator against the real client, and against clients that break its rules. One binary: the client is linked once.

#![recursion_limit = "512"]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by a panic")]

mod account;
mod blobs;
mod client;
mod code;
mod control;
mod http;
mod media;
mod message;
mod network;
mod noise;
mod outage;
mod pairing;
mod passkey;
mod raw;
mod refs;
mod rules;
mod session;
mod stream;
mod version;

use std::time::{Duration, Instant};

/// Nothing on loopback takes so long, unless it hangs.
pub(crate) const DEADLINE: Duration = Duration::from_secs(15);

/// Waits for a condition.
pub(crate) async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < DEADLINE, "not within {DEADLINE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
