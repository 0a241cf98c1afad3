//! Whether the store takes writes: asked at most once a second, however many monitors call `/health`.

use std::time::{Duration, Instant};

use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::registry::Registry;
use crate::session::Error;

/// How old an answer of the store may be.
const PROBE_EVERY: Duration = Duration::from_secs(1);

/// How long the store may take to answer: a disk that hangs is one that stores nothing. Longer than SQLite waits for another
/// process, twice.
const PROBE_PATIENCE: Duration = Duration::from_secs(5);

/// Asks the store now and then, not for every monitor that calls.
#[derive(Default)]
pub(in crate::http) struct StorageProbe(Mutex<Option<(Instant, bool)>>);

impl StorageProbe {
    /// Whether the store takes what is written, or will without anybody's doing: how long that may last say the alerts.
    pub(in crate::http) async fn stores(&self, registry: &Registry) -> bool {
        let mut last = self.0.lock().await;
        if let Some((at, stores)) = *last
            && at.elapsed() < PROBE_EVERY
        {
            return stores;
        }
        // While it fails it is tried once a second in any case.
        let stores = match registry.judgement().trouble() {
            Some(trouble) => trouble.error.passes(),
            None => takes_writes(registry).await,
        };
        *last = Some((Instant::now(), stores));
        stores
    }
}

async fn takes_writes(registry: &Registry) -> bool {
    match timeout(PROBE_PATIENCE, registry.check_storage()).await {
        Ok(Ok(())) => true,
        Ok(Err(Error::Away)) => true,
        Ok(Err(error)) => {
            tracing::error!(%error, "nothing can be stored");
            false
        }
        Err(_) => {
            tracing::error!("the storage does not answer");
            false
        }
    }
}
