//! The library's HTTPS requests: address books and other app state from the media hosts, the version of WhatsApp Web.
//!
//! Requests go to WhatsApp's own hosts only, and are all `GET`: nothing is uploaded. Proxy variables of the environment
//! (for example `HTTPS_PROXY`) are ignored.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hyper::body::{Body as _, Incoming};
use hyper::header::{CONTENT_LENGTH, DATE, HeaderName, HeaderValue, LOCATION};
use hyper::{Request, Response, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::sync::Semaphore;
use whatsapp_rust::anyhow::{self, Context as _, bail, ensure};
use whatsapp_rust::http::{HttpClient, HttpRequest, HttpResponse};

use super::dialler::Dialler;
use super::hosts::Hosts;
use crate::wire::Road;

/// How much a request may take, in time and in memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// The largest body. An address book of 10,000 contacts has some megabytes.
    pub(super) body: usize,
    /// The longest time from the connection to the last byte.
    pub(super) whole: Duration,
    /// The longest time without a byte.
    pub(super) silence: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { body: 64 * 1024 * 1024, whole: Duration::from_secs(120), silence: Duration::from_secs(20) }
    }
}

/// How much memory is reserved for a body that declares its length. Beyond that it grows with the bytes that arrive.
const TRUSTED_LENGTH: usize = 1024 * 1024;

/// How many idle connections are kept for each host, and how long.
const IDLE: usize = 2;
const IDLE_FOR: Duration = Duration::from_secs(30);

/// The head of an answer.
#[derive(Clone, Debug)]
pub struct Visited {
    /// The HTTP status.
    pub status: u16,
    /// The server's time, from the `Date` header.
    pub date: Option<String>,
}

/// The HTTP client of one way out.
pub(super) struct Fetcher {
    client: Client<Road, String>,
    hosts: Hosts,
    requests: Arc<Semaphore>,
    bounds: Bounds,
}

impl Fetcher {
    /// The permits limit how many requests run at a time; all ways out share them.
    pub(super) fn new(dialler: Dialler, hosts: Hosts, requests: Arc<Semaphore>) -> Self {
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_FOR)
            .pool_max_idle_per_host(IDLE)
            .build(road(Arc::new(dialler)));
        Self { client, hosts, requests, bounds: Bounds::default() }
    }

    #[cfg(all(test, feature = "simulator"))]
    pub(super) fn within(mut self, bounds: Bounds) -> Self {
        self.bounds = bounds;
        self
    }

    /// Requests a URL of WhatsApp and reads only the head of the answer.
    pub(super) async fn visit(&self, url: &str) -> anyhow::Result<Visited> {
        let uri = self.hosts.check(url)?;
        let _permit = self.requests.acquire().await?;
        let response = self.send(&uri, &HttpRequest::get(url)).await?;
        let date = response.headers().get(DATE).and_then(|date| date.to_str().ok());
        Ok(Visited { status: response.status().as_u16(), date: date.map(str::to_owned) })
    }

    async fn fetch(&self, request: HttpRequest) -> anyhow::Result<HttpResponse> {
        ensure!(request.method == "GET", "only GET is used, not {}", request.method);
        let uri = self.hosts.check(&request.url)?;
        let _permit = self.requests.acquire().await?;
        let host = uri.host().unwrap_or_default().to_owned();
        let answered = tokio::time::timeout(self.bounds.whole, self.ask(uri, &request));
        let late = || format!("{host} took longer than {} s", self.bounds.whole.as_secs());
        answered.await.with_context(late)?
    }

    /// Follows one redirection, to a host that the rule allows.
    async fn ask(&self, uri: Uri, request: &HttpRequest) -> anyhow::Result<HttpResponse> {
        let response = self.send(&uri, request).await?;
        let Some(target) = redirection(&uri, &response) else { return self.read(&uri, response).await };
        let target = self.hosts.check(&target).with_context(|| format!("{} redirects", named(&uri)))?;
        let response = self.send(&target, request).await?;
        if redirection(&target, &response).is_some() {
            bail!("{} redirects again and again", named(&uri));
        }
        self.read(&target, response).await
    }

    async fn send(&self, uri: &Uri, request: &HttpRequest) -> anyhow::Result<Response<Incoming>> {
        let mut get = Request::get(uri).body(String::new())?;
        for (name, value) in &request.headers {
            get.headers_mut().insert(HeaderName::try_from(name)?, HeaderValue::try_from(value)?);
        }
        // The connection has a time limit of its own.
        let answered = tokio::time::timeout(self.bounds.silence, self.client.request(get)).await;
        answered
            .with_context(|| format!("{} says nothing", named(uri)))?
            .with_context(|| format!("{} cannot be asked", named(uri)))
    }

    async fn read(&self, uri: &Uri, response: Response<Incoming>) -> anyhow::Result<HttpResponse> {
        let status_code = response.status().as_u16();
        let too_long = || format!("{} sends more than {} bytes", named(uri), self.bounds.body);
        let length =
            response.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        let length: usize = length.unwrap_or(0);
        ensure!(length <= self.bounds.body, too_long());
        let mut body = Vec::with_capacity(length.min(TRUSTED_LENGTH));
        let mut incoming = response.into_body();
        loop {
            let frame = poll_fn(|cx| Pin::new(&mut incoming).poll_frame(cx));
            let frame = tokio::time::timeout(self.bounds.silence, frame).await;
            let Some(frame) = frame.with_context(|| format!("{} stops in the middle", named(uri)))? else {
                break;
            };
            let Ok(data) = frame.with_context(|| format!("{} breaks off", named(uri)))?.into_data() else {
                continue;
            };
            // The length that was read counts, even if the head declared another.
            ensure!(body.len() + data.len() <= self.bounds.body, too_long());
            body.extend_from_slice(&data);
        }
        Ok(HttpResponse { status_code, body })
    }
}

/// The host, the only part of a URL that may be logged.
fn named(uri: &Uri) -> &str {
    uri.host().unwrap_or_default()
}

/// The target of a redirection, if the answer is one.
fn redirection(from: &Uri, response: &Response<Incoming>) -> Option<String> {
    if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    let target = response.headers().get(LOCATION)?.to_str().ok()?;
    let path = target.starts_with('/') && !target.starts_with("//");
    Some(if path {
        format!("{}://{}{target}", from.scheme_str()?, from.authority()?)
    } else {
        target.to_owned()
    })
}

fn road(dialler: Arc<Dialler>) -> Road {
    Road::new(move |uri| {
        let dialler = dialler.clone();
        async move { Ok(dialler.connect(&uri).await?) }
    })
}

#[async_trait]
impl HttpClient for Fetcher {
    async fn execute(&self, request: HttpRequest) -> anyhow::Result<HttpResponse> {
        // The library shows an error without its causes, so they are joined into one text.
        self.fetch(request).await.map_err(|error| anyhow::anyhow!("{error:#}"))
    }
}
