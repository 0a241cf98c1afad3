//! What this process knows of the store of many replicas: since when it does not answer, whether it has lost its
//! data. `OnRedis` writes it down, `ownership` and `/health` read it.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::error;

use super::{Contact, Storage};
use crate::event::Time;
use crate::records::SessionInfo;

/// Looks at the store's contact, and remembers.
pub(crate) struct StoreContact {
    contact: watch::Receiver<Contact>,
    known: Mutex<Known>,
}

/// The state of the store, as it was last seen.
#[derive(Clone, Debug, Default)]
struct Known {
    /// Since when it does not answer.
    away: Option<Time>,
    /// When it came back, the last time.
    back: Option<Instant>,
    /// When it came back without its data, the last time.
    data_lost: Option<Time>,
    /// The random word by which this data is recognised, `{data}:word`.
    data: Option<String>,
}

impl StoreContact {
    pub(crate) fn new(contact: watch::Receiver<Contact>) -> Self {
        let this = Self { contact, known: Mutex::default() };
        this.look();
        this
    }

    /// Whether the store answers, and whether it has lost its data.
    pub(crate) fn storage(&self) -> Storage {
        let Known { away, data_lost, .. } = self.look();
        Storage::Shared { away, data_lost }
    }

    /// For one lease after the store came back a lapsed lease says nothing of its owner, which may live and have had no way
    /// to renew it.
    pub(crate) fn believe(&self, found: SessionInfo, lease: Duration) -> SessionInfo {
        if self.look().back.is_some_and(|at| at.elapsed() < lease) {
            SessionInfo { owner: found.owner.or_else(|| found.last_owner.clone()), ..found }
        } else {
            found
        }
    }

    /// Waits until it has gone away or come back.
    pub(crate) async fn changed(&self) {
        if self.contact.clone().changed().await.is_err() {
            // The store is closed.
            std::future::pending().await
        }
    }

    pub(crate) fn watch(&self) -> watch::Receiver<Contact> {
        self.contact.clone()
    }

    /// As of this moment. A caller that looks after an answer of the store knows which data the answer came from.
    fn look(&self) -> Known {
        let contact = self.contact.borrow().clone();
        let mut known = self.known.lock();
        match contact {
            Contact::Up(server) => {
                if known.away.take().is_some() {
                    known.back = Some(Instant::now());
                }
                let before = known.data.replace(server.data.clone());
                if before.is_some_and(|before| before != server.data) {
                    error!("Redis has lost its data: what is owned here is written again, the rest is gone");
                    known.data_lost = Some(Time::now());
                }
            }
            Contact::Away | Contact::Closed => {
                known.away.get_or_insert_with(Time::now);
            }
        }
        known.clone()
    }
}
