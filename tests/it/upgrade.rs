//! One replica on SQLite: the version before and this one take the same folder in turn. `scripts/mixed` builds the earlier one,
//! and runs what is in `replicas` with both on one Redis.

use std::io::Write as _;

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::server::Builder;
use crate::support::{Server, eventually, whatsapp};

/// Starts the program on the folder, and waits until ada's device is connected and a page that was open meanwhile goes on
/// after its last event, with none lost and none twice. Returns the new last one.
async fn takes_over(builder: Builder, id: &str, jid: &str, cursor: &str) -> (Server, String) {
    let server = builder.start().await;
    eventually("a ready server", || async { server.get("/readyz").await.status() == StatusCode::OK }).await;
    let session = server.session(id);
    assert_eq!(session.reaches("connected").await["me"]["id"], jid);
    let mut viewer = session.sse_after(Some(cursor)).await;
    let opening = viewer.awaits("status").await;
    assert_eq!(opening.data["gap"], false, "{opening:?}");
    let ready = viewer.awaits("ready").await.id.unwrap();
    assert!(ready.parse::<qrcast::event::Cursor>().unwrap() > cursor.parse().unwrap());
    (server, ready)
}

#[tokio::test]
#[ignore = "long: scripts/mixed builds the earlier version"]
async fn in_place_and_back_without_a_gap() {
    let Ok(before) = std::env::var("QRCAST_BEFORE") else {
        // Past the test runner, which would keep it to itself.
        std::io::stderr()
            .write_all(b"skipped: QRCAST_BEFORE names no earlier version; scripts/mixed does\n")
            .unwrap();
        return;
    };
    let whatsapp = whatsapp().await;
    let now = Server::builder(&whatsapp.url())
        .variable("READY_DELAY_MS", "0")
        .variable("DRAIN_SECONDS", "1")
        .variable("WEBHOOK_ALLOW_PRIVATE", "true");
    let earlier = now.clone().program(before);
    let mut server = earlier.clone().start().await;
    let ada = server.init("ada").await;
    let jid = ada.link(&whatsapp).await;
    let id = ada.id.clone();
    let mut cursor = ada.sse().await.until("ready").await.pop().unwrap().id.unwrap();

    let mut bob = None;
    for builder in [&now, &earlier, &now, &earlier, &now] {
        assert_eq!(server.terminate().await, Some(0));
        (server, cursor) = takes_over(builder.clone(), &id, &jid, &cursor).await;
        // What only this version knows stays while the earlier one runs.
        if bob.is_none() {
            let body = json!({ "userId": "bob", "webhookUrl": "http://127.0.0.1:1/hook" });
            bob = Some(server.init_with(body).await.id);
        }
    }
    let webhooks: Value = server.get("/api/webhooks").await.json().await.unwrap();
    let receivers = webhooks["receivers"].as_array().unwrap();
    assert!(receivers.iter().any(|receiver| receiver["sessionId"] == *bob.as_ref().unwrap()), "{webhooks}");
    let device = whatsapp.state().devices.into_iter().find(|device| device.jid == jid).unwrap();
    assert_eq!(device.concurrent, 1);
}
