//! One server's API over HTTP/1.1, with its refusals in words that say what to do next.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body as _, Incoming};
use hyper::header::{
    ACCEPT, ACCEPT_LANGUAGE, AUTHORIZATION, CONTENT_TYPE, LOCATION, RETRY_AFTER, USER_AGENT,
};
use hyper::http::request::Builder;
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use tokio::time::timeout;
use whatsapp_rust::transport::default_tls_connector;

use super::failure::Failure;
use crate::config::{ClientSettings, Secret};
use crate::wire::{self, Road};

/// How long TCP may take, over all addresses of a name.
const TCP_LIMIT: Duration = Duration::from_secs(10);

/// From the connection to the head of an answer, and for each part of the rest. The server itself waits up to 20 s for WhatsApp.
const LIMIT: Duration = Duration::from_secs(30);

/// A page of the list of sessions has some hundred kilobytes.
const BODY: usize = 16 * 1024 * 1024;

pub(super) struct Api {
    http: Client<Road, String>,
    server: String,
    key: Option<Secret>,
}

impl Api {
    /// Nothing is opened yet.
    pub(super) fn new(ClientSettings { server, key }: ClientSettings) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(TCP_LIMIT));
        tcp.set_nodelay(true);
        let tls = Arc::new(default_tls_connector());
        let road = Road::new(move |uri| {
            let (tcp, tls) = (tcp.clone(), tls.clone());
            async move { wire::open(tcp, &tls, uri).await }
        });
        // Between two calls a person may think for minutes, so no connection is kept.
        let http = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(road);
        Self { http, server, key }
    }

    /// The live page of a session, which asks for a key.
    pub(super) fn page(&self, session: &str) -> String {
        format!("{}/?session={session}", self.server)
    }

    pub(super) async fn get(&self, path: &str) -> Result<Value, Failure> {
        self.json(self.request(Method::GET, path), String::new()).await
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        let request = self.request(Method::POST, path).header(CONTENT_TYPE, "application/json");
        self.json(request, body.to_string()).await
    }

    pub(super) async fn delete(&self, path: &str) -> Result<Value, Failure> {
        self.json(self.request(Method::DELETE, path), String::new()).await
    }

    /// Opens a stream after this cursor; `None` at the end of an ended session.
    pub(super) async fn stream(&self, path: &str, cursor: Option<&str>) -> Result<Option<Incoming>, Failure> {
        let mut request = self.request(Method::GET, path).header(ACCEPT, "text/event-stream");
        if let Some(cursor) = cursor {
            request = request.header("last-event-id", cursor);
        }
        let response = self.ask(request, String::new()).await?;
        if response.status() == StatusCode::NO_CONTENT {
            return Ok(None);
        }
        let is_stream = response.headers().get(CONTENT_TYPE).is_some_and(|kind| kind == "text/event-stream");
        if is_stream { Ok(Some(response.into_body())) } else { Err(self.unfit()) }
    }

    fn request(&self, method: Method, path: &str) -> Builder {
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.server))
            .header(USER_AGENT, concat!("qrcast/", env!("CARGO_PKG_VERSION")))
            // Some words of the server would else be those of the old service.
            .header(ACCEPT_LANGUAGE, "en");
        match &self.key {
            Some(key) => request.header(AUTHORIZATION, format!("Bearer {}", key.0)),
            None => request,
        }
    }

    /// `null` where the answer has no body.
    async fn json(&self, request: Builder, body: String) -> Result<Value, Failure> {
        let response = self.ask(request, body).await?;
        if response.status() == StatusCode::NO_CONTENT {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&self.read(response.into_body()).await?).map_err(|_| self.unfit())
    }

    /// The head of an answer that is no refusal.
    async fn ask(&self, request: Builder, body: String) -> Result<Response<Incoming>, Failure> {
        let request = request.body(body).map_err(|_| self.unfit())?;
        let answered = timeout(LIMIT, self.http.request(request)).await.map_err(|_| self.late())?;
        let response = answered.map_err(|error| self.silent(innermost(&error)))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let (head, body) = response.into_parts();
        let body = self.read(body).await?;
        Err(self.refused(head.status, &head.headers, &body))
    }

    async fn read(&self, mut body: Incoming) -> Result<Vec<u8>, Failure> {
        let mut read = Vec::new();
        while let Some(bytes) = timeout(LIMIT, chunk(&mut body)).await.map_err(|_| self.late())? {
            read.extend_from_slice(&bytes.map_err(|error| self.silent(innermost(&error)))?);
            if read.len() > BODY {
                return Err(self.unfit());
            }
        }
        Ok(read)
    }

    fn silent(&self, why: impl std::fmt::Display) -> Failure {
        let said = format!(
            "{} does not answer ({why}): start the server, or name another one by --server; one that runs here is found by HOST and PORT",
            self.server
        );
        Failure::new(Failure::UNAVAILABLE, said)
    }

    fn late(&self) -> Failure {
        self.silent(format_args!("nothing within {} s", LIMIT.as_secs()))
    }

    fn unfit(&self) -> Failure {
        let said = format!("{} does not answer as qrcast does: see whether --server is right", self.server);
        Failure::new(Failure::REFUSED, said)
    }

    fn refused(&self, status: StatusCode, head: &HeaderMap, body: &[u8]) -> Failure {
        let header = |name| head.get(name).and_then(|value| value.to_str().ok());
        if let Some(target) = header(LOCATION).filter(|_| status.is_redirection()) {
            let said = format!("{} leads to {target}: give that server's address by --server", self.server);
            return Failure::new(Failure::USAGE, said);
        }
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let exit = match status.as_u16() {
            401 | 403 => Failure::NO_PERMISSION,
            400 | 422 => Failure::USAGE,
            429 | 500.. => Failure::UNAVAILABLE,
            _ => Failure::REFUSED,
        };
        let (Some(error), Some(code)) = (body["error"].as_str(), body["code"].as_str()) else {
            let said = format!("{} answers {status} and no more: see whether --server is right", self.server);
            return Failure::new(exit, said);
        };
        let wait = header(RETRY_AFTER).map(|wait| format!("; try again in {wait} s")).unwrap_or_default();
        let next = match code {
            "UNAUTHORIZED" if self.key.is_none() => {
                "; put the secret of one of its API_KEYS into QRCAST_API_KEY"
            }
            "UNAUTHORIZED" => {
                "; the key that was sent, of QRCAST_API_KEY or else API_KEYS, is none of its keys"
            }
            "FORBIDDEN" => "; a key with a prefix is for the user ids that begin with it",
            "SESSION_NOT_FOUND" => "; `qrcast sessions` lists those that are there",
            "SESSION_LIMIT" => "; `qrcast sessions` lists them, `qrcast logout` deletes one",
            "SESSION_ENDED" => "; `qrcast link` makes a new one",
            _ => &wait,
        };
        Failure::new(exit, format!("{error} ({code}){next}"))
    }
}

/// The next bytes of a body.
pub(super) async fn chunk(body: &mut Incoming) -> Option<hyper::Result<Bytes>> {
    let frame = poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await?;
    Some(frame.map(|frame| frame.into_data().unwrap_or_default()))
}

/// What hyper says around the reason names parts of the URL, or nothing.
fn innermost(error: &dyn std::error::Error) -> &dyn std::error::Error {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost
}
