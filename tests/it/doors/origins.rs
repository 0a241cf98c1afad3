//! Which pages may use a server, and by which names it answers.

use reqwest::header::HeaderMap;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::*;
use crate::support::eventually;

const PAGE: &str = "https://app.example.com";

async fn headers(server: &Server, method: Method, path: &str, origin: Option<&str>) -> HeaderMap {
    let mut request = server.request(method, path);
    if let Some(origin) = origin {
        request = request.header("Origin", origin);
    }
    request.send().await.unwrap().headers().clone()
}

/// Whether a WebSocket from this origin is upgraded, or the status of the refusal.
async fn opens(server: &Server, id: &str, origin: Option<&str>) -> Result<Value, u16> {
    let origin = origin.map(|origin| ("origin", origin.to_owned()));
    upgrade(server, &format!("/api/sessions/{id}/ws"), origin).await
}

/// The status line's number of whatever is answered to these bytes.
async fn raw(server: &Server, request: &str) -> u16 {
    let address = server.base.strip_prefix("http://").unwrap();
    let mut connection = TcpStream::connect(address).await.unwrap();
    connection.write_all(request.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    soon("an answer", connection.read_exact(&mut answer)).await.unwrap();
    std::str::from_utf8(&answer).unwrap()[9..].parse().unwrap()
}

/// Whether a cache that stands between keeps an answer for each origin; a static file says more than that.
fn varies(headers: &HeaderMap) -> bool {
    headers.get_all("vary").into_iter().any(|value| value.to_str().unwrap().contains("origin"))
}

#[tokio::test]
async fn pages_of_allowed_origins_may_use_it_and_no_others() {
    let whatsapp = whatsapp().await;
    let server = Server::builder(&whatsapp.url())
        .variable("ALLOWED_ORIGINS", "https://app.example.com,https://*.example.org")
        .start()
        .await;
    let session = server.init("ada").await;
    let own = server.base.clone();
    let status = format!("/api/session-status/{}", session.id);
    let stream = format!("/api/sessions/{}/events", session.id);
    // Errors and streams among them.
    for path in [status.as_str(), &stream, "/api/nothing", "/qrcast.js", "/api/session-status/nonsense"] {
        for origin in [PAGE, "https://a.b.example.org", &own] {
            let headers = headers(&server, Method::GET, path, Some(origin)).await;
            assert_eq!(headers["access-control-allow-origin"], origin, "{path}");
            assert!(varies(&headers), "{path}");
            assert!(headers["access-control-expose-headers"].to_str().unwrap().contains("retry-after"));
        }
        for origin in [Some("https://evil.example"), Some("null"), Some("http://app.example.com"), None] {
            let headers = headers(&server, Method::GET, path, origin).await;
            assert!(!headers.contains_key("access-control-allow-origin"), "{path} {origin:?}");
            assert!(varies(&headers), "{path}");
        }
    }
    let preflight = async |origin: &str| {
        let request = server.request(Method::OPTIONS, &status).header("Origin", origin);
        let request = request.header("Access-Control-Request-Method", "DELETE");
        request.header("Access-Control-Request-Headers", "authorization").send().await.unwrap()
    };
    let allowed = preflight(PAGE).await;
    assert_eq!(allowed.status(), StatusCode::OK);
    assert!(allowed.headers()["access-control-allow-methods"].to_str().unwrap().contains("DELETE"));
    assert!(allowed.headers()["access-control-allow-headers"].to_str().unwrap().contains("authorization"));
    // A page that is allowed may be a page with tools.
    let asked = "authorization,baggage,cache-control,pragma,sentry-trace,traceparent,tracestate,x-requested-with,x-my-own";
    for path in [status.as_str(), &stream, "/api/init-session", "/qrcast.js"] {
        for origin in [PAGE, "https://a.b.example.org", &own] {
            let request = server.request(Method::OPTIONS, path).header("Origin", origin);
            let request = request.header("Access-Control-Request-Method", "POST");
            let answer = request.header("Access-Control-Request-Headers", asked).send().await.unwrap();
            assert_eq!(answer.headers()["access-control-allow-headers"], asked, "{path} {origin}");
            assert_eq!(answer.headers()["access-control-allow-origin"], origin, "{path}");
        }
    }
    assert!(!preflight("https://evil.example").await.headers().contains_key("access-control-allow-origin"));

    for origin in [Some(PAGE), Some("https://a.b.example.org"), Some(own.as_str()), None] {
        assert_eq!(opens(&server, &session.id, origin).await, Ok(json!("status")), "{origin:?}");
    }
    for origin in
        ["https://evil.example", "null", "https://example.org", "https://app.example.com.evil.example"]
    {
        assert_eq!(opens(&server, &session.id, Some(origin)).await, Err(403), "{origin}");
    }
}

#[tokio::test]
async fn any_origin_has_no_credentials() {
    let whatsapp = whatsapp().await;
    let server = Server::builder(&whatsapp.url())
        .variable("ALLOWED_ORIGINS", "*")
        .variable("API_KEYS", "main:all-of-it")
        .start()
        .await;
    let of_a_page = headers(&server, Method::GET, "/api/sessions", Some("https://any.example")).await;
    assert_eq!(of_a_page["access-control-allow-origin"], "https://any.example");
    assert!(!of_a_page.contains_key("access-control-allow-credentials"));
    // A frame without an origin of its own could be anybody's.
    let of_nobody = headers(&server, Method::GET, "/api/sessions", Some("null")).await;
    assert!(!of_nobody.contains_key("access-control-allow-origin"));
}

#[tokio::test]
async fn an_open_server_answers_to_names_of_this_machine_only() {
    let whatsapp = whatsapp().await;
    let server = Server::builder(&whatsapp.url()).start().await;
    let ask = |host: &str| format!("GET /health HTTP/1.1\r\nHost: {host}\r\n\r\n");
    for host in ["localhost", "localhost:9", "127.0.0.1", "[::1]:3000"] {
        assert_eq!(raw(&server, &ask(host)).await, 200, "{host}");
    }
    for host in ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:3000", "10.0.0.1"] {
        assert_eq!(raw(&server, &ask(host)).await, 421, "{host}");
    }
    // What else could carry a name changes nothing.
    let lies =
        "X-Forwarded-Host: localhost\r\nForwarded: host=localhost;proto=https\r\nX-Forwarded-For: ::1\r\n";
    assert_eq!(raw(&server, &format!("GET /health HTTP/1.1\r\nHost: evil.example\r\n{lies}\r\n")).await, 421);
    let absolute = |host: &str| format!("GET http://evil.example/health HTTP/1.1\r\nHost: {host}\r\n\r\n");
    assert_eq!(raw(&server, &absolute("evil.example")).await, 421);
    assert_eq!(raw(&server, &absolute("localhost")).await, 400);
    let twice = "GET /health HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n";
    assert_eq!(raw(&server, twice).await, 400);
    // The page of a name that points here would be of the same origin, if it were answered.
    let rebound = "Upgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nOrigin: http://evil.example\r\n";
    let request = format!("GET /api/sessions/{UNKNOWN}/ws HTTP/1.1\r\nHost: evil.example\r\n{rebound}\r\n");
    assert_eq!(raw(&server, &request).await, 421);
}

