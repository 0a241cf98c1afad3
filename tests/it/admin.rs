//! The dashboard, in a real Chromium: an operator comes in with a key, links an account, watches it and logs it out. With
//! 5,000 sessions, and looked at by axe-core, in `admin/smooth.rs` and `admin/access.rs`.

mod access;
mod keyboard;
mod smooth;

use serde_json::{Value, json};
use simulator::Simulator;

use crate::support::browser::{Browser, Screen};
use crate::support::{Server, Session, eventually, whatsapp};

const KEY: &str = "all-of-it";

async fn locked() -> (Simulator, Server) {
    let whatsapp = whatsapp().await;
    let server = Server::builder(&whatsapp.url())
        .variable("API_KEYS", "main:all-of-it,bob:only-bob:bob")
        .variable("WEBHOOK_URLS", "http://127.0.0.1:9/hook")
        .variable("WEBHOOK_SECRET", "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=")
        .variable("WEBHOOK_ALLOW_PRIVATE", "true")
        .start()
        .await
        .with_key(KEY);
    (whatsapp, server)
}

/// Opens the dashboard, and gives it a key.
async fn comes_in(server: &Server, screen: Screen, key: &str) -> Browser {
    let browser = Browser::open(screen, &format!("{}/admin", server.base)).await;
    browser.reads("This server asks for a key").await;
    browser.fills("#key", key).await;
    browser.presses("Enter").await;
    browser.reads("Live").await;
    browser
}

/// The session that is looked at.
async fn session_of<'a>(browser: &Browser, server: &'a Server) -> Session<'a> {
    browser.until("location.hash.startsWith('#session=')").await;
    let id: String = browser.js("new URLSearchParams(location.hash.slice(1)).get('session')").await;
    server.session(&id)
}

async fn scans(whatsapp: &Simulator, session: &Session<'_>) {
    session.is_scanned(whatsapp, "Ada Lovelace").await;
}

/// Waits until the session that is looked at has this status.
async fn stands(browser: &Browser, status: &str) {
    browser.until(&format!("document.querySelector('.one .status')?.innerText.startsWith('{status}')")).await;
}

/// The feed may be an event ahead of what a status is read from.
async fn is_deleted(session: &Session<'_>) {
    eventually("its end", async || session.status().await["reason"] == "deleted").await;
}

#[tokio::test]
async fn an_operator_links_an_account_watches_it_and_logs_it_out_by_keyboard_alone() {
    let (whatsapp, server) = locked().await;
    let browser = Browser::open(Screen::WIDE, &format!("{}/admin", server.base)).await;
    browser.until("document.activeElement.id === 'key'").await;
    browser.fills("#key", "all-of-i").await;
    browser.presses("Enter").await;
    browser.reads("This server does not know that key").await;
    assert_eq!(browser.js::<u32>("sessionStorage.length").await, 0);
    browser.fills("#key", KEY).await;
    browser.presses("Enter").await;
    browser.reads("No sessions yet").await;
    browser.reads("Healthy").await;

    browser.tabs_to("New session").await;
    browser.presses("Enter").await;
    browser.until("document.activeElement.id === 'new-user'").await;
    browser.presses("Enter").await;
    browser.reads("Enter a user id first").await;
    browser.fills("#new-user", "ada").await;
    browser.presses("Enter").await;
    browser.sees("qr").await;
    assert_eq!(browser.focus().await, "ada", "the heading of the session");
    let session = session_of(&browser, &server).await;
    assert_eq!(browser.qr_on_the_screen().await.as_deref(), session.qr_code().await.1["qrString"].as_str());
    // Nobody reloads anything.
    scans(&whatsapp, &session).await;
    stands(&browser, "Connected").await;
    browser.reads("Ada Lovelace").await;
    browser.until("document.querySelectorAll('.timeline li').length === 3").await;
    assert_eq!(
        browser
            .js::<Vec<String>>(
                "[...document.querySelectorAll('.timeline li strong')].map((e) => e.textContent)"
            )
            .await,
        ["Connected", "Scanned", "QR"]
    );
    browser.reads("http://127.0.0.1:9/hook").await;
    browser.until("document.getElementById('voice').textContent === 'ada: Connected'").await;

    // There is nothing left to scan.
    let offered = "[...document.querySelectorAll('.bar button')].some((e) => !e.hidden && e.textContent === 'Make a link')";
    assert!(!browser.js::<bool>(offered).await);

    browser.tabs_to("Log out").await;
    browser.presses("Enter").await;
    browser.reads("Log out and delete?").await;
    assert_eq!(browser.focus().await, "Cancel");
    browser.presses("Escape").await;
    browser.until("!document.querySelector('dialog')").await;
    assert_eq!(browser.focus().await, "Log out");
    session.reaches("connected").await;
    browser.presses("Enter").await;
    browser.tabs_to("Cancel").await;
    browser.presses("Tab").await;
    browser.presses("Enter").await;
    stands(&browser, "Disconnected").await;
    browser.reads("deleted").await;
    is_deleted(&session).await;
    keeps_quiet(&browser, &server);
    browser.closes().await;
}

