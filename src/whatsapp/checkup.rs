//! Checks the way to WhatsApp without linking anything. `doctor` calls it; a running server does not.

use std::sync::Arc;

use whatsapp_rust::version::fetch_latest_app_version;

use super::egress::{Egress, Egresses, ProxyFault, Visited};
use super::reach::Watch;
use super::version::{BUILT_IN, BUILT_IN_APPEARED};
use crate::proxy::Proxy;
use crate::shutdown::Shutdown;

/// One of the hosts from which address books are fetched.
const MEDIA: &str = "https://mmg.whatsapp.net/";

/// The way to WhatsApp that a server with the same configuration would use.
pub(crate) struct Checkup {
    egress: Arc<Egress>,
    /// The address to which clients connect.
    host: String,
    port: u16,
    media: &'static str,
}

/// Why WhatsApp's WebSocket was not reached.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreached {
    /// Mend the proxy.
    #[error("{0}")]
    Proxy(String),
    /// Mend the network between this machine, or the proxy, and WhatsApp.
    #[error("{0}")]
    WhatsApp(String),
}

/// The version of WhatsApp Web that is built in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BuiltIn {
    /// The last number of `2.3000.N`.
    pub build: u32,
    /// The day on which WhatsApp began to serve it, as in `2026-07-08`.
    pub appeared: &'static str,
}

impl BuiltIn {
    /// The version that is built into this binary.
    pub(crate) const THIS: Self = Self { build: BUILT_IN.0, appeared: BUILT_IN_APPEARED };
}

/// The way is not probed again: a check-up is over after one try.
fn watch() -> Watch {
    Watch { factor: 1.0, tasks: Shutdown::default() }
}

impl Checkup {
    /// Makes a check-up, without opening anything.
    pub(crate) fn new(proxy: Option<Proxy>) -> Self {
        let egress = Egresses::new(proxy, watch()).of(None);
        Self { egress, host: "web.whatsapp.com".into(), port: 443, media: MEDIA }
    }

    /// The same for a simulated WhatsApp.
    #[cfg(feature = "simulator")]
    pub(crate) fn of_simulator(url: &str, proxy: Option<Proxy>) -> Self {
        let egress = Egresses::to_simulator(url, proxy, watch()).of(None);
        let uri = url.parse::<hyper::Uri>().ok();
        let host = uri.as_ref().and_then(|uri| uri.host()).unwrap_or_default().to_owned();
        let port = uri.and_then(|uri| uri.port_u16()).unwrap_or(80);
        // The simulator answers for every host on loopback.
        Self { egress, host, port, media: "https://127.0.0.1/" }
    }

    /// Name and port of WhatsApp.
    pub(crate) fn endpoint(&self) -> (&str, u16) {
        (&self.host, self.port)
    }

    /// Opens a connection to WhatsApp and closes it.
    ///
    /// # Errors
    /// See [`Unreached`].
    pub(crate) async fn websocket(&self) -> Result<(), Unreached> {
        self.egress.probe().await.map_err(|error| {
            let words = format!("{error:#}");
            if error.is::<ProxyFault>() { Unreached::Proxy(words) } else { Unreached::WhatsApp(words) }
        })
    }

    /// Looks up the newest version of WhatsApp Web.
    ///
    /// # Errors
    /// Says what failed, and at which host.
    pub(crate) async fn newest_version(&self) -> Result<u32, String> {
        match fetch_latest_app_version(&self.egress.http()).await {
            Ok((2, 3000, build)) => Ok(build),
            Ok(other) => Err(format!("{other:?} is not a version of WhatsApp Web")),
            Err(error) => Err(format!("{error:#}")),
        }
    }

    /// Asks a media host for its first page. An answer with any status is a success.
    ///
    /// # Errors
    /// Says what failed, and at which host.
    pub(crate) async fn media(&self) -> Result<Visited, String> {
        self.egress.visit(self.media).await.map_err(|error| format!("{error:#}"))
    }
}