#[tokio::test]
async fn a_server_with_keys_answers_to_any_name() {
    let (_whatsapp, server) = locked().await;
    assert_eq!(raw(&server, "GET /health HTTP/1.1\r\nHost: link.example.com\r\n\r\n").await, 200);
}

#[tokio::test]
async fn every_answer_has_the_headers_of_a_careful_server() {
    let whatsapp = whatsapp().await;
    let server =
        Server::builder(&whatsapp.url()).variable("PUBLIC_URL", "https://link.example.com").start().await;
    // What binds a browser to https is for servers that have it.
    let plain =
        Server::builder(&whatsapp.url()).variable("PUBLIC_URL", "http://link.example.com").start().await;
    let of_plain = headers(&plain, Method::GET, "/", None).await;
    assert!(!of_plain.contains_key("strict-transport-security"));
    assert!(!of_plain["content-security-policy"].to_str().unwrap().contains("upgrade-insecure-requests"));
    for path in ["/", "/api/nothing", "/health", "/qrcast.js"] {
        let headers = headers(&server, Method::GET, path, None).await;
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "SAMEORIGIN"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-opener-policy", "same-origin"),
            ("x-xss-protection", "0"),
            ("strict-transport-security", "max-age=31536000; includeSubDomains"),
        ] {
            assert_eq!(headers[name], value, "{path}");
        }
        let used_anywhere = path == "/qrcast.js";
        let expected = if used_anywhere { "cross-origin" } else { "same-origin" };
        assert_eq!(headers["cross-origin-resource-policy"], expected, "{path}");
        assert!(headers["content-security-policy"].to_str().unwrap().contains("upgrade-insecure-requests"));
    }
}

/// A request as a foreign page's plain form or `fetch` without CORS could send it, and more.
async fn sends(server: &Server, method: Method, path: &str, headers: &[(&str, &str)]) -> (u16, Value) {
    let mut request = server.request(method, path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = soon(path, request.send()).await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap_or_default())
}

