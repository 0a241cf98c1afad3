//! The live page, in a real Chromium: a person links an account by its QR. By number is in `page/codes.rs`; how a link ends
//! and what the page makes of it, in `page/ends.rs`; on a server with keys, in `page/keys.rs` and `page/void.rs`; with a passkey,
//! in `page/passkey.rs`; looked at by axe-core, and by keyboard alone, in `page/access.rs`; not finished yet, in `page/unfinished.rs`; in other languages and another look, in `page/words.rs`.

mod access;
mod address;
mod codes;
mod ends;
mod keys;
mod passkey;
mod unfinished;
mod void;
mod words;

use serde_json::Value;
use simulator::Simulator;

use crate::support::browser::{Browser, Screen};
use crate::support::{Server, Session, eventually, world, world_at};

/// Opens the page of a session.
async fn opens(session: &Session<'_>, screen: Screen) -> Browser {
    Browser::open(screen, &session.link_url()).await
}

/// The session that the page's address names.
async fn session_of<'a>(browser: &Browser, server: &'a Server) -> Session<'a> {
    let id: String = browser.js("new URLSearchParams(location.search).get('session')").await;
    server.session(&id)
}

async fn scans(whatsapp: &Simulator, session: &Session<'_>) -> String {
    session.is_scanned(whatsapp, "Ada Lovelace").await
}

/// Shows every view of the element in a language; what does not fit, and how large all of it is.
async fn shows_every_view(browser: &Browser, server: &Server, lang: &str) -> Value {
    browser.goes_to(&format!("{}/?lang={lang}", server.base)).await;
    browser.until(&format!("document.documentElement.lang === '{lang}'")).await;
    let gallery = include_str!("../js/gallery.js").lines().filter(|line| !line.starts_with("//"));
    let gallery = gallery.collect::<Vec<_>>().join("\n");
    browser.js(&format!("({})('{lang}')", gallery.trim())).await
}

#[tokio::test]
async fn a_person_types_a_user_id_scans_and_sees_who_is_linked() {
    let (whatsapp, server) = world().await;
    let browser = Browser::open(Screen::WIDE, &server.base).await;
    browser.reads("Whose account is it?").await;
    browser.types("not allowed").await;
    browser.clicks("Continue").await;
    browser.reads("A user id may hold only letters").await;
    browser.types("ada").await;
    browser.presses("Enter").await;
    browser.reads("Scan to link WhatsApp").await;
    browser.reads("Code 1 of 6").await;
    browser.reads("New code in 0:").await;
    let session = session_of(&browser, &server).await;
    browser.js::<Value>("globalThis.isStillHere = true").await;

    let jid = scans(&whatsapp, &session).await;
    browser.reads("Linked").await;
    browser.reads("Ada Lovelace").await;
    let number = jid.split([':', '@']).next().unwrap();
    browser.until(&format!("seen().replace(/\\D/g, '').includes('{number}')")).await;
    assert!(browser.js::<bool>("globalThis.isStillHere === true").await, "the page was reloaded");
    assert_eq!(browser.js::<String>("document.title").await, "Linked · Link WhatsApp");

    browser.reloads().await;
    browser.reads("Ada Lovelace").await;
    let sessions: Value = server.get("/api/sessions").await.json().await.unwrap();
    assert_eq!(sessions["sessions"].as_array().unwrap().len(), 1, "a reload made a second session");
    browser.closes().await;
}

#[tokio::test]
async fn the_qr_on_the_screen_is_the_qr_of_the_api_at_every_width_in_light_and_dark() {
    let (_whatsapp, server) = world().await;
    let session = server.init("ada").await;
    let browser = opens(&session, Screen::WIDE).await;
    browser.sees("qr").await;
    for screen in [Screen::WIDE, Screen::WIDE.dark(), Screen::NARROW, Screen::NARROW.dark()] {
        browser.sits_at(screen).await;
        eventually("the QR of the API on the screen", async || {
            let shown = browser.qr_on_the_screen().await;
            shown.is_some() && shown.as_deref() == session.qr_code().await.1["qrString"].as_str()
        })
        .await;
    }
    browser.closes().await;
}

#[tokio::test]
async fn a_rotated_qr_is_shown_as_it_comes() {
    let (_whatsapp, server) = world_at(10.0).await;
    let session = server.init("ada").await;
    let browser = opens(&session, Screen::NARROW).await;
    browser.sees("qr").await;
    let first: String = browser.js("elements().find((e) => e.matches('img.qr')).src").await;
    browser.reads("Code 2 of 6").await;
    browser.until(&format!("elements().find((e) => e.matches('img.qr'))?.src !== '{first}'")).await;
    browser.closes().await;
}

#[tokio::test]
async fn it_can_be_used_by_keyboard_and_by_ear() {
    let (whatsapp, server) = world().await;
    let browser = Browser::open(Screen::WIDE, &server.base).await;
    browser.until("document.activeElement.id === 'user'").await;
    browser.types("ada").await;
    browser.presses("Tab").await;
    assert_eq!(browser.focus().await, "Continue");
    browser.presses("Enter").await;
    browser.sees("qr").await;
    assert!(
        browser
            .js::<bool>("elements().find((e) => e.matches('img.qr')).alt.startsWith('QR code 1 of 6')")
            .await
    );
    let heard = "elements().find((e) => e.matches('.unseen[role=status][aria-live=polite]')).textContent";
    browser.until(&format!("{heard} === 'Scan to link WhatsApp'")).await;
    // From the brand, at the top of the page.
    for _ in 0..10 {
        browser.presses("Tab").await;
        if browser.focus().await.contains("No camera?") {
            break;
        }
    }
    assert!(browser.focus().await.contains("No camera?"));
    browser.presses("Enter").await;
    browser.until("document.activeElement.shadowRoot?.activeElement?.matches('input')").await;
    let session = session_of(&browser, &server).await;
    scans(&whatsapp, &session).await;
    browser.until(&format!("{heard}.startsWith('Linked: Ada Lovelace')")).await;
    browser.closes().await;
}

#[tokio::test]
async fn back_leads_to_the_form_and_forward_to_the_session() {
    let (_whatsapp, server) = world().await;
    let browser = Browser::open(Screen::WIDE, &server.base).await;
    browser.types("ada").await;
    browser.clicks("Continue").await;
    browser.sees("qr").await;
    let session = session_of(&browser, &server).await;
    browser.js::<Value>("history.back()").await;
    browser.reads("Whose account is it?").await;
    browser.js::<Value>("history.forward()").await;
    browser.sees("qr").await;
    assert_eq!(session_of(&browser, &server).await.id, session.id);
    browser.closes().await;
}

#[tokio::test]
async fn without_javascript_it_says_what_is_needed() {
    let (_whatsapp, server) = world().await;
    let html = server.get("/").await.text().await.unwrap();
    let noscript = html.split("<noscript>").nth(1).unwrap().split("</noscript>").next().unwrap();
    assert!(noscript.contains("needs JavaScript"));
    assert!(!html.contains("style=") && !html.contains("onclick"), "nothing inline: a strict policy comes");
}
