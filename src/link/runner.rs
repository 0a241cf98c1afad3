//! The link task: runs one session's WhatsApp client and writes what happens into the session's log.
//!
//! One task, one session, one epoch. It is the only writer of its session: signal → facts → stored → shown. The registry
//! starts it and gives it [`Command`]s.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::time::sleep;
use tracing::{Span, debug, error, warn};

use super::eraser::{self, Running};
use super::journal::Journal;
use super::task::LinkTask;
use super::{Ask, Command, End, Parts, Start};
use crate::event::{Disconnected, Kind, Reason, Time};
use crate::records::RecordsError;
use crate::session::Session;
use crate::whatsapp::{Account, Link, Signals, StartError};

/// Everything a link task needs.
pub(crate) struct Runner {
    pub(crate) session: Arc<Session>,
    pub(crate) parts: Arc<Parts>,
    pub(crate) commands: mpsc::UnboundedReceiver<Box<Command>>,
    pub(crate) start: Start,
    pub(crate) trace: Span,
}

impl Runner {
    /// Runs until the session has ended or is deleted, its QRs are used up, somebody else has it, or the server stops.
    pub(crate) async fn run(self) {
        let Self { session, parts, mut commands, start, trace } = self;
        let (log, lease, shutdown) = (parts.log.clone(), start.lease.clone(), parts.shutdown.clone());
        let mut journal =
            Journal::new(session.clone(), start.epoch, log, lease, shutdown, start.taken).traced_in(trace);
        let (running, end) = Self::live(&session, &parts, &mut commands, &start, &mut journal).await;
        let _turn = match end {
            End::HandOver => Some(parts.cluster.turn_to_hand_over().await),
            _ => None,
        };
        let released = if let End::Erase { connected } = end {
            start.last_client_stopped().await;
            eraser::erase(&session, &parts, &start, running, connected).await
        } else {
            // The client first: nothing may follow the last word of this epoch.
            if let Some((link, _)) = running {
                link.stop().await;
            }
            release(&session, &parts, &start, &mut journal, end).await
        };
        parts.note_release(session.id(), released);
        debug!(sessionId = %session.id(), epoch = start.epoch, ?end, "link task ended");
    }

    async fn live(
        session: &Arc<Session>,
        parts: &Arc<Parts>,
        commands: &mut mpsc::UnboundedReceiver<Box<Command>>,
        start: &Start,
        journal: &mut Journal,
    ) -> (Option<Running>, End) {
        if start.owner_lost {
            let lost = Kind::Disconnected(Disconnected::new(Reason::OwnerLost, None));
            if let Err(lost) = journal.write(lost, Time::now()).await {
                return (None, lost.into());
            }
        }
        let (sender, mut signals) = mpsc::unbounded_channel();
        let mut code_for = None;
        let started = tokio::select! {
            biased;
            command = told_to_stop(parts, commands, &mut code_for) => return (None, obey(command, journal).await),
            // Nothing runs yet, so there is nothing to lose.
            () = start.lease.lapsed() => return (None, End::Leave),
            started = start_client(parts, session, start, sender) => started,
        };
        let Some(mut link) = started else { return (None, End::Leave) };
        if let Some(phone_number) = code_for {
            link.request_code(phone_number);
        }
        let task = LinkTask::new(session.clone(), parts.clone(), start, journal);
        let end = task.run(link.as_mut(), &mut signals, commands).await;
        (Some((link, signals)), end)
    }
}

/// Releases a session that nobody has deleted, after its last event; an error where it may still be ours.
async fn release(
    session: &Session,
    parts: &Parts,
    start: &Start,
    journal: &mut Journal,
    end: End,
) -> Result<(), RecordsError> {
    match end {
        End::HandOver => {
            // Not written: the next start then says `owner_lost`.
            let shutdown = Disconnected::new(Reason::Shutdown, None);
            let _ = journal.write(Kind::Disconnected(shutdown), Time::now()).await;
        }
        // Another replica has the session, or its lease lapses and the next claim takes it.
        End::Leave if !parts.shutdown.has_begun() => return Ok(()),
        End::Over | End::Leave | End::Erase { .. } => {}
    }
    // Released before, it would go on elsewhere with a log that lacks what viewers here have seen.
    journal.settle().await.map_err(RecordsError::failed)?;
    start.lease.mark_releasing();
    match end {
        End::Over => parts.records.release(session.id(), start.epoch).await,
        // Left while the server stops it may be ours nevertheless: nobody could tell, or its next start does not come
        // any more. Another's session stays as it is.
        End::HandOver | End::Leave | End::Erase { .. } => {
            parts.cluster.hand_over(session.id(), start.epoch).await
        }
    }
}

/// A command that comes before there is a client and makes an end; `None` when the server stops. May be dropped while it
/// waits: it takes no command that it does not give back or keep.
async fn told_to_stop(
    parts: &Parts,
    commands: &mut mpsc::UnboundedReceiver<Box<Command>>,
    code_for: &mut Option<String>,
) -> Option<Command> {
    loop {
        tokio::select! {
            () = parts.shutdown.begun() => return None,
            Some(command) = commands.recv() => match *command {
                Command::Ask(Ask::Code { phone_number }) => *code_for = Some(phone_number),
                // A passkey step belongs to an earlier client. There is nothing to hand over and nothing to reopen yet.
                Command::Ask(Ask::Passkey(_) | Ask::ConfirmPasskey) | Command::HandOver | Command::Reopen => {}
                command @ (Command::Restart { .. } | Command::Erase { .. } | Command::Leave) => {
                    return Some(command);
                }
            }
        }
    }
}

async fn obey(command: Option<Command>, journal: &mut Journal) -> End {
    match command {
        None => End::HandOver,
        Some(Command::Erase { done }) => End::erase(journal.write_deleted().await, done),
        Some(Command::Restart { done }) => {
            let _ = done.send(());
            End::Leave
        }
        // Of these `told_to_stop` returns `Leave` alone.
        Some(Command::Leave | Command::Ask(_) | Command::HandOver | Command::Reopen) => End::Leave,
    }
}

/// Waits for its turn and starts the client; `None` when another owner has the keys.
async fn start_client(
    parts: &Parts,
    session: &Arc<Session>,
    start: &Start,
    signals: Signals,
) -> Option<Box<dyn Link>> {
    start.last_client_stopped().await;
    if start.in_turn {
        parts.whatsapp.turn().await;
    }
    let account = Account {
        session: session.id().clone(),
        epoch: start.epoch,
        device_name: session.about().device_name.clone(),
        proxy: session.about().proxy.clone(),
        push_name: session.snapshot().state.me.and_then(|me| me.push_name),
    };
    loop {
        match parts.whatsapp.start(&account, signals.clone()).await {
            Ok(link) => return Some(link),
            Err(error @ StartError::Fenced) => {
                warn!(sessionId = %session.id(), %error, "link task ends");
                return None;
            }
            Err(error) => error!(sessionId = %session.id(), %error, "session error"),
        }
        sleep(parts.timers.again).await;
    }
}
