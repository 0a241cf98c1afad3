//! [`Simulator`]: start, address, end. What it can be made to do is in `actions`.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;

use crate::control;
use crate::noise::{Pattern, ServerIdentity};
use crate::server::Shared;
use crate::server::line::Lines;

/// References per pairing, as WhatsApp gives them.
const REFS: usize = 6;
/// How long requests that are still open at the end may take.
const GRACE: Duration = Duration::from_secs(2);

/// How the simulator starts.
#[derive(Clone, Debug)]
pub struct Config {
    /// Must be on loopback. Default: a free port of 127.0.0.1.
    pub listen: SocketAddr,
    /// QR references per pairing, at least 1. Default: 6.
    pub refs: usize,
    /// Contacts of every account without settings of its own ([`Simulator::account`]). Default: 0, accounts without a
    /// history.
    pub contacts: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { listen: (Ipv4Addr::LOCALHOST, 0).into(), refs: REFS, contacts: 0 }
    }
}

/// Why it did not start. Converts into [`io::Error`], which is what [`Simulator::start`] returns.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Only loopback is allowed, because the control API lets anybody who reaches it link and unlink devices.
    #[error("{0} is not a loopback address")]
    NotLoopback(SocketAddr),
    /// A client without a reference can never be paired.
    #[error("a pairing needs at least one reference")]
    NoRefs,
    /// The certificate chain could not be signed.
    #[error("no certificate chain: {0}")]
    Chain(String),
}

impl From<StartError> for io::Error {
    fn from(error: StartError) -> Self {
        let kind = match error {
            StartError::NotLoopback(_) | StartError::NoRefs => io::ErrorKind::InvalidInput,
            StartError::Chain(_) => io::ErrorKind::Other,
        };
        io::Error::new(kind, error)
    }
}

/// A running simulator. Dropping it ends it without waiting; [`Simulator::shutdown`] waits.
pub struct Simulator {
    pub(crate) shared: Arc<Shared>,
    address: SocketAddr,
    tasks: TaskTracker,
}

impl Simulator {
    /// Binds the port and serves until the simulator ends.
    ///
    /// # Errors
    /// [`StartError`] as `InvalidInput` or `Other`, or whatever binding says.
    pub async fn start(config: Config) -> io::Result<Self> {
        if !config.listen.ip().is_loopback() {
            return Err(StartError::NotLoopback(config.listen).into());
        }
        if config.refs == 0 {
            return Err(StartError::NoRefs.into());
        }
        let identity = ServerIdentity::generate().map_err(|error| StartError::Chain(error.to_string()))?;
        let listener = TcpListener::bind(config.listen).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::new(identity, address, config.refs, config.contacts));
        let tasks = shared.tasks.clone();
        let listener = Lines::new(listener, Arc::clone(&shared));
        let app = control::router(Arc::clone(&shared), tasks.clone());
        let stop = shared.stop.clone();
        let server = axum::serve(listener, app).with_graceful_shutdown(stop.clone().cancelled_owned());
        tasks.spawn(async move {
            let ended = async {
                stop.cancelled().await;
                tokio::time::sleep(GRACE).await;
            };
            tokio::select! {
                result = server => if let Err(error) = result { tracing::error!(%error, "the listener failed") },
                () = ended => tracing::debug!("requests were still open at the end"),
            }
        });
        tasks.close();
        Ok(Self { shared, address, tasks })
    }

    /// The address on which it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// What a client connects to: `ws://…/ws/chat`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("ws://{}/ws/chat", self.address)
    }

    /// Public key of the root that signs the server's certificates, for a client whose pinned root is replaced by it.
    #[must_use]
    pub fn root_key(&self) -> [u8; 32] {
        self.shared.identity().root()
    }

    /// Gives the server another static key under the same root: clients that kept the old one are led through XXfallback.
    ///
    /// # Errors
    /// [`StartError::Chain`] when signing fails.
    pub fn rotate_server_key(&self) -> Result<(), StartError> {
        let rotated =
            self.shared.identity().rotated().map_err(|error| StartError::Chain(error.to_string()))?;
        self.shared.set_identity(rotated);
        Ok(())
    }

    /// What clients did wrong, oldest first; the last thousand. Empty after a run of well-behaved clients.
    #[must_use]
    pub fn complaints(&self) -> Vec<String> {
        self.shared.shelf.world().complaints()
    }

    /// How clients shook hands, oldest first; the last thousand.
    #[must_use]
    pub fn handshakes(&self) -> Vec<Pattern> {
        self.shared.shelf.world().handshakes()
    }

    /// Ends every connection, without waiting.
    pub fn stop(&self) {
        self.shared.stop.cancel();
    }

    /// Ends every connection and waits until every task is gone.
    pub async fn shutdown(self) {
        self.stop();
        self.tasks.wait().await;
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.stop();
    }
}
