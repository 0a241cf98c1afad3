//! The page of a server with keys: by an address that has a token in it, and by a key. What becomes of a page whose
//! session or token is no longer there is in `void.rs`.

use reqwest::StatusCode;
use serde_json::Value;
use simulator::Simulator;

use super::{opens, scans, session_of};
use crate::support::browser::{Browser, Screen};
use crate::support::{Server, Session, eventually, whatsapp};

pub(super) const KEY: &str = "all-of-it";

pub(super) async fn locked(variables: &[(&str, &str)]) -> (Simulator, Server) {
    let whatsapp = whatsapp().await;
    let mut server = Server::builder(&whatsapp.url()).variable("API_KEYS", "main:all-of-it,bob:only-bob:bob");
    for (name, value) in variables {
        server = server.variable(name, value);
    }
    let server = server.start().await.with_key(KEY);
    (whatsapp, server)
}

/// Until the server no longer takes this token.
pub(super) async fn expires(session: &Session<'_>, token: &str) {
    let url = format!("{}/api/session-status/{}", session.server.base, session.id);
    eventually("the token to expire", async || {
        let request = reqwest::Client::new().get(&url).bearer_auth(token);
        request.send().await.unwrap().status() == StatusCode::UNAUTHORIZED
    })
    .await;
}

/// A token that the server no longer takes.
pub(super) async fn expired(session: &Session<'_>) -> String {
    let path = format!("/api/sessions/{}/stream-token", session.id);
    let short = session.server.post(&path, &serde_json::json!({ "ttlSeconds": 1 })).await;
    let short = short.json::<Value>().await.unwrap()["streamToken"].as_str().unwrap().to_owned();
    expires(session, &short).await;
    short
}

/// The token in the page's address, if it has one.
pub(super) async fn in_the_address(browser: &Browser) -> Option<String> {
    browser.js("new URLSearchParams(location.hash.slice(1)).get('token')").await
}

/// No key and no token in an address that was asked for, or in the server's log. No key in any WebSocket.
fn keeps_quiet(browser: &Browser, server: &Server) {
    let (urls, handshakes) = browser.asked();
    // A picture is asked of nobody, and any three letters may stand in it.
    for asked in urls.iter().filter(|url| !url.starts_with("data:")) {
        let asked = asked.split('#').next().unwrap();
        assert!(!asked.contains("eyJ") && !asked.contains(KEY), "{asked}");
    }
    assert!(handshakes.iter().any(|headers| headers.contains("bearer.eyJ")));
    for headers in handshakes {
        assert!(!headers.contains(KEY), "{headers}");
    }
    for line in server.log() {
        assert!(!line.contains("eyJ") && !line.contains(KEY), "{line}");
    }
}

#[tokio::test]
async fn an_address_with_a_token_is_enough_and_keeps_being_so() {
    // Long enough for a browser to start and to load the page on a busy machine.
    let (whatsapp, server) = locked(&[("TOKEN_TTL_SECONDS", "8")]).await;
    let session = server.init("ada").await;
    let first = session.answer["streamToken"].as_str().unwrap().to_owned();
    let browser = opens(&session, Screen::NARROW).await;
    browser.sees("qr").await;
    expires(&session, &first).await;
    // The address has the newest token, for a reload and for a bookmark.
    browser.reloads().await;
    browser.sees("qr").await;
    assert_ne!(in_the_address(&browser).await, Some(first));
    // What it may do does not end with the first token either.
    browser.clicks("No camera?").await;
    browser.types("+90 555 123 45 67").await;
    browser.clicks("Get a code").await;
    browser.sees("code").await;
    browser.clicks("Show a QR code instead").await;
    scans(&whatsapp, &session).await;
    browser.reads("Ada Lovelace").await;
    assert!(!browser.js::<bool>("seen().includes('key')").await, "nobody needs one here");
    keeps_quiet(&browser, &server);
    browser.closes().await;
}

#[tokio::test]
async fn used_up_qrs_are_renewed_by_whoever_has_the_address() {
    let (whatsapp, server) = locked(&[("WHATSAPP_TIME_FACTOR", "10")]).await;
    let session = server.init("ada").await;
    let browser = opens(&session, Screen::WIDE).await;
    browser.reads("The codes have run out").await;
    browser.clicks("Show a new code").await;
    browser.sees("qr").await;
    let jid = scans(&whatsapp, &session).await;
    browser.reads("Ada Lovelace").await;
    // What is linked, though not here, is not for a token to take back.
    session.reaches("connected").await;
    whatsapp.replace(&jid).unwrap();
    browser.clicks("Use it here").await;
    browser.reads("This page may not do that").await;
    browser.closes().await;
}

