//! Accounts that want a passkey before a device is linked.

use std::time::Duration;

use serde_json::{Value, json};
use simulator::{Authenticator, Config, EnterCode, Passkey, Scan, Simulator};
use wacore::pair_code::PairCodeOptions;
use wacore::types::events::Event;
use whatsapp_rust::passkey::Assertion;

use crate::client::{Client, Store};
use crate::eventually;
use crate::http::post;

const PHONE: &str = "4915001234567";

/// What the app passes on from the browser.
fn passed_on(authenticator: &Authenticator, assertion: &Value) -> Assertion {
    Assertion {
        assertion_json: assertion.to_string().into_bytes(),
        credential_id: authenticator.credential_id().to_vec(),
    }
}

/// Waits for the request, and returns the options and a good answer to them.
async fn asked(client: &mut Client, authenticator: &Authenticator) -> (Value, Value) {
    let Event::PairPasskeyRequest(request) = &*client.expects("PairPasskeyRequest").await else {
        unreachable!()
    };
    let options = serde_json::from_str(&request.request_options_json).unwrap();
    (options, authenticator.assertion(&request.request_options_json).unwrap())
}

/// A client that shows a QR, and the scan of it by [`PHONE`].
async fn waiting(simulator: &Simulator) -> (Client, Scan) {
    let mut client = Client::start(simulator, &Store::new()).await;
    let qr = client.shows_qr().await;
    (client, Scan { qr, phone: Some(PHONE.into()), push_name: None })
}

/// From the request to the link, with both codes compared.
async fn goes_through(simulator: &Simulator, client: &mut Client, authenticator: &Authenticator, jid: &str) {
    let (_, assertion) = asked(client, authenticator).await;
    client.inner.send_passkey_response(passed_on(authenticator, &assertion)).await.unwrap();
    let Event::PairPasskeyConfirmation(shown) = &*client.expects("PairPasskeyConfirmation").await else {
        unreachable!()
    };
    let state = simulator.state().passkey[0].clone();
    assert_eq!(
        (state.jid.as_str(), state.stage.as_str(), state.code),
        (jid, "confirmation", Some(shown.code.clone()))
    );
    client.inner.send_passkey_confirmation().await.unwrap();
    client.expects("Connected").await;
    let state = simulator.state();
    assert_eq!((state.devices[0].jid.as_str(), state.passkey.len()), (jid, 0));
}

#[tokio::test]
async fn a_device_is_linked_after_the_passkey_and_both_sides_show_the_same_code() {
    let simulator = Simulator::start(Config::default()).await.unwrap();
    let authenticator = Authenticator::new().unwrap();
    simulator.register_passkey(PHONE, &authenticator.public_key()).unwrap();
    let (mut client, scan) = waiting(&simulator).await;
    let jid = simulator.scan_with_passkey(scan, Passkey::Ask).unwrap();
    goes_through(&simulator, &mut client, &authenticator, &jid).await;
    client.stop().await;
    assert_eq!(simulator.complaints(), Vec::<String>::new());
}

#[tokio::test]
async fn the_request_is_the_one_that_whatsapp_makes() {
    let simulator = Simulator::start(Config::default()).await.unwrap();
    let authenticator = Authenticator::new().unwrap();
    let (mut client, scan) = waiting(&simulator).await;
    simulator.scan_with_passkey(scan, Passkey::Ask).unwrap();
    let (mut options, _) = asked(&mut client, &authenticator).await;
    assert_eq!(simulator.state().passkey[0].stage, "required");
    assert_eq!(options["challenge"].take().as_str().map(str::len), Some(43));
    let expected = json!({
        "challenge": null, "timeout": 600_000, "rpId": "whatsapp.com", "allowCredentials": [],
        "userVerification": "required", "extensions": { "uvm": true },
    });
    assert_eq!(options, expected);
    client.stop().await;
}

