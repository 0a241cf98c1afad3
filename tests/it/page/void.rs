//! The page of a server with keys, where its session is gone or its token is void.

use serde_json::Value;

use super::keys::{KEY, expired, in_the_address, locked};
use super::{opens, scans};
use crate::support::browser::{Browser, Screen};
use crate::support::proxy::free_port;

/// Gives the tab a key and opens the page anew, there.
async fn has(browser: &Browser, key: &str, address: &str) {
    browser.js::<Value>(&format!("sessionStorage.setItem('qrcast-key', '{key}')")).await;
    browser.goes_to("about:blank").await;
    browser.goes_to(address).await;
}

#[tokio::test]
async fn a_session_that_is_not_there_is_said_to_be_so_to_whoever_has_a_key() {
    let (_whatsapp, server) = locked(&[]).await;
    let deleted = server.init("ada").await;
    deleted.delete().await;
    let browser = Browser::open(Screen::WIDE, &format!("{}/", server.base)).await;
    for session in ["session_x_00000000-0000-4000-8000-000000000000", "nonsense", deleted.id.as_str()] {
        let address = format!("{}/?session={session}", server.base);
        browser.js::<Value>("sessionStorage.clear()").await;
        browser.goes_to(&address).await;
        browser.reads("Only someone with a key may open this address").await;
        browser.types(KEY).await;
        browser.presses("Enter").await;
        browser.reads("This link is not known").await;
        browser.reloads().await;
        browser.reads("This link is not known").await;
        browser.clicks("Start over").await;
        browser.reads("Whose account is it?").await;
    }
    browser.closes().await;
}

#[tokio::test]
async fn a_token_of_the_keys_making_never_gets_into_the_address() {
    let (_whatsapp, server) = locked(&[]).await;
    let session = server.init("ada").await;
    let browser = Browser::open(Screen::NARROW, &format!("{}/", server.base)).await;
    for void in [expired(&session).await, "nonsense".to_owned()] {
        let address = format!("{}/?session={}#token={void}", server.base, session.id);
        has(&browser, KEY, &address).await;
        // Renewed, which is when the address would get the new one.
        browser.until("performance.getEntriesByType('resource').filter(({ name }) => name.endsWith('/stream-token')).length > 1").await;
        browser.sees("qr").await;
        assert_eq!(in_the_address(&browser).await, None);
        browser.clicks("Forget the key").await;
        browser.reads("Whose account is it?").await;
        browser.js::<Value>("history.back()").await;
        browser.reads("Only someone with a key may open this address").await;
    }
    browser.closes().await;
}

#[tokio::test]
async fn after_another_secret_a_page_with_a_key_goes_on_and_others_say_that_they_cannot() {
    let (port, first, second) = (free_port(), "1".repeat(32), "2".repeat(32));
    let (whatsapp, server) = locked(&[("PORT", &port), ("TOKEN_SECRET", &first)]).await;
    let session = server.init("ada").await;
    let id = session.id.clone();
    let by_address = opens(&session, Screen::NARROW).await;
    let by_key = Browser::open(Screen::WIDE, &format!("{}/", server.base)).await;
    has(&by_key, KEY, &format!("{}/?session={id}", server.base)).await;
    by_address.sees("qr").await;
    by_key.sees("qr").await;
    let server = server.crash().await.variable("TOKEN_SECRET", &second).start().await.with_key(KEY);
    by_address.reads("This link does not open").await;
    by_address.reads("Ask for a new one where you got it").await;
    let session = server.session(&id);
    session.reaches("scan_qr").await;
    scans(&whatsapp, &session).await;
    by_key.reads("Ada Lovelace").await;
    by_address.closes().await;
    by_key.closes().await;
}
