//! [`Simulator`], once it runs: its address and its end. `start` makes one; what it can be made to do is in `actions`.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::noise::Pattern;
use crate::server::Shared;

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
}

impl Simulator {
    /// The handle of what is served on `address`.
    pub(crate) fn new(shared: Arc<Shared>, address: SocketAddr) -> Self {
        Self { shared, address }
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
        self.shared.tasks.wait().await;
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.stop();
    }
}
