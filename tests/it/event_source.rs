//! The `EventSource` that a browser brings along, in Chromium, with its token in the query: it gives up for good on any
//! answer but 200, so whatever passes with time must never be another one. No `qrcast.js` here.

use serde_json::{Value, json};
use simulator::Simulator;

use crate::support::browser::{Browser, Screen};
use crate::support::proxy::free_port;
use crate::support::redis::Redis;
use crate::support::server::Builder;
use crate::support::{Server, Session, eventually, whatsapp};

const KEY: &str = "all-of-it";

/// A source writes down each frame, and how it is whenever it was in trouble.
const PAGE: &str = "globalThis.follow = (id, token, cursor) => {
  const heard = [], states = [];
  const query = new URLSearchParams({ token, ...(cursor && { lastEventId: cursor }) });
  const source = new EventSource(`/api/sessions/${id}/events?${query}`);
  const names = ['status', 'drain', 'qr', 'code', 'pairing_error', 'passkey', 'authenticated', 'ready', 'disconnected'];
  for (const name of names) {
    source.addEventListener(name, (event) => heard.push({ id: event.lastEventId, event: name, data: JSON.parse(event.data) }));
  }
  source.onerror = () => states.push(source.readyState);
  return { source, heard, states };
}";

fn builder(whatsapp: &Simulator) -> Builder {
    Server::builder(&whatsapp.url()).variable("API_KEYS", "main:all-of-it").variable("PORT", &free_port())
}

/// A page of this server, in which the source `name` follows a session.
async fn opens(session: &Session<'_>, base: &str) -> Browser {
    let browser = Browser::open(Screen::NARROW, base).await;
    prepares(&browser).await;
    follows(&browser, "first", session, None).await;
    browser
}

/// Sources can be opened in its page from now on.
pub(crate) async fn prepares(browser: &Browser) {
    browser.js::<Value>(&format!("{PAGE}, null")).await;
}

/// One more source, with a fresh token.
pub(crate) async fn follows(browser: &Browser, name: &str, session: &Session<'_>, cursor: Option<&str>) {
    let token = fresh_token(session, None).await;
    let call = format!("{}, {}, {}", json!(session.id), json!(token), json!(cursor));
    browser.js::<Value>(&format!("globalThis.{name} = follow({call}), null")).await;
}

async fn fresh_token(session: &Session<'_>, ttl: Option<u32>) -> String {
    let path = format!("/api/sessions/{}/stream-token", session.id);
    let body = ttl.map_or(json!({}), |ttl| json!({ "ttlSeconds": ttl }));
    let answer: Value = session.server.post(&path, &body).await.json().await.unwrap();
    answer["streamToken"].as_str().unwrap().to_owned()
}

/// Waits until a source has heard so many of these.
pub(crate) async fn hears(browser: &Browser, name: &str, event: &str, count: usize) {
    browser
        .until(&format!("{name}.heard.filter(({{ event }}) => event === '{event}').length >= {count}"))
        .await;
}

/// The words of the drains that a source heard.
pub(crate) async fn drains(browser: &Browser, name: &str) -> Vec<String> {
    let told = "heard.filter(({ event }) => event === 'drain').map(({ data }) => data.code)";
    browser.js(&format!("{name}.{told}")).await
}

/// The ids of its events, which rise; it never gave up.
pub(crate) async fn ids(browser: &Browser, name: &str) -> Vec<String> {
    let [heard, states]: [Value; 2] = browser.js(&format!("[{name}.heard, {name}.states]")).await;
    let states: Vec<u8> = serde_json::from_value(states).unwrap();
    assert!(!states.contains(&2), "{name} gave up: {states:?} {heard}");
    let events = heard.as_array().unwrap().iter().filter(|frame| {
        // Those carry no id of their own, and an EventSource then repeats the last one.
        !["status", "drain"].contains(&frame["event"].as_str().unwrap())
    });
    let ids: Vec<String> = events.map(|frame| frame["id"].as_str().unwrap().to_owned()).collect();
    let cursors: Vec<qrcast::event::Cursor> = ids.iter().map(|id| id.parse().unwrap()).collect();
    assert!(cursors.is_sorted_by(|a, b| a < b), "{name}: {ids:?}");
    ids
}

