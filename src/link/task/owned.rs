//! The session that a link task owns, as the parts of the task need it: its state, and the way to write about it.

use std::sync::Arc;

use tracing::info;

use crate::event::{Kind, State, Status, Time};
use crate::id::SessionId;
use crate::link::journal::Journal;
use crate::link::{End, Parts};
use crate::session::{Session, status};
use crate::whatsapp::Signal;

/// `Err` ends the task's loop.
pub(super) type Next = Result<(), End>;

/// A session that this task writes under this epoch.
pub(super) struct Owned<'a> {
    pub(super) session: Arc<Session>,
    pub(super) parts: Arc<Parts>,
    pub(super) journal: &'a mut Journal,
    epoch: u64,
    /// The QR on screen.
    shown: Option<Shown>,
}

/// A QR that waits for a phone.
struct Shown {
    attempt: u32,
    since: Time,
    until: Time,
}

impl<'a> Owned<'a> {
    pub(super) fn new(
        session: Arc<Session>,
        parts: Arc<Parts>,
        epoch: u64,
        journal: &'a mut Journal,
    ) -> Self {
        Self { session, parts, journal, epoch, shown: None }
    }

    pub(super) fn id(&self) -> &SessionId {
        self.session.id()
    }

    pub(super) fn state(&self) -> State {
        self.session.snapshot().state
    }

    /// Whether no other replica has claimed the session meanwhile.
    pub(super) async fn is_still_owned(&self) -> bool {
        self.parts.cluster.owns(self.id(), self.epoch).await
    }

    /// Whether a passkey step is open.
    pub(super) fn in_passkey_step(&self) -> bool {
        self.state().status == Status::PasskeyRequired
    }

    /// Turns a signal into facts and writes each.
    pub(super) async fn write(&mut self, signal: Signal) -> Next {
        let now = Time::now();
        for kind in status::facts(&self.state(), signal, now) {
            self.shows(&kind, now);
            self.journal.write(kind, now).await?;
        }
        // A session that is used up or has ended needs no client.
        if self.state().runs() { Ok(()) } else { Err(End::Over) }
    }

    /// Remembers which QR is on screen. When the next one replaces it, nobody has scanned it.
    fn shows(&mut self, kind: &Kind, now: Time) {
        match kind {
            Kind::Qr(qr) => {
                if self.shown.as_ref().is_some_and(|shown| shown.attempt != qr.attempt) {
                    self.qr_expired();
                }
                let since = self.shown.as_ref().map_or(now, |shown| shown.since);
                self.shown = Some(Shown { attempt: qr.attempt, since, until: qr.expires_at });
            }
            Kind::Passkey(_) | Kind::Authenticated { .. } | Kind::Ready { .. } | Kind::Disconnected(_) => {
                self.shown = None;
            }
            Kind::Code(_) | Kind::PairingError(_) => {}
        }
    }

    pub(super) fn qr_expired(&mut self) {
        if let Some(Shown { since, until, .. }) = self.shown.take() {
            let id = self.id();
            info!(sessionId = %id, generatedAt = %since, expiredAt = %until, "qr expired");
        }
    }
}
