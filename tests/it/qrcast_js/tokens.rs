//! `qrcast.js` on a server with keys: tokens that are renewed, that cannot be any more, and that ended in its sleep.
//!
//! A stream notices that its token has expired at its next heartbeat: 15 s over SSE, 25 s over WebSocket. A token lives for
//! longer here than a busy machine takes to start Node: one that has ended before it is first used is another matter.

use std::sync::{Arc, Mutex};

use reqwest::StatusCode;
use serde_json::{Value, json};
use simulator::Simulator;

use super::{Follower, scan};
use crate::support::proxy::free_port;
use crate::support::{Server, Session, Viewer, eventually, signal, soon, whatsapp};

const TRANSPORTS: [&str; 3] = ["websocket", "sse", "polling"];

async fn locked(ttl: &str, max_age: &str) -> (Simulator, Server) {
    let whatsapp = whatsapp().await;
    let server = Server::builder(&whatsapp.url())
        .variable("API_KEYS", "main:all-of-it")
        .variable("TOKEN_SECRET", &"1".repeat(32))
        .variable("PORT", &free_port())
        .variable("TOKEN_TTL_SECONDS", ttl)
        .variable("TOKEN_MAX_AGE_SECONDS", max_age)
        .start()
        .await;
    (whatsapp, server.with_key("all-of-it"))
}

/// What a follower said up to now.
struct Story {
    transport: &'static str,
    pid: u32,
    lines: Arc<Mutex<Vec<Value>>>,
}

impl Story {
    /// By this transport alone, with more options.
    fn of(session: &Session<'_>, transport: &'static str, more: &Value) -> Self {
        let mut options = json!({ "transports": [transport], "pollMs": 100 });
        options.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let follower = Follower::start(&session.server.base, &session.id, &options, transport == "websocket");
        let (pid, lines) = (follower.process.id().unwrap(), Arc::new(Mutex::new(Vec::new())));
        let heard = lines.clone();
        tokio::spawn(async move {
            // Whole: the process ends with it.
            let mut follower = follower;
            while let Ok(Some(line)) = follower.lines.next_line().await {
                heard.lock().unwrap().push(serde_json::from_str(&line).unwrap());
            }
        });
        Self { transport, pid, lines }
    }

    fn lines(&self) -> Vec<Value> {
        self.lines.lock().unwrap().clone()
    }

    /// The ids of its events.
    fn ids(&self) -> Vec<String> {
        let ids = |line: &Value| line["event"]["id"].as_str().map(str::to_owned);
        self.lines().iter().filter_map(ids).collect()
    }

    fn states(&self, phase: &str) -> Vec<Value> {
        let states = self.lines().into_iter().map(|line| line["state"].clone());
        states.filter(|state| state["phase"] == phase).collect()
    }

    fn asked(&self) -> usize {
        self.lines().iter().filter(|line| line["asked"] == true).count()
    }

    async fn hears(&self, id: &str) {
        eventually(&format!("{id} over {}", self.transport), async || {
            self.ids().iter().any(|heard| heard == id)
        })
        .await;
    }

    /// It heard all of this, once each and in order; polling, the newest of it.
    fn is_whole(&self, told: &[String]) {
        let ids = self.ids();
        if self.transport == "polling" {
            let mut rest = told.iter();
            assert!(ids.iter().all(|id| rest.any(|told| told == id)), "{ids:?} of {told:?}");
        } else {
            assert_eq!(ids, told, "over {}", self.transport);
        }
        assert!(self.states("failed").is_empty(), "{:?}", self.lines());
        for again in self.states("open").iter().skip(1) {
            assert_eq!((&again["status"]["resumed"], &again["status"]["gap"]), (&json!(true), &json!(false)));
        }
    }
}

/// WhatsApp drops the connection and takes the device again: at least two events.
async fn goes_on(whatsapp: &Simulator, jid: &str, viewer: &mut Viewer, told: &mut Vec<String>) {
    eventually("a connection to drop", async || whatsapp.drop_connections(Some(jid)).unwrap() == 1).await;
    let seen = viewer.until("ready").await;
    told.extend(seen.into_iter().filter_map(|seen| seen.id));
}

