//! The link task: runs one session's WhatsApp client and writes what happens into the session's log.
//!
//! One task, one session, one epoch. It is the only writer of its session: signal → facts → stored → shown. The registry
//! starts it and gives it [`Command`]s.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

use super::Session;
use super::eraser::{self, Running};
use super::journal::Journal;
use super::link::LinkTask;
use super::registry::Parts;
use crate::event::{Disconnected, Kind, Reason, Status, Time};
use crate::whatsapp::{Account, Link, Signals, StartError};

/// The link tasks' own clocks.
#[derive(Clone, Copy, Debug)]
pub struct Timers {
    /// From the first failed try until viewers hear that WhatsApp is unreachable.
    pub unreachable: Duration,
    /// Longest pause between two tries. The client's own grows to 15 minutes.
    pub retry: Duration,
    /// Pause before a client that stopped for no reason is started again.
    pub again: Duration,
    /// How long a deleted session tries to log its device out.
    pub log_out: Duration,
}

impl Timers {
    /// The contract's clocks, made faster by a factor.
    pub fn faster(factor: f64) -> Self {
        let scaled = |seconds: u64| Duration::from_secs(seconds).div_f64(factor);
        // 50 s and not 60, so that a try that takes a few seconds still begins within the minute.
        Self { unreachable: scaled(20), retry: scaled(50), again: scaled(1), log_out: scaled(60) }
    }
}

/// What the registry asks of a link task. `done` is told when nothing more will be written.
pub(super) enum Command {
    /// Another start of the same session takes over.
    Restart { done: oneshot::Sender<()> },
    /// The session is deleted.
    Erase { done: oneshot::Sender<()> },
    /// Somebody wants to type a code.
    Code { phone_number: String },
}

/// How a link task begins.
pub(super) struct Start {
    pub(super) epoch: u64,
    /// The last owner died without a word.
    pub(super) owner_lost: bool,
    /// Ends when the session's last client has stopped: never two of one account.
    pub(super) after: Option<CancellationToken>,
    /// At the start of a server the clients come a few at a time.
    pub(super) pace: Option<Arc<Semaphore>>,
}

impl Start {
    async fn last_client_stopped(&self) {
        if let Some(last_client) = &self.after {
            last_client.cancelled().await;
        }
    }
}

/// Everything a link task needs.
pub(super) struct Runner {
    pub(super) session: Arc<Session>,
    pub(super) parts: Arc<Parts>,
    pub(super) commands: mpsc::UnboundedReceiver<Command>,
    pub(super) start: Start,
}

/// Why a link task ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The session needs no client any more.
    Over,
    /// The session is no longer this task's: another start has it, or another owner.
    Leave,
    /// The server stops: its next start runs this session.
    HandOver,
    /// The session is deleted.
    Erase {
        /// Whether its client was logged in.
        connected: bool,
    },
}

impl Runner {
    /// Runs until the session has ended or is deleted, its QRs are used up, somebody else has it, or the server stops.
    pub(super) async fn run(self) {
        let Self { session, parts, mut commands, start } = self;
        let (bus, shutdown) = (parts.bus.clone(), parts.shutdown.clone());
        let mut journal = Journal::new(session.clone(), start.epoch, bus, shutdown);
        let (running, end) = Self::live(&session, &parts, &mut commands, &start, &mut journal).await;
        match end {
            End::Erase { connected } => {
                start.last_client_stopped().await;
                eraser::erase(&session, &parts, start.epoch, running, connected).await;
            }
            // The client first: nothing may follow the last word of this epoch.
            End::Over | End::Leave | End::HandOver => {
                if let Some((link, _)) = running {
                    link.stop().await;
                }
            }
        }
        if end == End::HandOver {
            // Not written: the next start then says `owner_lost`.
            let _ = journal
                .write(Kind::Disconnected(Disconnected::new(Reason::Shutdown, None)), Time::now())
                .await;
        }
        if end == End::Over
            && let Err(error) = parts.ledger.release(session.id()).await
        {
            error!(session = %session.id(), %error, "session error");
        }
        debug!(session = %session.id(), epoch = start.epoch, ?end, "link task ended");
    }

    async fn live(
        session: &Arc<Session>,
        parts: &Arc<Parts>,
        commands: &mut mpsc::UnboundedReceiver<Command>,
        start: &Start,
        journal: &mut Journal,
    ) -> (Option<Running>, End) {
        if start.owner_lost {
            let lost = Kind::Disconnected(Disconnected::new(Reason::OwnerLost, None));
            if journal.write(lost, Time::now()).await.is_err() {
                return (None, End::Leave);
            }
        }
        let (sender, mut signals) = mpsc::unbounded_channel();
        let mut code_for = None;
        let started = tokio::select! {
            biased;
            end = told_before_the_start(session, parts, commands, &mut code_for, journal) => return (None, end),
            started = start_client(parts, session, start, sender) => started,
        };
        let Some((mut link, place)) = started else { return (None, End::Leave) };
        if let Some(phone_number) = code_for {
            link.request_code(phone_number);
        }
        let task = LinkTask::new(session.clone(), parts.clone(), journal, place);
        let end = task.run(link.as_mut(), &mut signals, commands).await;
        (Some((link, signals)), end)
    }
}

/// A command or a stop that comes before there is a client.
async fn told_before_the_start(
    session: &Session,
    parts: &Parts,
    commands: &mut mpsc::UnboundedReceiver<Command>,
    code_for: &mut Option<String>,
    journal: &mut Journal,
) -> End {
    loop {
        let command = tokio::select! {
            () = parts.shutdown.begun() => return End::HandOver,
            Some(command) = commands.recv() => command,
        };
        match command {
            Command::Restart { done } => {
                let _ = done.send(());
                return End::Leave;
            }
            Command::Erase { done } => return deleted(session, journal, done).await,
            Command::Code { phone_number } => *code_for = Some(phone_number),
        }
    }
}

/// Writes the last word of a deleted session. Whoever asked waits for that, not for what follows.
pub(super) async fn deleted(session: &Session, journal: &mut Journal, done: oneshot::Sender<()>) -> End {
    let before = session.snapshot().state;
    // A deletion that goes on after a restart of the server has said so already.
    if before.reason != Some(Reason::Deleted) {
        let deleted = Kind::Disconnected(Disconnected::new(Reason::Deleted, None));
        if journal.write(deleted, Time::now()).await.is_err() {
            return End::Leave;
        }
    }
    let _ = done.send(());
    End::Erase { connected: before.status == Status::Connected }
}

/// Waits for its turn and starts the client; `None` when another owner has the keys.
async fn start_client(
    parts: &Parts,
    session: &Arc<Session>,
    start: &Start,
    signals: Signals,
) -> Option<(Box<dyn Link>, Option<OwnedSemaphorePermit>)> {
    start.last_client_stopped().await;
    let place = match start.pace.clone() {
        // The semaphore is never closed.
        Some(pace) => pace.acquire_owned().await.ok(),
        None => None,
    };
    let device_name = session.about().device_name.clone();
    let account = Account { session: session.id().clone(), epoch: start.epoch, device_name };
    loop {
        match parts.whatsapp.start(&account, signals.clone()).await {
            Ok(link) => return Some((link, place)),
            Err(error @ StartError::Fenced) => {
                warn!(session = %session.id(), %error, "link task ends");
                return None;
            }
            Err(error) => error!(session = %session.id(), %error, "session error"),
        }
        sleep(parts.timers.again).await;
    }
}
