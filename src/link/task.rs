//! One running client: its signals become facts, its silences are noticed, commands reach it.
//!
//! The runner starts the client before and stops it after; this is the loop between.

mod pairing;
mod settings;
mod tries;
mod version;

use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use self::settings::Settings;
use self::tries::Tries;
use self::version::Outdated;
use super::journal::Journal;
use super::{Ask, Command, End, Parts, Start};
use crate::cluster::Lease;
use crate::event::{Disconnected, Kind, PairingMethod, PairingRefusal, Reason, Status, Time};
use crate::records::Judgement;
use crate::session::{RESTART, Session, status};
use crate::whatsapp::{Link, Signal, StartError, Stopped};

/// What the loop remembers.
pub(crate) struct LinkTask<'a> {
    session: Arc<Session>,
    parts: Arc<Parts>,
    epoch: u64,
    lease: Arc<Lease>,
    store: StoreWatch,
    journal: &'a mut Journal,
    /// When another client is wanted.
    tries: Tries,
    /// Until when a pairing code can be typed.
    code_until: Option<Instant>,
    /// Until when WhatsApp waits for a passkey.
    passkey_until: Option<Instant>,
    /// What of the account is missing, and when it is asked for again.
    settings: Settings,
    /// WhatsApp refuses the client's version.
    outdated: Outdated,
    /// When a phone linked the device, if that was now and not in an earlier life.
    paired_at: Option<Instant>,
    /// How often in a row WhatsApp has taken a new device back.
    removals: u32,
    /// The QR on screen.
    shown: Option<Shown>,
    /// WhatsApp gives no more QRs, but a code is still waiting for a phone.
    out_of_qrs: bool,
}

/// A QR that waits for a phone.
struct Shown {
    attempt: u32,
    since: Time,
    until: Time,
}

/// Hears when a store that took no writes does again, also where all of that was while the link task waited for it.
struct StoreWatch {
    health: watch::Receiver<Judgement>,
    /// Outages that are over, as far as this task has acted on them.
    outages: u64,
}

impl StoreWatch {
    fn new(health: watch::Receiver<Judgement>) -> Self {
        // One that lasts is still to be acted on.
        let judgement = health.borrow();
        let outages = judgement.outages - u64::from(judgement.writes.is_some());
        drop(judgement);
        Self { health, outages }
    }

    /// May be dropped while it waits.
    async fn mended(&mut self) {
        let outages = self.outages;
        let over = |judgement: &Judgement| judgement.writes.is_none() && judgement.outages > outages;
        let ended = self.health.wait_for(over).await.map(|judgement| judgement.outages);
        match ended {
            Ok(outages) => self.outages = outages,
            // The store is closed.
            Err(_) => std::future::pending().await,
        }
    }
}

/// `Err` ends the loop.
type Next = Result<(), End>;

impl<'a> LinkTask<'a> {
    pub(crate) fn new(
        session: Arc<Session>,
        parts: Arc<Parts>,
        start: &Start,
        journal: &'a mut Journal,
    ) -> Self {
        Self {
            session,
            epoch: start.epoch,
            lease: start.lease.clone(),
            store: StoreWatch::new(parts.records.health()),
            parts,
            journal,
            tries: Tries::default(),
            code_until: None,
            passkey_until: None,
            settings: Settings::default(),
            outdated: Outdated::default(),
            paired_at: None,
            removals: 0,
            shown: None,
            out_of_qrs: false,
        }
    }

    pub(crate) async fn run(
        mut self,
        link: &mut dyn Link,
        signals: &mut mpsc::UnboundedReceiver<Signal>,
        commands: &mut mpsc::UnboundedReceiver<Command>,
    ) -> End {
        loop {
            let (tell_at, retry_at) = (self.tries.tell_at(), self.tries.retry_at());
            // In this order: what the client said before it stopped is heard before its stop.
            let next = tokio::select! {
                biased;
                () = self.parts.shutdown.begun() => Err(End::HandOver),
                Some(signal) = signals.recv() => self.hear(signal, link).await,
                Some(command) = commands.recv() => self.obey(command, link).await,
                stopped = link.stopped() => self.client_stopped(stopped).await,
                () = at(tell_at) => self.tell_unreachable(link).await,
                found = self.outdated.searched() => self.version_searched(found, link).await,
                () = at(retry_at) => { self.queue(link); Ok(()) }
                () = Tries::turn(self.tries.place()) => self.take_turn(link).await,
                () = self.store.mended() => self.store_is_back(link).await,
                () = at(self.code_until) => self.code_expired(link).await,
                () = at(self.passkey_until) => self.passkey_is_late(link).await,
                () = at(self.settings.tell_at) => self.login_is_late(link).await,
                () = at(self.settings.check_at) => self.complete(None, link).await,
                () = at(self.settings.fetch_at) => self.fetch_again(link).await,
                () = at(self.journal.flush_at()) => self.journal.catch_up().await.map_err(End::from),
                () = self.lease.lapsed(), if self.session.is_unpaired() => self.lapsed(),
            };
            if let Err(end) = next {
                return end;
            }
        }
    }

