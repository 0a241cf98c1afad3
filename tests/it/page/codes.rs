//! No camera: linking by phone number and code, and what can go wrong with it.

use serde_json::json;
use simulator::{Config, EnterCode, Simulator};

use super::opens;
use crate::support::browser::Screen;
use crate::support::{Server, soon, world};

#[tokio::test]
async fn a_phone_is_offered_the_number_first_and_links_by_code() {
    let (whatsapp, server) = world().await;
    let session = server.init("ada").await;
    let browser = opens(&session, Screen::PHONE).await;
    browser.reads("Link with your phone number").await;
    browser.types("12").await;
    browser.clicks("Get a code").await;
    browser.reads("This is not a complete phone number").await;
    // What the server makes of a number is what the page shows.
    browser.types("0090 (0) 555‑123‑45‑67").await;
    browser.clicks("Get a code").await;
    browser.reads("Type this code into WhatsApp").await;
    browser.reads("For +90 555 123 45 67").await;
    browser.reads("Valid for ").await;
    let code: String =
        browser.js("elements().find((e) => e.matches('.code')).innerText.replace(/\\s/g, '')").await;
    assert_eq!(code.len(), 8);

    // The phone itself says that a code is wrong; here it stays on the screen to be compared.
    let phone = "905551234567".to_owned();
    let enter =
        |code: &str| EnterCode { phone: phone.clone(), code: code.into(), push_name: Some("Ada".into()) };
    soon("a wrong code", whatsapp.enter_code(enter("AAAA-AAAA"))).await.unwrap_err();
    browser.sees("code").await;
    soon("the right code", whatsapp.enter_code(enter(&code))).await.unwrap();
    browser.reads("Linked").await;
    browser.reads("+90 555 123 45 67").await;
    browser.closes().await;
}

#[tokio::test]
async fn each_refusal_of_a_number_has_its_words_and_a_way_on() {
    let (whatsapp, server) = world().await;
    let session = server.init("ada").await;
    let browser = opens(&session, Screen::WIDE).await;
    browser.sees("qr").await;
    browser.clicks("No camera?").await;
    let refusals = [
        (400, "WhatsApp did not accept this number"),
        (403, "WhatsApp does not let this number link"),
        (452, "WhatsApp does not offer linking by number"),
        (500, "WhatsApp had a problem"),
        (429, "Too many codes were asked for"),
    ];
    for (error, words) in refusals {
        whatsapp.refuse_code(error).unwrap();
        // The stream may tell of a refusal before the request is answered: until then the form takes no other.
        browser.reads("Get a code").await;
        browser.types("+90 555 123 45 67").await;
        browser.presses("Enter").await;
        browser.reads(words).await;
    }
    browser.clicks("Show a QR code instead").await;
    browser.sees("qr").await;
    browser.closes().await;
}

#[tokio::test]
async fn an_expired_code_is_renewed() {
    // A code lives for 180 s; so many QRs for longer.
    let whatsapp = Simulator::start(Config { refs: 60, ..Config::default() }).await.unwrap();
    let server = Server::builder(&whatsapp.url()).variable("WHATSAPP_TIME_FACTOR", "30").start().await;
    let session = server.init("ada").await;
    let browser = opens(&session, Screen::PHONE).await;
    browser.sees("phone").await;
    session.reaches("scan_qr").await;
    browser.types("+90 555 123 45 67").await;
    browser.clicks("Get a code").await;
    browser.reads("This code has expired").await;
    browser.clicks("Get a new code").await;
    browser.sees("code").await;
    browser.closes().await;
}

#[tokio::test]
async fn a_session_made_for_a_number_shows_its_code_at_once() {
    let (_whatsapp, server) = world().await;
    let session = server.init_with(json!({ "userId": "ada", "phoneNumber": "905551234567" })).await;
    let browser = opens(&session, Screen::WIDE).await;
    browser.reads("Type this code into WhatsApp").await;
    browser.reads("For +90 555 123 45 67").await;
    browser.clicks("Show a QR code instead").await;
    browser.sees("qr").await;
    browser.closes().await;
}
