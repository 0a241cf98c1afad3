//! The way to WhatsApp through a proxy: for all sessions, or for one of them.

use qrcast::shutdown::Shutdown;
use qrcast::whatsapp::egress::{Egresses, Watch};
use reqwest::StatusCode;
use serde_json::{Value, json};
use whatsapp_rust::http::HttpRequest;

use crate::support::redis::Redis;
use crate::support::replicas::is_ready;
use crate::support::server::Builder;
use crate::support::way_out::{Kind, PASSWORD, USER, WayOut, secrets};
use crate::support::{Server, eventually, soon, whatsapp, world};

const KINDS: [Kind; 2] = [Kind::Http, Kind::Socks5];

/// The simulator by a name that nobody but the proxy can resolve.
fn by_name(url: &str) -> (String, String) {
    let (_, port) = url.strip_suffix("/ws/chat").unwrap().rsplit_once(':').unwrap();
    (format!("ws://whatsapp.invalid:{port}/ws/chat"), format!("whatsapp.invalid:{port}"))
}

/// Against a simulator that nobody but a proxy can reach.
fn far(url: &str) -> (Builder, String) {
    let (url, asked) = by_name(url);
    (Server::builder(&url).variable("WHATSAPP_TIME_FACTOR", "20"), asked)
}

/// Against one that is at hand, with sessions that may name a proxy on this machine.
fn near(url: &str) -> Builder {
    Server::builder(url).variable("PROXY_ALLOWED_HOSTS", "127.0.0.1")
}

fn is_in_none_of(texts: &[String]) {
    for text in texts {
        let found = secrets().into_iter().find(|secret| text.contains(secret));
        assert!(found.is_none(), "{found:?} in {text}");
    }
}

/// What a server says of a session to whoever asks.
async fn answers(server: &Server, id: &str) -> Vec<String> {
    let mut answers = Vec::new();
    for path in
        [format!("/api/session-status/{id}"), "/api/sessions".into(), "/health".into(), "/metrics".into()]
    {
        answers.push(server.get(&path).await.text().await.unwrap());
    }
    answers
}

#[tokio::test]
async fn all_sessions_go_through_the_proxy_of_the_server_and_names_are_resolved_by_it() {
    for kind in KINDS {
        let (whatsapp, proxy) = (whatsapp().await, WayOut::start(kind).await);
        let (builder, asked) = far(&whatsapp.url());
        let everything = "trace,tungstenite=trace,Client/Send=trace";
        let server =
            builder.variable("WA_PROXY", &proxy.url()).variable("RUST_LOG", everything).start().await;
        let session = server.init("ada").await;
        session.link(&whatsapp).await;
        // One to pair, one to log in.
        assert!(
            proxy.asked().len() >= 2 && proxy.asked().iter().all(|host| *host == asked),
            "{:?}",
            proxy.asked()
        );
        is_in_none_of(&answers(&server, &session.id).await);
        is_in_none_of(&server.log());
    }
}

#[tokio::test]
async fn requests_and_probes_go_through_the_proxy_as_well() {
    for kind in KINDS {
        let (whatsapp, mut proxy) = (whatsapp().await, WayOut::start(kind).await);
        let (url, asked) = by_name(&whatsapp.url());
        let watch = Watch { factor: 1.0, tasks: Shutdown::new() };
        let egress = Egresses::to_simulator(&url, proxy.url().parse().ok(), watch).of(None);
        soon("an answer", egress.http().execute(HttpRequest::get("https://web.whatsapp.com/sw.js")))
            .await
            .unwrap();
        assert_eq!(proxy.asked(), std::slice::from_ref(&asked));
        soon("a probe", egress.probe()).await.unwrap();
        assert_eq!(proxy.asked(), [asked.clone(), asked]);
        eventually("the probe to be gone", || async { whatsapp.state().clients == 0 }).await;
        proxy.die().await;
        let said = format!("{:#}", soon("a probe", egress.probe()).await.unwrap_err());
        assert!(said.contains("cannot be reached"), "{said}");
        is_in_none_of(&[said]);
    }
}

#[tokio::test]
async fn the_environments_proxy_is_not_looked_at() {
    let (whatsapp, other) = (whatsapp().await, WayOut::start(Kind::Http).await);
    let mut builder = Server::builder(&whatsapp.url());
    for name in ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
        builder = builder.variable(name, &other.nameless_url());
    }
    let server = builder.start().await;
    server.init("ada").await.link(&whatsapp).await;
    assert_eq!((other.asked(), other.refused()), (vec![], 0));
}

