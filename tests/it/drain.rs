//! SIGTERM: not ready at once, sessions handed over, streams sent away one after the other, the exit in time.

use std::time::{Duration, Instant};

use futures::future::join_all;
use qrcast::event::Time;
use reqwest::StatusCode;
use serde_json::{Value, json};
use simulator::Simulator;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::support::proxy::free_port;
use crate::support::redis::Redis;
use crate::support::replicas::{Replicas, is_ready};
use crate::support::server::Builder;
use crate::support::viewer::End;
use crate::support::{Seen, Server, Viewer, eventually, soon, whatsapp};

fn builder(whatsapp: &str, ready_delay_ms: u64, drain_seconds: u64) -> Builder {
    Server::builder(whatsapp)
        .variable("READY_DELAY_MS", &ready_delay_ms.to_string())
        .variable("DRAIN_SECONDS", &drain_seconds.to_string())
        .variable("MAX_STREAMS_PER_IP", "1000")
        .variable("RATE_LIMIT_DISABLED", "true")
}

/// Two replicas that know of each other: the one that goes, and the one that stands in for it.
async fn pair(
    whatsapp: &Simulator,
    redis: &Redis,
    ready_delay_ms: u64,
    drain_seconds: u64,
) -> (Server, Server) {
    let builder = |delay, drain| builder(&whatsapp.url(), delay, drain).variable("REDIS_URL", &redis.url());
    let stays = builder(0, 0).start().await;
    is_ready(&stays).await;
    // Its first beat tells it of the other.
    let goes = builder(ready_delay_ms, drain_seconds).start().await;
    is_ready(&goes).await;
    (goes, stays)
}

/// How one viewer was sent away.
struct Goodbye {
    told: Vec<Seen>,
    drained: Instant,
    end: End,
}

/// Reads to the end, which must come after a `drain`.
async fn leaves(mut viewer: Viewer) -> Goodbye {
    let told = viewer.until("drain").await;
    let drained = Instant::now();
    Goodbye { told, drained, end: viewer.ends().await }
}

fn is_drain(seen: &Seen) {
    assert_eq!((seen.event.as_str(), &seen.id), ("drain", &None));
    assert_eq!(seen.data["code"], "DRAINING", "{seen:?}");
    assert!(seen.data["retryAfterMs"].as_u64().is_some_and(|pause| pause > 0), "{seen:?}");
}

async fn says_not_ready(server: &Server) {
    eventually("/readyz to say so", || async {
        server.get("/readyz").await.status() == StatusCode::SERVICE_UNAVAILABLE
    })
    .await;
}

