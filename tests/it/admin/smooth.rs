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

/// Opens sessions, one after the other, and goes back to the list.
const OPENS: &str = r"
  (async () => {
    const rest = (ms) => new Promise((over) => setTimeout(over, ms));
    for (let round = 0; round < 8; round += 1) {
      const links = document.querySelectorAll('.rows a');
      links[round % links.length].click();
      await rest(700);
      if (!document.querySelector('.timeline')) throw new Error('no session is shown');
      location.hash = '';
      await rest(400);
    }
    return true;
  })()";

/// A dashboard of so many sessions, while so many events a second come.
async fn watches(sessions: &str, per_second: &str) -> (Program, Browser) {
    let mut command = example("scripted");
    command.args(["--events", "life", "--wait", "--sessions", sessions, "--per-second", per_second]);
    let mut server = Program::start(command.stdin(Stdio::piped()));
    let base = server.until("listening").await.replace("listening ", "http://");
    server.until("ready").await;
    let browser = Browser::open(Screen::WIDE, &format!("{base}/admin")).await;
    browser
        .js::<Value>(
            "void (globalThis.long = [], new PerformanceObserver((list) => long.push(...list.getEntries().map((e) => e.duration)))\
             .observe({ type: 'longtask' }))",
        )
        .await;
    server.hears("go 100000").await;
    browser.reads("Reconnecting").await;
    (server, browser)
}

/// Whatever is done, no task takes longer than 50 ms. Another program that takes the processor for a moment makes a short task a
/// long one. Then it is tried again.
async fn is_smooth(browser: &Browser, does: &[&str]) {
    let mut tries: Vec<Vec<f64>> = Vec::new();
    while tries.len() < 5 {
        browser.js::<Value>("void (long.length = 0)").await;
        for it in does {
            assert!(browser.js::<bool>(it).await);
        }
        sleep(Duration::from_secs(5)).await;
        tries.push(browser.js("long").await);
        if tries.last().is_some_and(Vec::is_empty) {
            return;
        }
    }
    panic!("tasks over 50 ms, in ms: {tries:?}");
}

#[tokio::test]
#[ignore = "long: makes 5,000 sessions"]
async fn with_5_000_sessions_and_100_events_a_second_no_task_takes_longer_than_50_ms() {
    let (_server, browser) = watches("5000", "100").await;
    browser.reads("5,000 sessions").await;
    browser.until("document.querySelectorAll('.rows [role=row]').length < 60").await;
    is_smooth(&browser, &[BUSY, OPENS]).await;
    browser.closes().await;
}

/// A page that could do nothing for a moment, while a session with a full log is open: what came meanwhile comes at once. How often
/// the time line was drawn, and how many frames there were; of times on a busy machine nothing can be said.
const HELD_UP: &str = r"
  (async () => {
    const rest = (ms) => new Promise((over) => setTimeout(over, ms));
    let [drawn, frames] = [0, 0];
    const frame = () => ((frames += 1), requestAnimationFrame(frame));
    const draws = ({ addedNodes }) => [...addedNodes].some((node) => node.matches?.('ol, li'));
    const watch = new MutationObserver((records) => (drawn += records.filter(draws).length));
    watch.observe(document.querySelector('.one'), { childList: true, subtree: true });
    frame();
    for (let round = 0; round < 6; round += 1) {
      const until = performance.now() + 800;
      while (performance.now() < until);
      await rest(100);
    }
    watch.disconnect();
    return [drawn, frames, document.querySelectorAll('.timeline li').length];
  })()";

#[tokio::test]
#[ignore = "long: fills logs with events"]
async fn many_events_of_the_session_that_is_open_are_drawn_together() {
    let (_server, browser) = watches("2", "200").await;
    browser.clicks("user0").await;
    browser.until("Number(/(\\d+) events, newest/.exec(seen())?.[1]) >= 200").await;
    let (drawn, frames, shown): (u32, u32, u32) = browser.js(HELD_UP).await;
    println!("drawn {drawn} times in {frames} frames");
    assert!((1..=frames + 1).contains(&drawn), "drawn {drawn} times in {frames} frames");
    assert_eq!(shown, 50);
    browser.closes().await;
}
