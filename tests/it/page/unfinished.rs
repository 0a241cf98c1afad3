//! A link that WhatsApp has made and that is not finished yet: a phone that is offline, a device that is taken back.

use std::time::Duration;

use serde_json::Value;
use simulator::{Account, KeyShare, Removal, Scan, Simulator};

use super::opens;
use crate::support::browser::Screen;
use crate::support::{Session, soon, world, world_at};

const PHONE: &str = "905551234567";

async fn scans(whatsapp: &Simulator, session: &Session<'_>) {
    let qr = session.qr_code().await.1["qrString"].as_str().unwrap().to_owned();
    let scan = Scan { qr, phone: Some(PHONE.into()), push_name: Some("Ada Lovelace".into()) };
    soon("a scan", whatsapp.scan(scan)).await.unwrap();
}

/// What is so of the account from now on.
async fn account(whatsapp: &Simulator, change: impl FnOnce(&mut Account)) {
    let mut account = Account { phone: PHONE.into(), ..Account::default() };
    change(&mut account);
    whatsapp.account(account).await.unwrap();
}

#[tokio::test]
async fn a_phone_that_is_offline_is_named_and_its_return_greets_nobody_twice() {
    let (whatsapp, server) = world_at(10.0).await;
    account(&whatsapp, |account| account.key_share = Some(KeyShare::Never)).await;
    let session = server.init("ada").await;
    let browser = opens(&session, Screen::NARROW).await;
    browser.sees("qr").await;
    let write = "globalThis.views = []; addEventListener('qrcast-view', ({ detail }) => views.push(detail.view)); null";
    browser.js::<Value>(&format!("(() => {{ {write} }})()")).await;
    scans(&whatsapp, &session).await;
    browser.reads("Your phone is offline: open WhatsApp on it").await;
    // Its name comes with the settings, which the phone's keys open.
    browser.reads("+90 555 123 45 67").await;
    // Whoever comes now is told the same.
    browser.reloads().await;
    browser.reads("Your phone is offline: open WhatsApp on it").await;
    browser.js::<Value>(&format!("(() => {{ {write} }})()")).await;
    account(&whatsapp, |account| account.key_share = Some(KeyShare::Now)).await;
    browser.reads("You can close this page").await;
    assert_eq!(browser.js::<Vec<String>>("views").await, Vec::<String>::new(), "another greeting");
    browser.closes().await;
}

#[tokio::test]
async fn a_device_that_whatsapp_takes_back_is_said_and_linked_by_the_next_code() {
    let (whatsapp, server) = world().await;
    account(&whatsapp, |account| account.remove = Some(Removal::After(Duration::ZERO))).await;
    let session = server.init("ada").await;
    let browser = opens(&session, Screen::WIDE).await;
    browser.sees("qr").await;
    scans(&whatsapp, &session).await;
    browser.reads("WhatsApp took the new device back. Scan the next code.").await;
    browser.sees("qr").await;
    browser.reads("WhatsApp took the new device back. Scan the next code.").await;
    account(&whatsapp, |account| account.remove = Some(Removal::Never)).await;
    scans(&whatsapp, &session).await;
    browser.reads("You can close this page").await;
    browser.closes().await;
}
