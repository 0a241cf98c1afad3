//! Opens connections: name look-up, TCP, proxy, TLS. Both the clients' WebSockets and HTTPS use it, so that both take
//! the same way out.

use std::sync::Arc;
use std::time::Duration;

use hyper::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use tokio::net::TcpStream;
use tokio_websockets::{Connector, MaybeTlsStream};
use tower_service::Service as _;
use whatsapp_rust::anyhow::{self, Context as _, bail};
use whatsapp_rust::transport::default_tls_connector;

use super::tunnel::{self, ProxyFault};
use crate::proxy::Proxy;
use crate::wire::Stream;

/// How long name look-up, TCP, proxy and TLS may take together. The library waits 20 s for a connection, and its error
/// would not say for what.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// How long TCP may take, over all addresses of a name.
const TCP_TIMEOUT: Duration = Duration::from_secs(10);

/// How a host is reached.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Way {
    Direct,
    Through(Proxy),
    /// A proxy is required, but its stored URL cannot be read.
    Nowhere,
}

/// Opens connections through one way out.
#[derive(Clone)]
pub(super) struct Dialler {
    /// Tries the addresses of a name in parallel, so that a broken IPv6 delays a connection only briefly.
    tcp: HttpConnector,
    /// Shared by all diallers, because the root certificates take most of their memory.
    tls: Arc<Connector>,
    way: Way,
}

impl Dialler {
    pub(super) fn new(way: Way) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(TCP_TIMEOUT));
        // The client's frames are small. Without this each login would wait 40 ms for an acknowledgement.
        tcp.set_nodelay(true);
        Self { tcp, tls: Arc::new(default_tls_connector()), way }
    }

    /// A dialler for another way, which shares the rest.
    pub(super) fn by(&self, way: Way) -> Self {
        Self { way, ..self.clone() }
    }

    pub(super) fn proxy(&self) -> Option<&Proxy> {
        match &self.way {
            Way::Through(proxy) => Some(proxy),
            Way::Direct | Way::Nowhere => None,
        }
    }

    /// Connects to the host of this URL, with TLS if its scheme requires it.
    pub(super) async fn connect(&self, uri: &Uri) -> anyhow::Result<Stream> {
        let host = uri.host().context("a URL without a host")?;
        let secure = matches!(uri.scheme_str(), Some("https" | "wss"));
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let opened = tokio::time::timeout(CONNECT_TIMEOUT, self.open(host, port, secure)).await;
        opened.with_context(|| {
            let by = self.proxy().map(|proxy| format!(" through the proxy {proxy}")).unwrap_or_default();
            format!("{host} did not answer{by} within {} s", CONNECT_TIMEOUT.as_secs())
        })?
    }

    async fn open(&self, host: &str, port: u16, secure: bool) -> anyhow::Result<Stream> {
        let socket = self.reach(host, port).await?;
        if !secure {
            return Ok(MaybeTlsStream::Plain(socket));
        }
        self.tls.wrap(host, socket).await.with_context(|| format!("TLS with {host} failed"))
    }

    async fn reach(&self, host: &str, port: u16) -> anyhow::Result<TcpStream> {
        match &self.way {
            Way::Direct => self.tcp(host, port).await.with_context(|| format!("{host} cannot be reached")),
            Way::Through(proxy) => {
                let socket = self.tcp(proxy.host(), proxy.port()).await;
                let socket = socket.with_context(|| ProxyFault::new(proxy, "cannot be reached"))?;
                tunnel::through(proxy, socket, host, port).await
            }
            Way::Nowhere => bail!("the proxy of this session cannot be read"),
        }
    }

    async fn tcp(&self, host: &str, port: u16) -> anyhow::Result<TcpStream> {
        let address = Uri::builder().scheme("http").authority(format!("{host}:{port}")).path_and_query("/");
        Ok(self.tcp.clone().call(address.build()?).await?.into_inner())
    }
}
