//! What can go wrong while an account is being linked, and is no end: a passkey step that fails, a device that WhatsApp takes
//! back.

use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;

use super::{LinkTask, Next};
use crate::event::{PairingMethod, PairingRefusal, Status, Time};
use crate::link::End;
use crate::session::status;
use crate::whatsapp::{Link, Signal};

/// How often in a row WhatsApp may take a new device back before that is the end.
const REMOVALS: u32 = 3;

/// A device that is removed so soon after its pairing was perhaps not removed by a person.
const FRESH: Duration = Duration::from_secs(120);

/// After a logout within that time.
const TAKEN_BACK: &str = "WhatsApp sometimes takes a new device back within moments. Link it again.";

/// After any other logout. Source of the 14 days: WhatsApp's help pages on linked devices.
const REMOVED: &str = "The device was removed on the phone, or the phone was off for 14 days: then WhatsApp logs its linked \
                       devices out. Link it again, and open WhatsApp on the phone from time to time.";

impl LinkTask<'_> {
    /// Whether a passkey step is open.
    pub(crate) fn in_passkey_step(&self) -> bool {
        self.session.snapshot().state.status == Status::PasskeyRequired
    }

    /// WhatsApp wants a passkey: neither the code's clock nor the QRs count meanwhile.
    pub(crate) async fn passkey_required(&mut self, signal: Signal, expires_in: Duration) -> Next {
        self.answered();
        self.code_until = None;
        self.passkey_until = Some(Instant::now() + expires_in);
        self.write(signal).await
    }

    /// WhatsApp took the passkey; a person compares the codes, unless nobody needs to.
    pub(crate) async fn passkey_taken(&mut self, signal: Signal, automatic: bool, link: &dyn Link) -> Next {
        self.answered();
        self.write(signal).await?;
        if automatic {
            link.confirm_passkey();
        }
        Ok(())
    }

    /// Nobody used the passkey in time.
    pub(crate) async fn passkey_is_late(&mut self, link: &mut dyn Link) -> Next {
        self.passkey_lost("nobody used the passkey in time", link).await
    }

    /// The step cannot go on: its connection is gone, or its time is up.
    pub(crate) async fn passkey_lost(&mut self, detail: &str, link: &mut dyn Link) -> Next {
        let (method, code) = (PairingMethod::Passkey, PairingRefusal::PasskeyExpired);
        let expired = Signal::PairingRefused { method, code, detail: detail.to_owned(), retry_after: None };
        self.passkey_failed(expired, link).await
    }

    /// The step is over without a device. The client keeps what is left of it and would refuse the next: it is built anew.
    pub(crate) async fn passkey_failed(&mut self, refusal: Signal, link: &mut dyn Link) -> Next {
        self.passkey_until = None;
        self.write(refusal).await?;
        self.retry(link).await
    }

    /// The device was removed before its first login. Its keys are good for nothing; viewers get a new code to scan, unless
    /// that was tried often enough. `None` where this signal says something else.
    pub(crate) async fn taken_back(&mut self, signal: &Signal, link: &mut dyn Link) -> Option<Next> {
        let state = self.session.snapshot().state;
        if !status::is_unfinished_pairing(&state, signal) {
            return None;
        }
        // The keys of a next owner are not ours to forget.
        if !self.parts.cluster.owns(self.session.id(), self.epoch).await {
            return Some(Err(End::Leave));
        }
        // A crash cut the pairing short before anybody was told of it.
        let told = state.me.is_some();
        if told {
            self.removals += 1;
            if self.removals > REMOVALS {
                return None;
            }
        }
        warn!(sessionId = %self.session.id(), told, "a new device was removed; starting over with new keys");
        self.settings.tell_at = None;
        if told && let Err(lost) = self.journal.write(status::device_removed(), Time::now()).await {
            return Some(Err(lost.into()));
        }
        self.session.restart(None);
        let started = link.start_over().await;
        Some(self.started(started).await)
    }

    /// A logout with what a person has to know of it, where WhatsApp names no page of its own.
    pub(crate) fn with_help(&self, signal: Signal) -> Signal {
        let Signal::LoggedOut { detail, help: None } = signal else { return signal };
        let fresh = self.paired_at.is_some_and(|at| at.elapsed() < FRESH.div_f64(self.parts.timers.factor));
        let help = if fresh { TAKEN_BACK } else { REMOVED };
        Signal::LoggedOut { detail, help: Some(help.to_owned()) }
    }
}
