//! The lowest version, and what a look-up of the newest finds.

use serde_json::json;
use simulator::{Config, Latest, Scan, Simulator, Version};
use wacore::version::parse_sw_js;

use crate::client::{BUILD, Client, Store};
use crate::eventually;
use crate::http::{exchange, post, state};
use crate::raw::{attr, linked, login};

fn at_least(build: u32) -> Version {
    Version { min: Some(build), ..Version::default() }
}

#[tokio::test]
async fn a_login_below_the_lowest_version_fails_until_the_client_claims_more() {
    let simulator = Simulator::start(Config::default()).await.unwrap();
    let store = Store::new();
    let (mut client, jid) = Client::linked(&simulator, &store).await;
    simulator.version(at_least(BUILD + 1));
    assert!(!client.leftover().contains(&"Disconnected".to_owned()), "a rule drops nobody");
    simulator.drop_connections(Some(&jid)).unwrap();
    client.expects("ClientOutdated").await;
    client.ends().await;
    let mut client = Client::start_as(&simulator, &store, 1, BUILD + 1).await;
    client.expects("Connected").await;
    client.stop().await;
    simulator.version(at_least(0));
    let mut client = Client::start(&simulator, &store).await;
    client.expects("Connected").await;
    client.stop().await;
    assert_eq!(simulator.state().outdated, 1);
}

#[tokio::test]
async fn a_registration_below_the_lowest_version_fails_too() {
    let simulator = Simulator::start(Config::default()).await.unwrap();
    simulator.version(at_least(BUILD + 1));
    let mut client = Client::start(&simulator, &Store::new()).await;
    client.expects("ClientOutdated").await;
    client.ends().await;
    let store = Store::new();
    let mut client = Client::start_as(&simulator, &store, 1, BUILD + 1).await;
    let qr = client.shows_qr().await;
    simulator.scan(Scan { qr, ..Scan::default() }).await.unwrap();
    client.expects("Connected").await;
    client.stop().await;
}

#[tokio::test]
async fn a_login_is_told_when_its_build_expires() {
    let simulator = Simulator::start(Config::default()).await.unwrap();
    let device = linked(&simulator).await;
    simulator.version(Version { expires: Some(1_790_000_000), ..Version::default() });
    let mut raw = login(&simulator, &device).await;
    let ib = raw.hears_a("ib").await;
    assert_eq!(attr(ib.get_optional_child("client_expiration").unwrap(), "t"), "1790000000");
}

#[tokio::test]
async fn sw_js_says_the_newest_build_or_fails() {
    let simulator = Simulator::start(Config::default()).await.unwrap();
    let newest = async || {
        let (status, _, body) = exchange(&simulator, "GET", "/sw.js", "").await.unwrap();
        (status, parse_sw_js(&body).map(|(_, _, build)| build))
    };
    let (status, build) = newest().await;
    assert_eq!(status, 200);
    assert!(build > Some(1_042_742_319), "{build:?}");
    let body = json!({ "min": null, "latest": 1_060_000_000, "expires": false });
    assert_eq!(post(&simulator, "/control/version", body).await.0, 200);
    assert_eq!(newest().await, (200, Some(1_060_000_000)));
    assert_eq!(post(&simulator, "/control/version", json!({ "latest": "broken" })).await.0, 200);
    assert_eq!(newest().await.0, 400);
    assert_eq!(state(&simulator).await["lookups"], 3);
    for wrong in [json!({ "latest": "never" }), json!({ "latest": -1 }), json!({ "min": "x" })] {
        assert_eq!(post(&simulator, "/control/version", wrong).await.0, 400);
    }
    assert_eq!(newest().await.0, 400);
}

#[tokio::test]
async fn a_silent_sw_js_does_not_hold_up_the_end() {
    let simulator = Simulator::start(Config::default()).await.unwrap();
    simulator.version(Version { latest: Some(Latest::Silent), ..Version::default() });
    let asking = async { exchange(&simulator, "GET", "/sw.js", "").await };
    let ending = async {
        eventually("it was asked", || simulator.state().lookups == 1).await;
        simulator.stop();
    };
    let (answer, ()) = tokio::join!(asking, ending);
    assert!(answer.is_ok_and(|(status, _, _)| status == 503));
    simulator.shutdown().await;
}
