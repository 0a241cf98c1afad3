//! The start of a [`Simulator`]: its port, and everything that is served there.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;

use crate::control;
use crate::noise::ServerIdentity;
use crate::server::Shared;
use crate::server::line::Lines;
use crate::simulator::{Simulator, StartError};

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
        let listener = Lines::new(listener, Arc::clone(&shared));
        let app = control::router(Arc::clone(&shared));
        let stop = shared.stop.clone();
        let server = axum::serve(listener, app).with_graceful_shutdown(stop.clone().cancelled_owned());
        shared.tasks.spawn(async move {
            let ended = async {
                stop.cancelled().await;
                tokio::time::sleep(GRACE).await;
            };
            tokio::select! {
                result = server => if let Err(error) = result { tracing::error!(%error, "the listener failed") },
                () = ended => tracing::debug!("requests were still open at the end"),
            }
        });
        shared.tasks.close();
        Ok(Self::new(shared, address))
    }
}
