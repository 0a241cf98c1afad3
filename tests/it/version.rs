//! WhatsApp stops taking the version that clients claim: which one is claimed then, and what viewers and operators see.

use std::time::Duration;

use qrcast::event::Time;
use serde_json::{Value, json};
use simulator::{Fail, Latest, Simulator, Version};

use crate::support::{Server, Session, Viewer, eventually, world, world_at};

/// What the simulator's `sw.js` says before a test says otherwise.
const FIRST: u32 = 1_050_000_000;

fn name(build: u32) -> String {
    format!("2.3000.{build}")
}

/// Builds below `min` are refused from now on, and a look-up finds this.
fn rules(whatsapp: &Simulator, min: u32, latest: Latest) {
    whatsapp.version(Version { min: Some(min), latest: Some(latest), expires: None });
}

fn look_ups(whatsapp: &Simulator) -> u64 {
    whatsapp.state().lookups
}

async fn health(server: &Server) -> Value {
    server.get("/health").await.json().await.unwrap()
}

async fn claims(server: &Server, build: u32, source: &str) {
    let claimed = async || health(server).await["whatsapp"].clone();
    let wanted = json!([name(build), source]);
    eventually("the version", async || {
        let claimed = claimed().await;
        json!([claimed["version"], claimed["source"]]) == wanted
    })
    .await;
}

/// A linked session, a viewer who saw it become ready, and the device's JID.
async fn linked<'a>(whatsapp: &Simulator, server: &'a Server) -> (Session<'a>, Viewer, String) {
    let session = server.init("ada").await;
    let jid = session.link(whatsapp).await;
    let mut viewer = session.sse().await;
    viewer.awaits("ready").await;
    (session, viewer, jid)
}

/// The next `disconnected` for this reason; others may come before.
async fn cut_off(viewer: &mut Viewer) -> Value {
    loop {
        let seen = viewer.awaits("disconnected").await;
        if seen.data["reason"] == "client_outdated" {
            return seen.data;
        }
    }
}

#[tokio::test]
async fn a_linked_session_comes_back_with_the_newer_version() {
    let (whatsapp, server) = world().await;
    let (session, mut viewer, jid) = linked(&whatsapp, &server).await;
    claims(&server, FIRST, "looked_up").await;
    assert_eq!(look_ups(&whatsapp), 1);
    rules(&whatsapp, FIRST + 1, Latest::Build(FIRST + 1));
    whatsapp.drop_connections(Some(&jid)).unwrap();
    let told = cut_off(&mut viewer).await;
    assert_eq!(told["willReconnect"], true);
    assert_eq!(told["detail"], format!("WhatsApp no longer takes version {}", name(FIRST)));
    viewer.awaits("ready").await;
    claims(&server, FIRST + 1, "looked_up").await;
    assert_eq!(look_ups(&whatsapp), 2);
    assert_eq!(session.status().await["status"], "connected");
    let metrics = server.get("/metrics").await.text().await.unwrap();
    assert!(metrics.contains("qrcast_whatsapp_version_lookups_total{result=\"ok\"} 2\n"), "{metrics}");
    assert!(metrics.contains(&format!("qrcast_whatsapp_version {}\n", FIRST + 1)), "{metrics}");
}

#[tokio::test]
async fn a_version_that_is_refused_is_tried_again_after_an_hour() {
    // The hour is 36 s.
    let (whatsapp, server) = world_at(100.0).await;
    let (session, mut viewer, jid) = linked(&whatsapp, &server).await;
    whatsapp.fail(Fail { jid: Some(jid.clone()), reason: 405, ..Fail::default() }).unwrap();
    whatsapp.drop_connections(Some(&jid)).unwrap();
    assert_eq!(cut_off(&mut viewer).await["willReconnect"], true);
    let waiting = session.status().await;
    assert_eq!((&waiting["status"], &waiting["reason"]), (&json!("reconnecting"), &json!("client_outdated")));
    assert_eq!(health(&server).await["status"], "healthy");
    viewer.awaits("ready").await;
}

#[tokio::test]
async fn while_nothing_newer_is_found_it_waits_and_then_it_comes_back_by_itself() {
    // A failed look-up is made again after 6 s, 12 s, …
    let (whatsapp, server) = world_at(100.0).await;
    let (_session, mut viewer, jid) = linked(&whatsapp, &server).await;
    rules(&whatsapp, FIRST + 1, Latest::Broken);
    whatsapp.drop_connections(Some(&jid)).unwrap();
    assert_eq!(cut_off(&mut viewer).await["willReconnect"], true);
    let before = look_ups(&whatsapp);
    eventually("another look-up", async || look_ups(&whatsapp) > before).await;
    rules(&whatsapp, FIRST + 1, Latest::Build(FIRST + 1));
    let after = viewer.until("ready").await;
    let reasons: Vec<_> = after.iter().map(|seen| &seen.data["reason"]).collect();
    let twice = |pair: &[&Value]| pair.iter().all(|reason| **reason == "client_outdated");
    assert_ne!(reasons.first(), Some(&&json!("client_outdated")), "told again: {reasons:?}");
    assert!(!reasons.windows(2).any(twice), "told again: {reasons:?}");
    claims(&server, FIRST + 1, "looked_up").await;
}

