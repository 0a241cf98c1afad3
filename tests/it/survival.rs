//! `kill -9` and back: linked sessions without a scan, the others with a new QR, cursors without a gap.

use std::time::Duration;

use futures::future::join_all;
use rand::RngExt as _;
use serde_json::json;
use simulator::{Scan, Simulator};

use crate::link::assert_ids_rise;
use crate::support::{PATIENCE, Server, soon, whatsapp};

const LINKED: usize = 20;
const UNLINKED: usize = 5;
const CRASHES: usize = 10;

async fn server(whatsapp: &Simulator) -> Server {
    Server::builder(&whatsapp.url()).start().await
}

#[tokio::test]
async fn ten_crashes_lose_nobody() {
    let whatsapp = whatsapp().await;
    let mut server = server(&whatsapp).await;
    let linked: Vec<String> = join_all((0..LINKED).map(|n| {
        let (server, whatsapp) = (&server, &whatsapp);
        async move {
            let session = server.init(&format!("linked{n}")).await;
            session.link(whatsapp).await;
            session.id
        }
    }))
    .await;
    let unlinked = join_all((0..UNLINKED).map(|n| {
        let server = &server;
        async move { server.init(&format!("unlinked{n}")).await.id }
    }))
    .await;
    let mut rng = rand::rng();
    for crash in 0..CRASHES {
        let pairing = server.init(&format!("pairing{crash}")).await;
        let (id, qr) = (pairing.id.clone(), pairing.sse().await.awaits("qr").await);
        let scan = Scan { qr: qr.data["qrString"].as_str().unwrap().into(), ..Scan::default() };
        let scanning = tokio::spawn(whatsapp.scanning(scan));
        // Not for anything to happen: the moment of a crash is nobody's choice.
        tokio::time::sleep(Duration::from_millis(rng.random_range(0..250))).await;
        server = server.crash_and_restart().await;
        let scanned = soon("the scan", scanning).await.unwrap().ok();
        join_all(linked.iter().map(async |id| server.session(id).reaches("connected").await)).await;
        join_all(unlinked.iter().map(async |id| server.session(id).reaches("scan_qr").await)).await;
        agrees_with_its_phone(&server, &whatsapp, &id, scanned.as_deref()).await;
    }
    for device in whatsapp.state().devices {
        assert_eq!(device.concurrent, 1, "{device:?}");
    }
    let folder = server.builder_again();
    assert_eq!(server.terminate().await, Some(0));
    let database = rusqlite::Connection::open(folder.folder().join("qrcast.sqlite")).unwrap();
    let verdict: String = database.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(verdict, "ok");
}

