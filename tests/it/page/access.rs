//! The live page for everybody: what axe-core finds in it, in each state and each view of the element, light and dark, from the left
//! and from the right; and a link by keyboard alone.

use super::{scans, session_of, shows_every_view};
use crate::support::axe::{axe, is_clean};
use crate::support::browser::{Browser, Screen};
use crate::support::{Server, whatsapp, world};

#[tokio::test]
#[ignore = "long: fetches axe-core with npm"]
async fn axe_core_finds_nothing_in_any_view() {
    let Some(axe) = axe() else { return };
    let (_whatsapp, server) = world().await;
    let browser = Browser::open(Screen::WIDE, &server.base).await;
    for lang in ["en", "ar"] {
        for screen in [Screen::WIDE, Screen::WIDE.dark(), Screen::NARROW, Screen::NARROW.dark()] {
            browser.sits_at(screen).await;
            browser.goes_to(&format!("{}/?lang={lang}", server.base)).await;
            browser.until(&format!("document.documentElement.lang === '{lang}'")).await;
            let state = format!("{lang} {screen:?}");
            is_clean(&browser, &axe, &format!("the form, {state}")).await;
            let seen = shows_every_view(&browser, &server, lang).await;
            assert!(seen["views"].as_u64().unwrap() >= 30);
            is_clean(&browser, &axe, &format!("every view, {state}")).await;
        }
    }
    browser.closes().await;
}

#[tokio::test]
#[ignore = "long: fetches axe-core with npm"]
async fn axe_core_finds_nothing_in_any_state_of_the_page() {
    let Some(axe) = axe() else { return };
    let whatsapp = whatsapp().await;
    let server = Server::builder(&whatsapp.url()).variable("API_KEYS", "main:all-of-it").start().await;
    for (screen, lang) in [(Screen::WIDE, "en"), (Screen::PHONE.dark(), "ar")] {
        let browser = Browser::open(screen, &format!("{}/?lang={lang}", server.base)).await;
        browser.until("document.activeElement.id === 'user'").await;
        browser.presses("Enter").await;
        browser.until("!document.getElementById('problem').hidden").await;
        is_clean(&browser, &axe, "a user id that is missing").await;
        browser.fills("#user", "ada").await;
        browser.presses("Enter").await;
        browser.until("document.activeElement.id === 'key'").await;
        is_clean(&browser, &axe, "the key").await;
        browser.fills("#key", "all-of-i").await;
        browser.presses("Enter").await;
        browser.until("!document.getElementById('key-problem').hidden").await;
        is_clean(&browser, &axe, "a key that is wrong").await;
        browser.fills("#key", "all-of-it").await;
        browser.presses("Enter").await;
        browser.until("/^(qr|phone)/.test(document.querySelector('qrcast-link').view)").await;
        is_clean(&browser, &axe, "a session by key").await;
        let other = browser.opens(&browser.js::<String>("location.href").await).await;
        browser.until("document.querySelector('qrcast-link').shadowRoot.querySelector('.notice')?.textContent !== ''").await;
        is_clean(&browser, &axe, "open in another tab").await;
        other.close().await.unwrap();
        let known = session_of(&browser, &server).await.id;
        let page = format!("{}/?lang={lang}&session", server.base);
        browser.goes_to(&format!("{page}=session_ada_00000000-0000-4000-8000-000000000000")).await;
        browser.until("/^refused/.test(document.querySelector('qrcast-link').view)").await;
        is_clean(&browser, &axe, "a session that is not known").await;
        browser.js::<serde_json::Value>("sessionStorage.clear()").await;
        browser.goes_to(&format!("{page}={known}#token=old")).await;
        browser.until("!document.getElementById('other-way').hidden").await;
        is_clean(&browser, &axe, "an address that is no longer valid").await;
        browser.forgives();
        browser.closes().await;
    }
}

/// Where the keyboard is: never nowhere.
async fn is_somewhere(browser: &Browser, after: &str) {
    let nowhere = "document.activeElement === document.body";
    assert!(!browser.js::<bool>(nowhere).await, "the focus is lost after {after}");
}

#[tokio::test]
async fn a_code_is_asked_for_by_keyboard_alone() {
    let (whatsapp, server) = world().await;
    let browser = Browser::open(Screen::WIDE, &server.base).await;
    browser.until("document.activeElement.id === 'user'").await;
    browser.types("ada").await;
    browser.presses("Enter").await;
    browser.sees("qr").await;
    browser.tabs_to("No camera? Link with your phone number").await;
    browser.presses("Enter").await;
    let field = "document.activeElement.shadowRoot?.activeElement?.matches('input')";
    browser.until(field).await;
    // A refusal leaves the person where the number is mended.
    whatsapp.refuse_code(403).unwrap();
    browser.types("+90 555 123 45 67").await;
    browser.presses("Enter").await;
    browser.reads("WhatsApp does not let this number link").await;
    browser.until(field).await;
    browser.types("+90 555 123 45 67").await;
    browser.presses("Enter").await;
    browser.reads("For +90 555 123 45 67").await;
    browser.until("document.activeElement.shadowRoot?.activeElement !== null").await;
    is_somewhere(&browser, "the code").await;
    browser.tabs_to("Use another number").await;
    browser.presses("Enter").await;
    browser.until(field).await;
    browser.tabs_to("Show a QR code instead").await;
    browser.presses("Enter").await;
    browser.sees("qr").await;
    is_somewhere(&browser, "the way back to the QR").await;
    assert_eq!(browser.focus().await, "Scan to link WhatsApp");
    let session = session_of(&browser, &server).await;
    // What happens by itself does not take the focus to nowhere.
    browser.tabs_to("No camera? Link with your phone number").await;
    scans(&whatsapp, &session).await;
    browser.reads("Linked").await;
    browser.presses("Tab").await;
    is_somewhere(&browser, "the link").await;
    browser.closes().await;
}
