//! What can go wrong while an account is being linked, without ending it: a passkey step that fails, a device that WhatsApp takes
//! back.

use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;

use super::owned::{Next, Owned};
use super::tries::Tries;
use crate::event::{PairingMethod, PairingRefusal, Time};
use crate::link::{Ask, End};
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

/// What a person who links the account may still do, and what became of it.
#[derive(Default)]
pub(super) struct Pairing {
    /// Until when a pairing code can be typed.
    pub(super) code_until: Option<Instant>,
    /// Until when WhatsApp waits for a passkey.
    pub(super) passkey_until: Option<Instant>,
    /// WhatsApp gives no more QRs, but a code is still waiting for a phone.
    pub(super) out_of_qrs: bool,
    /// When a phone linked the device, unless that was in an earlier life of the task.
    paired_at: Option<Instant>,
    /// How often in a row WhatsApp has taken a new device back.
    removals: u32,
}

impl Pairing {
    /// Passes on what a person asks of the client. A passkey step that has ended meanwhile has been told already.
    pub(super) fn ask(&self, ask: Ask, owned: &Owned<'_>, link: &dyn Link) {
        match ask {
            Ask::Code { phone_number } => link.request_code(phone_number),
            Ask::Passkey(assertion) if owned.in_passkey_step() => link.answer_passkey(assertion),
            Ask::ConfirmPasskey if owned.in_passkey_step() => link.confirm_passkey(),
            Ask::Passkey(_) | Ask::ConfirmPasskey => {}
        }
    }

    /// A phone has linked the device.
    pub(super) fn paired(&mut self, link: &dyn Link) {
        self.code_until = None;
        self.passkey_until = None;
        link.end_passkey();
        self.paired_at = Some(Instant::now());
    }

    /// Nobody typed the code in time: it is void, and if the QRs are used up as well there is nothing left to link by.
    pub(super) async fn code_expired(&mut self, owned: &mut Owned<'_>, link: &dyn Link) -> Next {
        self.code_until = None;
        link.cancel_code();
        let detail = "nobody entered the code in time".to_owned();
        let (method, code) = (PairingMethod::Code, PairingRefusal::CodeExpired);
        owned.write(Signal::PairingRefused { method, code, detail, retry_after: None }).await?;
        if self.out_of_qrs { owned.write(Signal::QrExhausted { stops: true }).await } else { Ok(()) }
    }

    /// WhatsApp wants a passkey: neither the code's clock nor the QRs count meanwhile.
    pub(super) async fn passkey_required(
        &mut self,
        signal: Signal,
        expires_in: Duration,
        owned: &mut Owned<'_>,
    ) -> Next {
        self.code_until = None;
        self.passkey_until = Some(Instant::now() + expires_in);
        owned.write(signal).await
    }

    /// WhatsApp took the passkey; a person compares the codes, unless nobody needs to.
    pub(super) async fn passkey_taken(
        &mut self,
        signal: Signal,
        automatic: bool,
        owned: &mut Owned<'_>,
        link: &dyn Link,
    ) -> Next {
        owned.write(signal).await?;
        if automatic {
            link.confirm_passkey();
        }
        Ok(())
    }

    /// Nobody used the passkey in time.
    pub(super) async fn passkey_is_late(
        &mut self,
        owned: &mut Owned<'_>,
        tries: &mut Tries,
        link: &mut dyn Link,
    ) -> Next {
        self.passkey_failed(passkey_expired("nobody used the passkey in time"), owned, tries, link).await
    }

    /// How an open passkey step is refused if this signal ends it: the connection is gone, or WhatsApp refuses.
    pub(super) fn end_of_passkey_step(&self, signal: &Signal, owned: &Owned<'_>) -> Option<Signal> {
        if !owned.in_passkey_step() {
            return None;
        }
        match signal {
            Signal::Connecting | Signal::ConnectFailed { .. } | Signal::Lost { .. } => {
                Some(passkey_expired("the connection to WhatsApp broke"))
            }
            Signal::PairingRefused { method: PairingMethod::Qr | PairingMethod::Passkey, .. } => {
                Some(signal.clone())
            }
            _ => None,
        }
    }

    /// The step is over without a device. The client keeps what is left of it and would refuse the next: it is built anew.
    pub(super) async fn passkey_failed(
        &mut self,
        refusal: Signal,
        owned: &mut Owned<'_>,
        tries: &mut Tries,
        link: &mut dyn Link,
    ) -> Next {
        self.passkey_until = None;
        owned.write(refusal).await?;
        tries.retry(owned, link).await
    }

    /// The device was removed before its first login. Its keys are good for nothing; viewers get a new code to scan, unless
    /// that was tried often enough. `None` where this signal says something else.
    pub(super) async fn taken_back(
        &mut self,
        signal: &Signal,
        owned: &mut Owned<'_>,
        tries: &mut Tries,
        link: &mut dyn Link,
    ) -> Option<Next> {
        let state = owned.state();
        if !status::is_unfinished_pairing(&state, signal) {
            return None;
        }
        // The keys of a next owner are not ours to forget.
        if !owned.is_still_owned().await {
            return Some(Err(End::Leave));
        }
        // Not where a crash cut the pairing short before any viewer was told of it.
        let told = state.me.is_some();
        if told {
            self.removals += 1;
            if self.removals > REMOVALS {
                return None;
            }
        }
        warn!(sessionId = %owned.id(), told, "a new device was removed; starting over with new keys");
        if told && let Err(lost) = owned.journal.write(status::device_removed(), Time::now()).await {
            return Some(Err(lost.into()));
        }
        owned.session.restart(None);
        let started = link.start_over().await;
        Some(tries.started(started, owned).await)
    }

    /// A logout with what a person has to know of it, where WhatsApp names no page of its own.
    pub(super) fn with_help(&self, signal: Signal, owned: &Owned<'_>) -> Signal {
        let Signal::LoggedOut { detail, help: None } = signal else { return signal };
        let fresh = self.paired_at.is_some_and(|at| at.elapsed() < FRESH.div_f64(owned.parts.timers.factor));
        let help = if fresh { TAKEN_BACK } else { REMOVED };
        Signal::LoggedOut { detail, help: Some(help.to_owned()) }
    }
}

fn passkey_expired(detail: &str) -> Signal {
    let (method, code) = (PairingMethod::Passkey, PairingRefusal::PasskeyExpired);
    Signal::PairingRefused { method, code, detail: detail.to_owned(), retry_after: None }
}