/// After a pairing was cut short: linked on both sides, or a new QR and no device on the phone.
async fn agrees_with_its_phone(server: &Server, whatsapp: &Simulator, id: &str, jid: Option<&str>) {
    let session = server.session(id);
    let outcome = async {
        loop {
            let status = session.status().await;
            if status["status"] == "connected" || status["hasQrCode"] == true {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let Ok(status) = tokio::time::timeout(PATIENCE, outcome).await else {
        panic!("neither linked nor a QR: {}\n{:#?}", session.status().await, server.log());
    };
    let devices = whatsapp.state().devices;
    let listed = |jid: &str| devices.iter().any(|device| device.jid == jid && device.linked);
    match status["me"]["id"].as_str() {
        Some(me) => assert!(listed(me), "linked here, unknown to the phone: {status}"),
        None => assert!(!jid.is_some_and(listed), "the phone lists {jid:?}, but here: {status}"),
    }
}

#[tokio::test]
async fn a_pairing_killed_at_any_step_is_linked_or_not_on_both_sides() {
    let whatsapp = whatsapp().await;
    let mut server = server(&whatsapp).await;
    for pause in (0..300).step_by(20) {
        let session = server.init(&format!("ada{pause}")).await;
        let (id, qr) = (session.id.clone(), session.sse().await.awaits("qr").await);
        let scan = Scan { qr: qr.data["qrString"].as_str().unwrap().into(), ..Scan::default() };
        let scanning = tokio::spawn(whatsapp.scanning(scan));
        // A moment between the scan and `ready`, which come some 250 ms apart.
        tokio::time::sleep(Duration::from_millis(pause)).await;
        server = server.crash_and_restart().await;
        let scanned = soon("the scan", scanning).await.unwrap().ok();
        agrees_with_its_phone(&server, &whatsapp, &id, scanned.as_deref()).await;
    }
}

#[tokio::test]
async fn a_cursor_from_before_a_crash_resumes_without_a_gap() {
    let whatsapp = whatsapp().await;
    let server = server(&whatsapp).await;
    let session = server.init("ada").await;
    let mut viewer = session.sse().await;
    let qr = viewer.awaits("qr").await;
    session.link(&whatsapp).await;
    let mut seen = vec![qr, viewer.expects("authenticated").await, viewer.expects("ready").await];
    let id = session.id.clone();
    let server = server.crash_and_restart().await;
    let session = server.session(&id);
    for (index, cursor) in seen.iter().map(|seen| seen.id.clone().unwrap()).enumerate() {
        for mut viewer in
            [session.sse_after(Some(&cursor)).await, session.websocket_after(Some(&cursor)).await]
        {
            let opening = viewer.expects("status").await;
            assert_eq!((&opening.data["resumed"], &opening.data["gap"]), (&json!(true), &json!(false)));
            for known in &seen[index + 1..] {
                assert_eq!(viewer.expects(&known.event).await, *known);
            }
            let lost = viewer.expects("disconnected").await;
            assert_eq!(lost.data["reason"], "owner_lost");
            assert!(lost.id.as_deref().unwrap().ends_with("-1"), "{lost:?}");
            viewer.expects("ready").await;
        }
    }
    let mut viewer = session.sse_after(seen[2].id.as_deref()).await;
    viewer.expects("status").await;
    seen.extend([viewer.expects("disconnected").await, viewer.expects("ready").await]);
    assert_ids_rise(&seen);
}

/// The first answers of a starting server: nobody is told of a connection that died with the last process.
#[tokio::test]
async fn a_session_that_comes_back_is_reconnecting_until_it_is_connected() {
    let whatsapp = whatsapp().await;
    let server = server(&whatsapp).await;
    let session = server.init("ada").await;
    session.link(&whatsapp).await;
    let id = session.id.clone();
    whatsapp.pause();
    let server = server.crash_and_restart().await;
    let session = server.session(&id);
    assert_eq!(session.status().await["status"], "reconnecting");
    let mut viewer = session.sse().await;
    assert_eq!(viewer.expects("status").await.data["status"], "reconnecting");
    assert_eq!(viewer.expects("disconnected").await.data["reason"], "owner_lost");
    whatsapp.resume();
    viewer.awaits("ready").await;
}

#[tokio::test]
async fn a_clean_stop_says_shutdown_and_nothing_more() {
    let whatsapp = whatsapp().await;
    let mut server = server(&whatsapp).await;
    let again = server.builder_again();
    let (id, cursor) = {
        let session = server.init("ada").await;
        session.link(&whatsapp).await;
        let status = session.status().await;
        (session.id.clone(), status["lastEventId"].as_str().unwrap().to_owned())
    };
    assert_eq!(server.terminate().await, Some(0));
    let server = again.start().await;
    let mut viewer = server.session(&id).sse_after(Some(&cursor)).await;
    assert_eq!(viewer.expects("status").await.data["gap"], false);
    assert_eq!(viewer.expects("disconnected").await.data["reason"], "shutdown");
    viewer.expects("ready").await;
}

#[tokio::test]
async fn what_had_ended_stays_as_it_is() {
    let whatsapp = whatsapp().await;
    let server = Server::builder(&whatsapp.url()).variable("WHATSAPP_TIME_FACTOR", "100").start().await;
    let ended = server.init("ended").await;
    let jid = ended.link(&whatsapp).await;
    whatsapp.logout(&jid).unwrap();
    let ended = (ended.id.clone(), ended.reaches("disconnected").await);
    let used_up = server.init("usedup").await;
    let used_up = (used_up.id.clone(), used_up.reaches("disconnected").await);
    assert_eq!(used_up.1["reason"], "qr_exhausted");
    let server = server.crash_and_restart().await;
    // Something that comes after them has come: they had their time.
    server.init("later").await.reaches("scan_qr").await;
    for (id, before) in [ended, used_up] {
        let after = server.session(&id).status().await;
        for field in ["status", "reason", "lastEventId", "me"] {
            assert_eq!(after[field], before[field], "{field}");
        }
    }
}

#[tokio::test]
async fn a_session_costs_one_descriptor_and_no_thread() {
    let whatsapp = whatsapp().await;
    let server = server(&whatsapp).await;
    server.init("first").await.link(&whatsapp).await;
    let count = |what: &str| std::fs::read_dir(format!("/proc/{}/{what}", server.pid())).unwrap().count();
    let sockets_of_clients = || whatsapp.state().clients;
    // The requests of this test come over connections of their own: they are subtracted.
    let of_the_test = |descriptors: usize| descriptors - sockets_of_clients();
    let (threads, before) = (count("task"), of_the_test(count("fd")));
    for n in 0..10 {
        server.init(&format!("user{n}")).await.link(&whatsapp).await;
    }
    let after = of_the_test(count("fd"));
    // Viewers of `link` come and go meanwhile, one at a time.
    assert!(after <= before + 2, "{before} descriptors beside the clients' own became {after}");
    assert!(count("task") <= threads + 2, "{threads} threads became {}", count("task"));
}