#[tokio::test]
async fn an_address_that_has_expired_says_so_and_a_key_helps() {
    let (_whatsapp, server) = locked(&[]).await;
    let session = server.init("ada").await;
    let short = expired(&session).await;
    let address = format!("{}/?session={}#token={short}", server.base, session.id);
    let browser = Browser::open(Screen::NARROW, &address).await;
    browser.reads("This link has expired").await;
    browser.reads("Ask for a new one where you got it").await;
    browser.reads("Do you have a key of this server?").await;
    browser.clicks("Use a key").await;
    browser.reads("This server asks for a key").await;
    browser.types("only-bob").await;
    browser.presses("Enter").await;
    browser.reads("This key is good, but not for this user id").await;
    browser.types(KEY).await;
    browser.presses("Enter").await;
    browser.sees("qr").await;
    // Now the server has said whose it is.
    browser.reads("User ada.").await;
    assert_eq!(in_the_address(&browser).await, None, "the old token");
    browser.reloads().await;
    browser.sees("qr").await;

    browser.clicks("Forget the key").await;
    browser.reads("Whose account is it?").await;
    assert_eq!(browser.js::<u32>("sessionStorage.length").await, 0);
    browser.js::<Value>("history.back()").await;
    browser.reads("Only someone with a key may open this address").await;
    browser.closes().await;
}

#[tokio::test]
async fn an_address_that_is_wrong_says_so() {
    let (_whatsapp, server) = locked(&[]).await;
    let (ada, eve) = (server.init("ada").await, server.init("eve").await);
    for token in ["nonsense", eve.answer["streamToken"].as_str().unwrap()] {
        let address = format!("{}/?session={}#token={token}", server.base, ada.id);
        let browser = Browser::open(Screen::WIDE, &address).await;
        browser.reads("This link does not open").await;
        browser.reads("Use a key").await;
        // Where the tab has a key, it is used.
        browser.js::<Value>(&format!("sessionStorage.setItem('qrcast-key', '{KEY}')")).await;
        browser.reloads().await;
        browser.sees("qr").await;
        assert_eq!(in_the_address(&browser).await, None);
        browser.js::<Value>("sessionStorage.setItem('qrcast-key', 'only-bob')").await;
        browser.goes_to("about:blank").await;
        browser.goes_to(&address).await;
        browser.reads("The key of this tab is not for this user id").await;
        browser.closes().await;
    }
}

#[tokio::test]
async fn whoever_comes_without_a_token_is_asked_for_a_key() {
    let (whatsapp, server) = locked(&[]).await;
    let browser = Browser::open(Screen::WIDE, &server.base).await;
    browser.types("ada").await;
    browser.clicks("Continue").await;
    browser.reads("This server asks for a key").await;
    browser.reads("Only someone with a key may link accounts here").await;
    browser.until("document.activeElement.id === 'key'").await;
    assert_eq!(browser.js::<String>("document.activeElement.type").await, "password");
    assert_eq!(browser.js::<String>("document.title").await, "A key is needed · Link WhatsApp");
    let described = "document.activeElement.getAttribute('aria-describedby').split(' ')\
                     .map((id) => document.getElementById(id).textContent).join(' ')";
    browser.until(&format!("({described}).includes('It stays in this tab')")).await;

    browser.presses("Enter").await;
    browser.reads("Enter a key first").await;
    for wrong in ["all-of-i", "ключ"] {
        browser.types(wrong).await;
        browser.presses("Tab").await;
        assert_eq!(browser.focus().await, "Use this key");
        browser.presses("Enter").await;
        browser.reads("This server does not know that key").await;
        browser.until("document.activeElement.id === 'key'").await;
        browser.until("document.activeElement.getAttribute('aria-invalid') === 'true'").await;
        browser.until(&format!("({described}).includes('does not know that key')")).await;
        assert_eq!(browser.js::<u32>("sessionStorage.length").await, 0);
    }
    // A key that is for others is kept, and another user id may be tried.
    browser.types("only-bob").await;
    browser.presses("Enter").await;
    browser.reads("This key is good, but not for this user id").await;
    browser.reads("Whose account is it?").await;
    assert_eq!(browser.js::<String>("document.getElementById('user').value").await, "ada");
    browser.types("bobby").await;
    browser.presses("Enter").await;
    browser.sees("qr").await;
    assert!(session_of(&browser, &server).await.id.contains("_bobby_"));
    browser.clicks("Forget the key").await;

    browser.types("ada").await;
    browser.presses("Enter").await;
    browser.reads("This server asks for a key").await;
    browser.types(KEY).await;
    browser.presses("Enter").await;
    browser.sees("qr").await;
    let session = session_of(&browser, &server).await;
    assert_eq!(in_the_address(&browser).await, None, "it would outlive the key");
    scans(&whatsapp, &session).await;
    browser.reads("Ada Lovelace").await;
    // The tab has it: after a reload, and for the next account.
    browser.reloads().await;
    browser.reads("Ada Lovelace").await;
    browser.clicks("Start over").await;
    browser.reads("Whose account is it?").await;
    browser.types("eve").await;
    browser.presses("Enter").await;
    browser.sees("qr").await;
    keeps_quiet(&browser, &server);
    browser.closes().await;
}

