//! Pairing by QR.

use std::time::Instant;

use simulator::{Config, LinkError, Scan, Simulator};

use crate::client::{Client, Store};
use crate::eventually;

#[tokio::test]
async fn a_phone_scans_and_the_client_is_connected_within_two_seconds() {
    let simulator = Simulator::start(Config::default()).await.unwrap();
    let store = Store::new();
    let mut client = Client::start(&simulator, &store).await;
    let qr = client.shows_qr().await;
    assert_eq!(simulator.state().waiting.len(), 6);
    let started = Instant::now();
    let phone = Some("+49 1500 1234567".to_owned());
    let jid = simulator.scan(Scan { qr, phone, push_name: Some("Grace".into()) }).await.unwrap();
    assert_eq!(jid, "4915001234567:1@s.whatsapp.net");
    client.expects("PairSuccess").await;
    client.expects("SelfPushNameUpdated").await;
    client.expects("Connected").await;
    assert!(started.elapsed().as_secs() < 2, "{:?}", started.elapsed());
    assert_eq!(client.inner.push_name(), "Grace");
    let state = simulator.state();
    assert_eq!(state.waiting.len(), 0);
    let device = &state.devices[0];
    assert_eq!((device.jid.as_str(), device.name.as_str(), device.logins), (jid.as_str(), "qrcast", 1));
    assert_eq!((device.linked, device.concurrent, device.overlap_ms), (true, 1, 0));
    client.stop().await;
    assert_eq!(simulator.complaints(), Vec::<String>::new());
    simulator.shutdown().await;
}

#[tokio::test]
async fn devices_of_one_phone_are_numbered() {
    let simulator = Simulator::start(Config::default()).await.unwrap();
    let phone = Some("4915001234567".to_owned());
    for number in 1..=3 {
        let store = Store::new();
        let mut client = Client::start(&simulator, &store).await;
        let qr = client.shows_qr().await;
        let jid = simulator.scan(Scan { qr, phone: phone.clone(), push_name: None }).await.unwrap();
        assert_eq!(jid, format!("4915001234567:{number}@s.whatsapp.net"));
        client.expects("Connected").await;
        client.stop().await;
    }
}

#[tokio::test]
async fn a_qr_that_nobody_shows_links_nothing() {
    let simulator = Simulator::start(Config::default()).await.unwrap();
    let store = Store::new();
    let mut client = Client::start(&simulator, &store).await;
    let qr = client.shows_qr().await;
    let other = qr.replacen("2@", "2@x", 1);
    for text in ["not a QR", other.as_str()] {
        let refused = simulator.scan(Scan { qr: text.to_owned(), ..Scan::default() }).await;
        assert_eq!(refused, Err(LinkError::NotWaiting));
    }
    client.stop().await;
    eventually("the client is gone", || simulator.state().clients == 0).await;
    assert_eq!(simulator.scan(Scan { qr, ..Scan::default() }).await, Err(LinkError::NotWaiting));
}

#[tokio::test]
async fn a_wrong_secret_is_refused_by_the_client_and_the_qr_can_be_scanned_again() {
    let simulator = Simulator::start(Config::default()).await.unwrap();
    let store = Store::new();
    let mut client = Client::start(&simulator, &store).await;
    let qr = client.shows_qr().await;
    let mut fields: Vec<&str> = qr.split(',').collect();
    fields[3] = fields[1];
    let refused = simulator.scan(Scan { qr: fields.join(","), ..Scan::default() }).await;
    let mismatch = LinkError::Refused { code: "401".into(), text: "hmac-mismatch".into() };
    assert_eq!(refused, Err(mismatch));
    client.expects("PairError").await;
    simulator.scan(Scan { qr, ..Scan::default() }).await.unwrap();
    client.expects("Connected").await;
    client.stop().await;
}

#[tokio::test]
async fn an_impossible_number_is_refused() {
    let simulator = Simulator::start(Config::default()).await.unwrap();
    let scan = Scan { qr: "x".into(), phone: Some("0".into()), push_name: None };
    assert_eq!(simulator.scan(scan).await, Err(LinkError::Number));
}

#[tokio::test]
async fn a_client_ends_when_all_refs_were_shown() {
    let simulator = Simulator::start(Config { refs: 3, ..Config::default() }).await.unwrap();
    let store = Store::new();
    let mut client = Client::start_hasty(&simulator, &store, 40).await;
    for _ in 0..3 {
        client.shows_qr().await;
    }
    client.expects("PairingQrCodesExhausted").await;
    client.ends().await;
    eventually("the client is gone", || simulator.state().clients == 0).await;
}