/// How long the stop of a server that has ended took, by its own log: a busy machine may be slow to send the signal, and to
/// notice the end.
fn stop_took(server: &Server) -> Duration {
    let log: Vec<Value> = server.log().iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let time = |line: &Value| -> Time { serde_json::from_value(line["timestamp"].clone()).unwrap() };
    let begun = log.iter().find(|line| line["message"] == "stopping").unwrap();
    time(begun).elapsed(time(log.last().unwrap()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_streams_are_sent_away_one_after_the_other() {
    const DRAIN: Duration = Duration::from_secs(8);
    let (whatsapp, redis) = (whatsapp().await, Redis::start().await);
    let (mut server, _other) = pair(&whatsapp, &redis, 500, DRAIN.as_secs()).await;
    let linked = server.init("ada").await;
    linked.link(&whatsapp).await;
    let mut viewers = Vec::new();
    for _ in 0..10 {
        viewers.extend(join_all((0..10).map(|_| linked.sse())).await);
        viewers.extend(join_all((0..10).map(|_| linked.websocket())).await);
    }
    let begun = Instant::now();
    let leaving: Vec<_> = viewers.into_iter().map(|viewer| tokio::spawn(leaves(viewer))).collect();
    assert_eq!(server.terminate().await, Some(0), "{:#?}", server.log());
    let took = begun.elapsed();
    assert!(took < Duration::from_millis(500) + DRAIN + Duration::from_secs(5), "{took:?}");
    let mut moments = Vec::new();
    for (index, leaving) in leaving.into_iter().enumerate() {
        let Goodbye { told, drained, end } = leaving.await.unwrap();
        // Ten over SSE, ten over WebSocket, and so on.
        assert_eq!(end, (index / 10 % 2 == 1).then_some(1012));
        let (drain, before) = told.split_last().unwrap();
        is_drain(drain);
        let words: Vec<_> = before.iter().map(|seen| seen.event.as_str()).collect();
        // And what the next owner says, as far as that has come.
        assert_eq!(words[..3], ["status", "ready", "disconnected"]);
        assert_eq!(before[2].data["reason"], "shutdown");
        moments.push(drained.duration_since(begun));
    }
    moments.sort();
    eprintln!("sent away from {:?} to {:?}, exit after {took:?}", moments[0], moments[199]);
    assert!(moments[0] >= Duration::from_millis(500), "before READY_DELAY_MS was over: {moments:?}");
    let first = moments[0];
    for quarter in 0..4 {
        let (from, to) = (DRAIN / 4 * quarter, DRAIN / 4 * (quarter + 1));
        let count = moments.iter().filter(|at| (from..to).contains(&(**at - first))).count();
        assert!(count >= 10, "{count} in quarter {quarter}: {moments:?}");
    }
    for (index, at) in moments.iter().enumerate() {
        let together = moments[index..].iter().take_while(|later| **later - *at < DRAIN / 10).count();
        assert!(together < 100, "{together} within a tenth of the time: {moments:?}");
    }
}

#[tokio::test]
async fn meanwhile_it_is_alive_not_ready_and_tells_who_comes_to_go() {
    let (whatsapp, redis) = (whatsapp().await, Redis::start().await);
    let (mut server, _other) = pair(&whatsapp, &redis, 5000, 5).await;
    let session = server.init("ada").await;
    let mut early = Vec::new();
    for _ in 0..20 {
        early.push(session.websocket().await);
    }
    server.signal("-TERM");
    says_not_ready(&server).await;
    assert_eq!(server.get("/livez").await.status(), StatusCode::OK);
    let response = server.post("/api/init-session", &json!({ "userId": "bob" })).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(response.headers().contains_key("retry-after"));
    assert_eq!(response.json::<Value>().await.unwrap()["code"], "DRAINING");
    // Until balancers have noticed, streams are served as ever.
    let mut last = session.sse().await;
    last.expects("status").await;
    let leaving: Vec<_> = early.into_iter().map(|viewer| tokio::spawn(leaves(viewer))).collect();
    let (first, _, others) = soon("a first goodbye", futures::future::select_all(leaving)).await;
    is_drain(first.unwrap().told.last().unwrap());
    assert!(!others.is_empty());
    let mut sse = session.sse().await;
    is_drain(&sse.expects("drain").await);
    assert_eq!(sse.ends().await, None);
    let mut websocket = session.websocket().await;
    is_drain(&websocket.expects("drain").await);
    assert_eq!(websocket.ends().await, Some(1012));
    assert_eq!(server.get("/livez").await.status(), StatusCode::OK);
    says_not_ready(&server).await;
    last.awaits("drain").await;
    assert_eq!(last.ends().await, None);
    for leaving in others {
        assert_eq!(leaving.await.unwrap().end, Some(1012));
    }
    assert_eq!(server.ends().await, Some(0), "{:#?}", server.log());
}

#[tokio::test]
async fn a_raw_stream_opened_while_draining_is_a_200_that_says_when_to_come_back() {
    let (whatsapp, redis) = (whatsapp().await, Redis::start().await);
    let (server, _other) = pair(&whatsapp, &redis, 0, 60).await;
    let session = server.init("ada").await;
    let (mut one, mut other) = (session.sse().await, session.sse().await);
    server.signal("-TERM");
    // One of them goes at once, and as long as the other is there so is the server.
    tokio::select! {
        _ = one.awaits("drain") => {}
        _ = other.awaits("drain") => {}
    }
    let response = server.get(&format!("/api/sessions/{}/events", session.id)).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let text = response.text().await.unwrap();
    let expected = "retry: 1000\nevent: drain\ndata: {\"retryAfterMs\":1000,\"code\":\"DRAINING\"}\n\n";
    assert_eq!(text, expected);
}

const FOR_LONGER: &str = "retry: 8000\nevent: drain\ndata: {\"retryAfterMs\":8000,\"code\":\"DRAINING\"}\n\n";

/// An `EventSource` behind a proxy, or in Firefox, is gone for good when it comes back before the next process is there.
#[tokio::test]
async fn where_nobody_stands_in_all_are_told_once_and_for_longer() {
    let (whatsapp, redis) = (whatsapp().await, Redis::start().await);
    let on_sqlite = builder(&whatsapp.url(), 0, 60).start().await;
    // The last one of two that knew of each other.
    let (on_redis, mut left) = pair(&whatsapp, &redis, 0, 60).await;
    assert_eq!(left.terminate().await, Some(0), "{:#?}", left.log());
    for (user, mut server) in [("ada", on_sqlite), ("bob", on_redis)] {
        let session = server.init(user).await;
        let events = server.get(&format!("/api/sessions/{}/events", session.id)).await;
        let viewers = [session.sse().await, session.websocket().await, session.websocket().await];
        let leaving = viewers.map(|viewer| tokio::spawn(leaves(viewer)));
        assert_eq!(server.terminate().await, Some(0), "{:#?}", server.log());
        assert!(stop_took(&server) < Duration::from_secs(5), "{:?}", stop_took(&server));
        let text = events.text().await.unwrap();
        assert!(text.starts_with("retry: 2000\nevent: status\n") && text.ends_with(FOR_LONGER), "{text}");
        for leaving in leaving {
            let told = leaving.await.unwrap().told;
            is_drain(told.last().unwrap());
            assert_eq!(told.last().unwrap().data["retryAfterMs"], 8000);
        }
    }
}

/// A viewer that does not answer its close keeps the process alive for two seconds.
#[tokio::test]
async fn whoever_comes_to_the_last_replica_meanwhile_is_told_the_same() {
    let whatsapp = whatsapp().await;
    let server = builder(&whatsapp.url(), 0, 60).start().await;
    let session = server.init("ada").await;
    let (mut early, _silent) = (session.sse().await, session.websocket().await);
    server.signal("-TERM");
    assert_eq!(early.awaits("drain").await.data["retryAfterMs"], 8000);
    let events = server.get(&format!("/api/sessions/{}/events", session.id)).await;
    assert_eq!(events.status(), StatusCode::OK);
    assert_eq!(events.text().await.unwrap(), FOR_LONGER);
    let mut websocket = session.websocket().await;
    assert_eq!(websocket.expects("drain").await.data["retryAfterMs"], 8000);
    assert_eq!(websocket.ends().await, Some(1012));
}

#[tokio::test]
async fn with_nobody_watching_it_does_not_wait() {
    let whatsapp = whatsapp().await;
    let mut server = builder(&whatsapp.url(), 0, 60).start().await;
    let session = server.init("ada").await;
    session.link(&whatsapp).await;
    // Neither does it wait for a request whose head never ends, nor for a connection that is kept for another.
    let mut half = TcpStream::connect(server.base.trim_start_matches("http://")).await.unwrap();
    half.write_all(b"GET /livez HTTP/1.1\r\nHost: loc").await.unwrap();
    assert_eq!(server.get("/livez").await.status(), StatusCode::OK);
    let begun = Instant::now();
    assert_eq!(server.terminate().await, Some(0), "{:#?}", server.log());
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let whatsapp = whatsapp().await;
    let mut server = builder(&whatsapp.url(), 60_000, 60).start().await;
    let session = server.init("ada").await;
    let _viewer = session.sse().await;
    server.signal("-TERM");
    says_not_ready(&server).await;
    let begun = Instant::now();
    assert_eq!(server.terminate().await, Some(1));
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    let warned = server.log().iter().filter(|line| line.contains("a second signal")).count();
    assert_eq!(warned, 1, "{:#?}", server.log());
}

/// The client's own stop takes 20 s beside a WhatsApp that says nothing.
#[tokio::test]
async fn a_silent_whatsapp_does_not_hold_it_up_and_the_exit_code_is_honest() {
    let whatsapp = whatsapp().await;
    for (drain, viewers) in [(0, 0), (1, 1), (3, 0)] {
        let mut server = builder(&whatsapp.url(), 0, drain).start().await;
        let session = server.init(&format!("ada{drain}")).await;
        session.link(&whatsapp).await;
        let mut watching = Vec::new();
        for _ in 0..viewers {
            watching.push(session.sse().await);
        }
        let id = session.id.clone();
        whatsapp.pause();
        let code = server.terminate().await;
        let took = stop_took(&server);
        assert!(took <= Duration::from_secs(drain + 5), "{took:?}");
        let warning = server.log().into_iter().find(|line| line.contains("not all was handed over"));
        eprintln!("DRAIN_SECONDS={drain}: exit code {code:?} after {took:?}, {warning:?}");
        assert_eq!(code, Some(i32::from(warning.is_some())), "{:#?}", server.log());
        if let Some(warning) = warning {
            assert!(warning.contains(&id), "{warning}");
        }
        for mut viewer in watching {
            is_drain(&viewer.awaits("drain").await);
        }
        whatsapp.resume();
    }
}

/// Redis does not answer: the sessions stay this replica's until their leases have lapsed, and the exit code says so.
#[tokio::test]
async fn what_cannot_be_handed_over_is_no_good_end() {
    let (whatsapp, redis) = (whatsapp().await, Redis::start().await);
    let mut server = builder(&whatsapp.url(), 0, 1).variable("REDIS_URL", &redis.url()).start().await;
    is_ready(&server).await;
    server.init("ada").await.link(&whatsapp).await;
    redis.freeze();
    let begun = Instant::now();
    assert_eq!(server.terminate().await, Some(1), "{:#?}", server.log());
    assert!(begun.elapsed() <= Duration::from_secs(6), "{:?}", begun.elapsed());
    assert!(server.log().iter().any(|line| line.contains("not all was handed over")), "{:#?}", server.log());
    redis.thaw();
}

/// A request for a pairing code waits 20 s for a WhatsApp that cannot be reached.
#[tokio::test]
async fn a_pairing_code_that_cannot_be_had_does_not_hold_it_up() {
    let nobody = format!("ws://127.0.0.1:{}", free_port());
    let mut server = builder(&nobody, 0, 0).start().await;
    server.init_with(json!({ "userId": "ada", "phoneNumber": "905551234567" })).await;
    eventually("a try to reach WhatsApp", async || {
        server.log().iter().any(|line| line.contains("client connection failed"))
    })
    .await;
    assert_eq!(server.terminate().await, Some(0), "{:#?}", server.log());
    assert!(stop_took(&server) < Duration::from_secs(3), "{:?}", stop_took(&server));
}

/// Redis is away for longer than a lease, so a fact can be neither stored nor shown, and its session not handed over.
#[tokio::test]
async fn a_fact_that_waits_to_be_stored_is_no_good_end() {
    let (whatsapp, redis) = (whatsapp().await, Redis::start().await);
    let builder = builder(&whatsapp.url(), 0, 1).variable("REDIS_URL", &redis.url());
    let mut server = builder.variable("LEASE_TTL_MS", "3000").start().await;
    is_ready(&server).await;
    let linked = server.init("ada").await;
    let (id, jid) = (linked.id.clone(), linked.link(&whatsapp).await);
    server.init("bob").await.reaches("scan_qr").await;
    redis.freeze();
    let says = |what: &'static [&str], session: &str| {
        let log = server.log();
        log.iter().any(|line| line.contains(session) && what.iter().all(|word| line.contains(word)))
    };
    // It says so of the one that nobody has linked; both were renewed together.
    eventually("the leases to lapse", async || says(&["the lease has lapsed"], "")).await;
    whatsapp.drop_connections(Some(&jid)).unwrap();
    eventually("the fact to wait", async || says(&["session error", "the store is away"], &id)).await;
    assert_eq!(server.terminate().await, Some(1), "{:#?}", server.log());
    assert!(server.log().iter().any(|line| line.contains("not all was handed over")), "{:#?}", server.log());
    redis.thaw();
}

/// Redis is away for a moment, so the last word is shown first: it is stored before the next owner may come.
#[tokio::test]
async fn what_was_shown_is_stored_before_the_hand_over() {
    let redis = Redis::start().await;
    let mut replicas = Replicas::on(&redis.url()).variable("LEASE_TTL_MS", "60000").start(1).await;
    let linked = replicas.links(0, "ada").await;
    let cursor = replicas.end_of(&linked.id).await;
    redis.holds_everyone(Duration::from_millis(1500)).await;
    replicas.stops(0).await;
    let next = replicas.grows().await;
    let mut viewer = replicas.at(next).session(&linked.id).sse_after(Some(&cursor.to_string())).await;
    assert_eq!(viewer.expects("status").await.data["gap"], false);
    assert_eq!(viewer.expects("disconnected").await.data["reason"], "shutdown");
    assert_eq!(viewer.expects("ready").await.data["me"]["id"], linked.jid);
}

/// Whoever watches on the replica that goes hears of the next owner before it is sent away.
#[tokio::test]
async fn viewers_hear_of_the_hand_over_first() {
    let redis = Redis::start().await;
    let mut replicas = Replicas::on(&redis.url()).variable("READY_DELAY_MS", "5000").start(2).await;
    let linked = replicas.links(0, "ada").await;
    let mut viewers = [
        replicas.at(0).session(&linked.id).sse().await,
        replicas.at(0).session(&linked.id).websocket().await,
    ];
    for viewer in &mut viewers {
        viewer.awaits("ready").await;
    }
    let watching = viewers.map(|viewer| tokio::spawn(leaves(viewer)));
    replicas.stops(0).await;
    for leaving in watching {
        let told = leaving.await.unwrap().told;
        let words: Vec<_> = told.iter().map(|seen| seen.event.as_str()).collect();
        assert_eq!(words, ["disconnected", "ready", "drain"]);
        assert_eq!(told[0].data["reason"], "shutdown");
    }
}
