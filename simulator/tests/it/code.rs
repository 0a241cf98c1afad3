//! Pairing by code.

use serde_json::json;
use simulator::{Config, EnterCode, LinkError, Simulator};
use wacore::pair_code::PairCodeOptions;
use wacore::types::events::Event;
use wacore_binary::builder::NodeBuilder;

use crate::client::{Client, Store};
use crate::eventually;
use crate::http::post;
use crate::raw::{Raw, error_code};

const PHONE: &str = "4915001234567";

fn enter(code: &str) -> EnterCode {
    EnterCode { phone: PHONE.into(), code: code.into(), push_name: None }
}

/// A client that shows a code for [`PHONE`].
async fn client_with_code(simulator: &Simulator, store: &Store) -> (Client, String) {
    let mut client = Client::start(simulator, store).await;
    client.shows_qr().await;
    let options = PairCodeOptions { phone_number: PHONE.into(), ..PairCodeOptions::default() };
    client.inner.pair_with_code(options).await.unwrap();
    let Event::PairingCode(code) = &*client.expects("PairingCode").await else { unreachable!() };
    let code = code.code.clone();
    (client, code)
}

#[tokio::test]
async fn a_phone_enters_the_code_after_a_wrong_one() {
    let simulator = Simulator::start(Config::default()).await.unwrap();
    let store = Store::new();
    let (mut client, code) = client_with_code(&simulator, &store).await;
    assert_eq!(simulator.enter_code(enter("1111-1111")).await, Err(LinkError::WrongCode));
    let dashed = format!("{}-{}", code[..4].to_lowercase(), &code[4..]);
    let jid = simulator.enter_code(enter(&dashed)).await.unwrap();
    assert_eq!(jid, format!("{PHONE}:1@s.whatsapp.net"));
    client.expects("Connected").await;
    client.stop().await;
    assert_eq!(simulator.complaints(), Vec::<String>::new());
}

#[tokio::test]
async fn a_code_can_be_entered_three_times() {
    let simulator = Simulator::start(Config::default()).await.unwrap();
    let store = Store::new();
    let (client, code) = client_with_code(&simulator, &store).await;
    for _ in 0..3 {
        assert_eq!(simulator.enter_code(enter("11111111")).await, Err(LinkError::WrongCode));
    }
    assert_eq!(simulator.enter_code(enter(&code)).await, Err(LinkError::NotWaiting));
    client.stop().await;
}

#[tokio::test]
async fn a_code_for_which_nobody_waits_links_nothing() {
    let simulator = Simulator::start(Config::default()).await.unwrap();
    assert_eq!(simulator.enter_code(enter("ABCD1234")).await, Err(LinkError::NotWaiting));
    let store = Store::new();
    let (client, code) = client_with_code(&simulator, &store).await;
    let other = EnterCode { phone: "4915007654321".into(), code: code.clone(), push_name: None };
    assert_eq!(simulator.enter_code(other).await, Err(LinkError::NotWaiting));
    client.stop().await;
    eventually("the client is gone", || simulator.state().clients == 0).await;
    assert_eq!(simulator.enter_code(enter(&code)).await, Err(LinkError::NotWaiting));
}

#[tokio::test]
async fn a_request_for_a_code_can_be_refused() {
    let simulator = Simulator::start(Config::default()).await.unwrap();
    let store = Store::new();
    let mut client = Client::start(&simulator, &store).await;
    client.shows_qr().await;
    for (error, name) in [
        (400, "BadRequest"),
        (403, "Forbidden"),
        (429, "RateOverlimit"),
        (452, "FeatureNotAvailable"),
        (500, "InternalServerError"),
    ] {
        simulator.refuse_code(error).unwrap();
        let options = PairCodeOptions { phone_number: PHONE.into(), ..PairCodeOptions::default() };
        client.inner.pair_with_code(options).await.unwrap_err();
        let Event::PairingCodeError(refused) = &*client.expects("PairingCodeError").await else {
            unreachable!()
        };
        assert_eq!(format!("{:?}", refused.rejection), format!("Some({name})"));
    }
    assert!(simulator.refuse_code(401).is_err());
    client.stop().await;
}

#[tokio::test]
async fn codes_over_http() {
    let simulator = Simulator::start(Config::default()).await.unwrap();
    let store = Store::new();
    let (mut client, code) = client_with_code(&simulator, &store).await;
    let (status, answer) = post(&simulator, "/control/enter-code", json!({ "phone": PHONE })).await;
    assert_eq!((status, answer["code"].as_str()), (400, Some("bad_request")));
    let (status, _) =
        post(&simulator, "/control/enter-code", json!({ "phone": PHONE, "code": "ZZZZZZZZ" })).await;
    assert_eq!(status, 422);
    let (status, _) =
        post(&simulator, "/control/enter-code", json!({ "phone": "4915001", "code": code })).await;
    assert_eq!(status, 409);
    let (status, answer) =
        post(&simulator, "/control/enter-code", json!({ "phone": PHONE, "code": code })).await;
    assert_eq!((status, answer), (200, json!({ "jid": format!("{PHONE}:1@s.whatsapp.net") })));
    client.expects("Connected").await;
    client.stop().await;
    assert_eq!(post(&simulator, "/control/refuse-code", json!({ "error": 429 })).await.0, 200);
    assert_eq!(post(&simulator, "/control/refuse-code", json!({ "error": 401 })).await.0, 400);
}

#[tokio::test]
async fn a_malformed_request_for_a_code_is_refused() {
    let simulator = Simulator::start(Config::default()).await.unwrap();
    let device = wacore::store::Device::new();
    let mut raw = Raw::connect(&simulator, &device.noise_key, &device.get_client_payload()).await;
    let key =
        NodeBuilder::new("link_code_pairing_wrapped_companion_ephemeral_pub").bytes(vec![1; 79]).build();
    let reg = NodeBuilder::new("link_code_companion_reg")
        .attr("jid", format!("{PHONE}@s.whatsapp.net"))
        .attr("stage", "companion_hello")
        .children([key])
        .build();
    let iq = NodeBuilder::new("iq").attr("xmlns", "md").attr("type", "set").children([reg]);
    assert_eq!(error_code(&raw.asks("1", iq).await), "400");
    assert!(simulator.complaints()[0].contains("80 bytes"));
}
