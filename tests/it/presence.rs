//! What the person's phone notices of a linked device: its name, and that it does not silence the phone.

use serde_json::json;
use simulator::{Presence, Scan};

use crate::support::{eventually, world};

#[tokio::test]
async fn a_linked_device_is_unavailable_after_every_login() {
    let (whatsapp, server) = world().await;
    let session = server.init("ada").await;
    let mut viewer = session.sse().await;
    let qr = viewer.awaits("qr").await;
    let scan = Scan { qr: qr.data["qrString"].as_str().unwrap().into(), ..Scan::default() };
    let jid = whatsapp.scan(scan).await.unwrap();
    for logins in 1..=2 {
        viewer.awaits("ready").await;
        eventually("the device to be unavailable", || async {
            let device = whatsapp.state().devices.into_iter().find(|device| device.jid == jid).unwrap();
            device.logins == logins && device.presence == Some(Presence::Unavailable)
        })
        .await;
        whatsapp.drop_connections(Some(&jid)).unwrap();
    }
}

#[tokio::test]
async fn the_phone_lists_the_device_by_its_name() {
    let (whatsapp, server) = world().await;
    for (body, name) in [
        (json!({ "userId": "ada" }), "qrcast"),
        (json!({ "userId": "ada", "deviceName": "Support desk" }), "Support desk"),
    ] {
        let session = server.init_with(body).await;
        let qr = session.sse().await.awaits("qr").await;
        let scan = Scan { qr: qr.data["qrString"].as_str().unwrap().into(), ..Scan::default() };
        let jid = whatsapp.scan(scan).await.unwrap();
        let device = whatsapp.state().devices.into_iter().find(|device| device.jid == jid).unwrap();
        assert_eq!(device.name, name);
    }
}