/// Until the server no longer takes it.
async fn expires(session: &Session<'_>, token: &str) {
    let url = format!("{}/api/session-status/{}", session.server.base, session.id);
    eventually("the token to expire", async || {
        let request = reqwest::Client::new().get(&url).bearer_auth(token);
        request.send().await.unwrap().status() == StatusCode::UNAUTHORIZED
    })
    .await;
}

/// Three followers with these options, through the end of the tokens that they began with, while things happen.
async fn come_through(whatsapp: &Simulator, session: &Session<'_>, options: &Value) -> [Story; 3] {
    let mut viewer = session.sse().await;
    let stories = TRANSPORTS.map(|transport| Story::of(session, transport, options));
    let mut told: Vec<_> = viewer.until("qr").await.into_iter().filter_map(|seen| seen.id).collect();
    for story in &stories {
        story.hears(told.last().unwrap()).await;
    }
    let jid = scan(whatsapp, session).await;
    told.extend(viewer.until("ready").await.into_iter().filter_map(|seen| seen.id));
    let came_back = |story: &Story| story.transport == "polling" || story.states("open").len() > 1;
    soon("the streams to come back", async {
        while !stories.iter().all(came_back) {
            goes_on(whatsapp, &jid, &mut viewer, &mut told).await;
        }
    })
    .await;
    goes_on(whatsapp, &jid, &mut viewer, &mut told).await;
    for story in &stories {
        story.hears(told.last().unwrap()).await;
        story.is_whole(&told);
        // A token that was renewed in time takes no longer than any broken connection.
        for waiting in story.states("waiting") {
            assert!(waiting["retryInMs"].as_u64().unwrap() <= 1000, "{waiting}");
        }
    }
    stories
}

#[tokio::test]
async fn a_token_is_renewed_and_the_end_of_the_first_costs_no_event() {
    let (whatsapp, server) = locked("12", "3600").await;
    let session = server.init("ada").await;
    let token = session.answer["streamToken"].as_str().unwrap();
    come_through(&whatsapp, &session, &json!({ "token": token })).await;
    expires(&session, token).await;
}

#[tokio::test]
async fn where_nothing_is_left_to_renew_the_page_is_asked() {
    let (whatsapp, server) = locked("8", "16").await;
    let session = server.init("ada").await;
    let stories = come_through(&whatsapp, &session, &json!({ "key": "all-of-it" })).await;
    for story in &stories {
        assert!(story.asked() > 1, "{:?}", story.lines());
    }
}

#[tokio::test]
async fn and_where_nobody_can_be_asked_it_is_over() {
    let (_whatsapp, server) = locked("8", "16").await;
    let session = server.init("ada").await;
    let token = json!({ "token": session.answer["streamToken"] });
    let stories = TRANSPORTS.map(|transport| Story::of(&session, transport, &token));
    for story in &stories {
        eventually("the end", async || !story.states("failed").is_empty()).await;
        let end = &story.states("failed")[0];
        assert_eq!(end["error"]["code"], "TOKEN_EXPIRED", "over {}", story.transport);
        assert!(!story.states("open").is_empty());
    }
}

