//! A network that is slow, cuts and compresses, limits logins, or is down; and a clock that is off.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::json;
use simulator::{Account, AttemptKind, Config, Network, Pattern, Simulator, Write};
use wacore_binary::Node;
use wacore_binary::builder::NodeBuilder;

use crate::account::{link, with_account};
use crate::client::{Client, Store};
use crate::eventually;
use crate::http::{exchange, post, request, state};
use crate::raw::{Raw, attr, linked, login};

const HOUR: i64 = 3600;

fn ping() -> NodeBuilder {
    NodeBuilder::new("iq").attr("xmlns", "w:p").attr("type", "get")
}

fn active() -> NodeBuilder {
    let active = NodeBuilder::new("active").build();
    NodeBuilder::new("iq").attr("xmlns", "passive").attr("type", "set").children([active])
}

async fn set(simulator: &Simulator, body: serde_json::Value) {
    assert_eq!(post(simulator, "/control/network", body).await.0, 200);
}

#[tokio::test]
async fn everything_is_late_by_the_delay_and_a_row_of_stanzas_by_one() {
    let simulator = Simulator::start(Config::default()).await.unwrap();
    let device = linked(&simulator).await;
    let mut raw = login(&simulator, &device).await;
    raw.asks("1", active()).await;
    set(&simulator, json!({ "delayMs": 400 })).await;
    let started = Instant::now();
    raw.asks("2", ping()).await;
    assert!(started.elapsed() >= Duration::from_millis(800), "{:?}", started.elapsed());
    let started = Instant::now();
    let writing = simulator.write(Write {
        jid: simulator.state().devices[0].jid.clone(),
        count: Some(100),
        ..Write::default()
    });
    let reading = async {
        for _ in 0..100 {
            let message = raw.hears_a("message").await;
            raw.says(NodeBuilder::new("receipt").attr("id", attr(&message, "id")).build()).await;
        }
    };
    let (written, ()) = tokio::join!(writing, reading);
    assert_eq!(written.unwrap().acknowledged, 100);
    let took = started.elapsed();
    assert!(took >= Duration::from_millis(800) && took < Duration::from_secs(15), "{took:?}");
}

#[tokio::test]
async fn http_is_late_too_but_not_the_control_api() {
    let simulator = Simulator::start(Config::default()).await.unwrap();
    simulator.network(Network { delay_ms: Some(300), ..Network::default() }).unwrap();
    let started = Instant::now();
    assert_eq!(exchange(&simulator, "GET", "/sw.js", "").await.unwrap().0, 200);
    assert!(started.elapsed() >= Duration::from_millis(600));
    simulator.network(Network { delay_ms: Some(120_000), ..Network::default() }).unwrap();
    assert_eq!(state(&simulator).await["clients"], 0);
    set(&simulator, json!({ "delayMs": false })).await;
    assert_eq!(exchange(&simulator, "GET", "/sw.js", "").await.unwrap().0, 200);
}

#[tokio::test]
async fn a_client_links_and_reads_over_a_network_that_does_everything_at_once() {
    let simulator = Simulator::start(Config::default()).await.unwrap();
    set(&simulator, json!({ "delayMs": 60, "compress": true, "split": true, "loginsPerSecond": null })).await;
    let store = Store::new();
    let (client, jid) = Client::linked(&simulator, &store).await;
    let text = Some("a long good morning ".repeat(40));
    let written = simulator.write(Write { jid, text, count: Some(50) }).await.unwrap();
    assert_eq!((written.acknowledged, written.retries), (50, 0));
    client.stop().await;
    let mut client = Client::start(&simulator, &store).await;
    client.expects("Connected").await;
    assert_eq!(simulator.handshakes().last(), Some(&Pattern::Ik));
    simulator.rotate_server_key().unwrap();
    client.stop().await;
    let mut client = Client::start(&simulator, &store).await;
    client.expects("Connected").await;
    assert_eq!(simulator.handshakes().last(), Some(&Pattern::XxFallback));
    client.stop().await;
    assert_eq!(simulator.complaints(), Vec::<String>::new());
}

#[tokio::test]
async fn an_account_with_a_history_is_linked_over_it_too() {
    let simulator = with_account(Account { contacts: Some(2000), ..Account::default() }).await;
    set(&simulator, json!({ "delayMs": 60, "compress": true, "split": true })).await;
    let store = Store::new();
    let mut client = Client::start(&simulator, &store).await;
    let started = Instant::now();
    link(&simulator, &mut client).await;
    client.expects("Connected").await;
    assert!(started.elapsed() >= Duration::from_millis(600), "the media host is late too");
    assert_eq!(store.version("critical_unblock_low").await, 2000);
    client.stop().await;
    assert_eq!(simulator.complaints(), Vec::<String>::new());
}

