//! Accounts that have been in use: their settings come as files from WhatsApp's media hosts, and what a person is told when
//! those, or the phone, are not there.

use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::{Value, json};
use simulator::{Account, Blobs, KeyShare, LinkError, Removal, Scan, Simulator, Write};

use crate::support::{Seen, Server, Session, Viewer, eventually, world, world_at};

const PHONE: &str = "905551234567";

/// A phone with this number scans the QR of the moment.
async fn scans(whatsapp: &Simulator, viewer: &mut Viewer) -> (Seen, String) {
    loop {
        let qr = viewer.awaits("qr").await;
        match try_scan(whatsapp, &qr).await {
            Ok(jid) => return (qr, jid),
            // With a fast clock a busy machine may be too late for it: the next one is on its way.
            Err(LinkError::NotWaiting) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

async fn scan(whatsapp: &Simulator, qr: &Seen) -> String {
    try_scan(whatsapp, qr).await.unwrap()
}

async fn try_scan(whatsapp: &Simulator, qr: &Seen) -> Result<String, LinkError> {
    let scan = Scan {
        qr: qr.data["qrString"].as_str().unwrap().into(),
        phone: Some(PHONE.into()),
        push_name: Some("Ada".into()),
    };
    whatsapp.scan(scan).await
}

async fn account(whatsapp: &Simulator, change: Account) {
    whatsapp.account(Account { phone: PHONE.into(), ..change }).await.unwrap();
}

/// Linked while the media host does this; what viewers were told.
async fn linked_without_settings<'a>(
    whatsapp: &Simulator,
    server: &'a Server,
    account_is: Account,
) -> (Session<'a>, Viewer, Seen, String) {
    account(whatsapp, account_is).await;
    let session = server.init("ada").await;
    let mut viewer = session.sse().await;
    let (_, jid) = scans(whatsapp, &mut viewer).await;
    viewer.awaits("authenticated").await;
    // On a busy machine a fast clock may call the login late before that.
    let ready = viewer.awaits("ready").await;
    assert_eq!(ready.data["incomplete"], true, "{ready:?}");
    (session, viewer, ready, jid)
}

#[tokio::test]
async fn an_account_with_two_thousand_contacts_is_ready_at_once() {
    let (whatsapp, server) = world().await;
    account(&whatsapp, Account { contacts: Some(2000), ..Account::default() }).await;
    let mut took = Vec::new();
    // Other tests run beside this one: the fastest of a few shows what it takes.
    while took.iter().all(|took| *took >= Duration::from_secs(2)) {
        assert!(took.len() < 5, "ready took {took:?}");
        let session = server.init(&format!("ada{}", took.len())).await;
        let mut viewer = session.sse().await;
        let asked = whatsapp.media_requests();
        let qr = viewer.awaits("qr").await;
        let scanned = Instant::now();
        scan(&whatsapp, &qr).await;
        viewer.awaits("authenticated").await;
        let ready = viewer.expects("ready").await;
        took.push(scanned.elapsed());
        assert_eq!((&ready.data["incomplete"], &ready.data["me"]["pushName"]), (&Value::Null, &json!("Ada")));
        let status = session.status().await;
        assert_eq!((&status["status"], &status["incomplete"]), (&json!("connected"), &json!(false)));
        // The regular collections come after that.
        eventually("all snapshots", async || whatsapp.media_requests() >= asked + 5).await;
    }
}

#[tokio::test]
async fn while_the_media_host_fails_the_session_works_and_the_mark_goes_when_it_is_back() {
    for blobs in [Blobs::Missing, Blobs::Silent, Blobs::BadBlob, Blobs::BadSnapshot] {
        let (whatsapp, server) = world_at(20.0).await;
        let history = Account { contacts: Some(20), blobs: Some(blobs), ..Account::default() };
        let (session, mut viewer, ready, jid) = linked_without_settings(&whatsapp, &server, history).await;
        assert_eq!(ready.data["missing"], "settings", "{blobs:?}");
        let status = session.status().await;
        assert_eq!(
            (&status["status"], &status["incomplete"], &status["missing"]),
            (&json!("connected"), &json!(true), &json!("settings"))
        );
        // A message of a friend gets through: the connection is alive.
        let written = whatsapp.write(Write { jid: jid.clone(), ..Write::default() }).await;
        assert!(written.is_ok(), "{blobs:?}: {written:?}");

        account(&whatsapp, Account { blobs: Some(Blobs::Ok), ..Account::default() }).await;
        let complete = viewer.expects("ready").await;
        assert_eq!(complete.data["incomplete"], Value::Null, "{blobs:?}");
        assert_eq!(complete.data["connectedAt"], ready.data["connectedAt"], "the session never broke");
        assert_eq!(session.status().await["incomplete"], false);

        // One more login finds everything, and is an ordinary one.
        whatsapp.drop_connections(Some(&jid)).unwrap();
        assert_eq!(viewer.expects("disconnected").await.data["reason"], "connection_lost");
        assert_eq!(viewer.expects("ready").await.data["incomplete"], Value::Null);
    }
}

#[tokio::test]
async fn an_hour_without_settings_costs_few_connections_and_a_restart_keeps_the_mark() {
    // An hour takes 36 s.
    let (whatsapp, server) = world_at(100.0).await;
    let history = Account { contacts: Some(20), blobs: Some(Blobs::Missing), ..Account::default() };
    let (session, mut viewer, _, jid) = linked_without_settings(&whatsapp, &server, history).await;
    let logins = || {
        let devices = whatsapp.state().devices;
        devices.iter().find(|device| device.jid == jid).unwrap().logins
    };
    let (before, begun) = (logins(), Instant::now());
    eventually("an hour of the fast clock", async || begun.elapsed() >= Duration::from_secs(36)).await;
    let tries = logins() - before;
    assert!((3..=8).contains(&tries), "{tries} connections in an hour");
    assert!(viewer.is_quiet().await, "a reconnect of ours is no fact");

    let id = session.id.clone();
    let server = server.crash_and_restart().await;
    let session = server.session(&id);
    let mut viewer = session.sse().await;
    let ready = viewer.awaits("ready").await;
    assert_eq!((&ready.data["incomplete"], &ready.data["missing"]), (&json!(true), &json!("settings")));
    account(&whatsapp, Account { blobs: Some(Blobs::Ok), ..Account::default() }).await;
    assert_eq!(viewer.expects("ready").await.data["incomplete"], Value::Null);
    assert_eq!(session.status().await["me"]["pushName"], "Ada");
}

#[tokio::test]
async fn a_refused_collection_is_told_as_well() {
    let (whatsapp, server) = world_at(20.0).await;
    let refuse = Some(vec!["critical_unblock_low:404".to_owned()]);
    let history = Account { contacts: Some(20), refuse, ..Account::default() };
    let (_session, mut viewer, ready, _) = linked_without_settings(&whatsapp, &server, history).await;
    assert_eq!((&ready.data["missing"], &ready.data["me"]["pushName"]), (&json!("settings"), &json!("Ada")));
    account(&whatsapp, Account { refuse: Some(Vec::new()), ..Account::default() }).await;
    assert_eq!(viewer.expects("ready").await.data["incomplete"], Value::Null);
}

#[tokio::test]
async fn a_phone_that_is_offline_at_the_link_is_waited_for() {
    let (whatsapp, server) = world_at(20.0).await;
    let history = Account { contacts: Some(20), key_share: Some(KeyShare::Late), ..Account::default() };
    let (session, mut viewer, ready, _) = linked_without_settings(&whatsapp, &server, history).await;
    assert_eq!(ready.data["missing"], "keys");
    account(&whatsapp, Account { key_share: Some(KeyShare::Now), ..Account::default() }).await;
    assert_eq!(viewer.expects("ready").await.data["incomplete"], Value::Null);
    assert_eq!(session.status().await["me"]["pushName"], "Ada");
}

#[tokio::test]
async fn a_device_that_is_taken_back_gets_a_new_code_three_times_and_then_an_end() {
    let (whatsapp, server) = world().await;
    let remove = Some(Removal::After(Duration::ZERO));
    account(&whatsapp, Account { remove, ..Account::default() }).await;
    let session = server.init("ada").await;
    let mut viewer = session.sse().await;
    let keys = |seen: &Seen| seen.data["qrString"].as_str().unwrap().split_once(',').unwrap().1.to_owned();
    let mut last_keys = String::new();
    for _ in 0..3 {
        let (qr, _) = scans(&whatsapp, &mut viewer).await;
        assert_ne!(keys(&qr), last_keys, "new keys");
        last_keys = keys(&qr);
        viewer.awaits("authenticated").await;
        let removed = viewer.awaits("pairing_error").await;
        assert_eq!(
            (&removed.data["method"], &removed.data["code"]),
            (&json!("qr"), &json!("device_removed"))
        );
        assert_eq!(session.status().await["me"], Value::Null);
    }
    scans(&whatsapp, &mut viewer).await;
    viewer.awaits("authenticated").await;
    let last = viewer.awaits("disconnected").await;
    assert_eq!((&last.data["reason"], &last.data["willReconnect"]), (&json!("logged_out"), &json!(false)));
    assert!(last.data["help"].as_str().unwrap().contains("takes a new device back"), "{last:?}");

    // It is no end for good: once WhatsApp is content the same session links.
    account(&whatsapp, Account { remove: Some(Removal::Never), ..Account::default() }).await;
    assert_eq!(session.restart().await.status(), StatusCode::ACCEPTED);
    let mut viewer = session.sse().await;
    scans(&whatsapp, &mut viewer).await;
    viewer.awaits("ready").await;
}