    async fn hear(&mut self, signal: Signal, link: &mut dyn Link) -> Next {
        if self.outdated.holds() {
            // What this client still says has been told.
            return Ok(());
        }
        if let Some(next) = self.taken_back(&signal, link).await {
            return next;
        }
        if self.in_passkey_step() {
            match &signal {
                Signal::Connecting | Signal::ConnectFailed { .. } | Signal::Lost { .. } => {
                    return self.passkey_lost("the connection to WhatsApp broke", link).await;
                }
                Signal::PairingRefused { method: PairingMethod::Qr | PairingMethod::Passkey, .. } => {
                    return self.passkey_failed(signal, link).await;
                }
                _ => {}
            }
        }
        let signal = self.with_help(signal);
        match signal {
            Signal::PasskeyRequired { expires_in, .. } => {
                return self.passkey_required(signal, expires_in).await;
            }
            Signal::PasskeyConfirmation { automatic, .. } => {
                return self.passkey_taken(signal, automatic, link).await;
            }
            Signal::Outdated { version, detail } => return self.version_refused(version, detail).await,
            Signal::LoggedIn => return self.logged_in(link).await,
            Signal::Connected { id, push_name, .. } => return self.connected(id, push_name, link).await,
            Signal::SettingsStored => {
                self.settings_stored();
                return Ok(());
            }
            Signal::KeyStored => {
                self.key_stored();
                return Ok(());
            }
            _ => {}
        }
        match &signal {
            // The next owner's login, where it came before this one knew.
            Signal::Replaced if !self.parts.cluster.owns(self.session.id(), self.epoch).await => {
                warn!(sessionId = %self.session.id(), "another replica has taken over");
                return Err(End::Leave);
            }
            Signal::Connecting => {
                self.tries.connecting();
                if self.settings.takes_connecting() {
                    return Ok(());
                }
            }
            Signal::ConnectFailed { detail } => self.try_failed(detail, link),
            Signal::Lost { .. } => self.lost(link),
            Signal::TurnedAway { again_in, by_client, .. } => {
                self.turned_away(*again_in, *by_client, link).await;
            }
            Signal::Code { expires_in, .. } => {
                self.answered();
                self.code_until = Some(Instant::now() + *expires_in);
            }
            Signal::QrExhausted { stops } => {
                self.qr_expired();
                if *stops {
                    self.answered();
                } else {
                    self.out_of_qrs = true;
                }
            }
            Signal::PairingRefused { method: PairingMethod::Code, .. } => {
                self.answered();
                self.code_until = None;
            }
            Signal::Paired { .. } => {
                self.answered();
                self.code_until = None;
                self.passkey_until = None;
                link.end_passkey();
                self.paired_at = Some(Instant::now());
                self.expect_login();
            }
            _ => self.answered(),
        }
        self.write(signal).await
    }

    /// Whoever scans now would be linked by a replica that may not store it.
    fn lapsed(&self) -> Next {
        warn!(sessionId = %self.session.id(), "the lease has lapsed before a phone linked the device");
        self.session.clear_screen();
        Err(End::Leave)
    }

    /// Remembers what is on screen; a QR that makes room for the next was scanned by nobody.
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

    fn qr_expired(&mut self) {
        if let Some(Shown { since, until, .. }) = self.shown.take() {
            let id = self.session.id();
            info!(sessionId = %id, generatedAt = %since, expiredAt = %until, "qr expired");
        }
    }

    /// Turns a signal into facts and writes each.
    async fn write(&mut self, signal: Signal) -> Next {
        let now = Time::now();
        for kind in status::facts(&self.session.snapshot().state, signal, now) {
            self.shows(&kind, now);
            self.journal.write(kind, now).await?;
        }
        let state = self.session.snapshot().state;
        // Used up or ended; either way there is nothing to run.
        if state.runs() { Ok(()) } else { Err(End::Over) }
    }

    async fn obey(&mut self, command: Command, link: &mut dyn Link) -> Next {
        match command {
            Command::Ask(ask) => {
                match ask {
                    Ask::Code { phone_number } => link.request_code(phone_number),
                    // A step that is over meanwhile has been told as that.
                    Ask::Passkey(assertion) if self.in_passkey_step() => link.answer_passkey(assertion),
                    Ask::ConfirmPasskey if self.in_passkey_step() => link.confirm_passkey(),
                    Ask::Passkey(_) | Ask::ConfirmPasskey => {}
                }
                Ok(())
            }
            Command::Leave => Err(End::Leave),
            Command::HandOver => Err(End::HandOver),
            Command::Reopen => match link.reopen().await {
                Ok(()) => Ok(()),
                Err(StartError::Fenced) => self.client_stopped(Stopped::Fenced).await,
                Err(error @ StartError::Failed(_)) => {
                    // Away once more: it is told again when it is back.
                    warn!(sessionId = %self.session.id(), %error, "a device was not written again");
                    Ok(())
                }
            },
            Command::Erase { done } => Err(End::erase(self.journal.write_deleted().await, done)),
            Command::Restart { done } => {
                if self.session.snapshot().state.status == Status::Connected {
                    let lost = Disconnected::new(Reason::ConnectionLost, Some(RESTART.into()));
                    self.journal.write(Kind::Disconnected(lost), Time::now()).await?;
                }
                let _ = done.send(());
                Err(End::Leave)
            }
        }
    }

    /// Nobody typed the code in time: it is void, and when the QRs are used up as well there is nothing left to link by.
    async fn code_expired(&mut self, link: &dyn Link) -> Next {
        self.code_until = None;
        link.cancel_code();
        let detail = "nobody entered the code in time".to_owned();
        let (method, code) = (PairingMethod::Code, PairingRefusal::CodeExpired);
        self.write(Signal::PairingRefused { method, code, detail, retry_after: None }).await?;
        if self.out_of_qrs { self.write(Signal::QrExhausted { stops: true }).await } else { Ok(()) }
    }
}

async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn an_outage_that_was_over_before_anybody_looked_is_heard_of_once() {
        let health = watch::Sender::new(Judgement::default());
        let mut store = StoreWatch::new(health.subscribe());
        assert!(store.mended().now_or_never().is_none());
        // It began and ended while the link task waited for a write.
        health.send_modify(|judgement| judgement.outages += 1);
        assert!(store.mended().now_or_never().is_some());
        assert!(store.mended().now_or_never().is_none());
    }
}
