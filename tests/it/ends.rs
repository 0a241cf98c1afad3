//! Each way a link ends, and what viewers are told of it.

use reqwest::StatusCode;
use serde_json::{Value, json};
use simulator::{Fail, Scan, Simulator};

use crate::support::{Seen, Server, Session, Viewer, world, world_at};

/// A linked session, two viewers on it, and the device's JID.
async fn linked<'a>(whatsapp: &Simulator, server: &'a Server) -> (Session<'a>, [Viewer; 2], String) {
    let session = server.init("ada").await;
    let mut viewers = [session.sse().await, session.websocket().await];
    let qr = viewers[0].awaits("qr").await;
    let qr = qr.data["qrString"].as_str().unwrap().to_owned();
    let jid = whatsapp.scan(Scan { qr, ..Scan::default() }).await.unwrap();
    for viewer in &mut viewers {
        viewer.awaits("ready").await;
    }
    (session, viewers, jid)
}

async fn both_see(viewers: &mut [Viewer; 2], event: &str) -> Seen {
    let seen = viewers[0].expects(event).await;
    assert_eq!(viewers[1].expects(event).await, seen);
    seen
}

/// The session has ended: streams closed, nothing to come back for, and why.
async fn has_ended(session: &Session<'_>, viewers: &mut [Viewer; 2], last: &Seen) {
    assert_eq!(last.data["willReconnect"], false);
    viewers[0].ends().await;
    assert_eq!(viewers[1].ends().await, Some(1000));
    let cursor = last.id.as_deref();
    let again = Viewer::sse(&session.server.base, &session.id, cursor).await;
    assert_eq!(again.err(), Some(StatusCode::NO_CONTENT));
    assert_eq!(session.websocket_after(cursor).await.ends().await, Some(1000));

    let mut late = session.websocket().await;
    late.expects("status").await;
    assert_eq!(late.expects("disconnected").await, *last);
    assert_eq!(late.ends().await, Some(1000));

    let (status, error) = session.qr_code().await;
    assert_eq!((status, &error["code"]), (StatusCode::GONE, &json!("SESSION_ENDED")));
    assert_eq!(session.status().await["reason"], last.data["reason"]);
}

#[tokio::test]
async fn a_drop_is_told_and_mended() {
    let (whatsapp, server) = world().await;
    let (session, mut viewers, jid) = linked(&whatsapp, &server).await;
    whatsapp.drop_connections(Some(&jid)).unwrap();
    let lost = both_see(&mut viewers, "disconnected").await;
    assert_eq!(lost.data["reason"], "connection_lost");
    assert_eq!(lost.data["willReconnect"], true);
    let ready = both_see(&mut viewers, "ready").await;
    assert_eq!(ready.data["me"]["id"], jid);
    assert_eq!(ready.data["me"]["platform"], "android");
    assert_eq!(session.status().await["status"], "connected");
}

#[tokio::test]
async fn a_logout_on_the_phone_ends_the_session() {
    let (whatsapp, server) = world().await;
    let (session, mut viewers, jid) = linked(&whatsapp, &server).await;
    whatsapp.logout(&jid).unwrap();
    let last = both_see(&mut viewers, "disconnected").await;
    assert_eq!(last.data["reason"], "logged_out");
    has_ended(&session, &mut viewers, &last).await;
    assert_eq!(session.status().await["status"], "disconnected");
}

#[tokio::test]
async fn a_replaced_device_ends_the_session() {
    let (whatsapp, server) = world().await;
    let (session, mut viewers, jid) = linked(&whatsapp, &server).await;
    whatsapp.replace(&jid).unwrap();
    let last = both_see(&mut viewers, "disconnected").await;
    assert_eq!(last.data["reason"], "replaced");
    has_ended(&session, &mut viewers, &last).await;
}

/// A login that WhatsApp refuses for good.
async fn refused(reason: u16, status: &str, word: &str) -> Value {
    let (whatsapp, server) = world().await;
    let (session, mut viewers, jid) = linked(&whatsapp, &server).await;
    whatsapp.fail(Fail { jid: Some(jid.clone()), reason, ..Fail::default() }).unwrap();
    whatsapp.drop_connections(Some(&jid)).unwrap();
    assert_eq!(both_see(&mut viewers, "disconnected").await.data["reason"], "connection_lost");
    let last = both_see(&mut viewers, "disconnected").await;
    assert_eq!(last.data["reason"], word, "{reason}");
    has_ended(&session, &mut viewers, &last).await;
    assert_eq!(session.status().await["status"], status);
    last.data
}

#[tokio::test]
async fn a_ban_says_until_when() {
    let data = refused(402, "failed", "banned").await;
    let until: qrcast::event::Time = serde_json::from_value(data["until"].clone()).unwrap();
    let at: qrcast::event::Time = serde_json::from_value(data["at"].clone()).unwrap();
    let ban = until.remaining(at).as_secs();
    assert!((3590..=3610).contains(&ban), "{ban} s");
}

#[tokio::test]
async fn a_locked_account_is_rejected_and_a_banned_one_is_banned() {
    assert_eq!(refused(403, "failed", "rejected").await["detail"], "403");
    assert_eq!(refused(406, "failed", "banned").await["until"], Value::Null);
}

