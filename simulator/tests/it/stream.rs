//! What a server does to streams in the course of a day.

use std::time::{Duration, Instant};

use serde_json::json;
use simulator::{ActionError, Config, Scan, Simulator, Stream, Streamed, What};
use wacore::types::events::Event;
use wacore_binary::builder::NodeBuilder;

use crate::DEADLINE;
use crate::client::{Client, Store};
use crate::eventually;
use crate::http::post;
use crate::raw::{Raw, attr, linked, login};

fn all(what: What) -> Stream {
    Stream { jid: None, what, seconds: None }
}

const TOLD: Streamed = Streamed { told: 1, answered: 0 };

/// A linked client whose clock runs fast, connected.
async fn hasty(simulator: &Simulator) -> (Client, String) {
    let store = Store::new();
    let (client, jid) = Client::linked(simulator, &store).await;
    client.stop().await;
    let mut client = Client::start_hasty(simulator, &store, 40).await;
    client.expects("Connected").await;
    (client, jid)
}

#[tokio::test]
async fn a_recycled_stream_is_opened_again() {
    let simulator = Simulator::start(Config::default()).await.unwrap();
    let (mut client, jid) = Client::linked(&simulator, &Store::new()).await;
    for jid in [Some(jid), None] {
        assert_eq!(simulator.stream(Stream { jid, ..all(What::Recycle) }).await, Ok(TOLD));
        let (before, _) = client.expects_within(DEADLINE, "Connected").await;
        // The client of 0.7.0 says nothing about it: the next `Connected` is all one hears.
        assert!(!before.contains(&"Disconnected".to_owned()), "{before:?}");
    }
    client.stop().await;
    assert_eq!(simulator.complaints(), Vec::<String>::new());
}

#[tokio::test]
async fn an_ack_inside_of_an_error_ends_the_stream_and_nothing_else() {
    let simulator = Simulator::start(Config::default()).await.unwrap();
    let (mut client, _) = Client::linked(&simulator, &Store::new()).await;
    assert_eq!(simulator.stream(all(What::AckError)).await, Ok(TOLD));
    let Event::StreamError(error) = &*client.expects("StreamError").await else { unreachable!() };
    assert_eq!(error.code, "");
    client.expects("Connected").await;
    client.stop().await;
}

#[tokio::test]
async fn a_silent_stream_is_kept_and_read_and_answers_later() {
    let simulator = Simulator::start(Config::default()).await.unwrap();
    let device = linked(&simulator).await;
    let mut raw = login(&simulator, &device).await;
    let started = Instant::now();
    assert_eq!(simulator.stream(Stream { seconds: Some(1), ..all(What::Silent) }).await, Ok(TOLD));
    raw.asks("1", NodeBuilder::new("iq").attr("xmlns", "w:p").attr("type", "get")).await;
    assert!(started.elapsed() >= Duration::from_secs(1), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_throttled_client_meets_the_same_until_it_is_over() {
    let simulator = Simulator::start(Config::default()).await.unwrap();
    let (mut client, jid) = hasty(&simulator).await;
    let body = json!({ "jid": jid, "what": "throttle", "seconds": 600 });
    assert_eq!(post(&simulator, "/control/stream", body).await, (200, json!({ "told": 1, "answered": 0 })));
    let tries = simulator.state().attempts;
    eventually("it tries again", || simulator.state().attempts > tries).await;
    assert_eq!(simulator.state().devices[0].logins, 2);
    simulator.resume();
    client.expects("Connected").await;
    client.stop().await;
}

#[tokio::test]
async fn unavailable_is_said_without_a_close_and_holds_for_registrations_too() {
    let simulator = Simulator::start(Config::default()).await.unwrap();
    let device = linked(&simulator).await;
    let mut raw = login(&simulator, &device).await;
    let unavailable = Stream { seconds: Some(600), ..all(What::Unavailable) };
    assert_eq!(simulator.stream(unavailable).await, Ok(TOLD));
    assert_eq!(attr(&raw.hears_a("stream:error").await, "code"), "503");
    let fresh = wacore::store::Device::new();
    for device in [&device, &fresh] {
        let mut raw = Raw::connect(&simulator, &device.noise_key, &device.get_client_payload()).await;
        assert_eq!(attr(&raw.hears().await.unwrap(), "code"), "503");
    }
    simulator.resume();
    login(&simulator, &device).await;
}

/// The client measures silence by the true clock: after 15 to 30 s it asks, and 20 s later it leaves.
#[tokio::test]
async fn a_client_leaves_a_server_that_says_nothing_any_more() {
    let silence = async |what| {
        let simulator = Simulator::start(Config::default()).await.unwrap();
        let (mut client, _) = hasty(&simulator).await;
        assert_eq!(simulator.stream(all(what)).await, Ok(TOLD));
        let (before, _) = client.expects_within(Duration::from_secs(120), "Connected").await;
        assert!(!before.contains(&"Disconnected".to_owned()), "{before:?}");
        client.stop().await;
    };
    tokio::join!(silence(What::Silent), silence(What::Unavailable));
}

#[tokio::test]
async fn a_ping_of_the_server_is_answered_before_and_after_linking() {
    let simulator = Simulator::start(Config::default()).await.unwrap();
    let mut client = Client::start(&simulator, &Store::new()).await;
    let qr = client.shows_qr().await;
    let pong = Ok(Streamed { told: 1, answered: 1 });
    assert_eq!(simulator.stream(all(What::Ping)).await, pong);
    let jid = simulator.scan(Scan { qr, ..Scan::default() }).await.unwrap();
    client.expects("Connected").await;
    assert_eq!(simulator.stream(Stream { jid: Some(jid), ..all(What::Ping) }).await, pong);
    client.stop().await;
    assert_eq!(simulator.complaints(), Vec::<String>::new());
}

#[tokio::test]
async fn what_cannot_happen_is_said() {
    let simulator = Simulator::start(Config::default()).await.unwrap();
    let jid = linked(&simulator).await.pn.unwrap().to_string();
    for (body, status) in [
        (json!({}), 400),
        (json!({ "what": "nonsense" }), 400),
        (json!({ "what": "silent", "seconds": -1 }), 400),
        (json!({ "what": "recycle", "jid": "1@s.whatsapp.net" }), 404),
        (json!({ "what": "recycle", "jid": jid }), 409),
        (json!({ "what": "throttle", "jid": jid, "seconds": 60 }), 200),
        (json!({ "what": "recycle" }), 200),
    ] {
        assert_eq!(post(&simulator, "/control/stream", body.clone()).await.0, status, "{body}");
    }
    let offline = Stream { jid: Some(jid.clone()), ..all(What::Ping) };
    assert_eq!(simulator.stream(offline).await, Err(ActionError::Offline(jid)));
}