#[tokio::test]
async fn the_list_is_searched_filtered_walked_through_and_is_live() {
    let (whatsapp, server) = locked().await;
    let bob = server.init("bob").await;
    bob.sse().await.awaits("qr").await;
    let browser = comes_in(&server, Screen::NARROW, KEY).await;
    browser.reads("bob").await;
    let ada = server.init("ada").await;
    let shown = "[...document.querySelectorAll('.rows a')].map((e) => e.textContent).sort().join()";
    browser.until(&format!("{shown} === 'ada,bob'")).await;
    ada.sse().await.awaits("qr").await;
    scans(&whatsapp, &ada).await;
    browser.reads("Ada Lovelace").await;
    browser.clicks("Connected").await;
    browser.until(&format!("{shown} === 'ada'")).await;
    browser.clicks("All").await;
    browser.fills("#search", "lovelace").await;
    browser.until(&format!("{shown} === 'ada'")).await;
    browser.until("document.getElementById('voice').textContent === '1 session matches.'").await;
    browser.fills("#search", "zebra").await;
    browser.reads("No session matches").await;
    browser.clicks("Clear search and filter").await;
    browser.until(&format!("{shown} === 'ada,bob'")).await;

    // One link of the list is in the order of Tab; the arrows lead to the others, and back leads to where it was.
    browser.tabs_to("ada").await;
    browser.presses("ArrowDown").await;
    assert_eq!(browser.focus().await, "bob");
    browser.presses("Enter").await;
    stands(&browser, "Waiting for a scan").await;
    browser.clicks("Make a link").await;
    browser.until("document.querySelector('#link-address') !== null").await;
    let linked: String = browser.js("document.querySelector('#link-address').value").await;
    assert!(linked.starts_with(&format!("{}/?session={}#token=", server.base, bob.id)), "{linked}");
    browser.js::<Value>("history.back()").await;
    browser.until("document.activeElement.textContent === 'bob'").await;
    browser.closes().await;
}

#[tokio::test]
async fn a_key_for_some_users_sees_these_alone_and_a_server_that_is_gone_is_told() {
    let (_whatsapp, server) = locked().await;
    for user in ["ada", "bob"] {
        server.init(user).await.sse().await.awaits("qr").await;
    }
    let browser = comes_in(&server, Screen::WIDE.dark(), "only-bob").await;
    browser.reads("1 session ·").await;
    browser.reads("Only a key for all users may read the number of streams").await;
    browser.clicks("New session").await;
    browser.fills("#new-user", "ada").await;
    browser.presses("Enter").await;
    browser.reads("it is for certain users only").await;
    browser.presses("Escape").await;
    let _folder = server.crash().await;
    browser.reads("Events don’t come at the moment").await;
    browser.reads("Try now").await;
    browser.clicks("Forget the key").await;
    browser.reads("This server asks for a key").await;
    assert_eq!(browser.js::<u32>("sessionStorage.length").await, 0);
    browser.closes().await;
}

/// No key in an address that was asked for, or in the server's log.
fn keeps_quiet(browser: &Browser, server: &Server) {
    for asked in browser.asked().0 {
        assert!(!asked.contains(KEY), "{asked}");
    }
    for line in server.log() {
        assert!(!line.contains(KEY), "{line}");
    }
}

#[tokio::test]
async fn the_log_of_a_session_is_read_as_a_whole_and_has_no_qr_to_scan() {
    let (whatsapp, server) = locked().await;
    let session = server.init("ada").await;
    session.link(&whatsapp).await;
    let read = async || -> Value {
        server.get(&format!("/api/sessions/{}/log", session.id)).await.json().await.unwrap()
    };
    let log = read().await;
    let events = log["events"].as_array().unwrap();
    let names: Vec<_> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!(names, ["qr", "authenticated", "ready"]);
    assert!(
        events.iter().all(
            |event| event["id"] == event["data"]["id"] && event["data"]["sessionId"] == json!(session.id)
        )
    );
    assert!(events[0]["data"].get("qrString").is_none() && events[0]["data"].get("qrDataUrl").is_none());
    assert_eq!(session.status().await["since"], events[2]["data"]["at"]);
    // Of a deleted session only the status and the stream can be read.
    session.delete().await;
    let gone = server.get(&format!("/api/sessions/{}/log", session.id)).await;
    assert_eq!(gone.status(), 410);
}