#[tokio::test]
async fn what_whatsapp_says_of_an_end_is_handed_on_with_its_link() {
    let (whatsapp, server) = world().await;
    let (session, mut viewers, jid) = linked(&whatsapp, &server).await;
    let fail = Fail {
        jid: Some(jid.clone()),
        reason: 403,
        header: Some("Account locked".into()),
        subtext: Some("Open WhatsApp on your phone.".into()),
        url: Some("https://faq.whatsapp.com/locked".into()),
        ..Fail::default()
    };
    whatsapp.fail(fail).unwrap();
    whatsapp.drop_connections(Some(&jid)).unwrap();
    both_see(&mut viewers, "disconnected").await;
    let last = both_see(&mut viewers, "disconnected").await;
    assert_eq!(last.data["detail"], "403: Account locked: Open WhatsApp on your phone.");
    assert_eq!(last.data["help"], "https://faq.whatsapp.com/locked");
    let status = session.status().await;
    assert_eq!((&status["detail"], &status["help"]), (&last.data["detail"], &last.data["help"]));
}

#[tokio::test]
async fn a_device_unknown_to_whatsapp_is_logged_out() {
    let data = refused(401, "disconnected", "logged_out").await;
    // Right after the pairing: perhaps nobody did it.
    assert!(data["help"].as_str().unwrap().contains("takes a new device back"), "{data}");
}

#[tokio::test]
async fn any_other_refusal_is_told_with_its_code() {
    for code in [400, 409, 415, 418, 501] {
        assert_eq!(refused(code, "failed", "rejected").await["detail"], code.to_string());
    }
}

#[tokio::test]
async fn a_login_refused_for_now_is_tried_again() {
    for code in [500, 503] {
        let (whatsapp, server) = world().await;
        let (_session, mut viewers, jid) = linked(&whatsapp, &server).await;
        whatsapp.fail(Fail { jid: Some(jid.clone()), reason: code, ..Fail::default() }).unwrap();
        whatsapp.drop_connections(Some(&jid)).unwrap();
        both_see(&mut viewers, "disconnected").await;
        let again = both_see(&mut viewers, "disconnected").await;
        assert_eq!(
            (&again.data["reason"], &again.data["detail"]),
            (&json!("connection_lost"), &json!(format!("{code}; tried again in 1 s")))
        );
        assert_eq!(again.data["willReconnect"], true);
        both_see(&mut viewers, "ready").await;
    }
}

#[tokio::test]
async fn used_up_qrs_leave_the_stream_open() {
    let (_whatsapp, server) = world_at(40.0).await;
    let session = server.init("ada").await;
    let mut viewer = session.sse().await;
    let seen = viewer.until("disconnected").await;
    let qrs: Vec<_> = seen.iter().filter(|seen| seen.event == "qr").collect();
    let attempts: Vec<_> = qrs.iter().map(|qr| qr.data["attempt"].as_u64().unwrap()).collect();
    assert_eq!(attempts, [1, 2, 3, 4, 5, 6]);
    assert!(qrs.iter().all(|qr| qr.data["maxAttempts"] == 6));
    let strings: std::collections::HashSet<_> =
        qrs.iter().map(|qr| qr.data["qrString"].to_string()).collect();
    assert_eq!(strings.len(), 6);
    let last = seen.last().unwrap();
    assert_eq!(last.data["reason"], "qr_exhausted");
    assert_eq!(last.data["willReconnect"], false);
    assert_eq!(session.status().await["status"], "disconnected");
    let (status, error) = session.qr_code().await;
    assert_eq!((status, &error["code"]), (StatusCode::GONE, &json!("QR_EXPIRED")));

    // Not an end: a viewer with the last id is still served.
    let mut late = session.sse_after(last.id.as_deref()).await;
    let opening = late.expects("status").await;
    assert_eq!((&opening.data["status"], &opening.data["resumed"]), (&json!("disconnected"), &json!(true)));
}

#[tokio::test]
async fn a_pairing_that_whatsapp_does_not_know_starts_over_with_a_new_qr() {
    let (whatsapp, server) = world().await;
    let session = server.init("ada").await;
    let mut viewer = session.sse().await;
    let first = viewer.awaits("qr").await;
    // As after a crash between the phone's signature and ours: the first login is that of a device nobody knows.
    whatsapp.fail(Fail { jid: None, reason: 401, ..Fail::default() }).unwrap();
    let qr = first.data["qrString"].as_str().unwrap().to_owned();
    whatsapp.scan(Scan { qr, ..Scan::default() }).await.unwrap();
    viewer.expects("authenticated").await;
    assert_eq!(viewer.expects("pairing_error").await.data["code"], "device_removed");
    let second = viewer.expects("qr").await;
    // New keys, not only a new reference.
    let keys = |seen: &Seen| seen.data["qrString"].as_str().unwrap().split_once(',').unwrap().1.to_owned();
    assert_ne!(keys(&first), keys(&second));
    session.link(&whatsapp).await;
}
