//! Restart, delete, list: what an embedder can ask of its sessions.

use std::time::Duration;

use futures::StreamExt as _;
use reqwest::StatusCode;
use serde_json::{Value, json};
use simulator::{Fail, Scan};

use crate::support::{Server, Session, eventually, whatsapp, world, world_at};

const UNKNOWN: &str = "session_ada_7d1f0c36-3f0e-4c5b-9b1e-0a4b4f1f9a11";

/// It is restarted, as far as whoever asks can tell.
pub(crate) async fn restarted(session: &Session<'_>) {
    let response = session.restart().await;
    assert_eq!(response.status(), StatusCode::ACCEPTED);
    let answer: Value = response.json().await.unwrap();
    assert_eq!(answer, json!({ "sessionId": session.id, "status": "initializing" }));
}

#[tokio::test]
async fn a_restart_while_a_qr_is_shown_brings_a_new_one() {
    let (whatsapp, server) = world().await;
    let session = server.init("ada").await;
    let mut viewer = session.sse().await;
    let old = viewer.awaits("qr").await;
    restarted(&session).await;
    let new = viewer.expects("qr").await;
    assert_ne!(new.data["qrString"], old.data["qrString"]);
    assert_eq!(new.data["attempt"], 1);
    session.link(&whatsapp).await;
}

#[tokio::test]
async fn a_restart_of_a_connected_session_reconnects_it() {
    let (whatsapp, server) = world().await;
    let session = server.init("ada").await;
    let jid = session.link(&whatsapp).await;
    let mut viewer = session.sse().await;
    viewer.awaits("ready").await;
    restarted(&session).await;
    let lost = viewer.expects("disconnected").await;
    assert_eq!((&lost.data["reason"], &lost.data["detail"]), (&json!("connection_lost"), &json!("restart")));
    let ready = viewer.expects("ready").await;
    assert_eq!(ready.data["me"]["id"], jid);
    let device = whatsapp.state().devices.into_iter().find(|device| device.jid == jid).unwrap();
    assert_eq!(device.concurrent, 1);
}

#[tokio::test]
async fn a_restart_after_a_logout_has_new_keys_and_a_new_qr() {
    let (whatsapp, server) = world().await;
    let session = server.init("ada").await;
    let jid = session.link(&whatsapp).await;
    whatsapp.logout(&jid).unwrap();
    let ended = session.reaches("disconnected").await;
    restarted(&session).await;
    // With the cursor of the old end: the stream stays.
    let mut viewer = session.sse_after(ended["lastEventId"].as_str()).await;
    assert_ne!(viewer.expects("status").await.data["status"], "disconnected");
    viewer.expects("qr").await;
    assert_ne!(session.link(&whatsapp).await, jid);
}

#[tokio::test]
async fn a_restart_after_a_replacement_is_one_more_try() {
    let (whatsapp, server) = world().await;
    let session = server.init("ada").await;
    let jid = session.link(&whatsapp).await;
    whatsapp.replace(&jid).unwrap();
    session.reaches("disconnected").await;
    restarted(&session).await;
    assert_eq!(session.reaches("connected").await["me"]["id"], jid);
}

#[tokio::test]
async fn a_restart_after_a_refusal_is_one_more_try() {
    let (whatsapp, server) = world().await;
    let session = server.init("ada").await;
    let jid = session.link(&whatsapp).await;
    whatsapp.fail(Fail { jid: Some(jid.clone()), reason: 409, ..Fail::default() }).unwrap();
    whatsapp.drop_connections(Some(&jid)).unwrap();
    session.reaches("failed").await;
    restarted(&session).await;
    assert_eq!(session.reaches("connected").await["me"]["id"], jid);
}

#[tokio::test]
async fn a_restart_of_used_up_qrs_goes_on_the_open_stream() {
    let (_whatsapp, server) = world_at(100.0).await;
    let session = server.init("ada").await;
    let mut viewer = session.websocket().await;
    assert_eq!(viewer.awaits("disconnected").await.data["reason"], "qr_exhausted");
    restarted(&session).await;
    assert_eq!(viewer.expects("qr").await.data["attempt"], 1);
}

