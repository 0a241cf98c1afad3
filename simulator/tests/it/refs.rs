//! References: how many there are, and how they are renewed while a QR is shown.

use serde_json::json;
use simulator::{Config, LinkError, Refresh, Refs, RefsError, Scan, Simulator};

use crate::client::{Client, Store};
use crate::http::post;

/// The reference in a QR.
fn reference(qr: &str) -> &str {
    qr.split(',').next().unwrap()
}

#[tokio::test]
async fn after_the_secret_was_renewed_only_the_new_qr_can_be_scanned() {
    let simulator = Simulator::start(Config::default()).await.unwrap();
    let store = Store::new();
    let mut client = Client::start(&simulator, &store).await;
    let old = client.shows_qr().await;
    let refresh = Refs { refresh: Some(Refresh::Secret), count: None };
    assert_eq!(simulator.refs(refresh), Ok(1));
    let new = client.shows_qr().await;
    assert_ne!(old, new);
    assert_eq!(reference(&old), reference(&new));
    let scan = |qr: &str| simulator.scan(Scan { qr: qr.to_owned(), ..Scan::default() });
    assert_eq!(scan(&old).await, Err(LinkError::NotWaiting));
    scan(&new).await.unwrap();
    client.expects("Connected").await;
    client.stop().await;
    assert_eq!(simulator.complaints(), Vec::<String>::new());
}

#[tokio::test]
async fn a_second_pair_device_brings_other_references() {
    let simulator = Simulator::start(Config::default()).await.unwrap();
    let store = Store::new();
    let mut client = Client::start(&simulator, &store).await;
    let old = client.shows_qr().await;
    let body = json!({ "refresh": "pair-device", "count": 5 });
    assert_eq!(post(&simulator, "/control/refs", body).await, (200, json!({ "refreshed": 1 })));
    let new = client.shows_qr().await;
    assert_ne!(reference(&old), reference(&new));
    assert_eq!(simulator.state().waiting.len(), 5);
    let scan = |qr: &str| simulator.scan(Scan { qr: qr.to_owned(), ..Scan::default() });
    assert_eq!(scan(&old).await, Err(LinkError::NotWaiting));
    scan(&new).await.unwrap();
    client.expects("Connected").await;
    client.stop().await;
    assert_eq!(simulator.complaints(), Vec::<String>::new());
}

#[tokio::test]
async fn a_pairing_may_get_one_reference() {
    let simulator = Simulator::start(Config::default()).await.unwrap();
    assert_eq!(simulator.refs(Refs { refresh: None, count: Some(1) }), Ok(0));
    let store = Store::new();
    let mut client = Client::start_hasty(&simulator, &store, 40).await;
    client.shows_qr().await;
    assert_eq!(simulator.state().waiting.len(), 1);
    let before = client.until("PairingQrCodesExhausted").await;
    assert!(!before.contains(&"PairingQrCode".to_owned()), "{before:?}");
    client.ends().await;
}

#[tokio::test]
async fn what_is_no_number_of_references_is_refused() {
    let simulator = Simulator::start(Config::default()).await.unwrap();
    assert_eq!(simulator.refs(Refs { refresh: None, count: Some(0) }), Err(RefsError));
    for (body, word) in [
        (json!({ "count": 0 }), "count"),
        (json!({ "count": "five" }), "count"),
        (json!({ "refresh": "secret" }), "refresh"),
    ] {
        let (status, answer) = post(&simulator, "/control/refs", body.clone()).await;
        assert_eq!((status, answer["code"].as_str()), (400, Some("bad_request")), "{body} {answer}");
        assert!(answer["error"].as_str().unwrap().contains(word), "{body} {answer}");
    }
    let none = json!({ "refresh": null, "count": null });
    assert_eq!(post(&simulator, "/control/refs", none).await, (200, json!({ "refreshed": 0 })));
}
