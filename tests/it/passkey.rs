//! WhatsApp asks for the account's passkey before it links a device: by the API, as an embedder's own page does it. The page and
//! the extension are tried in `page/passkey.rs`.

use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::{Value, json};
use simulator::{Authenticator, EnterCode, Passkey, Scan, Simulator};

use crate::support::redis::Redis;
use crate::support::replicas::Replicas;
use crate::support::{Seen, Session, Viewer, eventually, world, world_at};

const PHONE: &str = "905551234567";

/// The passkey of the account, which takes the answers of no other.
fn passkey_of(whatsapp: &Simulator) -> Authenticator {
    let passkey = Authenticator::new().unwrap();
    whatsapp.register_passkey(PHONE, &passkey.public_key()).unwrap();
    passkey
}

/// A phone scans this QR, whose account has a passkey; the JID that the device will have.
fn scans(whatsapp: &Simulator, qr: &Seen, passkey: Passkey) -> String {
    let qr = qr.data["qrString"].as_str().unwrap().to_owned();
    let scan = Scan { qr, phone: Some(PHONE.into()), push_name: Some("Ada".into()) };
    whatsapp.scan_with_passkey(scan, passkey).unwrap()
}

async fn post(session: &Session<'_>, step: &str, body: &Value) -> (StatusCode, Value) {
    let response = session.server.post(&format!("/api/sessions/{}/{step}", session.id), body).await;
    (response.status(), response.json().await.unwrap())
}

/// Answers a `required` step as a browser would; what came next on the stream.
async fn answers(session: &Session<'_>, passkey: &Authenticator, required: &Seen) {
    let mut credential = passkey.assertion(&required.data["options"].to_string()).unwrap();
    // What a browser says beside what WhatsApp takes.
    credential["authenticatorAttachment"] = json!("platform");
    credential["clientExtensionResults"] = json!({});
    let (status, answer) = post(session, "passkey", &json!({ "credential": credential })).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{answer}");
}

/// The codes are compared, and confirmed.
async fn confirms(whatsapp: &Simulator, session: &Session<'_>, viewer: &mut Viewer) {
    let confirmation = viewer.expects("passkey").await;
    assert_eq!(
        (&confirmation.data["stage"], &confirmation.data["automatic"]),
        (&json!("confirmation"), &json!(false))
    );
    let code = confirmation.data["code"].as_str().unwrap();
    let shown = async || whatsapp.state().passkey.iter().any(|step| step.code.as_deref() == Some(code));
    eventually("the phone to show the same code", shown).await;
    assert_eq!(post(session, "passkey/confirm", &json!({})).await.0, StatusCode::ACCEPTED);
}

#[tokio::test]
async fn a_step_of_ten_minutes_outlives_the_qrs_and_links() {
    // Ten minutes take 15 s, all QRs 4 s.
    let (whatsapp, server) = world_at(40.0).await;
    let passkey = passkey_of(&whatsapp);
    let session = server.init("ada").await;
    let mut viewer = session.sse().await;
    let qr = viewer.awaits("qr").await;
    let jid = scans(&whatsapp, &qr, Passkey::Ask);
    let required = viewer.awaits("passkey").await;
    assert_eq!(
        (&required.data["stage"], &required.data["options"]["rpId"]),
        (&json!("required"), &json!("whatsapp.com"))
    );
    let status = session.status().await;
    assert_eq!((&status["status"], &status["hasQrCode"]), (&json!("passkey_required"), &json!(false)));
    // Whoever comes now is told of the step, and of nothing before it.
    let mut late = session.websocket().await;
    assert_eq!(late.expects("status").await.data["status"], "passkey_required");
    assert_eq!(late.expects("passkey").await, required);
    let (status, error) = post(&session, "passkey/confirm", &json!({})).await;
    assert_eq!((status, &error["code"]), (StatusCode::CONFLICT, &json!("NO_PASSKEY_STEP")));

    let begun = Instant::now();
    eventually("nine minutes of the fast clock", async || begun.elapsed() >= Duration::from_millis(13_500))
        .await;
    assert!(viewer.is_quiet().await, "no QR in between");
    answers(&session, &passkey, &required).await;
    confirms(&whatsapp, &session, &mut viewer).await;
    assert_eq!(viewer.expects("authenticated").await.data["me"]["id"], jid);
    viewer.expects("ready").await;
    let (status, error) = post(&session, "passkey/confirm", &json!({})).await;
    assert_eq!((status, &error["code"]), (StatusCode::CONFLICT, &json!("ALREADY_CONNECTED")));
}

#[tokio::test]
async fn a_refused_passkey_brings_a_new_qr_and_the_right_one_links() {
    let (whatsapp, server) = world().await;
    let passkey = passkey_of(&whatsapp);
    let session = server.init("ada").await;
    let mut viewer = session.sse().await;
    let qr = viewer.awaits("qr").await;
    scans(&whatsapp, &qr, Passkey::Refuse);
    let required = viewer.awaits("passkey").await;
    answers(&session, &passkey, &required).await;
    let refused = viewer.expects("pairing_error").await;
    assert_eq!(
        (&refused.data["method"], &refused.data["code"]),
        (&json!("passkey"), &json!("passkey_refused"))
    );
    let qr = viewer.expects("qr").await;
    scans(&whatsapp, &qr, Passkey::Ask);
    let required = viewer.awaits("passkey").await;
    answers(&session, &passkey, &required).await;
    confirms(&whatsapp, &session, &mut viewer).await;
    viewer.awaits("ready").await;
}

