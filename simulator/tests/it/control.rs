//! The control API, to the letter.

use serde_json::{Value, json};
use simulator::{Config, Simulator};

use crate::client::{Client, Store};
use crate::eventually;
use crate::http::{post, request, state};

#[tokio::test]
async fn a_life_over_http() {
    let simulator = Simulator::start(Config::default()).await.unwrap();
    let nothing = json!({ "clients": 0, "waiting": [], "devices": [], "passkey": [], "paused": false,
        "lookups": 0, "outdated": 0, "attempts": 0, "refused": 0, "throttled": 0 });
    assert_eq!(state(&simulator).await, nothing);
    let store = Store::new();
    let mut client = Client::start(&simulator, &store).await;
    let qr = client.shows_qr().await;
    let body = json!({ "qr": qr, "phone": "4915001234567", "pushName": null, "passkey": null });
    let (status, answer) = post(&simulator, "/control/scan", body).await;
    assert_eq!((status, answer), (200, json!({ "jid": "4915001234567:1@s.whatsapp.net" })));
    client.expects("Connected").await;
    let device = json!({
        "jid": "4915001234567:1@s.whatsapp.net", "name": "qrcast", "platform": "FIREFOX", "linked": true, "presence": null, "logins": 1,
        "concurrent": 1, "overlapMs": 0, "queued": 0, "preKeys": 20,
    });
    let mut got = state(&simulator).await;
    // The client says that it is available on its own, at some time after it is connected.
    got["devices"][0]["presence"] = Value::Null;
    got["devices"][0]["queued"] = json!(0);
    got["devices"][0]["preKeys"] = json!(20);
    assert_eq!(got["devices"], json!([device]));
    assert_eq!(request(&simulator, "POST", "/control/drop", "").await, (200, json!({ "dropped": 1 })));
    client.expects("Disconnected").await;
    client.expects("Connected").await;
    let jid = json!({ "jid": "4915001234567:1@s.whatsapp.net" });
    assert_eq!(post(&simulator, "/control/replace", jid.clone()).await.0, 200);
    client.ends().await;
    let fail = json!({ "jid": null, "reason": 402, "code": 104, "expire": 60 });
    assert_eq!(post(&simulator, "/control/fail", fail).await.0, 200);
    let mut client = Client::start(&simulator, &store).await;
    client.expects("TemporaryBan").await;
    client.ends().await;
    assert_eq!(post(&simulator, "/control/logout", jid).await.0, 200);
    assert_eq!(state(&simulator).await["devices"][0]["linked"], false);
}

#[tokio::test]
async fn pause_and_resume_over_http() {
    let simulator = Simulator::start(Config::default()).await.unwrap();
    assert_eq!(request(&simulator, "POST", "/control/pause", "").await.0, 200);
    assert_eq!(state(&simulator).await["paused"], true);
    let store = Store::new();
    let mut client = Client::start(&simulator, &store).await;
    eventually("the connection is accepted", || simulator.state().clients == 1).await;
    assert_eq!(request(&simulator, "POST", "/control/resume", "{}").await.0, 200);
    client.shows_qr().await;
    client.stop().await;
}

#[tokio::test]
async fn what_is_wrong_is_said_in_json() {
    let simulator = Simulator::start(Config::default()).await.unwrap();
    let unknown = json!({ "jid": "1@s.whatsapp.net" });
    for (path, body, status, code, word) in [
        ("/control/scan", json!({}), 400, "bad_request", "qr"),
        ("/control/scan", json!({ "qr": 5 }), 400, "bad_request", "qr"),
        ("/control/scan", json!({ "qr": "x", "phone": "012" }), 400, "bad_request", "phone"),
        ("/control/scan", json!({ "qr": "x" }), 409, "not_waiting", "waits"),
        ("/control/drop", unknown.clone(), 404, "unknown_jid", "1@s.whatsapp.net"),
        ("/control/replace", unknown.clone(), 404, "unknown_jid", "1@s.whatsapp.net"),
        ("/control/replace", json!({}), 400, "bad_request", "jid"),
        ("/control/logout", unknown.clone(), 404, "unknown_jid", "1@s.whatsapp.net"),
        ("/control/fail", json!({}), 400, "bad_request", "reason"),
        ("/control/fail", json!({ "reason": 7 }), 400, "bad_request", "reason"),
        ("/control/fail", json!({ "jid": "1@s.whatsapp.net", "reason": 401 }), 404, "unknown_jid", "1@s"),
        ("/control/nonsense", json!({}), 404, "not_found", "path"),
    ] {
        let (got, answer) = post(&simulator, path, body.clone()).await;
        assert_eq!((got, answer["code"].as_str()), (status, Some(code)), "{path} {body} {answer}");
        assert!(answer["error"].as_str().unwrap().contains(word), "{path} {body} {answer}");
    }
    assert_eq!(request(&simulator, "GET", "/control/scan", "").await.0, 405);
}

#[tokio::test]
async fn only_loopback_is_served() {
    let listen = "0.0.0.0:0".parse().unwrap();
    let refused = Simulator::start(Config { listen, ..Config::default() }).await.err().unwrap();
    assert_eq!(refused.kind(), std::io::ErrorKind::InvalidInput);
    let refused = Simulator::start(Config { refs: 0, ..Config::default() }).await.err().unwrap();
    assert_eq!(refused.kind(), std::io::ErrorKind::InvalidInput);
}
