//! The media host in all its states, and what the real client does then: it is connected when, and only when, both
//! critical collections are there.

use std::time::Duration;

use simulator::{Account, Blobs};

use crate::account::{change, link, with_account};
use crate::client::{Client, Store};
use crate::eventually;
use crate::media::Loopback;

/// Longer than a slow file takes.
const PATIENT: Loopback = Loopback(Duration::from_secs(25));
/// Gives a silent host up at once.
const IMPATIENT: Loopback = Loopback(Duration::from_millis(500));

/// Links a client while the host is in this state; it says what failed, and is connected after the host is mended.
async fn fails_and_heals(blobs: Blobs, http: Loopback) {
    let simulator =
        with_account(Account { contacts: Some(50), blobs: Some(blobs), ..Account::default() }).await;
    let store = Store::new();
    let mut client = Client::start_with(&simulator, &store, 1, http).await;
    link(&simulator, &mut client).await;
    let before = client.until("AppStateSyncFailed").await;
    assert!(!before.contains(&"Connected".to_owned()), "{before:?}");
    assert_eq!((store.version("critical_block").await, store.version("critical_unblock_low").await), (0, 0));
    change(&simulator, Account { blobs: Some(Blobs::Ok), ..Account::default() }).await;
    client.inner.reconnect_immediately().await;
    client.expects("Connected").await;
    assert_eq!((store.version("critical_block").await, store.version("critical_unblock_low").await), (2, 50));
    client.stop().await;
    assert_eq!(simulator.complaints(), Vec::<String>::new());
}

#[tokio::test]
async fn missing_blobs() {
    fails_and_heals(Blobs::Missing, PATIENT).await;
}

#[tokio::test]
async fn blobs_with_a_wrong_mac() {
    fails_and_heals(Blobs::BadBlob, PATIENT).await;
}

#[tokio::test]
async fn a_silent_host() {
    fails_and_heals(Blobs::Silent, IMPATIENT).await;
}

#[tokio::test]
async fn a_slow_host_only_takes_time() {
    let slow = Account { contacts: Some(50), blobs: Some(Blobs::Slow), ..Account::default() };
    let simulator = with_account(slow).await;
    let store = Store::new();
    let mut client = Client::start_with(&simulator, &store, 1, PATIENT).await;
    link(&simulator, &mut client).await;
    let before = client.until("Connected").await;
    assert!(!before.contains(&"AppStateSyncFailed".to_owned()), "{before:?}");
    client.stop().await;
    simulator.shutdown().await;
}

#[tokio::test]
async fn of_a_snapshot_with_a_wrong_mac_the_client_says_nothing() {
    let bad = Account { contacts: Some(50), blobs: Some(Blobs::BadSnapshot), ..Account::default() };
    let simulator = with_account(bad).await;
    let store = Store::new();
    let mut client = Client::start(&simulator, &store).await;
    link(&simulator, &mut client).await;
    for tries in 1..=2 {
        eventually("the client has fetched both", || simulator.media_requests() == 2 * tries).await;
        client.inner.reconnect_immediately().await;
    }
    eventually("the client has fetched both", || simulator.media_requests() == 6).await;
    change(&simulator, Account { blobs: Some(Blobs::Ok), ..Account::default() }).await;
    client.inner.reconnect_immediately().await;
    let before = client.until("Connected").await;
    assert!(!before.contains(&"AppStateSyncFailed".to_owned()), "{before:?}");
    client.stop().await;
}

#[tokio::test]
async fn the_end_of_the_simulator_waits_for_no_silent_host() {
    let silent = Account { contacts: Some(5), blobs: Some(Blobs::Silent), ..Account::default() };
    let simulator = with_account(silent).await;
    let store = Store::new();
    let mut client = Client::start(&simulator, &store).await;
    link(&simulator, &mut client).await;
    eventually("the client asks for its blobs", || simulator.media_requests() > 0).await;
    simulator.shutdown().await;
    client.stop().await;
}
