//! WhatsApp away and back.

use serde_json::json;
use simulator::{Config, Scan, Simulator};

use crate::support::{Server, eventually, world_at};

#[tokio::test]
async fn a_silent_whatsapp_is_told_once_and_comes_back() {
    let (whatsapp, server) = world_at(40.0).await;
    whatsapp.pause();
    let session = server.init("ada").await;
    let mut viewer = session.sse().await;
    viewer.expects("status").await;
    let away = viewer.expects("disconnected").await;
    assert_eq!(away.data["reason"], "whatsapp_unreachable");
    assert_eq!(away.data["willReconnect"], true);
    assert_eq!(session.status().await["status"], "reconnecting");
    whatsapp.resume();
    viewer.expects("qr").await;
}

#[tokio::test]
async fn nobody_listening_is_told_once_and_comes_back() {
    // A port that was free a moment ago.
    let whatsapp = Simulator::start(Config::default()).await.unwrap();
    let (url, listen) = (whatsapp.url(), whatsapp.addr());
    whatsapp.shutdown().await;
    let server = Server::builder(&url).variable("WHATSAPP_TIME_FACTOR", "40").start().await;
    let session = server.init("ada").await;
    let mut viewer = session.websocket().await;
    viewer.expects("status").await;
    assert_eq!(viewer.expects("disconnected").await.data["reason"], "whatsapp_unreachable");
    let _whatsapp = Simulator::start(Config { listen, ..Config::default() }).await.unwrap();
    // Never a second `disconnected`, however often it was tried.
    viewer.expects("qr").await;
}

#[tokio::test]
async fn a_dead_socket_is_noticed_and_its_silent_reconnect_is_told() {
    let (whatsapp, server) = world_at(20.0).await;
    let session = server.init("ada").await;
    let mut viewer = session.sse().await;
    let qr = viewer.awaits("qr").await;
    whatsapp
        .scan(Scan { qr: qr.data["qrString"].as_str().unwrap().into(), ..Scan::default() })
        .await
        .unwrap();
    viewer.awaits("ready").await;
    whatsapp.pause();
    let lost = viewer.expects("disconnected").await;
    assert_eq!(lost.data["reason"], "connection_lost");
    assert_eq!(session.status().await["status"], "reconnecting");
    whatsapp.resume();
    let seen = viewer.until("ready").await;
    assert!(seen.iter().filter(|seen| seen.event == "ready").count() == 1);
}

#[tokio::test]
async fn after_a_drop_of_an_unpaired_client_the_next_qr_is_one_that_can_be_scanned() {
    let (whatsapp, server) = world_at(10.0).await;
    let session = server.init("ada").await;
    let mut viewer = session.sse().await;
    viewer.awaits("qr").await;
    whatsapp.pause();
    whatsapp.drop_connections(None).unwrap();
    assert_eq!(viewer.awaits("disconnected").await.data["reason"], "connection_lost");
    assert_eq!(session.status().await["hasQrCode"], false);
    // The client rotates the old references on, until they are used up: nobody is shown one.
    let away = viewer.expects("disconnected").await;
    assert_eq!(away.data["reason"], "whatsapp_unreachable");
    whatsapp.resume();
    let qr = viewer.expects("qr").await;
    assert_eq!(qr.data["attempt"], json!(1));
    eventually("the reference to be known", || async {
        let reference = qr.data["qrString"].as_str().unwrap().split(',').next().unwrap().to_owned();
        whatsapp.state().waiting.contains(&reference)
    })
    .await;
    whatsapp
        .scan(Scan { qr: qr.data["qrString"].as_str().unwrap().into(), ..Scan::default() })
        .await
        .unwrap();
    viewer.awaits("ready").await;
}

#[tokio::test]
async fn qrs_that_run_out_while_whatsapp_is_away_are_no_end() {
    let (whatsapp, server) = world_at(100.0).await;
    let session = server.init("ada").await;
    let mut viewer = session.sse().await;
    viewer.awaits("qr").await;
    whatsapp.pause();
    whatsapp.drop_connections(None).unwrap();
    // Six references last 1.6 s at this pace; the client ends itself and must be started again.
    eventually("the client to be started again", || async {
        server.log().iter().any(|line| line.contains("All QR codes for this session have expired"))
    })
    .await;
    whatsapp.resume();
    let seen = viewer.until("qr").await;
    assert!(seen.iter().all(|seen| seen.data["reason"] != "qr_exhausted"), "{seen:?}");
}

/// Two tries were enough to know; from then on there is one probe for all, which WhatsApp's limits do not see.
#[tokio::test]
async fn whatsapp_is_looked_for_every_half_a_minute_by_one_for_all() {
    const FACTOR: u32 = 50;
    let whatsapp = Simulator::start(Config::default()).await.unwrap();
    let url = whatsapp.url();
    whatsapp.shutdown().await;
    let server = Server::builder(&url).variable("WHATSAPP_TIME_FACTOR", &FACTOR.to_string()).start().await;
    for user in ["ada", "bob", "eve"] {
        server.init(user).await;
    }
    let said = |words: &str| -> Vec<qrcast::event::Time> {
        let log = server.log();
        let lines = log.iter().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        lines
            .filter(|line| line["message"] == words)
            .map(|line| serde_json::from_value(line["timestamp"].clone()).unwrap())
            .collect()
    };
    let probes = || said("a probe did not reach WhatsApp");
    // The pauses have grown to their longest after six.
    eventually("many probes", || async { probes().len() >= 15 }).await;
    let gaps: Vec<_> =
        probes().windows(2).map(|pair| pair[1].elapsed(pair[0]).max(pair[0].elapsed(pair[1]))).collect();
    assert!(gaps.iter().all(|gap| *gap * FACTOR < std::time::Duration::from_secs(60)), "{gaps:?}");
    let tries = said("client connection failed").len();
    assert!(tries <= 3, "each at most once: {tries}");
}