#[tokio::test]
async fn a_restart_while_whatsapp_is_away_waits_for_it() {
    let (whatsapp, server) = world_at(20.0).await;
    whatsapp.pause();
    let session = server.init("ada").await;
    session.reaches("initializing").await;
    restarted(&session).await;
    session.reaches("reconnecting").await;
    restarted(&session).await;
    whatsapp.resume();
    session.sse().await.awaits("qr").await;
}

#[tokio::test]
async fn a_revived_session_survives_a_crash_before_it_said_anything() {
    let (whatsapp, server) = world().await;
    let session = server.init("ada").await;
    let jid = session.link(&whatsapp).await;
    whatsapp.logout(&jid).unwrap();
    session.reaches("disconnected").await;
    whatsapp.pause();
    restarted(&session).await;
    let id = session.id.clone();
    let server = server.crash_and_restart().await;
    whatsapp.resume();
    server.session(&id).sse().await.awaits("qr").await;
}

#[tokio::test]
async fn a_delete_logs_the_phone_out_and_ends_the_streams() {
    let (whatsapp, server) = world().await;
    let session = server.init("ada").await;
    let jid = session.link(&whatsapp).await;
    let (mut sse, mut websocket) = (session.sse().await, session.websocket().await);
    assert_eq!(session.delete().await, StatusCode::NO_CONTENT);
    for viewer in [&mut sse, &mut websocket] {
        let last = viewer.awaits("disconnected").await;
        assert_eq!((&last.data["reason"], &last.data["willReconnect"]), (&json!("deleted"), &json!(false)));
    }
    sse.ends().await;
    assert_eq!(websocket.ends().await, Some(1000));
    eventually("the phone to list it no more", || async {
        !whatsapp.state().devices.iter().any(|device| device.jid == jid && device.linked)
    })
    .await;
    // Readable for a while, and nothing else.
    assert_eq!(session.status().await["reason"], "deleted");
    let (status, error) = session.qr_code().await;
    assert_eq!((status, &error["code"]), (StatusCode::GONE, &json!("SESSION_ENDED")));
    assert_eq!(session.restart().await.status(), StatusCode::GONE);
    assert_eq!(session.pairing_code("+905551234567").await.0, StatusCode::GONE);
    assert_eq!(session.delete().await, StatusCode::NO_CONTENT);
    assert_eq!(server.session(UNKNOWN).delete().await, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn every_session_of_a_person_is_deleted_by_one_call() {
    let (whatsapp, server) = world().await;
    let (linked, shown, other) =
        (server.init("ada").await, server.init("ada").await, server.init("ada.b").await);
    let jid = linked.link(&whatsapp).await;
    let mut viewer = linked.sse().await;
    // Nobody deletes everything by a slip.
    for query in ["", "?userid=ada", "?userId=ada&status=connected", "?userId=", "?userId=a%20b"] {
        let refused = server.delete(&format!("/api/sessions{query}")).await;
        assert_eq!(refused.status(), StatusCode::BAD_REQUEST, "{query}");
    }
    assert_eq!(linked.status().await["status"], "connected");
    for count in [2, 0] {
        let answer = server.delete("/api/sessions?userId=ada").await;
        assert_eq!(answer.status(), StatusCode::OK);
        let answer: Value = answer.json().await.unwrap();
        assert_eq!(answer, json!({ "userId": "ada", "deleted": count }));
    }
    assert_eq!(viewer.awaits("disconnected").await.data["reason"], "deleted");
    for session in [&linked, &shown] {
        assert_eq!(session.status().await["reason"], "deleted");
    }
    assert!(other.status().await["reason"].is_null());
    eventually("the phone to have let go of the device", async || {
        !whatsapp.state().devices.iter().any(|device| device.jid == jid && device.linked)
    })
    .await;
}

#[tokio::test]
async fn a_delete_in_any_other_status_ends_the_session() {
    let (whatsapp, server) = world().await;
    let scan_qr = server.init("scan").await;
    scan_qr.reaches("scan_qr").await;
    let replaced = server.init("replaced").await;
    let jid = replaced.link(&whatsapp).await;
    whatsapp.replace(&jid).unwrap();
    replaced.reaches("disconnected").await;
    let logged_out = server.init("out").await;
    whatsapp.logout(&logged_out.link(&whatsapp).await).unwrap();
    logged_out.reaches("disconnected").await;
    let initializing = server.init("init").await;
    for session in [&scan_qr, &replaced, &logged_out, &initializing] {
        assert_eq!(session.delete().await, StatusCode::NO_CONTENT);
        let status = session.status().await;
        assert_eq!((&status["status"], &status["reason"]), (&json!("disconnected"), &json!("deleted")));
    }
    eventually("the replaced device to be logged out", || async {
        whatsapp.state().devices.iter().all(|device| !device.linked)
    })
    .await;
}

#[tokio::test]
async fn a_delete_while_whatsapp_is_away_gives_up_after_its_time_and_says_so() {
    // 60 s become 1.5 s.
    let (whatsapp, server) = world_at(40.0).await;
    let session = server.init("ada").await;
    session.link(&whatsapp).await;
    whatsapp.pause();
    whatsapp.drop_connections(None).unwrap();
    session.reaches("reconnecting").await;
    assert_eq!(session.delete().await, StatusCode::NO_CONTENT);
    eventually("the log to say so", || async {
        server.log().iter().any(|line| line.contains("its phone still lists the device"))
    })
    .await;
    eventually("the keys to be gone", || async {
        server.log().iter().any(|line| line.contains("session erased"))
    })
    .await;
}

#[tokio::test]
async fn a_delete_goes_on_after_a_crash() {
    let (whatsapp, server) = world().await;
    let session = server.init("ada").await;
    let jid = session.link(&whatsapp).await;
    let cursor = session.status().await["lastEventId"].as_str().unwrap().to_owned();
    whatsapp.pause();
    assert_eq!(session.delete().await, StatusCode::NO_CONTENT);
    let id = session.id.clone();
    let server = server.crash_and_restart().await;
    whatsapp.resume();
    eventually("the phone to list it no more", || async {
        !whatsapp.state().devices.iter().any(|device| device.jid == jid && device.linked)
    })
    .await;
    let mut viewer = server.session(&id).sse_after(Some(&cursor)).await;
    viewer.expects("status").await;
    assert_eq!(viewer.expects("disconnected").await.data["reason"], "deleted");
    viewer.ends().await;
}

#[tokio::test]
async fn after_the_tombstones_time_no_row_and_no_byte_is_left() {
    let whatsapp = whatsapp().await;
    let server = Server::builder(&whatsapp.url())
        .variable("SESSION_TTL_ENDED_SECONDS", "1")
        .variable("CLEANUP_INTERVAL_SECONDS", "1")
        .start()
        .await;
    let file = server.builder_again().folder().join("qrcast.sqlite");
    let session = server.init("ada").await;
    session.link(&whatsapp).await;
    // A private key of the device, as the file holds it.
    let database = rusqlite::Connection::open(&file).unwrap();
    let device: Vec<u8> = database
        .query_row("SELECT value FROM device_row WHERE tbl = 'device'", [], |row| row.get(0))
        .unwrap();
    drop(database);
    let holds = |needle: &[u8]| {
        let suffixes = ["", "-wal"];
        let files =
            suffixes.map(|suffix| std::fs::read(format!("{}{suffix}", file.display())).unwrap_or_default());
        files.iter().any(|bytes| bytes.windows(needle.len()).any(|window| window == needle))
    };
    // The middle of the row: its keys, not what every device's row begins with.
    let secret = &device[device.len() / 3..device.len() / 3 + 64];
    assert!(holds(secret), "the test would see it");
    assert_eq!(session.delete().await, StatusCode::NO_CONTENT);
    let path = format!("/api/session-status/{}", session.id);
    eventually("the session to be forgotten", || async {
        server.get(&path).await.status() == StatusCode::NOT_FOUND
    })
    .await;
    eventually("no byte of its keys to be left", || async { !holds(secret) }).await;
    let database = rusqlite::Connection::open(&file).unwrap();
    for table in ["session", "event", "device", "device_row"] {
        let rows: i64 =
            database.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap();
        assert_eq!(rows, 0, "{table}");
    }
}

#[tokio::test]
async fn the_list_is_paged_and_filtered() {
    let (whatsapp, server) = world().await;
    let mut ids = Vec::new();
    for user in ["ada", "ada", "bob", "cyd", "cyd"] {
        ids.push(server.init(user).await.id);
    }
    ids.sort();
    server.session(&ids[2]).link(&whatsapp).await;
    let list = async |query: &str| -> Value {
        let response = server.get(&format!("/api/sessions{query}")).await;
        assert_eq!(response.status(), StatusCode::OK, "{query}");
        response.json().await.unwrap()
    };
    let listed = |answer: &Value| -> Vec<String> {
        answer["sessions"]
            .as_array()
            .unwrap()
            .iter()
            .map(|s| s["sessionId"].as_str().unwrap().to_owned())
            .collect()
    };
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = list(&format!("?limit=2{cursor}")).await;
        seen.extend(listed(&page));
        match page["nextCursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(seen, ids);
    assert_eq!(listed(&list("?userId=ada").await), ids[..2]);
    let connected = list("?status=connected").await;
    assert_eq!(listed(&connected), ids[2..3]);
    assert_eq!(connected["sessions"][0]["viewers"], 0);
    assert_eq!(connected["sessions"][0]["me"]["pushName"], "Ada");
    let _viewer = server.session(&ids[2]).sse().await;
    assert_eq!(list("?userId=bob").await["sessions"][0]["viewers"], 1);
    for (query, field) in [
        ("?limit=0", "limit"),
        ("?limit=x", "limit"),
        ("?status=x", "status"),
        ("?cursor=x", "cursor"),
        ("?userId=a%20b", "userId"),
    ] {
        let response = server.get(&format!("/api/sessions{query}")).await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{query}");
        let error: Value = response.json().await.unwrap();
        assert_eq!(error["details"]["field"], field, "{error}");
    }
}

/// However close the two come: a phone that has linked the device is told of its end, or the log says that it was not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delete_within_moments_of_a_scan_leaves_no_device_on_the_phone() {
    let (whatsapp, server) = world().await;
    let each = |n: u64| {
        let (whatsapp, server) = (&whatsapp, &server);
        async move {
            let session = server.init(&format!("user{n}")).await;
            let qr = session.sse().await.awaits("qr").await.data["qrString"].as_str().unwrap().to_owned();
            let scan = whatsapp.scan(Scan { qr, ..Scan::default() });
            // The moment between the two is what is played.
            let delete = async {
                tokio::time::sleep(Duration::from_millis(n * 4)).await;
                session.delete().await
            };
            let (_, deleted) = tokio::join!(scan, delete);
            assert_eq!(deleted, StatusCode::NO_CONTENT);
        }
    };
    futures::stream::iter((0..60).map(each)).buffered(6).collect::<Vec<_>>().await;
    eventually("all to be erased", || async {
        server.log().iter().filter(|line| line.contains("session erased")).count() == 60
    })
    .await;
    let listed = whatsapp.state().devices.iter().filter(|device| device.linked).count();
    let told = server.log().iter().filter(|line| line.contains("its phone still lists the device")).count();
    assert_eq!((listed, told), (0, 0), "{:#?}", whatsapp.state().devices);
}
