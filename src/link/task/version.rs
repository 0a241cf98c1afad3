//! WhatsApp no longer takes the version that the client claims. A newer one is looked for, once for the whole process; a
//! client built anew claims it.
//!
//! A linked device does not end by this: viewers are told, and the session comes back as soon as a newer
//! version is known; it also tries every hour, since WhatsApp might change its mind. Where no phone has, a person waits in
//! front of a page: one more try with a newer version, then that is the end.

use std::sync::Arc;

use futures::future::BoxFuture;
use parking_lot::Mutex;

use crate::whatsapp::version::Version;
use crate::whatsapp::{Signal, WhatsApp};

/// What becomes of a client whose version is refused.
#[derive(Default)]
pub(super) struct Outdated {
    /// What was refused, until a client is built anew.
    refused: Option<Refused>,
    /// Whether this client was built because the one before was refused.
    retried: bool,
}

struct Refused {
    version: Version,
    detail: String,
    search: Search,
}

/// Resolves to whether a newer version is known. The mutex is never locked: it only makes the future `Sync`, without which the
/// whole task could not be shared between two calls.
type Search = Mutex<BoxFuture<'static, bool>>;

fn search(future: impl Future<Output = bool> + Send + 'static) -> Search {
    Mutex::new(Box::pin(future))
}

impl Outdated {
    /// Whether this client's version was refused, so that its other signals no longer count.
    pub(super) fn holds(&self) -> bool {
        self.refused.is_some()
    }

    /// A client is built anew.
    pub(super) fn rebuilt(&mut self) {
        self.retried = self.refused.take().is_some();
    }

    /// WhatsApp took the version.
    pub(super) fn clear(&mut self) {
        self.retried = false;
    }

    /// Whether a newer version is known, as soon as that can be said.
    pub(super) async fn searched(&mut self) -> bool {
        match &mut self.refused {
            Some(refused) => refused.search.get_mut().await,
            None => std::future::pending().await,
        }
    }

    /// Whether this client was built because the version of the one before was refused.
    pub(super) fn is_retried(&self) -> bool {
        self.retried
    }

    /// WhatsApp refused this version: a newer one is looked for.
    pub(super) fn refused(&mut self, version: Version, detail: String, whatsapp: Arc<dyn WhatsApp>) {
        let search = search(async move { whatsapp.newer_version(version).await.is_some() });
        self.refused = Some(Refused { version, detail, search });
    }

    /// No newer version is known: waits until one is.
    pub(super) fn search_on(&mut self, whatsapp: Arc<dyn WhatsApp>) {
        if let Some(Refused { version, search: running, .. }) = &mut self.refused {
            let version = *version;
            *running = search(async move {
                whatsapp.until_newer_version(version).await;
                true
            });
        }
    }

    /// A newer version is known, and the next client has its place in the queue.
    pub(super) fn stop_searching(&mut self) {
        if let Some(refused) = &mut self.refused {
            refused.search = search(std::future::pending());
        }
    }

    /// The refusal, for viewers; it no longer holds.
    pub(super) fn take_signal(&mut self) -> Option<Signal> {
        self.refused.take().map(|Refused { version, detail, .. }| Signal::Outdated { version, detail })
    }
}
