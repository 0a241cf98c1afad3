//! The dashboard by keyboard alone: after each step the focus is where one expects it, and never nowhere.

use serde_json::Value;

use super::{comes_in, locked, scans, stands};
use crate::support::browser::{Browser, Screen};

/// The focus is here, and not at the page's beginning.
async fn is_at(browser: &Browser, name: &str) {
    browser.until("document.activeElement !== document.body").await;
    assert_eq!(browser.focus().await, name);
}

#[tokio::test]
async fn a_session_is_found_opened_restarted_and_deleted_and_the_focus_is_never_lost() {
    let (whatsapp, server) = locked().await;
    let session = server.init("ada").await;
    session.sse().await.awaits("qr").await;
    scans(&whatsapp, &session).await;
    session.reaches("connected").await;
    server.init("bob").await.sse().await.awaits("qr").await;
    let browser = comes_in(&server, Screen::WIDE, super::KEY).await;
    browser.reads("2 sessions").await;
    browser.tabs_to("Search sessions").await;
    browser.types("lovelace").await;
    browser.reads("1 of 2 sessions").await;
    browser.tabs_to("ada").await;
    browser.presses("Enter").await;
    stands(&browser, "Connected").await;
    is_at(&browser, "ada").await;

    // What is asked before, and does nothing but when the person goes on.
    browser.tabs_to("Restart").await;
    browser.presses("Enter").await;
    browser.until("document.querySelector('dialog') !== null").await;
    is_at(&browser, "Cancel").await;
    browser.presses("Enter").await;
    browser.until("document.querySelector('dialog') === null").await;
    is_at(&browser, "Restart").await;
    let before = session.status().await["lastEventId"].clone();
    browser.presses("Enter").await;
    browser.until("document.querySelector('dialog') !== null").await;
    browser.presses("Tab").await;
    browser.presses("Enter").await;
    browser.until("[...document.querySelectorAll('.timeline li strong')].length > 3").await;
    stands(&browser, "Connected").await;
    assert_ne!(session.status().await["lastEventId"], before);
    is_at(&browser, "Restart").await;

    // Back to the row; and from there to the session that is deleted.
    browser.js::<Value>("history.back()").await;
    browser.until("document.activeElement.textContent === 'ada'").await;
    browser.presses("Enter").await;
    stands(&browser, "Connected").await;
    browser.tabs_to("Log out").await;
    browser.presses("Enter").await;
    browser.until("document.querySelector('dialog') !== null").await;
    is_at(&browser, "Cancel").await;
    browser.presses("Tab").await;
    browser.presses("Enter").await;
    stands(&browser, "Disconnected").await;
    browser.until("document.activeElement.id === 'one-title'").await;
    // The buttons that are gone took the focus to nowhere.
    is_at(&browser, "ada").await;
    browser.presses("Tab").await;
    browser.until("document.activeElement !== document.body").await;
    browser.closes().await;
}
