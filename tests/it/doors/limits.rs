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
async fn pairing_codes_are_counted_by_session_and_by_number() {
    let keys = ("API_KEYS", "main:all-of-it");
    let (_whatsapp, server) = limited(&[keys, ("MAX_SESSIONS_PER_USER", "99")]).await;
    let ask = async |id: &str, token: &str, number: &str| {
        let request =
            server.request(Method::POST, &format!("/api/sessions/{id}/pairing-code")).bearer_auth(token);
        let response = request.json(&json!({ "phoneNumber": number })).send().await.unwrap();
        let wait =
            response.headers().get("retry-after").map(|wait| wait.to_str().unwrap().parse::<u64>().unwrap());
        let status = response.status().as_u16();
        let code = response.json::<Value>().await.unwrap()["code"].as_str().unwrap().to_owned();
        (status, code, wait)
    };
    let (id, token) = new_session(&server, "ada").await;
    // Before WhatsApp is there, and for nonsense: nobody's phone is asked anything.
    for _ in 0..8 {
        let (status, code, _) = ask(&id, &token, "12").await;
        assert!(status == 400 && code == "INVALID_BODY" || status == 409, "{status} {code}");
    }
    has_qr(&server, &id).await;
    for n in 0..5 {
        assert_eq!(ask(&id, &token, &format!("+90 555 123 45 6{n}")).await.0, 200, "{n}");
    }
    let (status, code, wait) = ask(&id, &token, "+90 555 123 45 69").await;
    assert_eq!((status, code.as_str()), (429, "RATE_LIMITED"));
    assert!((840..=900).contains(&wait.unwrap()), "{wait:?}");
    // A key is no way around it, nor is a new session for the same number, however it is written.
    assert_eq!(ask(&id, "all-of-it", "+90 555 123 45 69").await.0, 429);
    let init = async |number: &str| {
        let request = server.request(Method::POST, "/api/init-session").bearer_auth("all-of-it");
        request.json(&json!({ "userId": "ada", "phoneNumber": number })).send().await.unwrap()
    };
    for _ in 0..4 {
        assert_eq!(init("905551234560").await.status(), StatusCode::OK);
    }
    for written in ["905551234560", "0090 (0) 555 123 45 60", "+90-555-1234560"] {
        let refused = init(written).await;
        assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS, "{written}");
        assert!(refused.headers().contains_key("retry-after"));
    }
    assert_eq!(init("905551234577").await.status(), StatusCode::OK);
    // What was linked before can go on.
    let status = format!("/api/session-status/{id}");
    assert_eq!(call(&server, Method::GET, &status, &Credential::Bearer(token)).await.0, 200);
}

#[tokio::test]
async fn pairing_codes_are_not_counted_where_nothing_is() {
    let (_whatsapp, server) = limited(&[("RATE_LIMIT_DISABLED", "true")]).await;
    let session = server.init("ada").await;
    session.reaches("scan_qr").await;
    for _ in 0..7 {
        assert_eq!(session.pairing_code("+90 555 123 45 67").await.0, StatusCode::OK);
    }
}

