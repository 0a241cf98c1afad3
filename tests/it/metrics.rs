//! `GET /metrics`: the names that the documents promise, and that they count.

use std::collections::BTreeSet;

use futures::future::join_all;
use reqwest::StatusCode;
use serde_json::json;

use crate::support::proxy::free_port;
use crate::support::redis::Redis;
use crate::support::replicas::{Replicas, is_ready};
use crate::support::{Server, Session, eventually, whatsapp, world, world_at};

/// The whole text.
async fn scrape(server: &Server) -> String {
    let response = server.get("/metrics").await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["content-type"], "text/plain; version=0.0.4");
    response.text().await.unwrap()
}

/// The value of one series, labels as they stand there.
fn value(text: &str, series: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {series} in:\n{text}")).parse().unwrap()
}

fn documented() -> BTreeSet<String> {
    let page = std::fs::read_to_string("docs/metrics.md").unwrap();
    let table = page.split("## Metrics").nth(1).unwrap().split("\n## ").next().unwrap();
    let names = table.lines().filter_map(|line| line.strip_prefix("| `")?.split(" |").next());
    names.flat_map(|cell| cell.split(", ")).map(|name| name.replace('`', "")).collect()
}

/// The names of what has a value.
fn written(text: &str) -> BTreeSet<String> {
    let typed = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    typed.map(|line| line.split(' ').next().unwrap().to_owned()).collect()
}

/// On Redis, for there every metric is.
#[tokio::test]
async fn the_documents_list_what_is_there_and_nothing_else() {
    let (whatsapp, redis) = (whatsapp().await, Redis::start().await);
    let server = Server::builder(&whatsapp.url()).variable("REDIS_URL", &redis.url()).start().await;
    is_ready(&server).await;
    scrape(&server).await;
    // The client's own come as they happen: see below.
    let text = scrape(&server).await;
    let ours = |name: &String| !name.starts_with("wa_");
    assert_eq!(written(&text).into_iter().filter(ours).collect::<BTreeSet<_>>(), documented());
    let helps = text.lines().filter_map(|line| line.strip_prefix("# HELP ")).map(str::to_owned).filter(ours);
    assert_eq!(helps.count(), documented().len(), "each says what it is");
}

#[tokio::test]
async fn what_the_client_counts_for_itself_is_there_and_documented() {
    let (whatsapp, server) = world().await;
    server.init("ada").await.link(&whatsapp).await;
    let text = scrape(&server).await;
    let own: BTreeSet<_> = written(&text).into_iter().filter(|name| name.starts_with("wa_")).collect();
    assert!(value(&text, "wa_connect_total{outcome=\"ok\"}") >= 1.0);
    // Of many clients the last one's state says nothing.
    assert!(own.len() > 3 && !own.contains("wa_connected"), "{own:?}");
    let page = std::fs::read_to_string("docs/metrics.md").unwrap();
    for name in own {
        assert!(page.contains(&format!("`{name}`")), "docs/metrics.md lacks {name}");
    }
}

#[tokio::test]
async fn what_can_happen_counts_from_zero() {
    let (_whatsapp, server) = world().await;
    let text = scrape(&server).await;
    let sets: [(&str, &str, &[&str]); 8] = [
        ("qrcast_sessions", "status", &qrcast::event::Status::ALL.map(qrcast::event::Status::as_str)),
        ("qrcast_streams", "transport", &["sse", "websocket"]),
        ("qrcast_events_total", "event", &qrcast::event::Kind::NAMES),
        ("qrcast_lease_renewals_total", "result", &["kept", "lost", "missing", "away"]),
        ("qrcast_whatsapp_connects_total", "result", &["ok", "failed", "held"]),
        (
            "qrcast_requests_limited_total",
            "limit",
            &[
                "codes",
                "init",
                "read",
                "streams",
                "streams_per_client",
                "connections",
                "connections_per_client",
            ],
        ),
        ("qrcast_auth_failures_total", "reason", &["missing", "invalid", "expired", "forbidden"]),
        (
            "qrcast_alert",
            "name",
            &[
                "memory",
                "redis_lost",
                "sessions",
                "auth_failures",
                "redis_fallback",
                "storage_lost",
                "storage_damaged",
                "version_lookup",
                "login_stuck",
            ],
        ),
    ];
    for (name, label, values) in sets {
        for label_value in values {
            assert_eq!(value(&text, &format!("{name}{{{label}=\"{label_value}\"}}")), 0.0);
        }
    }
    assert_eq!(value(&text, "qrcast_streams_closed_total{transport=\"sse\",reason=\"gone\"}"), 0.0);
    assert_eq!(value(&text, &format!("qrcast_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"))), 1.0);
    assert_eq!(value(&text, "qrcast_qr_render_seconds_count"), 0.0);
    assert!(!text.contains("qrcast_redis_up "), "there is no Redis");
}