#[tokio::test]
async fn a_foreign_page_has_nothing_done_here() {
    let whatsapp = whatsapp().await;
    let server =
        Server::builder(&whatsapp.url()).variable("ALLOWED_ORIGINS", "https://app.example.com").start().await;
    let session = server.init("ada").await;
    let own = server.base.clone();
    let (restart, token) = (
        format!("/api/sessions/{}/restart", session.id),
        format!("/api/sessions/{}/stream-token", session.id),
    );
    let foreign = ("Origin", "https://evil.example");
    let plain = ("Content-Type", "text/plain");
    for path in [&restart, &token, &"/api/init-session".to_owned()] {
        for headers in [
            vec![foreign, plain],
            vec![foreign],
            vec![("Origin", "null"), plain],
            vec![foreign, ("Sec-Fetch-Site", "cross-site")],
            vec![foreign, ("Sec-Fetch-Site", "same-site")],
            // The browser's own answer to a proxy, which goes with a foreign page's requests as well.
            vec![foreign, ("Authorization", "Basic dXNlcjpwYXNz")],
            vec![foreign, ("Cookie", "a=b")],
        ] {
            let (status, error) = sends(&server, Method::POST, path, &headers).await;
            assert_eq!((status, &error["code"]), (403, &json!("FORBIDDEN")), "{path} {headers:?}");
        }
    }
    let (status, _) =
        sends(&server, Method::DELETE, &format!("/api/sessions/{}", session.id), &[foreign]).await;
    assert_eq!(status, 403);
    for headers in [
        vec![plain],
        vec![("Origin", own.as_str()), plain],
        vec![("Origin", PAGE)],
        vec![foreign, ("Sec-Fetch-Site", "same-origin")],
        vec![foreign, ("X-Api-Key", "anything")],
        vec![foreign, ("Authorization", "bearer anything")],
    ] {
        assert_eq!(sends(&server, Method::POST, &token, &headers).await.0, 200, "{headers:?}");
    }
    // What changes nothing is CORS's business alone.
    let status = format!("/api/session-status/{}", session.id);
    for method in [Method::GET, Method::HEAD, Method::OPTIONS] {
        assert_ne!(sends(&server, method, &status, &[foreign]).await.0, 403);
    }
}

#[tokio::test]
async fn a_refused_page_is_told_who_it_is_and_what_helps() {
    let whatsapp = whatsapp().await;
    let server = Server::builder(&whatsapp.url()).variable("API_KEYS", "main:all-of-it").start().await;
    let (id, token) = new_session(&server, "ada").await;
    let path = format!("/api/sessions/{id}/ws?token={token}");
    // As a proxy on a port of its own sends it with nginx's `$host`.
    let page = ("Origin", "https://link.example.com:8443");
    for headers in
        [vec![page, ("Host", "link.example.com")], vec![("Origin", "https://link.example.com:8444"), page]]
    {
        let (status, error) = sends(&server, Method::GET, &path, &headers).await;
        assert_eq!(status, 403);
        let words = error["error"].as_str().unwrap();
        assert!(words.contains("https://link.example.com:844") && words.contains("PUBLIC_URL"), "{words}");
        assert!(words.contains(error["details"]["own"].as_str().unwrap()), "{error}");
    }
    let (_, error) = sends(&server, Method::GET, &path, &[page, ("Host", "link.example.com")]).await;
    let details = (&error["details"]["origin"], &error["details"]["own"]);
    assert_eq!(details, (&json!("https://link.example.com:8443"), &json!("link.example.com")));
    // The browser tells nobody: the log does, once.
    let said = || server.log().iter().filter(|line| line.contains("PUBLIC_URL")).count();
    eventually("a line", async || said() > 0).await;
    assert_eq!(said(), 1);
    // With the remedy it is this server's own page.
    let server = Server::builder(&whatsapp.url())
        .variable("API_KEYS", "main:all-of-it")
        .variable("PUBLIC_URL", "https://link.example.com:8443")
        .start()
        .await;
    let request = server.request(Method::POST, "/api/init-session").bearer_auth("all-of-it");
    let answer: Value = request.json(&json!({ "userId": "ada" })).send().await.unwrap().json().await.unwrap();
    let path = format!(
        "/api/sessions/{}/ws?token={}",
        answer["sessionId"].as_str().unwrap(),
        answer["streamToken"].as_str().unwrap()
    );
    assert_eq!(upgrade(&server, &path, Some(("origin", page.1.to_owned()))).await, Ok(json!("status")));
}
