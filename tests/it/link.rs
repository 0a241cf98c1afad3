//! A phone scans, and everyone who watches sees the same story.

use std::time::{Duration, Instant};

use reqwest::StatusCode;
use simulator::Scan;

use crate::support::{Seen, eventually, world};

#[tokio::test]
async fn a_scan_is_seen_by_sse_websocket_and_poller_with_the_same_ids() {
    let (whatsapp, server) = world().await;
    let session = server.init("ada").await;
    let (mut sse, mut websocket) = (session.sse().await, session.websocket().await);
    for viewer in [&mut sse, &mut websocket] {
        let opening = viewer.expects("status").await;
        assert_eq!(opening.id, None);
        assert_eq!(opening.data["resumed"], false);
        assert_eq!(opening.data["gap"], false);
    }
    let qr = sse.expects("qr").await;
    assert_eq!(websocket.expects("qr").await, qr);
    assert_eq!(qr.data["sessionId"], session.id);
    assert_eq!((&qr.data["attempt"], &qr.data["maxAttempts"]), (&1.into(), &6.into()));

    let (status, polled) = session.qr_code().await;
    assert_eq!(status, StatusCode::OK);
    for field in ["qrString", "qrDataUrl", "expiresAt"] {
        assert_eq!(polled[field], qr.data[field], "{field}");
    }
    assert_eq!(polled["isValid"], true);
    assert!((1..=60_000).contains(&polled["timeRemaining"].as_u64().unwrap()));
    let status = session.status().await;
    assert_eq!((&status["status"], &status["hasQrCode"]), (&"scan_qr".into(), &true.into()));
    assert_eq!(status["lastEventId"].as_str(), qr.id.as_deref());

    let scanned = Instant::now();
    let scan = Scan {
        qr: qr.data["qrString"].as_str().unwrap().into(),
        push_name: Some("Ada".into()),
        ..Scan::default()
    };
    let jid = whatsapp.scan(scan).await.unwrap();
    let authenticated = sse.expects("authenticated").await;
    let ready = sse.expects("ready").await;
    // Other tests run beside this one; `used_accounts` holds the deadline.
    assert!(scanned.elapsed() < Duration::from_secs(5), "ready took {:?}", scanned.elapsed());
    assert_eq!(websocket.expects("authenticated").await, authenticated);
    assert_eq!(websocket.expects("ready").await, ready);
    assert_eq!(authenticated.data["me"]["id"], jid);
    assert_eq!(ready.data["me"]["id"], jid);
    assert_eq!(ready.data["me"]["pushName"], "Ada");
    assert_eq!(ready.data["me"]["platform"], "android");

    let status = session.reaches("connected").await;
    assert_eq!(status["lastEventId"].as_str(), ready.id.as_deref());
    assert_eq!(status["connectedAt"], ready.data["connectedAt"]);
    assert_eq!((&status["me"]["pushName"], &status["userId"]), (&"Ada".into(), &"ada".into()));
    assert_eq!((&status["clientActive"], &status["hasQrCode"]), (&true.into(), &false.into()));
    assert!(status["uptime"].is_u64());
    assert_eq!(session.qr_code().await.0, StatusCode::CONFLICT);
    assert_ids_rise(&[qr, authenticated, ready]);
}

#[tokio::test]
async fn init_answers_before_whatsapp_does() {
    let (whatsapp, server) = world().await;
    whatsapp.pause();
    let session = server.init("ada").await;
    assert_eq!(session.answer["status"], "initializing");
    assert_eq!(session.answer["message"], "WhatsApp session başlatılıyor...");
    assert_eq!(session.answer["estimatedTime"], "30-60 saniye");
    assert_eq!(session.answer["streamUrl"], format!("/api/sessions/{}/events", session.id));
    assert_eq!(session.answer["webSocketUrl"], format!("/api/sessions/{}/ws", session.id));
    let token = session.answer["streamToken"].as_str().unwrap();
    assert_eq!(session.answer["linkUrl"], format!("/?session={}#token={token}", session.id));
    let (status, error) = session.qr_code().await;
    assert_eq!((status, &error["code"]), (StatusCode::CONFLICT, &"QR_NOT_READY".into()));
    let mut viewer = session.sse().await;
    assert_eq!(viewer.expects("status").await.data["status"], "initializing");
}

