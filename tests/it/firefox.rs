//! The live page and the dashboard in a real Firefox: a link by QR, a link by number, a log-out. Each is one text for both browsers,
//! and Chromium is held to it, too. Every view in nine languages is in `page/words.rs`, and a replica that is killed under the page in
//! `replicas/pages.rs`, for both as well. Passkeys are for Chromium alone, where a test can give the browser one.

use serde_json::Value;
use simulator::{EnterCode, Scan};

use crate::support::browser::{Screen, Within};
use crate::support::{Server, eventually, soon, whatsapp, world};

/// A person types a user id; a phone scans what is on the screen.
async fn by_qr(within: Within) {
    let (whatsapp, server) = world().await;
    let browser = within.opens(Screen::WIDE, &server.base).await;
    browser.until("document.activeElement.id === 'user'").await;
    browser.types("not allowed").await;
    browser.presses("Enter").await;
    browser.reads("A user id may hold only letters").await;
    browser.types("ada").await;
    browser.presses("Tab").await;
    assert_eq!(browser.focus().await, "Continue");
    browser.presses("Enter").await;
    browser.reads("Code 1 of 6").await;
    browser.reads("New code in 0:").await;
    eventually("a QR on the screen", async || browser.qr_on_the_screen().await.is_some()).await;
    let qr = browser.qr_on_the_screen().await.unwrap();
    browser.js::<Value>("globalThis.isStillHere = true").await;
    let scan = Scan { qr, push_name: Some("Ada Lovelace".into()), ..Scan::default() };
    soon("a scan", whatsapp.scan(scan)).await.unwrap();
    browser.reads("Ada Lovelace").await;
    browser.until("document.title === 'Linked · Link WhatsApp'").await;
    assert!(browser.js::<bool>("globalThis.isStillHere === true").await, "the page was reloaded");
    browser.reloads().await;
    browser.reads("Ada Lovelace").await;
    browser.js::<Value>("history.back()").await;
    browser.reads("Whose account is it?").await;
    browser.closes().await;
}

/// A person without a camera asks for a code, and types it into the phone.
async fn by_code(within: Within) {
    let (whatsapp, server) = world().await;
    let session = server.init("ada").await;
    let browser = within.opens(Screen::NARROW.dark(), &session.link_url()).await;
    browser.sees("qr").await;
    browser.clicks("No camera?").await;
    whatsapp.refuse_code(403).unwrap();
    browser.types("+90 555 123 45 67").await;
    browser.clicks("Get a code").await;
    browser.reads("WhatsApp does not let this number link").await;
    browser.types("+90 555 123 45 67").await;
    browser.presses("Enter").await;
    browser.reads("Type this code into WhatsApp").await;
    browser.reads("For +90 555 123 45 67").await;
    let code: String =
        browser.js("elements().find((e) => e.matches('.code')).innerText.replace(/\\s/g, '')").await;
    let enter = EnterCode { phone: "905551234567".into(), code, push_name: Some("Ada".into()) };
    soon("the code", whatsapp.enter_code(enter)).await.unwrap();
    browser.reads("Linked").await;
    browser.reads("+90 555 123 45 67").await;
    browser.closes().await;
}

/// An operator finds a session in the dashboard, and logs it out.
async fn logged_out(within: Within) {
    let whatsapp = whatsapp().await;
    let server = Server::builder(&whatsapp.url())
        .variable("API_KEYS", "main:all-of-it")
        .start()
        .await
        .with_key("all-of-it");
    let session = server.init("ada").await;
    session.link(&whatsapp).await;
    let browser = within.opens(Screen::WIDE, &format!("{}/admin", server.base)).await;
    browser.until("document.activeElement.id === 'key'").await;
    browser.fills("#key", "all-of-it").await;
    browser.presses("Enter").await;
    browser.reads("Live").await;
    browser.reads("Healthy").await;
    browser.clicks("ada").await;
    browser.until("document.querySelectorAll('.timeline li').length === 3").await;
    browser.clicks("Log out").await;
    browser.reads("Log out and delete?").await;
    assert_eq!(browser.focus().await, "Cancel");
    browser.presses("Escape").await;
    browser.until("!document.querySelector('dialog')").await;
    assert_eq!(browser.focus().await, "Log out");
    browser.presses("Enter").await;
    browser.until("document.querySelector('dialog') !== null").await;
    browser.presses("Tab").await;
    browser.presses("Enter").await;
    browser.until("document.querySelector('.one .status')?.innerText.startsWith('Disconnected')").await;
    eventually("its end", async || session.status().await["reason"] == "deleted").await;
    eventually("the phone lists no device", async || whatsapp.state().devices.iter().all(|d| !d.linked))
        .await;
    browser.clicks("All sessions").await;
    browser.until("document.activeElement.textContent === 'ada'").await;
    browser.closes().await;
}

#[tokio::test]
#[ignore = "long: Firefox"]
async fn firefox_links_an_account_by_qr() {
    if Within::Firefox.is_installed() {
        by_qr(Within::Firefox).await;
    }
}

#[tokio::test]
#[ignore = "long: Firefox"]
async fn firefox_links_an_account_by_number() {
    if Within::Firefox.is_installed() {
        by_code(Within::Firefox).await;
    }
}

#[tokio::test]
#[ignore = "long: Firefox"]
async fn firefox_logs_an_account_out_in_the_dashboard() {
    if Within::Firefox.is_installed() {
        logged_out(Within::Firefox).await;
    }
}

#[tokio::test]
#[ignore = "long: what Firefox is held to"]
async fn chromium_does_the_same() {
    by_qr(Within::Chromium).await;
    by_code(Within::Chromium).await;
    logged_out(Within::Chromium).await;
}