#[tokio::test]
async fn names_that_are_invented_are_counted_for_the_client_alone() {
    let keys =
        ("API_KEYS", "main:all-of-it,a:only-a:a,b:only-b:a,c:only-c:a,d:only-d:a,e:only-e:a,f:only-f:a");
    let (_whatsapp, server) = limited(&[keys, ("RATE_LIMIT_READ", "5")]).await;
    let ways = [
        ("a", Method::GET, "/api/session-status/", ""),
        ("b", Method::GET, "/api/qr-code/", ".png"),
        ("c", Method::GET, "/api/sessions/", "/ws"),
        ("d", Method::POST, "/api/sessions/", "/restart"),
        // No error, and a name all the same.
        ("e", Method::DELETE, "/api/sessions/", ""),
        // No name at all.
        ("f", Method::GET, "/api/session-status/x%00", ""),
    ];
    for (key, method, before, after) in ways {
        let mut statuses = Vec::new();
        for n in 0..7 {
            let path = format!("{before}session_ada_7d1f0c36-3f0e-4c5b-9b1e-0a4b4f1f9a1{n}{after}");
            let asked = server.request(method.clone(), &path).bearer_auth(format!("only-{key}"));
            let upgrade = asked.header("Connection", "upgrade").header("Upgrade", "websocket");
            let upgrade = upgrade
                .header("Sec-WebSocket-Version", "13")
                .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==");
            statuses.push(soon(&path, upgrade.send()).await.unwrap().status().as_u16());
        }
        let limited = if after == "/ws" { 101 } else { 429 };
        assert_eq!(statuses[5..], [limited, limited], "{method} {before}: {statuses:?}");
        assert!(!statuses[..5].contains(&limited), "{method} {before}: {statuses:?}");
    }
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
async fn what_a_trusted_proxy_passes_on_does_not_hide_who_came() {
    let (_whatsapp, server) = limited(&[("TRUSTED_PROXIES", "127.0.0.0/8"), ("RATE_LIMIT_INIT", "1")]).await;
    let init = async |from: &[u8]| {
        let request = server.request(Method::POST, "/api/init-session").json(&json!({ "userId": "ada" }));
        let from = reqwest::header::HeaderValue::from_bytes(from).unwrap();
        request.header("X-Forwarded-For", from).send().await.unwrap()
    };
    // As nginx appends whom it saw to whatever the client wrote.
    assert_eq!(init(b"\xff, 192.0.2.1").await.status(), StatusCode::OK);
    for lie in [b"\xff, 192.0.2.1".as_slice(), b"\xfe,192.0.2.1", b"10.0.0.1, 192.0.2.1", b"192.0.2.1"] {
        assert_eq!(init(lie).await.status(), StatusCode::TOO_MANY_REQUESTS, "{lie:?}");
    }
    assert_eq!(init(b"\xff, 192.0.2.2").await.status(), StatusCode::OK);
    for unread in [b"\xff".as_slice(), b"192.0.2.3, \xff", b"unknown", b"192.0.2.3, unknown, 127.0.0.1"] {
        let refused = init(unread).await;
        assert_eq!(refused.status(), StatusCode::BAD_REQUEST, "{unread:?}");
        let error: Value = refused.json().await.unwrap();
        assert_eq!(
            (&error["code"], &error["details"]["field"]),
            (&json!("INVALID_FORWARDED"), &json!("x-forwarded-for"))
        );
    }
}

#[tokio::test]
async fn a_proxy_that_is_not_trusted_is_told_of_once() {
    let (_whatsapp, server) = limited(&[]).await;
    for (header, value) in
        [("X-Forwarded-For", "192.0.2.1"), ("X-Real-IP", "192.0.2.1"), ("Forwarded", "for=192.0.2.1")]
    {
        let request = server.request(Method::GET, "/livez").header(header, value);
        assert_eq!(request.send().await.unwrap().status(), StatusCode::OK);
    }
    let said =
        || server.log().into_iter().filter(|line| line.contains("TRUSTED_PROXIES")).collect::<Vec<_>>();
    crate::support::eventually("a line", async || !said().is_empty()).await;
    let lines = said();
    assert!(
        lines.len() == 1 && lines[0].contains("x-forwarded-for") && lines[0].contains("127.0.0.1"),
        "{lines:?}"
    );
    assert!(!lines[0].contains("192.0.2.1"), "what a stranger wrote is not repeated: {lines:?}");
    let (_whatsapp, trusted) = limited(&[("TRUSTED_PROXIES", "127.0.0.0/8")]).await;
    trusted.request(Method::GET, "/livez").header("X-Forwarded-For", "192.0.2.1").send().await.unwrap();
    assert!(!trusted.log().iter().any(|line| line.contains("TRUSTED_PROXIES")));
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