/// WhatsApp drops the connection and takes the device again.
async fn goes_on(whatsapp: &Simulator, session: &Session<'_>, jid: &str) {
    session.reaches("connected").await;
    eventually("a connection to drop", async || whatsapp.drop_connections(Some(jid)).unwrap() == 1).await;
}

/// The log of a session after its first event here, as a viewer with a key has it.
pub(crate) async fn log_after(session: &Session<'_>, first: &str) -> Vec<String> {
    let end = session.reaches("connected").await["lastEventId"].as_str().unwrap().to_owned();
    let mut viewer = session.sse_after(Some(first)).await;
    let opening = viewer.expects("status").await;
    assert_eq!(opening.data["gap"], false);
    let mut log = vec![first.to_owned()];
    while log.last() != Some(&end) {
        log.extend(viewer.next().await.unwrap().id);
    }
    log
}

#[tokio::test]
async fn it_comes_through_a_restart_of_the_server() {
    let whatsapp = whatsapp().await;
    let mut server = builder(&whatsapp).start().await.with_key(KEY);
    let session = server.init("ada").await;
    let id = session.id.clone();
    let jid = session.link(&whatsapp).await;
    let browser = opens(&session, &server.base).await;
    hears(&browser, "first", "ready", 1).await;
    let again = server.builder_again();
    for round in 1..=2 {
        assert_eq!(server.terminate().await, Some(0), "{:#?}", server.log());
        // Nobody is there for a while.
        browser.until("first.source.readyState === 0").await;
        server = again.clone().start().await.with_key(KEY);
        hears(&browser, "first", "status", round + 1).await;
        hears(&browser, "first", "ready", round + 1).await;
    }
    let session = server.session(&id);
    goes_on(&whatsapp, &session, &jid).await;
    hears(&browser, "first", "ready", 4).await;
    assert_eq!(drains(&browser, "first").await, ["DRAINING", "DRAINING"]);
    let ids = ids(&browser, "first").await;
    assert_eq!(ids, log_after(&session, &ids[0]).await);
    browser.closes().await;
}

#[tokio::test]
async fn it_waits_for_a_place() {
    let whatsapp = whatsapp().await;
    let server = builder(&whatsapp).variable("MAX_STREAMS_PER_IP", "1").start().await.with_key(KEY);
    let session = server.init("ada").await;
    let jid = session.link(&whatsapp).await;
    let browser = opens(&session, &server.base).await;
    hears(&browser, "first", "ready", 1).await;
    follows(&browser, "second", &session, None).await;
    hears(&browser, "second", "drain", 2).await;
    browser.js::<Value>("first.source.close()").await;
    hears(&browser, "second", "ready", 1).await;
    goes_on(&whatsapp, &session, &jid).await;
    hears(&browser, "second", "ready", 2).await;
    assert!(drains(&browser, "second").await.iter().all(|code| code == "OVERLOADED"));
    let ids = ids(&browser, "second").await;
    assert_eq!(ids, log_after(&session, &ids[0]).await);
    browser.closes().await;
}

#[tokio::test]
async fn it_waits_for_its_turn() {
    let whatsapp = whatsapp().await;
    // One more request after each second, that is.
    let server = builder(&whatsapp)
        .variable("RATE_LIMIT_DISABLED", "false")
        .variable("RATE_LIMIT_READ", "3")
        .variable("RATE_LIMIT_WINDOW_SECONDS", "3")
        .start()
        .await
        .with_key(KEY);
    let session = server.init("ada").await;
    let browser = opens(&session, &server.base).await;
    hears(&browser, "first", "qr", 1).await;
    let token = fresh_token(&session, None).await;
    let many = format!("[1, 2, 3, 4].map(() => follow('{}', '{token}'))", session.id);
    browser.js::<Value>(&format!("globalThis.many = {many}, null")).await;
    browser.until("many.every(({ heard }) => heard.some(({ event }) => event === 'qr'))").await;
    let codes: Vec<String> = browser
        .js("many.flatMap(({ heard }) => heard).filter(({ event }) => event === 'drain').map(({ data }) => data.code)")
        .await;
    assert!(!codes.is_empty() && codes.iter().all(|code| code == "OVERLOADED"), "{codes:?}");
    for number in 0..4 {
        ids(&browser, &format!("many[{number}]")).await;
    }
    browser.closes().await;
}

