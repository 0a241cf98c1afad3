//! What passes through a proxy: streams as they happen, to their end; every id; whose page asks, and who.

use reqwest::header::HeaderMap;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::client::Client;
use super::front::{Front, Kind, Plan};
use super::{KEY, builder};
use crate::support::{soon, whatsapp};

/// Over SSE and over WebSocket, from the first event to the end.
pub(super) async fn are_live(kind: Kind) {
    let whatsapp = whatsapp().await;
    let server = builder(&whatsapp).start().await.with_key(KEY);
    let front = Plan::of(kind).start(&server.base).await;
    let client = Client::from("127.0.0.9", &front).await;
    // A user id with all that an address has to escape.
    let request = client.request(Method::POST, "/api/init-session").header("X-Api-Key", KEY);
    let made =
        soon("a session", request.json(&json!({ "userId": "ada+1@example.com" })).send()).await.unwrap();
    let made: Value = made.json().await.unwrap();
    let (id, token) = (made["sessionId"].as_str().unwrap(), made["streamToken"].as_str().unwrap());
    let escaped = format!("/api/sessions/{}", id.replace('+', "%2B").replace('@', "%40"));
    let path = format!("/api/sessions/{id}");

    let mut sse = client.sse(&format!("{escaped}/events?token={token}")).await;
    let bearer =
        [("sec-websocket-protocol".parse().unwrap(), format!("qrcast.v1, bearer.{token}").parse().unwrap())];
    let headers: HeaderMap = bearer.into_iter().collect();
    let mut socket = client.websocket(&format!("{path}/ws"), &front.base, headers).await;
    server.session(id).link(&whatsapp).await;
    // Whoever has the server at hand sees the same.
    let mut near = server.session(id).sse().await;
    let ready = near.awaits("ready").await;
    assert_eq!((&sse.awaits("ready").await, &socket.awaits("ready").await), (&ready, &ready), "{kind:?}");
    assert_eq!(server.session(id).delete().await, StatusCode::NO_CONTENT);
    let end = near.awaits("disconnected").await;
    assert_eq!((&sse.awaits("disconnected").await, &socket.awaits("disconnected").await), (&end, &end));
    assert_eq!((sse.ends().await, socket.ends().await), (None, Some(1000)), "{kind:?}");
    let over = format!("{path}/events?token={token}&lastEventId={}", end.id.unwrap());
    assert_eq!(client.get(&over).await.status(), StatusCode::NO_CONTENT);

    // The page of another port is another page.
    let other = format!("https://localhost:{}", crate::support::proxy::free_port());
    assert_eq!(client.refused_websocket(&format!("{path}/ws?token={token}"), &other).await, 403, "{kind:?}");
    leads_to_tls(kind, &front).await;
    let logs = front.logs();
    assert!(logs.contains("/api/init-session"), "{kind:?}: {logs}");
    assert!(!logs.contains(token) && !logs.contains(KEY), "{kind:?}: {logs}");
}

/// Whoever comes without TLS is sent there; Caddy does it by itself, on port 80 alone.
async fn leads_to_tls(kind: Kind, front: &Front) {
    if kind == Kind::Caddy {
        return;
    }
    let plain = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let answer = soon("an answer", plain.get(format!("{}/x?y=1", front.plain)).send()).await.unwrap();
    let place = answer.headers()["location"].to_str().unwrap();
    assert_eq!(answer.status(), StatusCode::MOVED_PERMANENTLY);
    assert!(place.starts_with("https://localhost") && place.ends_with("/x?y=1"), "{kind:?}: {place}");
}

/// Limits hold for the address that the proxy saw, whatever a client writes.
pub(super) async fn have_the_address_of_their_client(kind: Kind) {
    let whatsapp = whatsapp().await;
    let server = builder(&whatsapp)
        .variable("API_KEYS", "")
        .variable("RATE_LIMIT_DISABLED", "false")
        .variable("RATE_LIMIT_INIT", "2")
        .start()
        .await;
    let front = Plan::of(kind).start(&server.base).await;
    let lies = [
        ("X-Forwarded-For", "198.51.100.1"),
        ("X-Forwarded-For", "nonsense"),
        ("X-Forwarded-For", "198.51.100.2, 127.0.0.1"),
        ("Forwarded", "for=198.51.100.3"),
        ("X-Real-IP", "198.51.100.4"),
        ("Fly-Client-IP", "198.51.100.5"),
    ];
    // The last one has the proxy's own address, which qrcast believes.
    for address in ["127.0.0.9", "127.0.0.10", "127.0.0.1"] {
        let client = Client::from(address, &front).await;
        let mut statuses = Vec::new();
        for (number, (name, lie)) in lies.into_iter().enumerate() {
            let request = client.request(Method::POST, "/api/init-session").header(name, lie);
            let request = request.json(&json!({ "userId": format!("user{number}") }));
            statuses.push(soon("an answer", request.send()).await.unwrap().status().as_u16());
        }
        assert_eq!(statuses, [200, 200, 429, 429, 429, 429], "{kind:?} {address}");
    }
}