#[tokio::test]
async fn whoever_has_a_key_may_take_a_linked_account_back() {
    let (whatsapp, server) = locked(&[]).await;
    let session = server.init("ada").await;
    let jid = session.link(&whatsapp).await;
    let browser = Browser::open(Screen::WIDE, &format!("{}/?session={}", server.base, session.id)).await;
    browser.reads("Only someone with a key may open this address").await;
    browser.types(KEY).await;
    browser.presses("Enter").await;
    browser.sees("ready").await;
    whatsapp.replace(&jid).unwrap();
    browser.clicks("Use it here").await;
    browser.sees("ready").await;
    session.reaches("connected").await;
    keeps_quiet(&browser, &server);
    browser.closes().await;
}

#[tokio::test]
async fn a_key_that_is_taken_back_is_asked_for_again() {
    let (_whatsapp, server) = locked(&[]).await;
    let session = server.init("ada").await;
    let browser = Browser::open(Screen::NARROW.dark(), &format!("{}/", server.base)).await;
    let has = async |key: &str, path: &str| {
        browser.js::<Value>(&format!("sessionStorage.setItem('qrcast-key', '{key}')")).await;
        browser.goes_to("about:blank").await;
        browser.goes_to(&format!("{}{path}", server.base)).await;
    };
    let follow = format!("/?session={}", session.id);
    browser.goes_to(&format!("{}{follow}", server.base)).await;
    browser.reads("Only someone with a key may open this address").await;
    has("an-old-one", &follow).await;
    browser.reads("It no longer takes the key that this tab had").await;
    has("an-old-one", "/").await;
    browser.types("ada").await;
    browser.presses("Enter").await;
    browser.reads("It no longer takes the key that this tab had").await;
    has("only-bob", &follow).await;
    browser.reads("The key of this tab is not for this user id").await;
    browser.types(KEY).await;
    browser.presses("Enter").await;
    browser.sees("qr").await;
    browser.closes().await;
}

#[tokio::test]
async fn a_page_without_a_key_ends_with_its_tokens_and_one_with_a_key_does_not() {
    // A stream notices at its next heartbeat.
    let (whatsapp, server) = locked(&[("TOKEN_TTL_SECONDS", "2"), ("TOKEN_MAX_AGE_SECONDS", "4")]).await;
    let session = server.init("ada").await;
    let by_address = opens(&session, Screen::NARROW).await;
    let by_key = Browser::open(Screen::WIDE, &format!("{}/?session={}", server.base, session.id)).await;
    by_key.reads("Only someone with a key may open this address").await;
    by_key.types(KEY).await;
    by_key.presses("Enter").await;
    by_key.sees("qr").await;
    by_key
        .js::<Value>(
            "globalThis.opened = 0, addEventListener('qrcast-state', ({ detail }) => opened += detail.phase === 'open')",
        )
        .await;
    by_address.reads("This link has expired").await;
    by_key.until("opened > 0").await;
    scans(&whatsapp, &session).await;
    by_key.reads("Ada Lovelace").await;
    by_address.closes().await;
    by_key.closes().await;
}