#[tokio::test]
async fn the_qr_is_there_as_a_picture_too() {
    let (_whatsapp, server) = world().await;
    let session = server.init("ada.b_c").await;
    let qr = session.sse().await.awaits("qr").await;
    let png = server.get(&format!("/api/qr-code/{}.png", session.id)).await;
    assert_eq!(png.headers()["content-type"], "image/png");
    assert_eq!(png.headers()["cache-control"], "no-store");
    assert_eq!(qrcast::qr::png(qr.data["qrString"].as_str().unwrap()), png.bytes().await.unwrap());
    let svg = server.get(&format!("/api/qr-code/{}.svg", session.id)).await;
    assert_eq!(svg.headers()["content-type"], "image/svg+xml");
    assert!(svg.text().await.unwrap().contains("<svg"));
}

#[tokio::test]
async fn a_scan_of_a_stale_or_foreign_qr_links_nothing() {
    let (whatsapp, server) = world().await;
    let session = server.init("ada").await;
    let qr = session.sse().await.awaits("qr").await;
    let foreign = qr.data["qrString"].as_str().unwrap().replacen("2@", "2@x", 1);
    assert!(whatsapp.scan(Scan { qr: foreign, ..Scan::default() }).await.is_err());
    assert_eq!(session.status().await["status"], "scan_qr");
}

#[tokio::test]
async fn health_counts_the_sessions() {
    let (_whatsapp, server) = world().await;
    let session = server.init("ada").await;
    session.reaches("scan_qr").await;
    let health: serde_json::Value = server.get("/health").await.json().await.unwrap();
    assert_eq!(health["status"], "healthy");
    assert_eq!(health["service"], "WhatsApp Web Production Service");
    assert_eq!(health["sessions"], serde_json::json!({ "active": 1, "qr_codes": 1 }));
    assert!(health["memory"]["rssBytes"].as_u64().unwrap() > 1_000_000);
    for probe in ["/livez", "/readyz"] {
        assert_eq!(server.get(probe).await.status(), StatusCode::OK);
    }
}

#[tokio::test]
async fn a_stop_tells_viewers_and_ends_well() {
    let (whatsapp, mut server) = world().await;
    let id = {
        let session = server.init("ada").await;
        let mut sse = session.sse().await;
        let qr = sse.awaits("qr").await;
        whatsapp
            .scan(Scan { qr: qr.data["qrString"].as_str().unwrap().into(), ..Scan::default() })
            .await
            .unwrap();
        sse.awaits("ready").await;
        session.id
    };
    let mut sse = crate::support::Viewer::sse(&server.base, &id, None).await.unwrap();
    let mut websocket = crate::support::Viewer::websocket(&server.base, &id, None).await;
    for viewer in [&mut sse, &mut websocket] {
        viewer.expects("status").await;
        viewer.expects("ready").await;
    }
    let watching = async {
        for viewer in [&mut sse, &mut websocket] {
            let gone = viewer.expects("disconnected").await;
            assert_eq!(gone.data["reason"], "shutdown");
            assert_eq!(viewer.expects("drain").await.data["code"], "DRAINING");
        }
        assert_eq!(websocket.ends().await, Some(1012));
        sse.ends().await;
    };
    let (code, ()) = tokio::join!(server.terminate(), watching);
    assert_eq!(code, Some(0), "{:#?}", server.log());
    eventually("the client to be gone", || async { whatsapp.state().clients == 0 }).await;
}

pub(crate) fn assert_ids_rise(events: &[Seen]) {
    let ids: Vec<qrcast::event::Cursor> =
        events.iter().filter_map(|seen| seen.id.as_deref()).map(|id| id.parse().unwrap()).collect();
    assert!(ids.windows(2).all(|pair| pair[0] < pair[1]), "{ids:?}");
}
