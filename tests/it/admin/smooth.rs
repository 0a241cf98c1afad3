//! The dashboard with very many sessions, while events come.

use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::time::sleep;

use crate::support::browser::{Browser, Screen};
use crate::support::program::{Program, example};

/// What an operator does meanwhile: scrolls, searches, filters, sorts, walks.
const BUSY: &str = r"
  (async () => {
    const rest = (ms) => new Promise((over) => setTimeout(over, ms));
    const [search, order] = [document.querySelector('#search'), document.querySelector('select')];
    const types = (text) => (search.value = text, search.dispatchEvent(new Event('input')));
    for (let top = 0; top < 260_000; top += 13_000) { scrollTo(0, top); await rest(100); }
    for (const text of ['u', 'us', 'user1', 'user12', 'user123', '']) { types(text); await rest(150); }
    for (const chip of document.querySelectorAll('.chips input')) { if (chip.checkVisibility()) chip.click(); await rest(150); }
    document.querySelector('.chips input').click();
    for (const by of ['latest', 'user']) { order.value = by; order.dispatchEvent(new Event('change')); await rest(1000); }
    const grid = document.querySelector('[role=grid]');
    for (const key of ['PageDown', 'PageDown', 'ArrowDown', 'End', 'PageUp', 'Home']) {
      grid.dispatchEvent(new KeyboardEvent('keydown', { key }));
      await rest(150);
    }
    return true;
  })()";

#[tokio::test]
#[ignore = "long: makes 5,000 sessions"]
async fn with_5_000_sessions_and_100_events_a_second_no_task_takes_longer_than_50_ms() {
    let mut command = example("scripted");
    command.args(["--events", "life", "--wait", "--sessions", "5000", "--per-second", "100"]);
    let mut server = Program::start(command.stdin(Stdio::piped()));
    let base = server.until("listening").await.replace("listening ", "http://");
    server.until("ready").await;
    let browser = Browser::open(Screen::WIDE, &format!("{base}/admin")).await;
    browser.reads("5,000 sessions").await;
    browser.until("document.querySelectorAll('.rows [role=row]').length < 60").await;
    browser
        .js::<Value>(
            "void (globalThis.long = [], new PerformanceObserver((list) => long.push(...list.getEntries().map((e) => e.duration)))\
             .observe({ type: 'longtask' }))",
        )
        .await;
    server.hears("go 100000").await;
    browser.reads("Reconnecting").await;
    // Another program that takes the processor for a moment makes a short task a long one. Then it is tried again.
    let mut tries = Vec::new();
    while tries.len() < 5 {
        browser.js::<Value>("void (long.length = 0)").await;
        assert!(browser.js::<bool>(BUSY).await);
        sleep(Duration::from_secs(5)).await;
        let long: Vec<f64> = browser.js("long").await;
        println!("tasks over 50 ms: {long:?}");
        let done = long.is_empty();
        tries.push(long);
        if done {
            break;
        }
    }
    assert!(tries.last().unwrap().is_empty(), "{tries:?}");
    browser.closes().await;
}