#[tokio::test]
async fn frames_are_cut_across_messages_and_several_are_in_one() {
    let simulator = Simulator::start(Config::default()).await.unwrap();
    let device = linked(&simulator).await;
    simulator.network(Network { split: Some(true), compress: Some(true), ..Network::default() }).unwrap();
    let mut raw = login(&simulator, &device).await;
    assert_eq!(raw.tally()[..3], [0, 0, 1], "the ServerHello ends in the third message");
    raw.asks("1", active()).await;
    while raw.hears().await.unwrap().get_optional_child("offline").is_none() {}
    assert!(raw.tally()[3..].iter().any(|frames| *frames > 1), "{:?}", raw.tally());
    assert!(raw.tally()[3..].contains(&0), "{:?}", raw.tally());
    assert!(raw.compressed > 0);
    simulator.network(Network { split: Some(false), compress: Some(false), ..Network::default() }).unwrap();
    let raw = login(&simulator, &device).await;
    assert!(raw.tally().iter().all(|frames| *frames == 1), "{:?}", raw.tally());
    assert_eq!(raw.compressed, 0);
}

#[tokio::test]
async fn logins_above_the_rate_are_told_and_closed_and_the_client_comes_back() {
    let simulator = Simulator::start(Config::default()).await.unwrap();
    let store = Store::new();
    let (client, _) = Client::linked(&simulator, &store).await;
    client.stop().await;
    let device = linked(&simulator).await;
    set(&simulator, json!({ "loginsPerSecond": 2 })).await;
    while simulator.state().throttled == 0 {
        let mut raw = Raw::connect(&simulator, &device.noise_key, &device.get_client_payload()).await;
        let first = raw.hears().await.unwrap();
        if first.tag == "stream:error" {
            assert_eq!(attr(&first, "code"), "429");
            assert!(raw.hears().await.is_none());
        }
    }
    set(&simulator, json!({ "loginsPerSecond": 0 })).await;
    let throttled = simulator.state().throttled;
    let mut client = Client::start_hasty(&simulator, &store, 10).await;
    client.expects("Connected").await;
    client.stop().await;
    assert_eq!(simulator.state().throttled, throttled);
    let attempts = simulator.attempts();
    let count = |kind| attempts.iter().filter(|attempt| attempt.kind == kind).count();
    assert_eq!(count(AttemptKind::Registration), 2);
    assert_eq!(count(AttemptKind::Connection), count(AttemptKind::Registration) + count(AttemptKind::Login));
    assert_eq!(simulator.state().attempts, count(AttemptKind::Connection) as u64);
    assert!(attempts.is_sorted_by_key(|attempt| attempt.at));
}

fn seconds_off(success: &Node) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    attr(success, "t").parse::<i64>().unwrap() - i64::try_from(now).unwrap()
}

#[tokio::test]
async fn a_clock_that_is_off_shows_in_stanzas_and_in_http() {
    let simulator = Simulator::start(Config::default()).await.unwrap();
    let device = linked(&simulator).await;
    let connect = async || {
        let mut raw = Raw::connect(&simulator, &device.noise_key, &device.get_client_payload()).await;
        seconds_off(&raw.hears_a("success").await)
    };
    assert!(connect().await.abs() < HOUR);
    set(&simulator, json!({ "clockOffsetSeconds": -5 * HOUR })).await;
    assert!((connect().await + 5 * HOUR).abs() < HOUR);
    let (_, slow, _) = exchange(&simulator, "GET", "/sw.js", "").await.unwrap();
    set(&simulator, json!({ "clockOffsetSeconds": 0 })).await;
    let (_, right, _) = exchange(&simulator, "GET", "/sw.js", "").await.unwrap();
    let date = |head: &str| head.lines().find(|line| line.starts_with("date:")).unwrap().to_owned();
    assert_ne!(date(&slow)[..25], date(&right)[..25], "the hour differs");
    let (status, _) = post(&simulator, "/control/network", json!({ "clockOffsetSeconds": 1.5 })).await;
    assert_eq!(status, 400);
}

#[tokio::test]
async fn certificates_are_of_the_servers_clock_too() {
    let simulator = Simulator::start(Config::default()).await.unwrap();
    let two_years = Some(2 * 365 * 24 * HOUR);
    simulator.network(Network { clock_offset_seconds: two_years, ..Network::default() }).unwrap();
    let store = Store::new();
    let (client, _) = Client::linked(&simulator, &store).await;
    client.stop().await;
    let mut client = Client::start(&simulator, &store).await;
    client.expects("Connected").await;
    client.stop().await;
    assert!(
        simulator.handshakes().iter().all(|pattern| *pattern == Pattern::Xx),
        "{:?}",
        simulator.handshakes()
    );
}

#[tokio::test]
async fn while_it_refuses_nobody_but_tests_gets_in() {
    let simulator = Simulator::start(Config::default()).await.unwrap();
    let store = Store::new();
    let (client, _) = Client::linked(&simulator, &store).await;
    client.stop().await;
    let mut client = Client::start_hasty(&simulator, &store, 20).await;
    client.expects("Connected").await;
    assert_eq!(request(&simulator, "POST", "/control/pause", r#"{"refuse":true}"#).await.0, 200);
    client.expects("Disconnected").await;
    eventually("it tries again and again", || simulator.state().refused >= 3).await;
    assert!(exchange(&simulator, "GET", "/sw.js", "").await.is_err());
    assert_eq!((state(&simulator).await["clients"].as_u64(), simulator.state().lookups), (Some(0), 0));
    let logins = simulator.state().devices[0].logins;
    assert_eq!(request(&simulator, "POST", "/control/resume", "").await.0, 200);
    client.expects("Connected").await;
    assert_eq!(simulator.state().devices[0].logins, logins + 1);
    client.stop().await;
}