#[tokio::test]
async fn a_session_has_a_proxy_of_its_own_and_keeps_it() {
    for kind in KINDS {
        let (whatsapp, proxy) = (whatsapp().await, WayOut::start(kind).await);
        let builder = near(&whatsapp.url()).variable("RUST_LOG", "trace,tungstenite=trace");
        let server = builder.start().await;
        let direct = server.init("direct").await;
        direct.link(&whatsapp).await;
        assert_eq!(proxy.asked().len(), 0, "of this session alone");
        let session = server.init_with(json!({ "userId": "ada", "proxy": proxy.url() })).await;
        session.link(&whatsapp).await;
        let before = proxy.asked().len();
        assert!(before >= 2);
        let said = [session.answer.to_string()];
        is_in_none_of(&said);
        is_in_none_of(&answers(&server, &session.id).await);
        is_in_none_of(&server.log());

        let id = session.id.clone();
        let server = server.crash_and_restart().await;
        eventually("the session to come back its own way", || async { proxy.asked().len() > before }).await;
        let session = server.session(&id);
        session.reaches("connected").await;
        let before = proxy.asked().len();
        assert_eq!(session.restart().await.status(), StatusCode::ACCEPTED);
        eventually("another try", || async { proxy.asked().len() > before }).await;
        is_in_none_of(&server.log());
    }
}

#[tokio::test]
async fn a_wrong_password_is_told_without_it_and_mended() {
    for kind in KINDS {
        let (whatsapp, proxy) = (whatsapp().await, WayOut::start(kind).await);
        proxy.strict(true);
        let (builder, _) = far(&whatsapp.url());
        let server = builder.variable("WA_PROXY", &proxy.url()).start().await;
        let session = server.init("ada").await;
        let mut viewer = session.sse().await;
        let away = viewer.awaits("disconnected").await;
        assert_eq!(away.data["reason"], "whatsapp_unreachable");
        let words = format!("the proxy 127.0.0.1:{} refused the user name or the password", proxy.port);
        assert!(away.data["detail"].as_str().unwrap().contains(&words), "{away:?}");
        is_in_none_of(&[away.data.to_string()]);
        proxy.strict(false);
        viewer.awaits("qr").await;
        is_in_none_of(&server.log());
    }
}

#[tokio::test]
async fn a_proxy_that_wants_a_password_and_gets_none_is_told() {
    for kind in KINDS {
        let (whatsapp, proxy) = (whatsapp().await, WayOut::start(kind).await);
        let (builder, _) = far(&whatsapp.url());
        let server = builder.variable("WA_PROXY", &proxy.nameless_url()).start().await;
        let away = server.init("ada").await.sse().await.awaits("disconnected").await;
        let words = format!("the proxy 127.0.0.1:{} asks for a user name and a password", proxy.port);
        assert!(away.data["detail"].as_str().unwrap().contains(&words), "{away:?}");
    }
}

#[tokio::test]
async fn a_proxy_that_dies_is_told_and_comes_back() {
    for kind in KINDS {
        let (whatsapp, mut proxy) = (whatsapp().await, WayOut::start(kind).await);
        let (builder, _) = far(&whatsapp.url());
        let server = builder.variable("WA_PROXY", &proxy.url()).start().await;
        let session = server.init("ada").await;
        session.link(&whatsapp).await;
        let mut viewer = session.sse().await;
        viewer.awaits("ready").await;
        proxy.die().await;
        assert_eq!(viewer.expects("disconnected").await.data["reason"], "connection_lost");
        let away = viewer.expects("disconnected").await;
        assert_eq!(away.data["reason"], "whatsapp_unreachable");
        let words = format!("the proxy 127.0.0.1:{} cannot be reached", proxy.port);
        assert!(away.data["detail"].as_str().unwrap().contains(&words), "{away:?}");
        proxy.revive().await;
        viewer.expects("ready").await;
    }
}

#[tokio::test]
async fn a_proxy_that_cannot_reach_whatsapp_is_told() {
    for kind in KINDS {
        let (whatsapp, proxy) = (whatsapp().await, WayOut::start(kind).await);
        let (builder, _) = far(&whatsapp.url());
        whatsapp.shutdown().await;
        let server = builder.variable("WA_PROXY", &proxy.url()).start().await;
        let away = server.init("ada").await.sse().await.awaits("disconnected").await;
        let words = format!("the proxy 127.0.0.1:{} does not connect to whatsapp.invalid: ", proxy.port);
        assert!(away.data["detail"].as_str().unwrap().contains(&words), "{away:?}");
    }
}