#[tokio::test]
async fn what_slept_through_the_end_of_its_token_gets_on() {
    let (whatsapp, server) = locked("8", "16").await;
    let session = server.init("ada").await;
    let id = session.id.clone();
    let mut viewer = session.sse().await;
    let with_key = TRANSPORTS.map(|transport| Story::of(&session, transport, &json!({ "key": "all-of-it" })));
    let mut told: Vec<_> = viewer.until("qr").await.into_iter().filter_map(|seen| seen.id).collect();
    for story in &with_key {
        story.hears(told.last().unwrap()).await;
    }
    let jid = scan(&whatsapp, &session).await;
    told.extend(viewer.until("ready").await.into_iter().filter_map(|seen| seen.id));
    for story in &with_key {
        story.hears(told.last().unwrap()).await;
        signal(story.pid, "-STOP");
    }
    let token: Value =
        server.post(&format!("/api/sessions/{id}/stream-token"), &json!({})).await.json().await.unwrap();
    expires(&session, token["streamToken"].as_str().unwrap()).await;
    goes_on(&whatsapp, &jid, &mut viewer, &mut told).await;

    // The connections are gone, too: nobody was told that the token had expired.
    let server = server.crash_and_restart().await.with_key("all-of-it");
    let session = server.session(&id);
    session.reaches("connected").await;
    let mut viewer = session.sse_after(told.last().map(String::as_str)).await;
    told.extend(viewer.until("ready").await.into_iter().filter_map(|seen| seen.id));
    for story in &with_key {
        let before = story.asked();
        signal(story.pid, "-CONT");
        story.hears(told.last().unwrap()).await;
        story.is_whole(&told);
        assert!(story.asked() > before, "{:?}", story.lines());
    }
}

#[tokio::test]
async fn after_another_secret_a_function_is_asked_and_a_given_token_is_over() {
    let (whatsapp, server) = locked("600", "3600").await;
    let session = server.init("ada").await;
    let id = session.id.clone();
    let given = json!({ "token": session.answer["streamToken"] });
    let with_key = TRANSPORTS.map(|transport| Story::of(&session, transport, &json!({ "key": "all-of-it" })));
    let given = TRANSPORTS.map(|transport| Story::of(&session, transport, &given));
    let mut told: Vec<_> =
        session.sse().await.until("qr").await.into_iter().filter_map(|seen| seen.id).collect();
    for story in with_key.iter().chain(&given) {
        story.hears(told.last().unwrap()).await;
    }
    let jid = scan(&whatsapp, &session).await;
    told.extend(
        session
            .sse_after(told.last().map(String::as_str))
            .await
            .until("ready")
            .await
            .into_iter()
            .filter_map(|seen| seen.id),
    );
    for story in with_key.iter().chain(&given) {
        story.hears(told.last().unwrap()).await;
    }

    let server = server.crash().await.variable("TOKEN_SECRET", &"2".repeat(32)).start().await;
    let server = server.with_key("all-of-it");
    let session = server.session(&id);
    let mut viewer = session.sse_after(told.last().map(String::as_str)).await;
    told.extend(viewer.until("ready").await.into_iter().filter_map(|seen| seen.id));
    goes_on(&whatsapp, &jid, &mut viewer, &mut told).await;
    for story in &with_key {
        story.hears(told.last().unwrap()).await;
        story.is_whole(&told);
        assert_eq!(story.asked(), 2, "{:?}", story.lines());
    }
    for story in &given {
        eventually("the end", async || !story.states("failed").is_empty()).await;
        assert_eq!(story.states("failed")[0]["error"]["code"], "UNAUTHORIZED", "over {}", story.transport);
    }
}

#[tokio::test]
async fn a_given_token_that_is_good_for_long_survives_the_short_ones_of_the_server() {
    let (_whatsapp, server) = locked("2", "3600").await;
    let id = server.init("ada").await.id;
    let path = format!("/api/sessions/{id}/stream-token");
    let long: Value = server.post(&path, &json!({ "ttlSeconds": 600 })).await.json().await.unwrap();
    let options = json!({ "token": long["streamToken"] });
    let stories = TRANSPORTS.map(|transport| Story::of(&server.session(&id), transport, &options));
    for story in &stories {
        eventually("a renewal", async || story.lines().iter().any(|line| line["token"].is_object())).await;
        signal(story.pid, "-STOP");
    }
    let short: Value = server.post(&path, &json!({})).await.json().await.unwrap();
    expires(&server.session(&id), short["streamToken"].as_str().unwrap()).await;
    let server = server.crash_and_restart().await.with_key("all-of-it");
    let newest = server.session(&id).sse().await.awaits("qr").await.id.unwrap();
    for story in &stories {
        signal(story.pid, "-CONT");
        story.hears(&newest).await;
        assert!(story.states("failed").is_empty(), "{:?}", story.lines());
    }
}
