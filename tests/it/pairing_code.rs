//! Linking by phone number.

use reqwest::StatusCode;
use serde_json::json;
use simulator::{EnterCode, LinkError};

use crate::support::{soon, world, world_at};

const NUMBER: &str = "+90 555 123 45 67";
const DIGITS: &str = "905551234567";

fn enter(code: &str) -> EnterCode {
    EnterCode { phone: DIGITS.into(), code: code.into(), push_name: None }
}

#[tokio::test]
async fn a_code_links_the_account() {
    let (whatsapp, server) = world().await;
    let session = server.init("ada").await;
    let mut viewer = session.sse().await;
    viewer.awaits("qr").await;
    let (status, answer) = session.pairing_code(NUMBER).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!(answer["phoneNumber"], DIGITS);
    let code = viewer.awaits("code").await;
    assert_eq!((&code.data["code"], &code.data["expiresAt"]), (&answer["code"], &answer["expiresAt"]));
    assert_eq!(code.data["phoneNumber"], DIGITS);
    let text = answer["code"].as_str().unwrap();
    assert_eq!((text.len(), text.as_bytes()[4]), (9, b'-'), "{text}");
    // Both are on screen for whoever comes now.
    let mut late = session.websocket().await;
    late.expects("status").await;
    late.expects("qr").await;
    assert_eq!(late.expects("code").await, code);
    let jid = soon("the link", whatsapp.enter_code(enter(text))).await.unwrap();
    viewer.awaits("authenticated").await;
    assert_eq!(viewer.expects("ready").await.data["me"]["id"], jid);
    let (status, error) = session.pairing_code(NUMBER).await;
    assert_eq!((status, &error["code"]), (StatusCode::CONFLICT, &json!("ALREADY_CONNECTED")));
}

#[tokio::test]
async fn init_with_a_number_brings_the_code_by_itself() {
    let (whatsapp, server) = world().await;
    let session = server.init_with(json!({ "userId": "ada", "phoneNumber": NUMBER })).await;
    let code = session.sse().await.awaits("code").await;
    soon("the link", whatsapp.enter_code(enter(code.data["code"].as_str().unwrap()))).await.unwrap();
    session.reaches("connected").await;
}

#[tokio::test]
async fn a_wrong_code_links_nothing_and_the_right_one_still_does() {
    let (whatsapp, server) = world().await;
    let session = server.init("ada").await;
    session.reaches("scan_qr").await;
    let (_, answer) = session.pairing_code(NUMBER).await;
    let code = answer["code"].as_str().unwrap();
    let wrong = if code.starts_with('A') { code.replacen('A', "B", 1) } else { format!("A{}", &code[1..]) };
    assert!(matches!(soon("a refusal", whatsapp.enter_code(enter(&wrong))).await, Err(LinkError::WrongCode)));
    soon("the link", whatsapp.enter_code(enter(code))).await.unwrap();
    session.reaches("connected").await;
}

#[tokio::test]
async fn a_second_code_makes_the_first_void() {
    let (whatsapp, server) = world().await;
    let session = server.init("ada").await;
    session.reaches("scan_qr").await;
    let (_, first) = session.pairing_code(NUMBER).await;
    let (status, second) = session.pairing_code(NUMBER).await;
    assert_eq!(status, StatusCode::OK);
    assert_ne!(first["code"], second["code"]);
    soon("the link", whatsapp.enter_code(enter(second["code"].as_str().unwrap()))).await.unwrap();
}

#[tokio::test]
async fn each_refusal_of_whatsapp_keeps_its_word() {
    let (whatsapp, server) = world().await;
    let session = server.init("ada").await;
    let mut viewer = session.sse().await;
    viewer.awaits("qr").await;
    for (code, status, word) in [
        (400, StatusCode::BAD_REQUEST, "bad_request"),
        (403, StatusCode::FORBIDDEN, "forbidden"),
        (429, StatusCode::TOO_MANY_REQUESTS, "rate_overlimit"),
        (452, StatusCode::UNPROCESSABLE_ENTITY, "feature_not_available"),
        (500, StatusCode::BAD_GATEWAY, "internal_error"),
    ] {
        whatsapp.refuse_code(code).unwrap();
        let (said, error) = session.pairing_code(NUMBER).await;
        assert_eq!((said, &error["details"]["code"]), (status, &json!(word)), "{error}");
        let event = viewer.awaits("pairing_error").await;
        assert_eq!((&event.data["method"], &event.data["code"]), (&json!("code"), &json!(word)));
    }
    assert_eq!(session.status().await["status"], "scan_qr");
}

#[tokio::test]
async fn a_number_is_the_same_one_however_it_is_written() {
    let (_whatsapp, server) = world().await;
    let session = server.init("ada").await;
    session.reaches("scan_qr").await;
    for (written, number) in [
        ("+44 (0)20 7946 0958", "442079460958"),
        ("0049 (0) 170 1234567", "491701234567"),
        ("+39 06 1234567", "39061234567"),
        ("tel:+90\u{a0}555\u{2011}123\u{200b}4567", DIGITS),
        ("٩٠٥٥٥١٢٣٤٥٦٧", DIGITS),
    ] {
        let (status, answer) = session.pairing_code(written).await;
        assert_eq!(
            (status, &answer["phoneNumber"]),
            (StatusCode::OK, &json!(number)),
            "{written:?} {answer}"
        );
    }
    // By the other call, too.
    let session = server.init_with(json!({ "userId": "bob", "phoneNumber": "+44 (0)20 7946 0958" })).await;
    assert_eq!(session.sse().await.awaits("code").await.data["phoneNumber"], "442079460958");
}

#[tokio::test]
async fn what_is_no_phone_number_is_refused() {
    let (_whatsapp, server) = world().await;
    let session = server.init("ada").await;
    for number in ["", "0555 123 45 67", "(0)555 123 45 67", "12345", "twelve", "+1 5551234 +1 555"] {
        let (status, error) = session.pairing_code(number).await;
        assert_eq!((status, &error["details"]["field"]), (StatusCode::BAD_REQUEST, &json!("phoneNumber")));
        let response =
            server.post("/api/init-session", &json!({ "userId": "ada", "phoneNumber": number })).await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    }
}

#[tokio::test]
async fn a_code_that_nobody_types_outlives_the_qrs_and_then_both_are_over() {
    // QRs last 3.2 s at this pace, the code 3.6 s.
    let (_whatsapp, server) = world_at(50.0).await;
    let session = server.init("ada").await;
    let mut viewer = session.sse().await;
    viewer.awaits("qr").await;
    assert_eq!(session.pairing_code(NUMBER).await.0, StatusCode::OK);
    viewer.awaits("code").await;
    let expired = viewer.awaits("pairing_error").await;
    assert_eq!((&expired.data["method"], &expired.data["code"]), (&json!("code"), &json!("code_expired")));
    assert_eq!(viewer.awaits("disconnected").await.data["reason"], "qr_exhausted");
}
