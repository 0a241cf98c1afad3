//! What axe-core finds in the dashboard: in each state, wide and narrow, light and dark.

use super::{comes_in, locked, session_of, stands};
use crate::support::axe::{axe, is_clean};
use crate::support::browser::{Browser, Screen};

#[tokio::test]
#[ignore = "long: fetches axe-core with npm"]
async fn axe_core_finds_nothing_in_any_state() {
    let Some(axe) = axe() else { return };
    for screen in [Screen::WIDE, Screen::NARROW.dark()] {
        let (whatsapp, server) = locked().await;
        let browser = Browser::open(screen, &format!("{}/admin", server.base)).await;
        browser.presses("Enter").await;
        browser.reads("Enter a key first").await;
        is_clean(&browser, &axe, "the key").await;
        browser.closes().await;
        let browser = comes_in(&server, screen, super::KEY).await;
        browser.reads("No sessions yet").await;
        is_clean(&browser, &axe, "no sessions").await;
        browser.clicks("New session").await;
        browser.presses("Enter").await;
        browser.reads("Enter a user id first").await;
        is_clean(&browser, &axe, "a new session").await;
        browser.fills("#new-user", "ada").await;
        browser.presses("Enter").await;
        browser.sees("qr").await;
        is_clean(&browser, &axe, "a QR").await;
        browser.clicks("Make a link").await;
        browser.reads("Whoever opens this address").await;
        super::scans(&whatsapp, &session_of(&browser, &server).await).await;
        stands(&browser, "Connected").await;
        is_clean(&browser, &axe, "one session").await;
        browser.clicks("Log out").await;
        browser.reads("Log out and delete?").await;
        is_clean(&browser, &axe, "a question").await;
        browser.presses("Escape").await;
        browser.clicks("All sessions").await;
        browser.reads("Ada Lovelace").await;
        is_clean(&browser, &axe, "the list").await;
        browser.fills("#search", "zebra").await;
        browser.reads("No session matches").await;
        is_clean(&browser, &axe, "no match").await;
        let _folder = server.crash().await;
        browser.reads("Try now").await;
        is_clean(&browser, &axe, "a server that is gone").await;
        browser.closes().await;
    }
}
