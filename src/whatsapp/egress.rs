//! The ways out to WhatsApp: directly, through the proxy of the server (`WA_PROXY`), or through one of a session's own.
//!
//! An [`Egress`] opens the clients' connections and makes their HTTPS requests; [`Egresses`] holds what all ways out
//! share. Nothing is retried here: the callers, `whatsapp/client.rs` and the connections of `whatsapp/connection.rs`,
//! decide when to try again. `reach` gathers what the dials show about a way.

mod dialler;
mod fetch;
mod hosts;
#[cfg(test)]
mod tests;
mod tunnel;

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use async_trait::async_trait;
use futures::SinkExt as _;
use hyper::Uri;
use hyper::header::{HeaderValue, ORIGIN};
use metrics::gauge;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio_websockets::{ClientBuilder, WebSocketStream};
use tracing::error;
use whatsapp_rust::anyhow::{self, Context as _};
use whatsapp_rust::async_channel::Receiver;
use whatsapp_rust::http::HttpClient;
use whatsapp_rust::transport::{Transport, TransportEvent, from_websocket};
use whatsapp_rust::wacore::net::{WHATSAPP_WEB_ORIGIN, WHATSAPP_WEB_WS_URL};

use self::dialler::{Dialler, Way};
use self::fetch::Fetcher;
pub use self::fetch::Visited;
use self::hosts::Hosts;
pub use self::tunnel::ProxyFault;
pub use super::reach::Watch;
use super::reach::{Dial, Reach, Way as Watched};
use crate::proxy::{Proxy, ProxyUrl};
use crate::telemetry::metrics::WHATSAPP_WAYS_DEAD;
use crate::wire::Stream;

/// How many HTTPS requests may run at a time, over all sessions and ways out. Each may hold a body in memory.
const REQUESTS: usize = 16;

/// All ways out of this process.
pub struct Egresses {
    websocket: String,
    hosts: Hosts,
    requests: Arc<Semaphore>,
    watch: Watch,
    /// The way out of sessions without a proxy of their own.
    usual: Arc<Egress>,
    /// The other ways out. Each is freed with its last user; its empty entry is removed when the next new one is made.
    others: Mutex<HashMap<Way, Weak<Egress>>>,
}

impl Egresses {
    /// Makes the ways out, without opening anything. Sessions without a proxy of their own use this proxy, or connect
    /// directly if it is `None`.
    pub fn new(proxy: Option<Proxy>, watch: Watch) -> Self {
        Self::of_endpoint(WHATSAPP_WEB_WS_URL.to_owned(), Hosts::whatsapp(), proxy, watch)
    }

    /// The same for a simulated WhatsApp at `ws://host:port/path`. Requests to WhatsApp's web server, and to media
    /// hosts on loopback, go there as well, by plain HTTP.
    #[cfg(feature = "simulator")]
    pub fn to_simulator(url: &str, proxy: Option<Proxy>, watch: Watch) -> Self {
        let authority = url.parse::<Uri>().ok().and_then(|uri| uri.authority().cloned());
        Self::of_endpoint(url.to_owned(), Hosts::simulated(authority), proxy, watch)
    }

    fn of_endpoint(websocket: String, hosts: Hosts, proxy: Option<Proxy>, watch: Watch) -> Self {
        gauge!(WHATSAPP_WAYS_DEAD).set(0.0);
        let requests = Arc::new(Semaphore::new(REQUESTS));
        let dialler = Dialler::new(proxy.map_or(Way::Direct, Way::Through));
        let usual = Egress::new(&websocket, dialler, hosts.clone(), requests.clone(), watch.clone());
        let usual = Arc::new(usual);
        Self { websocket, hosts, requests, watch, usual, others: Mutex::default() }
    }

