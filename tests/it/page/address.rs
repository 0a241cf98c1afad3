//! What an address says is not what the server says, and the page works wherever its address is.

use reqwest::Url;
use serde_json::Value;

use crate::support::browser::{Browser, Screen};
use crate::support::proxy::Proxy;
use crate::support::{Server, soon, whatsapp, world};

const ID: &str = "7d1f0c36-3f0e-4c5b-9b1e-0a4b4f1f9a11";

#[tokio::test]
async fn nothing_of_an_address_is_shown_as_ours_until_the_server_knows_it() {
    let (_whatsapp, server) = world().await;
    let browser = Browser::open(Screen::WIDE, &server.base).await;
    for text in ["Call 555-0100 now", "your account is blocked", "ada", "<b>ada</b>"] {
        let mut address = Url::parse(&server.base).unwrap();
        address.query_pairs_mut().append_pair("session", &format!("session_{text}_{ID}"));
        browser.goes_to(address.as_str()).await;
        browser.sees("refused").await;
        let shown = format!("seen().includes({})", Value::from(text));
        assert!(!browser.js::<bool>(&shown).await, "{text}");
        assert!(!browser.js::<bool>("seen().includes('User ')").await, "{text}");
    }
    let session = server.init("ada").await;
    browser.goes_to(&format!("{}/?session={}", server.base, session.id)).await;
    browser.sees("qr").await;
    browser.reads("User ada.").await;
    browser.closes().await;
}

#[tokio::test]
async fn a_key_is_asked_for_without_a_word_of_the_address() {
    let whatsapp = whatsapp().await;
    let server = Server::builder(&whatsapp.url()).variable("API_KEYS", "main:all-of-it").start().await;
    let mut address = Url::parse(&server.base).unwrap();
    address.query_pairs_mut().append_pair("session", &format!("session_call.5550100_{ID}"));
    let browser = Browser::open(Screen::WIDE, address.as_str()).await;
    browser.reads("This server asks for a key").await;
    assert!(!browser.js::<bool>("seen().includes('5550100')").await);
    browser.closes().await;
}

/// A company's site: the server is one folder of it, behind the proxy's own user name and password.
#[tokio::test]
async fn in_a_folder_and_behind_a_proxys_password_it_works_as_elsewhere() {
    let whatsapp = whatsapp().await;
    // `ada:lovelace`
    let basic = "Basic YWRhOmxvdmVsYWNl";
    let port = crate::support::proxy::free_port();
    let server = Server::builder(&whatsapp.url()).variable("PORT", &port).start().await;
    let proxy = Proxy::with_folder(&server.base, "/wa", basic).await;
    // Waits for its end: the port is free after that.
    server.crash().await;
    let server = Server::builder(&whatsapp.url())
        .variable("PORT", &port)
        .variable("PUBLIC_URL", &format!("{}/wa", proxy.base))
        .start()
        .await;
    let with_password = |url: &str| url.replacen("http://", "http://ada:lovelace@", 1);
    let mut browser = Browser::open(Screen::WIDE, &with_password(&format!("{}/wa/", proxy.base))).await;
    browser.knows(&with_password(&proxy.base));
    browser.reads("Whose account is it?").await;
    browser.types("ada").await;
    browser.presses("Enter").await;
    browser.sees("qr").await;
    browser.reads("User ada.").await;
    assert_eq!(browser.js::<String>("location.pathname").await, "/wa/");
    browser.reloads().await;
    browser.sees("qr").await;
    browser.clicks("Start over").await;
    browser.reads("Whose account is it?").await;
    assert_eq!(browser.js::<String>("location.pathname + location.search").await, "/wa/");
    // By its link, with a token that nobody asks for.
    let made = server.init("bob").await;
    let link = made.answer["linkUrl"].as_str().unwrap();
    assert!(link.starts_with(&format!("{}/wa/?session=", proxy.base)), "{link}");
    browser.goes_to(link).await;
    browser.sees("qr").await;
    soon("the end", browser.closes()).await;
}
