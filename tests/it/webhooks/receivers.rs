//! Who may be a receiver, and who sees what of it.

use serde_json::{Value, json};

use super::{SECRET, builder};
use crate::support::receiver::Receiver;
use crate::support::{Server, whatsapp};

#[test]
fn the_events_that_can_be_chosen_are_those_of_the_stream() {
    assert_eq!(qrcast::config::WEBHOOK_EVENTS, qrcast::event::Kind::NAMES);
}

#[tokio::test]
async fn a_private_receiver_is_refused_and_the_field_is_named() {
    let whatsapp = whatsapp().await;
    let server = Server::builder(&whatsapp.url()).start().await;
    for url in [
        "https://127.0.0.1/hunter2",
        "http://example.com/hunter2",
        "https://[::1]/hunter2",
        "https://169.254.169.254/hunter2",
        "https://a:hunter2@example.com/",
        "hunter2",
    ] {
        let refused = server.post("/api/init-session", &json!({ "userId": "ada", "webhookUrl": url })).await;
        assert_eq!(refused.status(), 400, "{url}");
        let said: Value = refused.json().await.unwrap();
        assert_eq!(
            (&said["code"], &said["details"]["field"]),
            (&json!("INVALID_BODY"), &json!("webhookUrl"))
        );
        assert!(
            said["error"].as_str().unwrap().contains("an https:// URL")
                && !said.to_string().contains("hunter2")
        );
    }
}

#[tokio::test]
async fn a_tenant_sees_its_own_sessions_and_its_own_secret() {
    let (whatsapp, receiver, shared) = (whatsapp().await, Receiver::start().await, Receiver::start().await);
    let keys = "all:0123456789abcdef,red:1123456789abcdef:red-,blue:2123456789abcdef:blue-";
    let server = builder(&whatsapp)
        .variable("API_KEYS", keys)
        .variable("WEBHOOK_URLS", &shared.url)
        .variable("WEBHOOK_SECRET", SECRET)
        .start()
        .await;
    let ask = async |key: &str, path: &str| -> Value {
        let request = server.request(reqwest::Method::GET, path).header("x-api-key", key);
        request.send().await.unwrap().json().await.unwrap()
    };
    let init = async |key: &str, user: &str| -> String {
        let body = json!({ "userId": user, "webhookUrl": receiver.url });
        let request = server.request(reqwest::Method::POST, "/api/init-session").header("x-api-key", key);
        let answer: Value = request.json(&body).send().await.unwrap().json().await.unwrap();
        answer["sessionId"].as_str().unwrap().to_owned()
    };
    let (red, blue) = ("1123456789abcdef", "2123456789abcdef");
    let (of_red, of_blue) = (init(red, "red-1").await, init(blue, "blue-1").await);
    let (seen_by_red, seen_by_blue) = (ask(red, "/api/webhooks").await, ask(blue, "/api/webhooks").await);
    let seen_by_all = ask("0123456789abcdef", "/api/webhooks").await;
    let secrets = [&seen_by_red, &seen_by_blue, &seen_by_all].map(|seen| seen["secret"].as_str().unwrap());
    assert!(secrets[0] != secrets[1] && secrets[1] != secrets[2] && secrets[0] != secrets[2]);
    for (seen, session) in [(&seen_by_red, &of_red), (&seen_by_blue, &of_blue)] {
        let receivers = seen["receivers"].as_array().unwrap();
        assert!(receivers.len() == 2 && receivers.iter().all(|one| one["sessionId"] == **session), "{seen}");
        // What all share is the operator's.
        assert!(
            receivers.iter().all(|one| one["shared"] == !one["url"].as_str().unwrap().contains("hunter2"))
        );
    }
    assert_eq!(seen_by_all["receivers"].as_array().unwrap().len(), 4);
    for (session, secret, other) in [(&of_red, secrets[0], secrets[1]), (&of_blue, secrets[1], secrets[0])] {
        receiver.awaits(session, "qr").await;
        let letter = receiver.taken(session).remove(0);
        assert!(
            letter.is_signed_with(secret) && !letter.is_signed_with(other) && !letter.is_signed_with(SECRET)
        );
    }
    let resend = server.request(reqwest::Method::POST, "/api/webhooks/resend").header("x-api-key", red);
    let refused = resend.json(&json!({ "sessionId": of_blue, "after": "0-0" })).send().await.unwrap();
    assert_eq!(refused.status(), 403);
}
