//! What can be found out about the way to WhatsApp without linking anything. `doctor` calls it; no running server does.

use std::sync::Arc;

use whatsapp_rust::version::fetch_latest_app_version;

use super::egress::{Egress, Egresses, ProxyFault, Visited};
use super::reach::Watch;
use super::version::{BUILT_IN, BUILT_IN_APPEARED};
use crate::proxy::Proxy;
use crate::shutdown::Shutdown;

/// One of the hosts that address books are fetched from.
const MEDIA: &str = "https://mmg.whatsapp.net/";

/// The way to WhatsApp that a server of the same configuration would go.
pub struct Checkup {
    egress: Arc<Egress>,
    /// Where the clients connect to.
    host: String,
    port: u16,
    media: &'static str,
}

/// Why WhatsApp's WebSocket was not reached.
#[derive(Debug, thiserror::Error)]
pub enum Unreached {
    /// Mend the proxy.
    #[error("{0}")]
    Proxy(String),
    /// Mend what lies between us, or the proxy, and WhatsApp.
    #[error("{0}")]
    WhatsApp(String),
}

/// The version of WhatsApp Web that is built in.
#[derive(Clone, Copy, Debug)]
pub struct BuiltIn {
    /// The last number of `2.3000.N`.
    pub build: u32,
    /// The day on which WhatsApp began to serve it, as in `2026-07-08`.
    pub appeared: &'static str,
}

impl BuiltIn {
    /// This binary's.
    pub const THIS: Self = Self { build: BUILT_IN.0, appeared: BUILT_IN_APPEARED };
}

/// Nothing is watched: a check-up ends after its first look.
fn watch() -> Watch {
    Watch { factor: 1.0, tasks: Shutdown::default() }
}

impl Checkup {
    /// Nothing is opened yet.
    pub fn new(proxy: Option<Proxy>) -> Self {
        let egress = Egresses::new(proxy, watch()).of(None);
        Self { egress, host: "web.whatsapp.com".into(), port: 443, media: MEDIA }
    }

    /// To a WhatsApp of your own.
    #[cfg(feature = "simulator")]
    pub fn of_simulator(url: &str, proxy: Option<Proxy>) -> Self {
        let egress = Egresses::to_simulator(url, proxy, watch()).of(None);
        let uri = url.parse::<hyper::Uri>().ok();
        let host = uri.as_ref().and_then(|uri| uri.host()).unwrap_or_default().to_owned();
        let port = uri.and_then(|uri| uri.port_u16()).unwrap_or(80);
        // Any host of loopback is the simulator.
        Self { egress, host, port, media: "https://127.0.0.1/" }
    }

    /// Name and port of WhatsApp.
    pub fn endpoint(&self) -> (&str, u16) {
        (&self.host, self.port)
    }

    /// Whether a connection to WhatsApp can be opened.
    ///
    /// # Errors
    /// See [`Unreached`].
    pub async fn websocket(&self) -> Result<(), Unreached> {
        self.egress.probe().await.map_err(|error| {
            let words = format!("{error:#}");
            if error.is::<ProxyFault>() { Unreached::Proxy(words) } else { Unreached::WhatsApp(words) }
        })
    }

    /// The newest version of WhatsApp Web.
    ///
    /// # Errors
    /// Says what failed, and at whom.
    pub async fn newest_version(&self) -> Result<u32, String> {
        match fetch_latest_app_version(&self.egress.http()).await {
            Ok((2, 3000, build)) => Ok(build),
            Ok(other) => Err(format!("{other:?} is no version of WhatsApp Web")),
            Err(error) => Err(format!("{error:#}")),
        }
    }

    /// Asks a media host for its first page; whatever it answers is an answer.
    ///
    /// # Errors
    /// Says what failed, and at whom.
    pub async fn media(&self) -> Result<Visited, String> {
        self.egress.visit(self.media).await.map_err(|error| format!("{error:#}"))
    }
}
