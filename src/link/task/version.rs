//! WhatsApp no longer takes the version that the client claims. A newer one is looked for, once for the whole process; a
//! client built anew claims it.
//!
//! Where a phone has linked the device this is no end: viewers are told, and the session comes back as soon as a newer
//! version is known; it also tries every hour, since WhatsApp might change its mind. Where no phone has, a person waits in
//! front of a page: one more try with a newer version, then that is the end.

use futures::future::BoxFuture;
use parking_lot::Mutex;

use super::{LinkTask, Next};
use crate::whatsapp::version::Version;
use crate::whatsapp::{Link, Signal};

/// What becomes of a client whose version is refused.
#[derive(Default)]
pub(crate) struct Outdated {
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

/// Says whether a newer version is known; until then there may still be one. Nobody ever locks it: a future that is not
/// `Sync` would keep the whole task from being shared between two calls.
type Search = Mutex<BoxFuture<'static, bool>>;

fn search(future: impl Future<Output = bool> + Send + 'static) -> Search {
    Mutex::new(Box::pin(future))
}

impl Outdated {
    /// Whether the client is done for that.
    pub(crate) fn holds(&self) -> bool {
        self.refused.is_some()
    }

    /// A client is built anew.
    pub(crate) fn rebuilt(&mut self) {
        self.retried = self.refused.take().is_some();
    }

    /// WhatsApp took the version.
    pub(crate) fn is_over(&mut self) {
        self.retried = false;
    }

    /// Whether a newer version is known, as soon as that can be said.
    pub(crate) async fn searched(&mut self) -> bool {
        match &mut self.refused {
            Some(refused) => refused.search.get_mut().await,
            None => std::future::pending().await,
        }
    }
}

impl LinkTask<'_> {
    /// WhatsApp refused the version of this client.
    pub(crate) async fn version_refused(&mut self, version: Version, detail: String) -> Next {
        let retried = self.outdated.retried;
        self.answered();
        self.tries.connecting();
        // Only a session that no phone has linked ends by it.
        if self.is_linked() || retried {
            self.write(Signal::Outdated { version, detail: detail.clone() }).await?;
        }
        let whatsapp = self.parts.whatsapp.clone();
        let search = search(async move { whatsapp.newer_version(version).await.is_some() });
        self.outdated.refused = Some(Refused { version, detail, search });
        Ok(())
    }

    /// The search has ended. Many sessions hear of a newer version in the same moment: each takes its turn. Only a person
    /// in front of a page does not wait.
    pub(crate) async fn version_searched(&mut self, found: bool, link: &mut dyn Link) -> Next {
        if found {
            if !self.is_linked() {
                return self.retry(link).await;
            }
            self.queue(link);
            // It has said its word.
            if let Some(refused) = &mut self.outdated.refused {
                refused.search = search(std::future::pending());
            }
            return Ok(());
        }
        if !self.is_linked() {
            let Some(Refused { version, detail, .. }) = self.outdated.refused.take() else { return Ok(()) };
            return self.write(Signal::Outdated { version, detail }).await;
        }
        self.tries.retry_after(self.parts.timers.outdated);
        let whatsapp = self.parts.whatsapp.clone();
        if let Some(refused) = &mut self.outdated.refused {
            let version = refused.version;
            refused.search = search(async move {
                whatsapp.until_newer_version(version).await;
                true
            });
        }
        Ok(())
    }

    fn is_linked(&self) -> bool {
        self.session.snapshot().state.was_paired()
    }
}
