//! Accounts that want a passkey before a device is linked.

use serde_json::json;
use simulator::{Config, Passkey, Scan, Simulator};
use wacore::types::events::Event;
use whatsapp_rust::passkey::Assertion;

use crate::client::{Client, Store};
use crate::eventually;
use crate::http::post;

/// An assertion as a browser would give it, for nobody's passkey.
fn assertion() -> Assertion {
    let response =
        json!({ "clientDataJSON": "e30", "authenticatorData": "AA", "signature": "AA", "userHandle": null });
    let assertion = json!({ "id": "AA", "rawId": "AA", "type": "public-key", "response": response });
    Assertion { assertion_json: assertion.to_string().into_bytes(), credential_id: vec![0] }
}

#[tokio::test]
async fn a_device_is_linked_after_the_passkey_and_both_sides_show_the_same_code() {
    let simulator = Simulator::start(Config::default()).await.unwrap();
    let store = Store::new();
    let mut client = Client::start(&simulator, &store).await;
    let qr = client.shows_qr().await;
    let jid = simulator.scan_with_passkey(Scan { qr, ..Scan::default() }, Passkey::Ask).unwrap();
    let Event::PairPasskeyRequest(request) = &*client.expects("PairPasskeyRequest").await else {
        unreachable!()
    };
    assert!(request.request_options_json.contains("web.whatsapp.com"));
    assert_eq!(simulator.state().passkey[0].stage, "required");
    client.inner.send_passkey_response(assertion()).await.unwrap();
    let Event::PairPasskeyConfirmation(shown) = &*client.expects("PairPasskeyConfirmation").await else {
        unreachable!()
    };
    let state = simulator.state().passkey[0].clone();
    assert_eq!(
        (state.jid, state.stage.as_str(), state.code),
        (jid.clone(), "confirmation", Some(shown.code.clone()))
    );
    client.inner.send_passkey_confirmation().await.unwrap();
    client.expects("Connected").await;
    let state = simulator.state();
    assert_eq!((state.devices[0].jid.as_str(), state.passkey.len()), (jid.as_str(), 0));
    client.stop().await;
    assert_eq!(simulator.complaints(), Vec::<String>::new());
}

#[tokio::test]
async fn a_refused_assertion_leaves_the_qr_to_be_scanned_again() {
    let simulator = Simulator::start(Config::default()).await.unwrap();
    let store = Store::new();
    let mut client = Client::start(&simulator, &store).await;
    let qr = client.shows_qr().await;
    let (status, _) = post(&simulator, "/control/scan", json!({ "qr": qr, "passkey": "never" })).await;
    assert_eq!(status, 400);
    let (status, _) = post(&simulator, "/control/scan", json!({ "qr": qr, "passkey": "refuse" })).await;
    assert_eq!(status, 202);
    client.expects("PairPasskeyRequest").await;
    client.inner.send_passkey_response(assertion()).await.unwrap_err();
    eventually("refused", || simulator.state().passkey[0].stage == "refused").await;
    simulator.scan(Scan { qr, ..Scan::default() }).await.unwrap();
    client.expects("Connected").await;
    assert!(simulator.state().passkey.is_empty());
    client.stop().await;
}