#[tokio::test]
async fn a_code_may_be_followed_by_a_passkey_too() {
    let simulator = Simulator::start(Config::default()).await.unwrap();
    let authenticator = Authenticator::new().unwrap();
    let (mut client, _) = waiting(&simulator).await;
    let options = PairCodeOptions { phone_number: PHONE.into(), ..PairCodeOptions::default() };
    client.inner.pair_with_code(options).await.unwrap();
    let Event::PairingCode(code) = &*client.expects("PairingCode").await else { unreachable!() };
    let enter = EnterCode { phone: PHONE.into(), code: code.code.clone(), push_name: None };
    let wrong = EnterCode { code: "11111111".into(), ..enter.clone() };
    assert!(simulator.enter_code_with_passkey(wrong, Passkey::Ask).await.is_err());
    let body = json!({
        "phone": PHONE, "code": enter.code, "passkey": "ask", "passkeyKey": authenticator.public_key(),
    });
    let (status, answer) = post(&simulator, "/control/enter-code", body).await;
    let jid = format!("{PHONE}:1@s.whatsapp.net");
    assert_eq!((status, answer), (202, json!({ "jid": jid })));
    goes_through(&simulator, &mut client, &authenticator, &jid).await;
    client.stop().await;
    assert_eq!(simulator.complaints(), Vec::<String>::new());
}

#[tokio::test]
async fn a_refused_assertion_leaves_the_qr_to_be_scanned_again() {
    let simulator = Simulator::start(Config::default()).await.unwrap();
    let authenticator = Authenticator::new().unwrap();
    let (mut client, scan) = waiting(&simulator).await;
    let qr = &scan.qr;
    for wrong in
        [json!({ "qr": qr, "passkey": "never" }), json!({ "qr": qr, "phone": PHONE, "passkeyKey": "AA" })]
    {
        assert_eq!(post(&simulator, "/control/scan", wrong).await.0, 400);
    }
    let (status, _) = post(&simulator, "/control/scan", json!({ "qr": qr, "passkey": "refuse" })).await;
    assert_eq!(status, 202);
    let (_, assertion) = asked(&mut client, &authenticator).await;
    client.inner.send_passkey_response(passed_on(&authenticator, &assertion)).await.unwrap_err();
    eventually("refused", || simulator.state().passkey[0].stage == "refused").await;
    simulator.scan(scan).await.unwrap();
    client.expects("Connected").await;
    assert!(simulator.state().passkey.is_empty());
    client.stop().await;
}

#[tokio::test]
async fn another_passkey_or_another_field_is_refused_and_a_good_one_is_taken_then() {
    let simulator = Simulator::start(Config::default()).await.unwrap();
    let [own, other] = [(); 2].map(|()| Authenticator::new().unwrap());
    simulator.register_passkey(PHONE, &own.public_key()).unwrap();
    let (mut client, scan) = waiting(&simulator).await;
    simulator.scan_with_passkey(scan, Passkey::Ask).unwrap();
    let Event::PairPasskeyRequest(request) = &*client.expects("PairPasskeyRequest").await else {
        unreachable!()
    };
    let options = &request.request_options_json;
    let mut extra = own.assertion(options).unwrap();
    extra["clientExtensionResults"] = json!({});
    for (authenticator, assertion, why) in
        [(&own, extra, "clientExtensionResults"), (&other, other.assertion(options).unwrap(), "signature")]
    {
        client.inner.send_passkey_response(passed_on(authenticator, &assertion)).await.unwrap_err();
        assert_eq!(simulator.state().passkey[0].stage, "refused");
        assert!(simulator.complaints().last().unwrap().contains(why), "{:?}", simulator.complaints());
    }
    let assertion = own.assertion(options).unwrap();
    client.inner.send_passkey_response(passed_on(&own, &assertion)).await.unwrap();
    client.expects("PairPasskeyConfirmation").await;
    client.inner.send_passkey_confirmation().await.unwrap();
    client.expects("Connected").await;
    client.stop().await;
}

/// Why the phone takes its time here: WhatsApp has to ask one, the simulator has not.
#[tokio::test]
async fn a_continuation_in_the_same_instant_as_the_answer_to_the_prologue_is_lost() {
    let simulator = Simulator::start(Config::default()).await.unwrap();
    let authenticator = Authenticator::new().unwrap();
    simulator.set_passkey_pause(Duration::ZERO);
    let mut lost = false;
    // Lost in most tries, but the client's tasks may be lucky.
    for _ in 0..20 {
        let (mut client, scan) = waiting(&simulator).await;
        simulator.scan_with_passkey(scan, Passkey::Ask).unwrap();
        let (_, assertion) = asked(&mut client, &authenticator).await;
        client.inner.send_passkey_response(passed_on(&authenticator, &assertion)).await.unwrap();
        let end = client.either("PairPasskeyConfirmation", "PairPasskeyError").await;
        client.stop().await;
        if let Event::PairPasskeyError(error) = &*end {
            assert!(error.continuation);
            lost = true;
            break;
        }
    }
    assert!(lost);
}