#[tokio::test]
async fn whoever_links_gets_a_code_with_the_newer_version_and_hears_of_nothing_else() {
    let (whatsapp, server) = world().await;
    claims(&server, FIRST, "looked_up").await;
    rules(&whatsapp, FIRST + 1, Latest::Build(FIRST + 1));
    let session = server.init("ada").await;
    let mut viewer = session.sse().await;
    viewer.expects("status").await;
    viewer.expects("qr").await;
    assert_eq!(look_ups(&whatsapp), 2);
    session.link(&whatsapp).await;
}

/// A session that nobody has linked ends, and says why.
async fn fails(server: &Server) -> Value {
    let session = server.init("ada").await;
    let mut viewer = session.sse().await;
    let told = cut_off(&mut viewer).await;
    assert_eq!(told["willReconnect"], false);
    viewer.ends().await;
    assert_eq!(session.status().await["status"], "failed");
    told["detail"].clone()
}

#[tokio::test]
async fn what_nobody_has_linked_ends_where_there_is_no_newer_version() {
    let (whatsapp, server) = world().await;
    claims(&server, FIRST, "looked_up").await;
    rules(&whatsapp, FIRST + 1, Latest::Broken);
    assert_eq!(fails(&server).await, format!("WhatsApp no longer takes version {}", name(FIRST)));
    assert_eq!((look_ups(&whatsapp), whatsapp.state().outdated), (2, 1));
}

#[tokio::test]
async fn what_nobody_has_linked_ends_when_the_newer_version_is_refused_too() {
    let (whatsapp, server) = world().await;
    claims(&server, FIRST, "looked_up").await;
    rules(&whatsapp, FIRST + 2, Latest::Build(FIRST + 1));
    assert_eq!(fails(&server).await, format!("WhatsApp no longer takes version {}", name(FIRST + 1)));
    assert_eq!((look_ups(&whatsapp), whatsapp.state().outdated), (2, 2));
}

#[tokio::test]
async fn a_fixed_version_is_never_looked_up_and_its_refusal_names_the_variable() {
    let whatsapp = crate::support::whatsapp().await;
    let builder = Server::builder(&whatsapp.url()).variable("WA_VERSION", "2.3000.7");
    let server = builder.start().await;
    let (session, mut viewer, jid) = linked(&whatsapp, &server).await;
    claims(&server, 7, "fixed").await;
    assert_eq!(health(&server).await["whatsapp"]["ageSeconds"], Value::Null);
    rules(&whatsapp, 8, Latest::Build(FIRST));
    whatsapp.drop_connections(Some(&jid)).unwrap();
    let told = cut_off(&mut viewer).await;
    let detail = json!("WA_VERSION=2.3000.7 is refused; unset it or set a newer one");
    assert_eq!((&told["willReconnect"], &told["detail"]), (&json!(true), &detail));
    assert_eq!(session.status().await["status"], "reconnecting");
    assert_eq!(fails(&server).await, detail);
    assert_eq!(look_ups(&whatsapp), 0);
}

#[tokio::test]
async fn the_newest_version_survives_a_restart_and_a_look_up_that_fails_for_a_day_is_an_alert() {
    let (whatsapp, server) = world_at(100.0).await;
    claims(&server, FIRST, "looked_up").await;
    assert!(health(&server).await["whatsapp"]["ageSeconds"].is_u64());
    rules(&whatsapp, 0, Latest::Broken);
    let builder = server.crash().await;
    let database = rusqlite::Connection::open(builder.folder().join("qrcast.sqlite")).unwrap();
    let aged = Time::now().as_millis() - Duration::from_secs(3 * 24 * 3600).as_millis() as i64;
    assert_eq!(database.execute("UPDATE whatsapp_version SET at = ?1", [aged]).unwrap(), 1);
    drop(database);
    let server = builder.start().await;
    claims(&server, FIRST, "stored").await;
    let alerts = async || health(&server).await["alerts"].as_array().unwrap().clone();
    let alert = async || alerts().await.into_iter().find(|alert| alert["name"] == "version_lookup");
    eventually("the alert", async || alert().await.is_some()).await;
    let raised = alert().await.unwrap();
    assert!(raised["value"].as_u64() > raised["threshold"].as_u64(), "{raised}");
    let health = health(&server).await;
    assert_eq!(health["status"], "healthy", "{health}");
    assert!(health["whatsapp"]["ageSeconds"].as_u64() >= Some(3 * 24 * 3600), "{health}");
    rules(&whatsapp, 0, Latest::Build(FIRST + 1));
    eventually("the end of the alert", async || alert().await.is_none()).await;
    claims(&server, FIRST + 1, "looked_up").await;
}
