//! What the page says when a link breaks or ends, and the next step it offers.

use simulator::{Fail, Latest, Version};

use super::{opens, scans};
use crate::support::browser::{Browser, Screen};
use crate::support::proxy::free_port;
use crate::support::{Server, eventually, whatsapp, world, world_at};

#[tokio::test]
async fn used_up_qrs_are_renewed_by_the_button() {
    // Sixteen seconds for six QRs: time enough to scan one of the new ones.
    let (whatsapp, server) = world_at(10.0).await;
    let session = server.init("ada").await;
    let browser = opens(&session, Screen::NARROW).await;
    browser.reads("The codes have run out").await;
    browser.clicks("Show a new code").await;
    browser.sees("qr").await;
    scans(&whatsapp, &session).await;
    browser.reads("Linked").await;
    browser.closes().await;
}

#[tokio::test]
async fn a_logout_on_the_phone_is_told_and_linked_again_by_the_button() {
    let (whatsapp, server) = world().await;
    let session = server.init("ada").await;
    let browser = opens(&session, Screen::WIDE.dark()).await;
    browser.sees("qr").await;
    let jid = scans(&whatsapp, &session).await;
    browser.reads("Linked").await;
    session.reaches("connected").await;
    whatsapp.logout(&jid).unwrap();
    browser.reads("This device was removed on the phone").await;
    browser.clicks("Link again").await;
    browser.sees("qr").await;
    scans(&whatsapp, &session).await;
    browser.reads("Linked").await;
    browser.closes().await;
}

#[tokio::test]
async fn whatsapp_away_is_said_in_words_and_passes() {
    let (whatsapp, server) = world_at(40.0).await;
    whatsapp.pause();
    let session = server.init("ada").await;
    let browser = opens(&session, Screen::NARROW).await;
    browser.reads("WhatsApp can’t be reached").await;
    whatsapp.resume();
    browser.until("!/unreachable|loading/.test(document.querySelector('qrcast-link').view)").await;
    browser.closes().await;
}

#[tokio::test]
async fn a_server_killed_under_the_page_is_mentioned_quietly_and_followed_again() {
    let whatsapp = whatsapp().await;
    let server = Server::builder(&whatsapp.url()).variable("PORT", &free_port()).start().await;
    let session = server.init("ada").await;
    let id = session.id.clone();
    let browser = opens(&session, Screen::WIDE).await;
    browser.sees("qr").await;
    let again = server.builder_again();
    let jid = scans(&whatsapp, &session).await;
    browser.reads("Linked").await;
    session.reaches("connected").await;
    drop(server);
    browser.reads("Connection to the server lost. Reconnecting").await;
    browser.reads("Linked").await;

    let server = again.start().await;
    browser.until("!seen().includes('Connection to the server lost')").await;
    server.session(&id).reaches("connected").await;
    browser.reads("Linked").await;
    whatsapp.logout(&jid).unwrap();
    browser.reads("Logged out").await;
    browser.closes().await;
}

#[tokio::test]
async fn a_server_killed_under_a_qr_brings_one_that_can_be_scanned() {
    let whatsapp = whatsapp().await;
    let server = Server::builder(&whatsapp.url()).variable("PORT", &free_port()).start().await;
    let session = server.init("ada").await;
    let (id, before) = (session.id.clone(), session.reaches("scan_qr").await["lastEventId"].clone());
    let browser = opens(&session, Screen::NARROW).await;
    browser.sees("qr").await;
    let server = server.crash_and_restart().await;
    let session = server.session(&id);
    eventually("a new QR", async || {
        let status = session.status().await;
        status["hasQrCode"] == true && status["lastEventId"] != before
    })
    .await;
    eventually("the new QR on the screen", async || {
        browser.qr_on_the_screen().await.as_deref() == session.qr_code().await.1["qrString"].as_str()
    })
    .await;
    scans(&whatsapp, &session).await;
    browser.reads("Ada Lovelace").await;
    browser.closes().await;
}

