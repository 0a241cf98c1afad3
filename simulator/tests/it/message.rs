//! A friend writes.

use serde_json::json;
use simulator::{Config, Simulator, Write, WriteError, Written};
use wacore::types::events::Event;
use wacore_binary::builder::NodeBuilder;

use crate::client::{Client, Store};
use crate::eventually;
use crate::http::post;
use crate::raw::{attr, linked, login};

fn write(jid: &str, count: usize) -> Write {
    Write { jid: jid.to_owned(), text: Some("good morning".into()), count: Some(count) }
}

fn all(sent: usize) -> Written {
    Written { sent, acknowledged: sent, retries: 0 }
}

/// Reads events until so many texts have come.
async fn texts(client: &mut Client, count: usize) {
    let mut seen = 0;
    while seen < count {
        let Event::Messages(batch) = &*client.expects("Messages").await else { unreachable!() };
        let texts =
            batch.iter().filter(|message| message.message.conversation.as_deref() == Some("good morning"));
        seen += texts.count();
    }
    assert_eq!(seen, count);
}

#[tokio::test]
async fn a_friend_writes_to_a_connected_device() {
    let simulator = Simulator::start(Config::default()).await.unwrap();
    let store = Store::new();
    let (mut client, jid) = Client::linked(&simulator, &store).await;
    assert_eq!(simulator.write(write(&jid, 1)).await, Ok(all(1)));
    assert_eq!(simulator.write(write(&jid, 200)).await, Ok(all(200)));
    texts(&mut client, 201).await;
    client.stop().await;
    assert_eq!(simulator.complaints(), Vec::<String>::new());
}

#[tokio::test]
async fn what_a_friend_writes_to_an_absent_device_is_delivered_when_it_logs_in() {
    let simulator = Simulator::start(Config::default()).await.unwrap();
    let store = Store::new();
    let (client, jid) = Client::linked(&simulator, &store).await;
    client.stop().await;
    eventually("the client is gone", || simulator.state().clients == 0).await;
    let writing = async { simulator.write(write(&jid, 5)).await };
    let reading = async {
        let mut client = Client::start(&simulator, &store).await;
        client.expects("Connected").await;
        client
    };
    let (written, client) = tokio::join!(writing, reading);
    assert_eq!(written, Ok(all(5)));
    client.stop().await;
}

#[tokio::test]
async fn messages_survive_drops_in_between() {
    let simulator = Simulator::start(Config::default()).await.unwrap();
    let store = Store::new();
    let (client, jid) = Client::linked(&simulator, &store).await;
    client.stop().await;
    let client = Client::start_hasty(&simulator, &store, 20).await;
    let writing = async { simulator.write(write(&jid, 400)).await };
    let dropping = async {
        for login in 2..5 {
            eventually("it is there again", || simulator.state().devices[0].logins >= login).await;
            simulator.drop_connections(Some(&jid)).unwrap();
        }
    };
    let (written, ()) = tokio::join!(writing, dropping);
    assert_eq!(written, Ok(all(400)));
    client.stop().await;
}

#[tokio::test]
async fn a_device_that_cannot_decrypt_is_counted() {
    let simulator = Simulator::start(Config::default()).await.unwrap();
    let device = linked(&simulator).await;
    let mut raw = login(&simulator, &device).await;
    let active = NodeBuilder::new("active").build();
    raw.asks("1", NodeBuilder::new("iq").attr("xmlns", "passive").attr("type", "set").children([active]))
        .await;
    raw.hears_a("message").await;
    let jid = simulator.state().devices[0].jid.clone();
    let writing = async { simulator.write(write(&jid, 2)).await };
    let answering = async {
        for kind in ["retry", "inactive"] {
            let message = raw.hears_a("message").await;
            raw.says(NodeBuilder::new("receipt").attr("id", attr(&message, "id")).attr("type", kind).build())
                .await;
        }
    };
    let (written, ()) = tokio::join!(writing, answering);
    assert_eq!(written, Ok(Written { sent: 2, acknowledged: 1, retries: 1 }));
}

#[tokio::test]
async fn messages_over_http() {
    let simulator = Simulator::start(Config::default()).await.unwrap();
    let store = Store::new();
    let (client, jid) = Client::linked(&simulator, &store).await;
    let (status, answer) = post(&simulator, "/control/message", json!({ "jid": jid, "count": 3 })).await;
    assert_eq!((status, answer), (200, json!({ "sent": 3, "acknowledged": 3, "retries": 0 })));
    assert_eq!(post(&simulator, "/control/message", json!({ "jid": jid, "count": 0 })).await.0, 400);
    assert_eq!(post(&simulator, "/control/message", json!({ "jid": "1@s.whatsapp.net" })).await.0, 404);
    simulator.logout(&jid).unwrap();
    assert_eq!(post(&simulator, "/control/message", json!({ "jid": jid })).await.0, 409);
    assert_eq!(simulator.write(write(&jid, 1)).await, Err(WriteError::Unlinked(jid)));
    client.ends().await;
}
