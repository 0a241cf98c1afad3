//! Opens connections: name, TCP, TLS. The one place that does, for the clients' WebSockets and for HTTPS alike, so that
//! both go the same way out.

use std::sync::Arc;
use std::time::Duration;

use hyper::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use tokio::net::TcpStream;
use tokio_websockets::{Connector, MaybeTlsStream};
use tower_service::Service as _;
use whatsapp_rust::anyhow::{self, Context as _};
use whatsapp_rust::transport::default_tls_connector;

/// A connection that is ready for HTTP.
pub(super) type Stream = MaybeTlsStream<TcpStream>;

/// How long name, TCP and TLS may take together. The library waits 20 s for a connection, and would not say for what.
const PATIENCE: Duration = Duration::from_secs(15);

/// How long TCP may take, over all addresses of a name.
const TCP_PATIENCE: Duration = Duration::from_secs(10);

/// Opens connections one way.
#[derive(Clone)]
pub(super) struct Dialler {
    /// Tries the addresses of a name side by side, so that a broken IPv6 costs no more than a moment.
    tcp: HttpConnector,
    /// Shared by all: the root certificates are most of what a dialler costs.
    tls: Arc<Connector>,
}

impl Dialler {
    pub(super) fn direct() -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(TCP_PATIENCE));
        // The client's frames are small, and each login would wait 40 ms for an acknowledgement.
        tcp.set_nodelay(true);
        Self { tcp, tls: Arc::new(default_tls_connector()) }
    }

    /// To the host of this URL; with TLS where its scheme says so.
    pub(super) async fn connect(&self, uri: &Uri) -> anyhow::Result<Stream> {
        let host = uri.host().context("a URL without a host")?;
        let secure = matches!(uri.scheme_str(), Some("https" | "wss"));
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let opened = tokio::time::timeout(PATIENCE, self.open(host, port, secure)).await;
        opened.with_context(|| format!("{host} did not answer within {} s", PATIENCE.as_secs()))?
    }

    async fn open(&self, host: &str, port: u16, secure: bool) -> anyhow::Result<Stream> {
        let socket = self.reach(host, port).await?;
        if !secure {
            return Ok(MaybeTlsStream::Plain(socket));
        }
        self.tls.wrap(host, socket).await.with_context(|| format!("TLS with {host} failed"))
    }

    async fn reach(&self, host: &str, port: u16) -> anyhow::Result<TcpStream> {
        let address = Uri::builder().scheme("http").authority(format!("{host}:{port}")).path_and_query("/");
        let connected = self.tcp.clone().call(address.build()?).await;
        Ok(connected.with_context(|| format!("{host} cannot be reached"))?.into_inner())
    }
}