#[tokio::test]
async fn a_lost_connection_is_said_with_whose_account_it_is_and_mended() {
    let (whatsapp, server) = world_at(20.0).await;
    let session = server.init("ada").await;
    let jid = session.link(&whatsapp).await;
    let browser = opens(&session, Screen::WIDE).await;
    browser.reads("Linked").await;
    whatsapp.pause();
    whatsapp.drop_connections(Some(&jid)).unwrap();
    browser.until("/^(lost:linked|unreachable)$/.test(document.querySelector('qrcast-link').view)").await;
    whatsapp.resume();
    browser.sees("ready").await;
    browser.closes().await;
}

#[tokio::test]
async fn each_end_has_its_words_and_a_next_step() {
    let (whatsapp, server) = world().await;
    let browser = Browser::open(Screen::NARROW, &server.base).await;
    let ends = [
        (None, "Another program took over this link", "Use it here"),
        (Some(402), "WhatsApp has blocked this account", "Try again"),
        (Some(409), "WhatsApp refused the login", "Try again"),
    ];
    for (index, (reason, words, next)) in ends.into_iter().enumerate() {
        let session = server.init(&format!("ada{index}")).await;
        let jid = session.link(&whatsapp).await;
        browser.goes_to(&session.link_url()).await;
        browser.reads("Linked").await;
        match reason {
            None => whatsapp.replace(&jid).unwrap(),
            Some(reason) => {
                whatsapp.fail(Fail { jid: Some(jid.clone()), reason, ..Fail::default() }).unwrap();
                whatsapp.drop_connections(Some(&jid)).unwrap();
            }
        }
        browser.reads(words).await;
        // One more try, on the same keys, is let in again.
        browser.clicks(next).await;
        browser.reads("Linked").await;
    }
    browser.closes().await;
}

#[tokio::test]
async fn a_version_that_is_refused_for_good_is_told_and_tried_again_by_the_button() {
    let (whatsapp, server) = world().await;
    let nothing_newer = |min| Version { min: Some(min), latest: Some(Latest::Broken), expires: None };
    whatsapp.version(nothing_newer(u32::MAX));
    let session = server.init("ada").await;
    let browser = opens(&session, Screen::NARROW).await;
    browser.reads("An update is needed").await;
    whatsapp.version(nothing_newer(0));
    browser.clicks("Try again").await;
    browser.sees("qr").await;
    browser.closes().await;
}

#[tokio::test]
async fn a_deleted_session_and_an_unknown_one_lead_back_to_the_start() {
    let (_whatsapp, server) = world().await;
    let session = server.init("ada").await;
    let browser = opens(&session, Screen::NARROW).await;
    browser.sees("qr").await;
    session.delete().await;
    browser.reads("This link was removed").await;
    browser.clicks("Start over").await;
    browser.reads("Whose account is it?").await;
    browser
        .goes_to(&format!("{}/?session=session_x_00000000-0000-4000-8000-000000000000", server.base))
        .await;
    browser.reads("This link is not known").await;
    browser.clicks("Start over").await;
    browser.reads("Whose account is it?").await;
    browser.closes().await;
}

#[tokio::test]
async fn what_whatsapp_says_of_an_end_is_read_and_its_link_leads_there() {
    let (whatsapp, server) = world().await;
    let session = server.init("ada").await;
    let jid = session.link(&whatsapp).await;
    let browser = opens(&session, Screen::NARROW).await;
    browser.reads("Linked").await;
    let locked = Fail {
        jid: Some(jid.clone()),
        reason: 403,
        header: Some("Your account is locked".into()),
        url: Some("https://faq.whatsapp.com/locked".into()),
        ..Fail::default()
    };
    whatsapp.fail(locked).unwrap();
    whatsapp.drop_connections(Some(&jid)).unwrap();
    browser.reads("Your account is locked").await;
    let link = "elements().find((e) => e.matches('[part=help] a'))";
    browser.until(&format!("{link}?.href === 'https://faq.whatsapp.com/locked'")).await;
    assert_eq!(browser.js::<String>(&format!("{link}.rel")).await, "noopener noreferrer");
    browser.closes().await;
}
