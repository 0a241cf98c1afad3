//! What link tasks are made of: the parts they stand on, how one begins, what it is told, how it ends.
//!
//! The registry starts tasks; `runner.rs` runs them.

mod eraser;
mod journal;
pub(crate) mod runner;
mod task;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::error;

use self::journal::WriteError;
use crate::cluster::{Cluster, Lease};
use crate::event::Assertion;
use crate::id::SessionId;
use crate::log::EventLog;
use crate::records::{Damage, OwnerRequest, Records, RecordsError, SessionLimits};
use crate::shutdown::Shutdown;
use crate::whatsapp::WhatsApp;

/// What sessions stand on; the server chooses the concrete ones.
pub(crate) struct Parts {
    /// Stores events.
    pub log: Arc<dyn EventLog>,
    /// Stores records and epochs.
    pub records: Arc<dyn Records>,
    /// Knows who else there is.
    pub cluster: Arc<dyn Cluster>,
    /// Runs clients.
    pub whatsapp: Arc<dyn WhatsApp>,
    /// The link tasks' clocks.
    pub timers: Timers,
    /// How many sessions may run.
    pub limits: SessionLimits,
    /// What of the store cannot be read.
    pub damage: Damage,
    /// How many events a session keeps for returning viewers.
    pub history: u32,
    /// Stops the link tasks.
    pub shutdown: Shutdown,
    /// Stops what streams need: it ends later.
    pub streams: Shutdown,
    /// Sessions that a stopping server could not release: others take them when their lease has lapsed.
    pub not_released: AtomicUsize,
}

impl Parts {
    /// What came of a release. Where it was not acknowledged while the server stops, the exit code says so.
    pub(crate) fn note_release(&self, session: &SessionId, outcome: Result<(), RecordsError>) {
        let Err(error) = outcome else { return };
        if self.shutdown.has_begun() {
            self.not_released.fetch_add(1, Ordering::Relaxed);
        }
        error!(sessionId = %session, %error, "session error");
    }
}

/// The link tasks' own clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timers {
    /// From the first failed try until viewers hear that WhatsApp is unreachable.
    pub unreachable: Duration,
    /// A client that could not reach WhatsApp, or that should have tried by now, is built anew after this.
    pub retry: Duration,
    /// Pause before a client that stopped for no reason is started again.
    pub again: Duration,
    /// How long a deleted session tries to log its device out.
    pub log_out: Duration,
    /// Pause before a version that WhatsApp refused is tried again, where no newer one is known.
    pub outdated: Duration,
    /// From a login until viewers hear that the account's settings are missing.
    pub settings: Duration,
    /// Pauses before missing settings are asked for again; the last one stands for all that follow.
    pub fetch_again: [Duration; 4],
    /// How long the client may take to go on by itself when something that was missing has come.
    pub grace: Duration,
    /// How much faster than real all of these run.
    pub factor: f64,
}

impl Timers {
    /// The contract's clocks, made faster by a factor.
    pub(crate) fn faster(factor: f64) -> Self {
        let scaled = |seconds: u64| Duration::from_secs(seconds).div_f64(factor);
        // 50 s and not 60, so that a try that takes a few seconds still begins within the minute.
        Self {
            unreachable: scaled(20),
            retry: scaled(50),
            again: scaled(1),
            log_out: scaled(60),
            outdated: scaled(3600),
            settings: scaled(60),
            fetch_again: [60, 180, 600, 900].map(scaled),
            grace: scaled(5),
            factor,
        }
    }
}

/// What a person who links an account asks of its client. What becomes of it is told as an event.
#[derive(Clone, Debug)]
pub(crate) enum Ask {
    /// A pairing code to type.
    Code {
        /// Digits only.
        phone_number: String,
    },
    /// To hand this to WhatsApp, which waits for a passkey.
    Passkey(Assertion),
    /// To go on: the phone shows the same code.
    ConfirmPasskey,
}

impl From<Ask> for OwnerRequest {
    fn from(ask: Ask) -> Self {
        match ask {
            Ask::Code { phone_number } => Self::Code { phone_number },
            Ask::Passkey(assertion) => Self::Passkey(assertion),
            Ask::ConfirmPasskey => Self::ConfirmPasskey,
        }
    }
}

impl Ask {
    /// What was asked for on another replica; `None` for a restart, which is more than the client's matter.
    pub(crate) fn of(request: OwnerRequest) -> Option<Self> {
        match request {
            OwnerRequest::Restart { .. } => None,
            OwnerRequest::Code { phone_number } => Some(Self::Code { phone_number }),
            OwnerRequest::Passkey(assertion) => Some(Self::Passkey(assertion)),
            OwnerRequest::ConfirmPasskey => Some(Self::ConfirmPasskey),
        }
    }
}

/// What the registry asks of a link task. `done` is told when nothing more will be written.
pub(crate) enum Command {
    /// Another start of the same session takes over.
    Restart { done: oneshot::Sender<()> },
    /// The session is deleted.
    Erase { done: oneshot::Sender<()> },
    /// Somebody who links an account asks for something.
    Ask(Ask),
    /// Another replica has the session: stop, and write nothing.
    Leave,
    /// Another replica shall have the session.
    HandOver,
    /// The store came back and may have lost the device.
    Reopen,
}

/// How long a call waits for a link task to write its last word.
pub(crate) const LAST_WORD: Duration = Duration::from_secs(5);

/// What a link task is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To link an account, and to stay connected.
    Link,
    /// To log a deleted session's device out, and to forget its keys.
    Erase,
}

/// A session that was claimed for a link task: nobody else writes it as long as the lease lasts.
pub(crate) struct Claim {
    pub(crate) epoch: u64,
    pub(crate) lease: Lease,
}

/// How a link task begins.
pub(crate) struct Start {
    pub(crate) epoch: u64,
    pub(crate) lease: Arc<Lease>,
    /// The last owner died without a word.
    pub(crate) owner_lost: bool,
    /// Ends when the session's last client has stopped: never two of one account.
    pub(crate) after: Option<CancellationToken>,
    /// When a linked session was claimed from another replica.
    pub(crate) taken: Option<Instant>,
    /// It comes back by itself, perhaps with many others: its client waits for its turn to log in.
    pub(crate) in_turn: bool,
}

impl Start {
    /// Of a session that somebody asked for just now.
    pub(crate) fn of(claim: Claim) -> Self {
        let Claim { epoch, lease } = claim;
        Self { epoch, lease: Arc::new(lease), owner_lost: false, after: None, taken: None, in_turn: false }
    }

    pub(crate) async fn last_client_stopped(&self) {
        if let Some(last_client) = &self.after {
            last_client.cancelled().await;
        }
    }
}

/// Why a link task ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The session needs no client any more.
    Over,
    /// The session is no longer this task's, as far as it knows: another start has it, or another owner.
    Leave,
    /// The server stops, or has more than its share: its next start runs this session, or another replica.
    HandOver,
    /// The session is deleted.
    Erase {
        /// Whether its client was logged in.
        connected: bool,
    },
}

impl End {
    /// The end of a deleted session, once its last event is written or cannot be. The caller waits until then, not for the
    /// logout.
    pub(crate) fn erase(written: Result<bool, WriteError>, done: oneshot::Sender<()>) -> Self {
        let _ = done.send(());
        written.map_or_else(Self::from, |connected| Self::Erase { connected })
    }
}

impl From<WriteError> for End {
    fn from(lost: WriteError) -> Self {
        match lost {
            WriteError::Fenced => Self::Leave,
            WriteError::Stopping => Self::HandOver,
        }
    }
}
