//! What this process knows of the store of many replicas: since when it does not answer, whether it has lost its data.

use std::sync::{Mutex, PoisonError};

use tokio::sync::watch;
use tokio::time::Instant;
use tracing::error;

use crate::event::Time;
use crate::records::Contact;

/// Looks at the store's contact, and remembers.
pub(crate) struct StoreContact {
    contact: watch::Receiver<Contact>,
    known: Mutex<Known>,
}

/// What is known.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    /// Since when it does not answer.
    pub(crate) away: Option<Time>,
    /// When it came back, the last time.
    pub(crate) back: Option<Instant>,
    /// When it came back without its data, the last time.
    pub(crate) data_lost: Option<Time>,
    /// The word in the data.
    data: Option<String>,
}

impl StoreContact {
    pub(crate) fn new(contact: watch::Receiver<Contact>) -> Self {
        let this = Self { contact, known: Mutex::default() };
        this.look();
        this
    }

    /// As of this moment: whoever gets an answer from the store and then looks knows from which data it came.
    pub(crate) fn look(&self) -> Known {
        let contact = self.contact.borrow().clone();
        // Nothing panics while it is held.
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
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
