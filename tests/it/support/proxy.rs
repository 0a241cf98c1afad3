//! What stands between a browser and a server in some companies: a proxy that lets ordinary requests through, and
//! neither an upgrade nor a stream where it is told so. It can also put a page of somebody else beside the server. And a
//! site that is somebody else's altogether.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse as _, Response};
use tokio::net::TcpListener;

/// A running proxy; it ends with the test's runtime.
pub(crate) struct Proxy {
    pub(crate) base: String,
}

#[derive(Clone)]
struct Rules {
    upstream: String,
    blocks: &'static [&'static str],
    page: Option<(&'static str, String)>,
    /// What it takes off the front of each path; all else is somebody else's.
    folder: &'static str,
    /// What it wants in `Authorization`.
    basic: Option<&'static str>,
}

impl Rules {
    /// WebSocket would need more than this proxy does.
    fn of(upstream: &str) -> Self {
        Self { upstream: upstream.to_owned(), blocks: &["/ws"], page: None, folder: "", basic: None }
    }
}

impl Proxy {
    /// In front of a server; requests for paths that end so are answered with the proxy's own page.
    pub(crate) async fn blocking(upstream: &str, blocks: &'static [&'static str]) -> Self {
        Self::start(Rules { blocks, ..Rules::of(upstream) }).await
    }

    /// In front of a server, with somebody's page at a path.
    pub(crate) async fn serving(upstream: &str, path: &'static str, page: String) -> Self {
        Self::start(Rules { page: Some((path, page)), ..Rules::of(upstream) }).await
    }

    /// In front of a server that is one folder of a site, behind a user name and a password.
    pub(crate) async fn with_folder(upstream: &str, folder: &'static str, basic: &'static str) -> Self {
        Self::start(Rules { folder, basic: Some(basic), ..Rules::of(upstream) }).await
    }

    async fn start(rules: Rules) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let app = Router::new().fallback(pass).with_state(rules);
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { base }
    }
}

async fn pass(State(rules): State<Rules>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path();
    if let Some((at, page)) = &rules.page
        && *at == path
    {
        return Html(page.clone()).into_response();
    }
    let given = parts.headers.get(header::AUTHORIZATION).map(|value| value.as_bytes().to_vec());
    if let Some(basic) = rules.basic
        && given.as_deref() != Some(basic.as_bytes())
    {
        return (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Basic realm=\"x\"")], "who?")
            .into_response();
    }
    let Some(path) = path.strip_prefix(rules.folder) else {
        return (StatusCode::NOT_FOUND, Html("<h1>Another site</h1>")).into_response();
    };
    if rules.blocks.iter().any(|block| path.ends_with(block)) {
        return (StatusCode::FORBIDDEN, Html("<h1>Blocked by policy</h1>")).into_response();
    }
    let body: Bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    let mut headers = parts.headers;
    headers.remove(header::HOST);
    let query = parts.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let url = format!("{}{path}{query}", rules.upstream);
    let sent = reqwest::Client::new().request(parts.method, url).headers(headers).body(body).send().await;
    let Ok(answer) = sent else { return StatusCode::BAD_GATEWAY.into_response() };
    let (status, headers): (_, HeaderMap) = (answer.status(), answer.headers().clone());
    (status, headers, Body::from_stream(answer.bytes_stream())).into_response()
}

/// A site on an origin of its own, which shows one page at every path. It ends with the test's runtime.
pub(crate) struct Site {
    pub(crate) origin: String,
    page: Arc<Mutex<String>>,
}

impl Site {
    /// By another name than the servers have, so that a browser takes it for another site, too.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://localhost:{}", listener.local_addr().unwrap().port());
        let page = Arc::new(Mutex::new(String::new()));
        let shown = page.clone();
        let app = Router::new().fallback(async move || Html(shown.lock().unwrap().clone()));
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { origin, page }
    }

    pub(crate) fn shows(&self, body: &str) {
        *self.page.lock().unwrap() =
            format!("<!doctype html><title>A shop</title><link rel=icon href='data:,'><body>{body}");
    }
}

/// A port that was free a moment ago, for a server that is to come back on it. No other test of this process gets the same.
pub(crate) fn free_port() -> String {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let free = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let port = std::iter::repeat_with(free).find(|port| GIVEN.lock().unwrap().insert(*port)).unwrap();
    port.to_string()
}
