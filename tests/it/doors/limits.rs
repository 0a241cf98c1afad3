//! How much one client may ask for, and what it is told when that was too much.

use super::*;
use crate::support::Viewer;
use crate::support::server::Builder;

async fn limited(variables: &[(&str, &str)]) -> (Simulator, Server) {
    let whatsapp = whatsapp().await;
    let builder = Server::builder(&whatsapp.url()).variable("RATE_LIMIT_DISABLED", "false");
    let add = |builder: Builder, (name, value): &(&str, &str)| builder.variable(name, value);
    let server = variables.iter().fold(builder, add).start().await;
    (whatsapp, server)
}

async fn init(server: &Server, key: Option<&str>, from: Option<&str>) -> reqwest::Response {
    let mut request = server.request(Method::POST, "/api/init-session").json(&json!({ "userId": "ada" }));
    if let Some(key) = key {
        request = request.bearer_auth(key);
    }
    if let Some(from) = from {
        request = request.header("X-Forwarded-For", from);
    }
    request.send().await.unwrap()
}

#[tokio::test]
async fn new_sessions_are_counted_as_the_old_service_did() {
    let (_whatsapp, server) = limited(&[("RATE_LIMIT_INIT", "3"), ("MAX_SESSIONS_PER_USER", "99")]).await;
    for left in ["2", "1", "0"] {
        let response = init(&server, None, None).await;
        assert_eq!(response.status(), StatusCode::OK);
        let said = response.headers();
        assert_eq!(
            (&said["ratelimit-limit"], &said["ratelimit-policy"]),
            (&"3".parse().unwrap(), &"3;w=900".parse().unwrap())
        );
        assert_eq!(said["ratelimit-remaining"], left);
    }
    // Whatever a stranger says of itself.
    for lie in [None, Some("192.0.2.1")] {
        let response = init(&server, None, lie).await;
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
        let wait: u64 = response.headers()["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((1..=300).contains(&wait), "{wait}");
        assert_eq!(response.headers()["ratelimit-remaining"], "0");
        let error: Value = response.json().await.unwrap();
        assert_eq!((&error["error"], &error["code"]), (&json!("Too many requests"), &json!("RATE_LIMITED")));
    }
    // What is there can still be read.
    assert_eq!(server.get("/api/sessions").await.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_backends_key_is_not_limited_and_a_tenants_is_by_its_name() {
    let keys = ("API_KEYS", "main:all-of-it,a:only-a:a,also:only-ad:ad");
    let rates = [("RATE_LIMIT_INIT", "2"), ("RATE_LIMIT_READ", "2"), ("MAX_SESSIONS_PER_USER", "99")];
    let (_whatsapp, server) = limited(&[keys, rates[0], rates[1], rates[2]]).await;
    for _ in 0..5 {
        assert_eq!(init(&server, Some("all-of-it"), None).await.status(), StatusCode::OK);
        let list = server.request(Method::GET, "/api/sessions").bearer_auth("all-of-it");
        let list = list.send().await.unwrap();
        assert!(list.status().is_success() && !list.headers().contains_key("ratelimit-limit"));
    }
    for key in ["only-a", "only-ad"] {
        let answers = [init(&server, Some(key), None).await, init(&server, Some(key), None).await];
        assert!(answers.iter().all(|answer| answer.status().is_success()), "{key}");
        assert_eq!(init(&server, Some(key), None).await.status(), StatusCode::TOO_MANY_REQUESTS, "{key}");
    }
    // Guessing keys is counted, too, whatever else is invented for it.
    let mut statuses = Vec::new();
    for n in 0..3 {
        let path = format!("/api/session-status/session_ada_7d1f0c36-3f0e-4c5b-9b1e-0a4b4f1f9a1{n}");
        let guess = server.request(Method::GET, &path).bearer_auth("guess").send().await.unwrap();
        statuses.push(guess.status().as_u16());
    }
    assert_eq!(statuses, [401, 401, 429]);
}

#[tokio::test]
async fn reads_are_counted_for_each_session() {
    let (_whatsapp, server) = limited(&[("RATE_LIMIT_READ", "3")]).await;
    let (one, other) = (server.init("ada").await, server.init("bob").await);
    let read = async |id: &str| server.get(&format!("/api/session-status/{id}")).await;
    for _ in 0..3 {
        assert_eq!(read(&one.id).await.status(), StatusCode::OK);
    }
    assert_eq!(read(&one.id).await.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(read(&other.id).await.status(), StatusCode::OK);
    // A stream is told when to come back, in a way that an EventSource understands.
    let mut viewer = one.sse().await;
    let drain = viewer.expects("drain").await;
    assert_eq!(drain.data["code"], "OVERLOADED");
    assert!(drain.data["retryAfterMs"].as_u64().unwrap() > 0);
    let mut viewer = one.websocket().await;
    assert_eq!(viewer.expects("drain").await.data["code"], "OVERLOADED");
    assert_eq!(viewer.next().await, Err(Some(1013)));
}

#[tokio::test]
async fn clients_behind_a_trusted_proxy_are_told_apart() {
    let proxies = ("TRUSTED_PROXIES", "127.0.0.0/8");
    let (_whatsapp, server) =
        limited(&[proxies, ("RATE_LIMIT_INIT", "1"), ("MAX_SESSIONS_PER_USER", "99")]).await;
    for from in ["192.0.2.1", "192.0.2.2", "2001:db8:1::1", "2001:db8:2::1"] {
        assert_eq!(init(&server, None, Some(from)).await.status(), StatusCode::OK, "{from}");
    }
    // What a client wrote before the proxy did, and another address of the same network.
    for from in ["198.51.100.1, 192.0.2.1", "192.0.2.2, 127.0.0.1", "2001:db8:1::2"] {
        assert_eq!(init(&server, None, Some(from)).await.status(), StatusCode::TOO_MANY_REQUESTS, "{from}");
    }
}

#[tokio::test]
async fn streams_have_so_many_places() {
    let variables = [("MAX_STREAMS", "3"), ("MAX_STREAMS_PER_IP", "2"), ("API_KEYS", "main:all-of-it")];
    let (_whatsapp, server) = limited(&variables).await;
    let (id, token) = new_session(&server, "ada").await;
    let path = format!("/api/sessions/{id}/ws");
    let hold = async |credential: &str| {
        let url = format!("{}{path}", server.base.replacen("http", "ws", 1));
        let mut request = url.into_client_request().unwrap();
        let bearer = format!("Bearer {credential}").parse().unwrap();
        request.headers_mut().insert("authorization", bearer);
        let (mut socket, _) = tokio_tungstenite::connect_async(request).await.unwrap();
        let first = soon("a frame", futures::StreamExt::next(&mut socket)).await.unwrap().unwrap();
        let first: Value = serde_json::from_str(first.to_text().unwrap()).unwrap();
        (socket, first["event"].as_str().unwrap().to_owned())
    };
    let (first, word) = hold(&token).await;
    assert_eq!(word, "status");
    let (second, word) = hold(&token).await;
    assert_eq!(word, "status");
    assert_eq!(hold(&token).await.1, "drain", "a third one of this client");
    let (third, word) = hold("all-of-it").await;
    assert_eq!(word, "status", "a backend has no limit of its own");
    assert_eq!(hold("all-of-it").await.1, "drain", "a fourth one in all");
    drop((first, second));
    soon("a free place", async {
        while hold(&token).await.1 == "drain" {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await;
    drop(third);
    let refused = Viewer::sse(&server.base, &id, None).await;
    assert_eq!(refused.err(), Some(StatusCode::UNAUTHORIZED));
}

#[tokio::test]
async fn guesses_are_counted_and_an_operator_hears_of_many() {
    let (_whatsapp, server) = limited(&[("API_KEYS", "main:all-of-it"), ("ALERT_AUTH_FAILURES", "2")]).await;
    for _ in 0..3 {
        let guess = server.request(Method::GET, "/api/sessions").header("X-Api-Key", "guess");
        assert_eq!(guess.send().await.unwrap().status(), StatusCode::UNAUTHORIZED);
    }
    let health: Value = server.get("/health").await.json().await.unwrap();
    assert_eq!(health["status"], "healthy", "{health}");
    let alert = &health["alerts"][0];
    assert_eq!((&alert["name"], &alert["value"]), (&json!("auth_failures"), &json!(3)), "{health}");
    let metrics = server.request(Method::GET, "/metrics").bearer_auth("all-of-it").send().await.unwrap();
    let metrics = metrics.text().await.unwrap();
    assert!(metrics.contains("qrcast_auth_failures_total{reason=\"invalid\"} 3"), "{metrics}");
    assert!(metrics.contains("qrcast_alert{name=\"auth_failures\"} 1"), "{metrics}");
}
