//! What an account in use gets.

use serde_json::json;
use simulator::{Config, Noise, Noised, Simulator, WriteError};
use wacore::types::events::Event;

use crate::client::{Client, Store};
use crate::eventually;
use crate::http::post;

/// Names of the events that came until everything was acknowledged.
async fn quiet(simulator: &Simulator, client: &mut Client) -> Vec<String> {
    eventually("everything is acknowledged", || simulator.state().devices[0].queued == 0).await;
    client.leftover()
}

fn count(events: &[String], name: &str) -> usize {
    events.iter().filter(|event| *event == name).count()
}

#[tokio::test]
async fn a_connected_device_takes_everything() {
    let simulator = Simulator::start(Config::default()).await.unwrap();
    let (mut client, jid) = Client::linked(&simulator, &Store::new()).await;
    let noise = Noise { jid, messages: 100, groups: 5, calls: 4, devices: 3, prekeys_low: false };
    let queued = 100 + 10 + 2 * 5 + 2 * 4 + 3 + 1;
    assert_eq!(simulator.noise(noise).await, Ok(Noised { queued }));
    let events = quiet(&simulator, &mut client).await;
    assert_eq!(count(&events, "IncomingCall"), 8, "{events:?}");
    assert_eq!(count(&events, "GroupUpdate"), 5, "{events:?}");
    assert_eq!(count(&events, "Receipt"), 10, "{events:?}");
    assert!(!events.contains(&"Disconnected".to_owned()));
    assert!(!events.contains(&"UndecryptableMessage".to_owned()), "{events:?}");
    client.stop().await;
    assert_eq!(simulator.complaints(), Vec::<String>::new());
}

#[tokio::test]
async fn a_device_that_was_away_is_told_how_much_waits_and_takes_it() {
    let simulator = Simulator::start(Config::default()).await.unwrap();
    let store = Store::new();
    let (client, jid) = Client::linked(&simulator, &store).await;
    eventually("the key share is taken", || simulator.state().devices[0].queued == 0).await;
    client.stop().await;
    let body =
        json!({ "jid": jid, "messages": 300, "groups": 2, "calls": 2, "devices": 2, "prekeysLow": null });
    let queued = 300 + 30 + 4 + 4 + 3;
    assert_eq!(post(&simulator, "/control/noise", body).await, (200, json!({ "queued": queued })));
    let mut client = Client::start(&simulator, &store).await;
    let Event::OfflineSyncPreview(preview) = &*client.expects("OfflineSyncPreview").await else {
        unreachable!()
    };
    assert_eq!(
        (preview.total, preview.messages, preview.notifications, preview.receipts),
        (queued, 302, 5, 30)
    );
    let (before, _) = client.expects_within(crate::DEADLINE, "Connected").await;
    let mut events = quiet(&simulator, &mut client).await;
    events.extend(before);
    assert_eq!(count(&events, "MissedCall"), 2, "{events:?}");
    assert!(!events.contains(&"UndecryptableMessage".to_owned()), "{events:?}");
    client.stop().await;
    assert_eq!(simulator.complaints(), Vec::<String>::new());
}

#[tokio::test]
async fn a_device_whose_pre_keys_run_low_uploads_more() {
    let simulator = Simulator::start(Config::default()).await.unwrap();
    let (client, jid) = Client::linked(&simulator, &Store::new()).await;
    eventually("they are there", || simulator.state().devices[0].pre_keys >= 19).await;
    let noise = Noise { jid, prekeys_low: true, ..Noise::default() };
    assert_eq!(simulator.noise(noise).await, Ok(Noised { queued: 1 }));
    eventually("more are there", || simulator.state().devices[0].pre_keys >= 19).await;
    client.stop().await;
    assert_eq!(simulator.complaints(), Vec::<String>::new());
}

#[tokio::test]
async fn noise_for_nobody_is_refused() {
    let simulator = Simulator::start(Config::default()).await.unwrap();
    let noise = |jid: &str, messages| Noise { jid: jid.to_owned(), messages, ..Noise::default() };
    let nobody = "1@s.whatsapp.net";
    assert_eq!(simulator.noise(noise(nobody, 1)).await, Err(WriteError::Unknown(nobody.into())));
    let (client, jid) = Client::linked(&simulator, &Store::new()).await;
    assert_eq!(simulator.noise(noise(&jid, 10_001)).await, Err(WriteError::Count));
    for wrong in [json!("x"), json!(10_001)] {
        let (status, answer) =
            post(&simulator, "/control/noise", json!({ "jid": jid, "calls": wrong })).await;
        assert!(status == 400 && answer["error"].as_str().unwrap().contains("calls"), "{answer}");
    }
    simulator.logout(&jid).unwrap();
    assert_eq!(simulator.noise(noise(&jid, 1)).await, Err(WriteError::Unlinked(jid)));
    client.ends().await;
}