    /// The way out of a session: through its own proxy, or the common one. Sessions that name the same proxy share one.
    /// If the proxy cannot be read, that is logged as an error, and the way out reaches nothing: it never falls back to
    /// another way.
    pub fn of(&self, proxy: Option<&ProxyUrl>) -> Arc<Egress> {
        let Some(url) = proxy else { return self.usual.clone() };
        let way = url.parse().map_or_else(
            |unreadable| {
                error!(error = %unreadable, "the stored proxy of this session cannot be read");
                Way::Nowhere
            },
            Way::Through,
        );
        let mut others = self.others.lock();
        if let Some(known) = others.get(&way).and_then(Weak::upgrade) {
            return known;
        }
        others.retain(|_, egress| egress.strong_count() > 0);
        let dialler = self.usual.dialler.by(way.clone());
        let (hosts, requests) = (self.hosts.clone(), self.requests.clone());
        let egress = Arc::new(Egress::new(&self.websocket, dialler, hosts, requests, self.watch.clone()));
        others.insert(way, Arc::downgrade(&egress));
        egress
    }
}

/// One way out.
pub struct Egress {
    websocket: String,
    dialler: Dialler,
    http: Arc<Fetcher>,
    reach: Reach,
}

impl Egress {
    fn new(websocket: &str, dialler: Dialler, hosts: Hosts, requests: Arc<Semaphore>, watch: Watch) -> Self {
        let http = Arc::new(Fetcher::new(dialler.clone(), hosts, requests));
        Self { websocket: websocket.to_owned(), dialler, http, reach: Reach::new(watch) }
    }

    /// The proxy of this way out, as host and port, for people.
    pub fn proxy(&self) -> Option<&Proxy> {
        self.dialler.proxy()
    }

    /// Opens a connection to WhatsApp: TCP, TLS and the upgrade to WebSocket. It does not log in.
    ///
    /// # Errors
    /// Says what failed, and at which host. There is no time limit for the answer to the upgrade, because the library has one.
    pub async fn dial(self: &Arc<Self>) -> anyhow::Result<(Arc<dyn Transport>, Receiver<TransportEvent>)> {
        let dial = Dial::begin(self);
        let opened = self.open().await;
        dial.ended(&opened);
        Ok(from_websocket(opened?))
    }

    /// Whether WhatsApp can be reached: opens a connection as [`Self::dial`] does, and closes it.
    ///
    /// # Errors
    /// Says what failed, and at which host.
    pub async fn probe(&self) -> anyhow::Result<()> {
        let patience = self.reach.probe_timeout();
        let opening = tokio::time::timeout(patience, self.open());
        let mut websocket = opening.await.context("WhatsApp did not answer")??;
        // WhatsApp was reached; the result of the close does not matter.
        let _ = tokio::time::timeout(patience, websocket.close()).await;
        Ok(())
    }

    /// What is known about whether WhatsApp can be reached this way.
    pub(super) fn reach(&self) -> &Reach {
        &self.reach
    }

    /// The client for HTTPS requests to WhatsApp's own hosts.
    pub fn http(&self) -> Arc<dyn HttpClient> {
        self.http.clone()
    }

    /// Asks a host of WhatsApp for a page. An answer with any status is a success.
    ///
    /// # Errors
    /// Says what failed, and at which host.
    pub async fn visit(&self, url: &str) -> anyhow::Result<Visited> {
        self.http.visit(url).await
    }

    async fn open(&self) -> anyhow::Result<WebSocketStream<Stream>> {
        let uri: Uri = self.websocket.parse()?;
        let stream = self.dialler.connect(&uri).await?;
        // The origin is WhatsApp's, even if a simulator takes its place.
        let origin = HeaderValue::from_static(WHATSAPP_WEB_ORIGIN);
        let upgrade = ClientBuilder::from_uri(uri).add_header(ORIGIN, origin)?;
        let (websocket, _) = upgrade.connect_on(stream).await.context("the upgrade to WebSocket failed")?;
        Ok(websocket)
    }
}

#[async_trait]
impl Watched for Egress {
    fn reach(&self) -> &Reach {
        &self.reach
    }

    async fn probe(&self) -> anyhow::Result<()> {
        Self::probe(self).await
    }
}
