//! All sessions of this process: creates them, finds them, runs their link tasks.

use std::sync::Arc;

use dashmap::DashMap;

use super::Session;
use super::runner::Runner;
pub use super::runner::Timers;
use crate::bus::Bus;
use crate::event::{Status, Time};
use crate::id::{SessionId, UserId};
use crate::ledger::{Ledger, LedgerError, Record};
use crate::shutdown::Shutdown;
use crate::whatsapp::WhatsApp;

/// The sessions, and the parts they stand on.
pub struct Registry {
    /// Entries stay as long as the process: nothing deletes a session yet.
    sessions: DashMap<SessionId, Arc<Session>>,
    parts: Parts,
}

/// What a registry is made of; the server chooses the concrete ones.
pub struct Parts {
    /// Stores events.
    pub bus: Arc<dyn Bus>,
    /// Stores records and epochs.
    pub ledger: Arc<dyn Ledger>,
    /// Runs clients.
    pub whatsapp: Arc<dyn WhatsApp>,
    /// The link tasks' clocks.
    pub timers: Timers,
    /// How many events a session keeps for returning viewers.
    pub history: usize,
    /// Stops the link tasks.
    pub shutdown: Shutdown,
}

/// What an embedder says of a new session.
#[derive(Clone, Debug)]
pub struct NewSession {
    /// Whose.
    pub user: UserId,
    /// What the phone lists the device as.
    pub device_name: Option<String>,
    /// The embedder's own notes.
    pub metadata: Option<serde_json::Map<String, serde_json::Value>>,
}

/// How many sessions stand where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Not ended and not used up.
    pub active: usize,
    /// With a QR or a code waiting for a phone.
    pub scan_qr: usize,
}

impl Registry {
    /// Without sessions.
    pub fn new(parts: Parts) -> Self {
        Self { sessions: DashMap::new(), parts }
    }

    /// Makes a session and starts its link task. Answers before WhatsApp does.
    pub async fn create(&self, new: NewSession) -> Result<Arc<Session>, LedgerError> {
        let record = Record {
            session: SessionId::new(&new.user),
            created: Time::now(),
            device_name: new.device_name,
            metadata: new.metadata,
        };
        self.parts.ledger.create(record.clone()).await?;
        let session = Arc::new(Session::new(record, self.parts.history));
        self.sessions.insert(session.id().clone(), session.clone());
        self.start(&session).await?;
        Ok(session)
    }

    /// The session of this id.
    pub fn get(&self, id: &SessionId) -> Option<Arc<Session>> {
        self.sessions.get(id).map(|entry| entry.clone())
    }

    /// How many sessions stand where.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for session in &self.sessions {
            match session.snapshot().state.status {
                Status::ScanQr => {
                    counts.active += 1;
                    counts.scan_qr += 1;
                }
                Status::Initializing | Status::Authenticated | Status::Connected | Status::Reconnecting => {
                    counts.active += 1;
                }
                Status::Disconnected | Status::Failed => {}
            }
        }
        counts
    }

    async fn start(&self, session: &Arc<Session>) -> Result<(), LedgerError> {
        let runner = Runner {
            epoch: self.parts.ledger.claim(session.id()).await?,
            session: session.clone(),
            bus: self.parts.bus.clone(),
            whatsapp: self.parts.whatsapp.clone(),
            timers: self.parts.timers,
            shutdown: self.parts.shutdown.clone(),
        };
        self.parts.shutdown.spawn(runner.run());
        Ok(())
    }
}