#[tokio::test]
async fn a_step_that_nobody_answers_or_whose_connection_breaks_is_over_and_told() {
    let (whatsapp, server) = world_at(40.0).await;
    let passkey = passkey_of(&whatsapp);
    let session = server.init("ada").await;
    let mut viewer = session.sse().await;
    let qr = viewer.awaits("qr").await;
    scans(&whatsapp, &qr, Passkey::Ask);
    viewer.awaits("passkey").await;
    let expired = viewer.expects("pairing_error").await;
    assert_eq!(
        (&expired.data["method"], &expired.data["code"]),
        (&json!("passkey"), &json!("passkey_expired"))
    );

    let qr = viewer.awaits("qr").await;
    scans(&whatsapp, &qr, Passkey::Ask);
    viewer.awaits("passkey").await;
    whatsapp.drop_connections(None).unwrap();
    let broken = viewer.expects("pairing_error").await;
    assert_eq!(broken.data["code"], "passkey_expired");
    let (status, error) = post(&session, "passkey/confirm", &json!({})).await;
    assert_eq!((status, &error["code"]), (StatusCode::CONFLICT, &json!("NO_PASSKEY_STEP")));

    let qr = viewer.awaits("qr").await;
    scans(&whatsapp, &qr, Passkey::Ask);
    let required = viewer.awaits("passkey").await;
    answers(&session, &passkey, &required).await;
    confirms(&whatsapp, &session, &mut viewer).await;
    viewer.awaits("ready").await;
}

#[tokio::test]
async fn after_a_code_the_clocks_of_code_and_library_stand_still() {
    let (whatsapp, server) = world_at(40.0).await;
    let passkey = passkey_of(&whatsapp);
    let session = server.init("ada").await;
    let mut viewer = session.sse().await;
    viewer.awaits("qr").await;
    let (status, answer) = session.pairing_code(PHONE).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let enter = EnterCode {
        phone: PHONE.into(),
        code: answer["code"].as_str().unwrap().into(),
        push_name: Some("Ada".into()),
    };
    whatsapp.enter_code_with_passkey(enter, Passkey::Ask).await.unwrap();
    let required = viewer.awaits("passkey").await;
    // The code is good for 4.5 s of this clock, the library waits 1.5 s for the end of the pairing.
    let begun = Instant::now();
    eventually("five minutes of the fast clock", async || begun.elapsed() >= Duration::from_millis(7500))
        .await;
    assert!(viewer.is_quiet().await);
    answers(&session, &passkey, &required).await;
    confirms(&whatsapp, &session, &mut viewer).await;
    viewer.awaits("ready").await;
}

#[tokio::test]
async fn the_answer_reaches_the_owner_from_another_replica() {
    let redis = Redis::start().await;
    let replicas = Replicas::on(&redis.url()).start(2).await;
    let passkey = passkey_of(&replicas.whatsapp);
    let session = replicas.at(0).init("ada").await;
    let elsewhere = replicas.at(1).session(&session.id);
    let mut viewer = elsewhere.websocket().await;
    let qr = viewer.awaits("qr").await;
    scans(&replicas.whatsapp, &qr, Passkey::Ask);
    let required = viewer.awaits("passkey").await;
    assert_eq!(elsewhere.status().await["status"], "passkey_required");
    answers(&elsewhere, &passkey, &required).await;
    confirms(&replicas.whatsapp, &elsewhere, &mut viewer).await;
    viewer.awaits("ready").await;
    assert_eq!(replicas.owner_of(&session.id).await, Some(0));
}

#[tokio::test]
async fn what_is_no_passkeys_answer_is_refused_with_the_name_of_the_field() {
    let (_whatsapp, server) = world().await;
    let session = server.init("ada").await;
    for (body, field) in [
        (json!({}), "credential"),
        (json!({ "credential": "text" }), "credential"),
        (json!({ "credential": { "type": "public-key" } }), "credential.rawId"),
        (json!({ "credential": { "rawId": "AA" } }), "credential.response"),
    ] {
        let (status, error) = post(&session, "passkey", &body).await;
        assert_eq!((status, &error["code"]), (StatusCode::BAD_REQUEST, &json!("INVALID_BODY")), "{body}");
        assert_eq!(error["details"]["field"], field, "{error}");
    }
    let whole = json!({ "rawId": "AA", "response": { "clientDataJSON": "AA", "authenticatorData": "AA", "signature": "AA" } });
    let (status, error) = post(&session, "passkey", &json!({ "credential": whole })).await;
    assert_eq!((status, &error["code"]), (StatusCode::CONFLICT, &json!("NO_PASSKEY_STEP")));
}