#[tokio::test]
async fn it_waits_for_redis() {
    let whatsapp = whatsapp().await;
    let mut redis = Redis::start().await;
    let replica = async || {
        let builder = builder(&whatsapp).variable("REDIS_URL", &redis.url()).variable("LEASE_TTL_MS", "5000");
        let server = builder.start().await.with_key(KEY);
        crate::support::replicas::is_ready(&server).await;
        server
    };
    let (owner, mut other) = (replica().await, replica().await);
    let session = owner.init("ada").await;
    let jid = session.link(&whatsapp).await;
    let unknown = owner.init("eve").await;
    // One is open before, one comes in between: for a session that this replica has never heard of.
    let browser = opens(&other.session(&session.id), &other.base).await;
    hears(&browser, "first", "ready", 1).await;
    let token = fresh_token(&unknown, None).await;
    unknown.reaches("scan_qr").await;
    redis.kill().await;
    eventually("Redis to be missed", async || {
        let health: Value = other.get("/health").await.json().await.unwrap();
        health["storage"]["redis_connected"] == false
    })
    .await;
    browser.js::<Value>(&format!("globalThis.late = follow('{}', '{token}'), null", unknown.id)).await;
    hears(&browser, "late", "drain", 2).await;
    redis.launch().await;
    hears(&browser, "late", "qr", 1).await;
    goes_on(&whatsapp, &session, &jid).await;
    hears(&browser, "first", "ready", 2).await;
    assert!(drains(&browser, "late").await.iter().all(|code| code == "STORE_AWAY"));
    ids(&browser, "late").await;
    let seen = ids(&browser, "first").await;
    assert_eq!(seen, log_after(&session, &seen[0]).await);

    // A Redis that answers nothing is another thing than none.
    let frozen = owner.init("bob").await;
    let token = fresh_token(&frozen, None).await;
    frozen.reaches("scan_qr").await;
    redis.freeze();
    browser.js::<Value>(&format!("globalThis.later = follow('{}', '{token}'), null", frozen.id)).await;
    hears(&browser, "later", "drain", 1).await;
    redis.thaw();
    hears(&browser, "later", "qr", 1).await;
    assert!(drains(&browser, "later").await.iter().all(|code| code == "STORE_AWAY"));
    ids(&browser, "later").await;

    // And a replica that starts without Redis cannot even read a token.
    redis.kill().await;
    other = other.crash_and_restart().await.with_key(KEY);
    browser.js::<Value>("first.heard.push({ event: 'drain', data: { code: 'a new replica' } }), null").await;
    browser.until("first.heard.at(-1).data.code === 'STORE_AWAY'").await;
    redis.launch().await;
    crate::support::replicas::is_ready(&other).await;
    goes_on(&whatsapp, &session, &jid).await;
    hears(&browser, "first", "ready", 3).await;
    let seen = ids(&browser, "first").await;
    assert_eq!(seen, log_after(&session, &seen[0]).await);
    browser.closes().await;
}

#[tokio::test]
async fn it_is_told_that_its_token_has_expired_and_another_goes_on() {
    let whatsapp = whatsapp().await;
    let server = builder(&whatsapp).start().await.with_key(KEY);
    let session = server.init("ada").await;
    let jid = session.link(&whatsapp).await;
    let browser = Browser::open(Screen::NARROW, &server.base).await;
    browser.js::<Value>(&format!("{PAGE}, null")).await;
    let token = fresh_token(&session, Some(2)).await;
    browser.js::<Value>(&format!("globalThis.first = follow('{}', '{token}'), null", session.id)).await;
    hears(&browser, "first", "ready", 1).await;
    // In the middle of its stream, and each time that it comes back with the same token.
    hears(&browser, "first", "drain", 2).await;
    assert!(drains(&browser, "first").await.iter().all(|code| code == "TOKEN_EXPIRED"));
    goes_on(&whatsapp, &session, &jid).await;
    let cursor: String = browser.js("first.heard.findLast(({ event }) => event === 'ready').id").await;
    browser.js::<Value>("first.source.close()").await;
    follows(&browser, "second", &session, Some(&cursor)).await;
    hears(&browser, "second", "ready", 1).await;
    let seen = [ids(&browser, "first").await, ids(&browser, "second").await].concat();
    assert_eq!(seen, log_after(&session, &seen[0]).await);
    browser.closes().await;
}
