//! A linked device: restarts, drops, replacement, logout, failures.

use std::sync::Arc;

use serde_json::json;
use simulator::{ActionError, Config, Fail, Presence, Simulator};
use wacore::types::events::Event;

use crate::client::{Client, Store};
use crate::eventually;
use crate::http::post;
use crate::raw::{Raw, attr, linked, login};

fn fail(jid: Option<&str>, reason: u16) -> Fail {
    Fail { jid: jid.map(str::to_owned), reason, ..Fail::default() }
}

#[tokio::test]
async fn restarts_log_in_again_by_ik_with_a_rising_counter() {
    let simulator = Simulator::start(Config::default()).await.unwrap();
    let store = Store::new();
    let (client, jid) = Client::linked(&simulator, &store).await;
    client.stop().await;
    for logins in 2..=4 {
        let mut client = Client::start(&simulator, &store).await;
        client.expects("Connected").await;
        let device = simulator.state().devices[0].clone();
        assert_eq!((device.jid, device.logins, device.concurrent), (jid.clone(), logins, 1));
        client.stop().await;
    }
    let ik = simulator.handshakes().iter().filter(|pattern| **pattern == simulator::Pattern::Ik).count();
    assert_eq!(ik, 3, "{:?}", simulator.handshakes());
    assert_eq!(simulator.complaints(), Vec::<String>::new());
}

#[tokio::test]
async fn a_new_server_key_leads_clients_through_xxfallback() {
    let simulator = Simulator::start(Config::default()).await.unwrap();
    let store = Store::new();
    let (client, _) = Client::linked(&simulator, &store).await;
    client.stop().await;
    simulator.rotate_server_key().unwrap();
    let mut client = Client::start(&simulator, &store).await;
    client.expects("Connected").await;
    assert_eq!(simulator.handshakes().last(), Some(&simulator::Pattern::XxFallback));
    client.stop().await;
}

#[tokio::test]
async fn a_dropped_client_comes_back() {
    let simulator = Simulator::start(Config::default()).await.unwrap();
    let store = Store::new();
    let (mut client, jid) = Client::linked(&simulator, &store).await;
    for only in [Some(jid.as_str()), None] {
        assert_eq!(simulator.drop_connections(only), Ok(1));
        client.expects("Disconnected").await;
        client.expects("Connected").await;
    }
    assert_eq!(simulator.state().devices[0].concurrent, 1);
    assert_eq!(
        simulator.drop_connections(Some("1@s.whatsapp.net")),
        Err(ActionError::Unknown("1@s.whatsapp.net".into()))
    );
    client.stop().await;
    assert_eq!(simulator.complaints(), Vec::<String>::new());
}

#[tokio::test]
async fn a_replaced_client_ends() {
    let simulator = Simulator::start(Config::default()).await.unwrap();
    let store = Store::new();
    let (mut client, jid) = Client::linked(&simulator, &store).await;
    simulator.replace(&jid).unwrap();
    client.expects("StreamReplaced").await;
    client.ends().await;
    eventually("the client is gone", || simulator.state().clients == 0).await;
    assert_eq!(simulator.replace(&jid), Err(ActionError::Offline(jid)));
}

#[tokio::test]
async fn two_logins_of_one_device_are_counted_and_the_older_is_replaced() {
    let simulator = Simulator::start(Config::default()).await.unwrap();
    let store = Store::new();
    let (mut older, _) = Client::linked(&simulator, &store).await;
    let mut newer = Client::start(&simulator, &store).await;
    newer.expects("Connected").await;
    older.expects("StreamReplaced").await;
    older.ends().await;
    let device = &simulator.state().devices[0];
    assert_eq!((device.logins, device.concurrent), (2, 2));
    newer.stop().await;
}

#[tokio::test]
async fn a_client_that_left_before_the_next_came_is_no_company() {
    let simulator = Simulator::start(Config::default()).await.unwrap();
    let store = Store::new();
    let (mut client, _) = Client::linked(&simulator, &store).await;
    for _ in 0..20 {
        client.stop().await;
        client = Client::start(&simulator, &store).await;
        client.expects("Connected").await;
    }
    let device = &simulator.state().devices[0];
    assert_eq!((device.logins, device.concurrent, device.overlap_ms), (21, 1, 0));
    client.stop().await;
}

#[tokio::test]
async fn the_phone_removes_a_connected_device_which_can_never_log_in_again() {
    let simulator = Simulator::start(Config::default()).await.unwrap();
    let store = Store::new();
    let (mut client, jid) = Client::linked(&simulator, &store).await;
    simulator.logout(&jid).unwrap();
    let Event::LoggedOut(event) = &*client.expects("LoggedOut").await else { unreachable!() };
    assert!(!event.on_connect);
    client.ends().await;
    assert!(!simulator.state().devices[0].linked);
    assert_eq!(simulator.logout(&jid), Err(ActionError::Unlinked(jid)));
    let mut client = Client::start(&simulator, &store).await;
    let Event::LoggedOut(event) = &*client.expects("LoggedOut").await else { unreachable!() };
    assert!(event.on_connect);
    client.ends().await;
    assert_eq!(simulator.complaints(), Vec::<String>::new());
}