#[tokio::test]
async fn a_life_is_counted() {
    let (whatsapp, server) = world_at(10.0).await;
    let session = server.init("ada").await;
    let mut leaves = session.sse().await;
    leaves.awaits("qr").await;
    let mut stays = session.websocket().await;
    let open = scrape(&server).await;
    assert_eq!(value(&open, "qrcast_streams{transport=\"sse\"}"), 1.0);
    assert_eq!(value(&open, "qrcast_streams{transport=\"websocket\"}"), 1.0);
    assert_eq!(value(&open, "qrcast_sessions{status=\"scan_qr\"}"), 1.0);
    assert_eq!(value(&open, "qrcast_qr_render_seconds_count"), 1.0);
    drop(leaves);
    // An abandoned body is noticed at its next heartbeat or at once, as hyper sees the end of the connection.
    eventually("the abandoned stream to be counted", async || {
        value(&scrape(&server).await, "qrcast_streams_closed_total{transport=\"sse\",reason=\"gone\"}") == 1.0
    })
    .await;

    session.link(&whatsapp).await;
    let ready = stays.awaits("ready").await;
    drop(session.sse_after(Some(&ready.id.unwrap())).await);
    drop(session.sse_after(Some("1-1")).await);
    assert_eq!(session.delete().await, StatusCode::NO_CONTENT);
    stays.awaits("disconnected").await;
    assert_eq!(stays.ends().await, Some(1000));

    let ended = "qrcast_streams_closed_total{transport=\"websocket\",reason=\"ended\"}";
    eventually("the ended stream to be counted", async || value(&scrape(&server).await, ended) == 1.0).await;
    let text = scrape(&server).await;
    assert_eq!(value(&text, "qrcast_streams{transport=\"websocket\"}"), 0.0);
    assert_eq!(value(&text, "qrcast_replays_total"), 1.0);
    assert_eq!(value(&text, "qrcast_gaps_total"), 1.0);
    for kind in ["authenticated", "ready", "disconnected"] {
        // More than one where a busy machine lets a time-out of the fast client come.
        assert!(value(&text, &format!("qrcast_events_total{{event=\"{kind}\"}}")) >= 1.0, "{kind}");
    }
    assert!(value(&text, "qrcast_append_seconds_count") >= 4.0);
    assert!(value(&text, "qrcast_whatsapp_connects_total{result=\"ok\"}") >= 2.0, "to pair and to log in");
    assert_eq!(value(&text, "qrcast_whatsapp_events_dropped_total"), 0.0);
    let made = "qrcast_http_requests_total{method=\"POST\",route=\"/api/init-session\",status=\"200\"}";
    assert_eq!(value(&text, made), 1.0);
    assert!(value(&text, "process_resident_memory_bytes") > 1e6);
    assert!(!text.contains(&session.id) && !text.contains("ada"), "no label grows with the sessions");
}

#[tokio::test]
async fn no_label_is_a_clients_own_word() {
    let (_whatsapp, server) = world().await;
    let odd = reqwest::Method::from_bytes(b"BREW").unwrap();
    server.request(odd, "/health?token=x").send().await.unwrap();
    server.get("/no/such/route").await;
    let text = scrape(&server).await;
    assert_eq!(
        value(&text, "qrcast_http_requests_total{method=\"other\",route=\"/health\",status=\"405\"}"),
        1.0
    );
    assert_eq!(value(&text, "qrcast_http_requests_total{method=\"GET\",route=\"none\",status=\"404\"}"), 1.0);
    assert!(!text.contains("BREW") && !text.contains("such"));
}