#[tokio::test]
async fn another_replica_takes_a_session_over_with_its_proxy() {
    let (whatsapp, redis) = (whatsapp().await, Redis::start().await);
    let proxy = WayOut::start(Kind::Socks5).await;
    let builder =
        || near(&whatsapp.url()).variable("REDIS_URL", &redis.url()).variable("LEASE_TTL_MS", "3000");
    let first = builder().start().await;
    is_ready(&first).await;
    let session = first.init_with(json!({ "userId": "ada", "proxy": proxy.url() })).await;
    session.link(&whatsapp).await;
    let (id, before) = (session.id.clone(), proxy.asked().len());
    // Elsewhere the variable may be missing: the session is there already.
    let second = Server::builder(&whatsapp.url()).variable("REDIS_URL", &redis.url()).start().await;
    is_ready(&second).await;
    let _dead = first.crash().await;
    eventually("the session to come back its own way", || async { proxy.asked().len() > before }).await;
    second.session(&id).reaches("connected").await;
    is_in_none_of(&answers(&second, &id).await);
    is_in_none_of(&second.log());
}

#[tokio::test]
async fn a_stored_proxy_that_cannot_be_read_is_told_and_never_gone_around() {
    let (whatsapp, proxy) = (whatsapp().await, WayOut::start(Kind::Http).await);
    let builder = near(&whatsapp.url()).variable("WHATSAPP_TIME_FACTOR", "20");
    let server = builder.start().await;
    let session = server.init_with(json!({ "userId": "ada", "proxy": proxy.url() })).await;
    session.link(&whatsapp).await;
    let id = session.id.clone();
    let builder = server.crash().await;
    let store = rusqlite::Connection::open(builder.folder().join("qrcast.sqlite")).unwrap();
    let words = format!("carrier-pigeon://{PASSWORD}");
    assert_eq!(store.execute("UPDATE session SET proxy = ?1", [words]).unwrap(), 1);
    store.close().unwrap();

    let server = builder.start().await;
    let session = server.session(&id);
    soon("the reason", async {
        while session.status().await["reason"] != "whatsapp_unreachable" {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    })
    .await;
    eventually("no client", || async { whatsapp.state().clients == 0 }).await;
    let line = |line: &String| {
        line.contains("ERROR") && line.contains("the stored proxy of this session cannot be read")
    };
    assert!(server.log().iter().any(line));
    is_in_none_of(&answers(&server, &id).await);
    is_in_none_of(&server.log());
    // Others are linked as ever.
    server.init("bob").await.link(&whatsapp).await;
}

async fn refused(server: &Server, proxy: Value) -> Value {
    let response = server.post("/api/init-session", &json!({ "userId": "ada", "proxy": proxy })).await;
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    let error: Value = response.json().await.unwrap();
    assert_eq!(
        (&error["code"], &error["details"]["field"]),
        (&json!("INVALID_BODY"), &json!("proxy")),
        "{error}"
    );
    is_in_none_of(&[error.to_string()]);
    error
}

#[tokio::test]
async fn a_request_may_name_a_proxy_of_an_allowed_host_alone() {
    let (_whatsapp, server) = world().await;
    let here = format!("http://{USER}:x@127.0.0.1:1");
    let error = refused(&server, json!(here)).await;
    assert!(error["error"].as_str().unwrap().contains("PROXY_ALLOWED_HOSTS"), "{error}");
    assert_eq!(
        server.init_with(json!({ "userId": "ada", "proxy": null })).await.status().await["userId"],
        "ada"
    );

    let whatsapp = whatsapp().await;
    let server = near(&whatsapp.url()).start().await;
    let error = refused(&server, json!(format!("http://{USER}:x@10.0.0.1:1"))).await;
    assert!(error["error"].as_str().unwrap().contains("PROXY_ALLOWED_HOSTS"), "{error}");
    for wrong in [format!("ftp://{USER}:x@127.0.0.1:1"), format!("http://{USER}:{PASSWORD}"), String::new()] {
        let error = refused(&server, json!(wrong)).await;
        assert!(error["error"].as_str().unwrap().contains("socks5://"), "{error}");
    }
    refused(&server, json!(7)).await;
    is_in_none_of(&server.log());
}