#[tokio::test]
async fn a_device_that_logs_out_is_unlinked_and_told_once() {
    let simulator = Simulator::start(Config::default()).await.unwrap();
    let store = Store::new();
    let (mut client, _) = Client::linked(&simulator, &store).await;
    Arc::clone(&client.inner).logout().await;
    client.expects("LoggedOut").await;
    assert!(!simulator.state().devices[0].linked);
    eventually("the client is gone", || simulator.state().clients == 0).await;
    assert!(!client.leftover().contains(&"LoggedOut".to_owned()));
    client.stop().await;
}

#[tokio::test]
async fn every_failure_has_its_event() {
    let simulator = Simulator::start(Config::default()).await.unwrap();
    let store = Store::new();
    let (client, jid) = Client::linked(&simulator, &store).await;
    client.stop().await;
    for (reason, event) in [
        (401, "LoggedOut"),
        (402, "TemporaryBan"),
        (403, "LoggedOut"),
        (405, "ClientOutdated"),
        (406, "LoggedOut"),
        (409, "ConnectFailure"),
        (429, "ConnectFailure"),
        (415, "ConnectFailure"),
        (501, "ConnectFailure"),
    ] {
        simulator.fail(fail(Some(&jid), reason)).unwrap();
        let mut client = Client::start(&simulator, &store).await;
        let got = client.expects(event).await;
        if let Event::TemporaryBan(ban) = &*got {
            assert_eq!(
                (ban.expire.num_seconds(), format!("{:?}", ban.code)),
                (3600, "SentToTooManyPeople".to_owned())
            );
        }
        client.ends().await;
    }
    let mut client = Client::start(&simulator, &store).await;
    client.expects("Connected").await;
    client.stop().await;
}

#[tokio::test]
async fn a_failure_stays_until_told_otherwise_and_speaks() {
    let simulator = Simulator::start(Config::default()).await.unwrap();
    let store = Store::new();
    let (client, _) = Client::linked(&simulator, &store).await;
    client.stop().await;
    let ordered = Fail {
        reason: 403,
        times: Some(0),
        message: Some("why".into()),
        url: Some("https://faq.whatsapp.com/1".into()),
        header: Some("You were logged out".into()),
        subtext: Some("Ask your phone".into()),
        ..Fail::default()
    };
    simulator.fail(ordered).unwrap();
    for _ in 0..3 {
        let mut client = Client::start(&simulator, &store).await;
        let Event::LoggedOut(event) = &*client.expects("LoggedOut").await else { unreachable!() };
        let said = event.logout_message.clone().unwrap();
        assert_eq!(
            (said.header.as_deref(), said.subtext.as_deref(), said.locale.as_deref()),
            (Some("You were logged out"), Some("Ask your phone"), Some("en"))
        );
        let raw = event.raw.as_ref().unwrap();
        assert_eq!(raw.attrs.get("url").unwrap().as_str(), "https://faq.whatsapp.com/1");
        client.ends().await;
    }
    simulator.fail(Fail::default()).unwrap();
    let mut client = Client::start(&simulator, &store).await;
    client.expects("Connected").await;
    client.stop().await;
}

#[tokio::test]
async fn a_failure_of_so_many_logins_over_http() {
    let simulator = Simulator::start(Config::default()).await.unwrap();
    let device = linked(&simulator).await;
    let body = json!({ "reason": 503, "times": 2, "message": "busy", "url": null, "header": null });
    assert_eq!(post(&simulator, "/control/fail", body).await.0, 200);
    for _ in 0..2 {
        let mut raw = Raw::connect(&simulator, &device.noise_key, &device.get_client_payload()).await;
        let failure = raw.hears_a("failure").await;
        assert_eq!((attr(&failure, "reason").as_str(), attr(&failure, "message").as_str()), ("503", "busy"));
    }
    login(&simulator, &device).await;
    assert_eq!(post(&simulator, "/control/fail", json!({ "reason": 429, "times": 0 })).await.0, 200);
    assert_eq!(post(&simulator, "/control/fail", json!({ "reason": 0 })).await.0, 200);
    login(&simulator, &device).await;
}

#[tokio::test]
async fn after_500_and_503_the_client_goes_on() {
    let simulator = Simulator::start(Config::default()).await.unwrap();
    let store = Store::new();
    let (client, _) = Client::linked(&simulator, &store).await;
    client.stop().await;
    simulator.fail(fail(None, 500)).unwrap();
    simulator.fail(fail(None, 503)).unwrap();
    let mut client = Client::start_hasty(&simulator, &store, 10).await;
    client.expects("ConnectFailure").await;
    client.expects("ConnectFailure").await;
    client.expects("Connected").await;
    client.stop().await;
    assert_eq!(simulator.fail(fail(None, 200)), Err(ActionError::Reason));
}

#[tokio::test]
async fn presence_is_what_the_device_last_said() {
    let simulator = Simulator::start(Config::default()).await.unwrap();
    let store = Store::new();
    let (client, _) = Client::linked(&simulator, &store).await;
    client.inner.presence().set_available().await.unwrap();
    eventually("available", || simulator.state().devices[0].presence == Some(Presence::Available)).await;
    client.inner.presence().set_unavailable().await.unwrap();
    eventually("unavailable", || simulator.state().devices[0].presence == Some(Presence::Unavailable)).await;
    client.stop().await;
}