#[tokio::test]
async fn redis_that_goes_and_comes_is_seen() {
    let whatsapp = whatsapp().await;
    let mut redis = Redis::start().await;
    let server = Server::builder(&whatsapp.url()).variable("REDIS_URL", &redis.url()).start().await;
    is_ready(&server).await;
    let up = async |up: f64| {
        eventually("Redis up or down", async || value(&scrape(&server).await, "qrcast_redis_up") == up).await;
    };
    up(1.0).await;
    server.init("bob").await;
    redis.kill().await;
    up(0.0).await;
    server.post("/api/init-session", &json!({ "userId": "ada" })).await;
    let text = scrape(&server).await;
    assert!(value(&text, "qrcast_redis_failures_total") >= 1.0);
    assert!(value(&text, "qrcast_redis_call_seconds_count") >= 1.0);
    redis.launch().await;
    up(1.0).await;
}

#[tokio::test]
async fn an_ordinary_end_is_no_lost_lease_and_what_redis_forgot_is_missing() {
    let (whatsapp, redis) = (whatsapp().await, Redis::start().await);
    let builder = Server::builder(&whatsapp.url()).variable("REDIS_URL", &redis.url());
    let server = builder.variable("LEASE_TTL_MS", "3000").start().await;
    is_ready(&server).await;
    let renewals = async |result: &str| {
        let series = format!("qrcast_lease_renewals_total{{result=\"{result}\"}}");
        value(&scrape(&server).await, &series)
    };
    let mut sessions = Vec::new();
    for number in 0..8 {
        sessions.push(server.init(&format!("user{number}")).await);
    }
    // Each restart ends one ownership and begins another, and each deletion ends one, whenever leases are renewed.
    eventually("many renewals", async || {
        join_all(sessions.iter().map(Session::restart)).await;
        renewals("kept").await >= 30.0
    })
    .await;
    for session in sessions.drain(1..) {
        session.delete().await;
    }
    assert_eq!((renewals("lost").await, renewals("missing").await), (0.0, 0.0));
    eventually("a renewal that misses its lease", async || {
        redis.tell::<()>(&["FLUSHALL"]).await;
        renewals("missing").await > 0.0
    })
    .await;
    assert_eq!(renewals("lost").await, 0.0);
}

#[tokio::test]
async fn a_takeover_is_counted_and_timed() {
    let redis = Redis::start().await;
    let mut replicas = Replicas::on(&redis.url()).start(2).await;
    let linked = replicas.links(0, "ada").await;
    let waiting = replicas.at(0).init("bob").await.id;
    let renewed = async |number: usize| {
        value(&scrape(replicas.at(number)).await, "qrcast_lease_renewals_total{result=\"kept\"}") > 0.0
    };
    eventually("a renewal", async || renewed(0).await).await;
    assert_eq!(value(&scrape(replicas.at(1)).await, "qrcast_takeovers_total"), 0.0);
    replicas.kills(0).await;
    let heir = replicas.at(1);
    eventually("the linked one to be back", async || {
        value(&scrape(heir).await, "qrcast_takeover_seconds_count") == 1.0
    })
    .await;
    eventually("both to be taken over", async || value(&scrape(heir).await, "qrcast_takeovers_total") == 2.0)
        .await;
    heir.session(&waiting).reaches("scan_qr").await;
    assert_eq!(heir.session(&linked.id).status().await["status"], "connected");
    // The other one waits for a person, which is no measure of ours.
    let text = scrape(heir).await;
    assert_eq!(value(&text, "qrcast_takeover_seconds_count"), 1.0);
    assert!(value(&text, "qrcast_takeover_seconds_sum") > 0.0);
}

#[tokio::test]
async fn a_port_of_their_own_serves_the_metrics_and_probes_and_nothing_else() {
    let whatsapp = whatsapp().await;
    let port = free_port();
    let builder = Server::builder(&whatsapp.url()).variable("METRICS_PORT", &port);
    let mut server = builder.start().await;
    // Answered by a server that has both ports.
    server.get("/livez").await;
    let of = |path: &str| reqwest::get(format!("http://127.0.0.1:{port}{path}"));
    let metrics = of("/metrics").await.unwrap();
    assert_eq!(metrics.headers()["content-type"], "text/plain; version=0.0.4");
    assert!(metrics.text().await.unwrap().contains("qrcast_build_info"));
    for path in ["/livez", "/readyz"] {
        assert_eq!(of(path).await.unwrap().status(), StatusCode::OK, "{path}");
    }
    for path in ["/health", "/", "/api/sessions"] {
        assert_eq!(of(path).await.unwrap().status(), StatusCode::NOT_FOUND, "{path}");
    }
    assert_eq!(server.terminate().await, Some(0), "{:#?}", server.log());
}
