//! The media host in all its states, and what the real client does then: it is connected when, and only when, both
//! critical collections are there.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use simulator::{Account, Blobs, Config, Simulator};
use wacore::net::{HttpClient as _, HttpRequest};
use wacore_binary::builder::NodeBuilder;
use waproto::buffa::Message as _;
use waproto::whatsapp::ExternalBlobReference;

use crate::account::{change, link, with_account};
use crate::client::{Client, Store};
use crate::eventually;
use crate::media::Loopback;
use crate::raw;

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
    let events = client.leftover();
    assert!(!events.iter().any(|it| it == "Connected" || it == "AppStateSyncFailed"), "{events:?}");
    change(&simulator, Account { blobs: Some(Blobs::Ok), ..Account::default() }).await;
    client.inner.reconnect_immediately().await;
    let before = client.until("Connected").await;
    assert!(!before.contains(&"AppStateSyncFailed".to_owned()), "{before:?}");
    client.stop().await;
}

#[tokio::test]
async fn by_itself_a_client_tries_again_after_180_seconds_and_does_not_say_so() {
    let missing = Account { contacts: Some(5), blobs: Some(Blobs::Missing), ..Account::default() };
    let simulator = with_account(missing).await;
    let store = Store::new();
    let mut client = Client::start_hasty(&simulator, &store, 40).await;
    link(&simulator, &mut client).await;
    let started = Instant::now();
    eventually("the client logs in again", || simulator.state().devices[0].logins == 2).await;
    assert!(started.elapsed() >= Duration::from_millis(180_000 / 40), "{:?}", started.elapsed());
    let events = client.leftover();
    assert!(!events.iter().any(|it| it == "Connected" || it == "Disconnected"), "{events:?}");
    client.stop().await;
}

#[tokio::test]
async fn a_file_is_given_as_often_as_it_is_asked_for_and_to_nobody_else() {
    let simulator = Simulator::start(Config { contacts: 5, ..Config::default() }).await.unwrap();
    let device = raw::linked(&simulator).await;
    let mut raw = raw::login(&simulator, &device).await;
    let child = |tag: &'static str| NodeBuilder::new(tag).attr("name", "critical_unblock_low");
    let sync =
        NodeBuilder::new("sync").children([child("collection").attr("return_snapshot", "true").build()]);
    let ask = |xmlns: &'static str| NodeBuilder::new("iq").attr("type", "set").attr("xmlns", xmlns);
    let answer = raw.asks("1", ask("w:sync:app:state").children([sync.build()])).await;
    let collection = answer.get_optional_child_by_tag(&["sync", "collection"]).unwrap();
    assert_eq!(raw::attr(collection, "version"), "5");
    let snapshot = collection.as_node_ref();
    let snapshot = snapshot.get_optional_child("snapshot").unwrap().content_bytes().unwrap();
    let blob = ExternalBlobReference::decode_from_slice(snapshot).unwrap();
    let answer = raw.asks("2", ask("w:m").children([NodeBuilder::new("media_conn").build()])).await;
    let conn = answer.get_optional_child("media_conn").unwrap();
    let hosts: Vec<_> = conn.children().unwrap().iter().map(|host| raw::attr(host, "hostname")).collect();
    assert_eq!(hosts, [simulator.addr().to_string(), simulator.addr().to_string()]);
    let (path, auth) = (blob.direct_path.unwrap(), raw::attr(conn, "auth"));
    let token = URL_SAFE_NO_PAD.encode(blob.file_enc_sha256.unwrap());
    let get = async |path: &str, auth: &str, token: &str| {
        let url = format!("https://{}{path}?auth={auth}&token={token}", hosts[0]);
        PATIENT.execute(HttpRequest::get(url)).await.unwrap()
    };
    let first = get(&path, &auth, &token).await;
    assert_eq!((first.status_code, first.body), (200, get(&path, &auth, &token).await.body));
    assert_eq!(get(&path, "x", &token).await.status_code, 403);
    assert_eq!(get(&path, &auth, "x").await.status_code, 403);
    assert_eq!(get(&format!("{path}x"), &auth, &token).await.status_code, 404);
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
