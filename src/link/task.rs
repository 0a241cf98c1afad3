//! One running client: its signals become facts, its silences are noticed, commands reach it.
//!
//! The runner starts the client before and stops it after; this is the loop between. Each part of the task (`tries`,
//! `settings`, `pairing`) keeps its own clocks and is given the session and the client; none of them knows this file.

mod outages;
mod owned;
mod pairing;
mod settings;
mod tries;
mod version;

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tracing::warn;

use self::outages::StoreWatch;
use self::owned::{Next, Owned};
use self::pairing::Pairing;
use self::settings::Settings;
use self::tries::Tries;
use super::journal::Journal;
use super::{Command, End, Parts, Start};
use crate::cluster::Lease;
use crate::event::{Disconnected, Kind, PairingMethod, Reason, Status, Time};
use crate::session::{RESTART, Session};
use crate::whatsapp::{Heard, Link, Signal, StartError, Stopped};

/// What the loop remembers.
pub(crate) struct LinkTask<'a> {
    owned: Owned<'a>,
    lease: Arc<Lease>,
    store: StoreWatch,
    /// When another client is wanted.
    tries: Tries,
    /// What a person who links the account may still do, and until when.
    pairing: Pairing,
    /// What of the account is missing, and when it is asked for again.
    settings: Settings,
}

impl<'a> LinkTask<'a> {
    pub(crate) fn new(
        session: Arc<Session>,
        parts: Arc<Parts>,
        start: &Start,
        journal: &'a mut Journal,
    ) -> Self {
        Self {
            lease: start.lease.clone(),
            store: StoreWatch::new(parts.records.health()),
            owned: Owned::new(session, parts, start.epoch, journal),
            tries: Tries::default(),
            pairing: Pairing::default(),
            settings: Settings::default(),
        }
    }

    pub(crate) async fn run(
        mut self,
        link: &mut dyn Link,
        signals: &mut Heard,
        commands: &mut mpsc::UnboundedReceiver<Box<Command>>,
    ) -> End {
        loop {
            let Self { owned, lease, store, tries, pairing, settings } = &mut self;
            let (tell_at, retry_at) = (tries.tell_at(), tries.retry_at());
            // In this order: what the client said before it stopped is heard before its stop.
            let next = tokio::select! {
                biased;
                () = owned.parts.shutdown.begun() => Err(End::HandOver),
                Some(signal) = signals.recv() => self.hear(*signal, link).await,
                Some(command) = commands.recv() => self.obey(*command, link).await,
                stopped = link.stopped() => tries.client_stopped(stopped, owned).await,
                () = at(tell_at) => tries.tell_unreachable(owned, link).await,
                found = tries.outdated.searched() => tries.version_searched(found, owned, link).await,
                () = at(retry_at) => { tries.queue(link); Ok(()) }
                () = Tries::turn(&mut tries.turn) => tries.take_turn(owned, link).await,
                () = store.mended() => settings.store_is_back(owned, tries, link).await,
                () = at(pairing.code_until) => pairing.code_expired(owned, link).await,
                () = at(pairing.passkey_until) => pairing.passkey_is_late(owned, tries, link).await,
                () = at(settings.tell_at) => settings.login_is_late(owned, tries, link).await,
                () = at(settings.check_at) => settings.complete(None, owned, link).await,
                () = at(settings.fetch_at) => settings.fetch_again(owned, link).await,
                () = at(owned.journal.flush_at()) => owned.journal.catch_up().await.map_err(End::from),
                () = lease.lapsed(), if owned.session.is_unpaired() => self.lapsed(),
            };
            if let Err(end) = next {
                return end;
            }
        }
    }

    async fn hear(&mut self, signal: Signal, link: &mut dyn Link) -> Next {
        let Self { owned, tries, pairing, settings, .. } = self;
        if tries.outdated.holds() {
            // Viewers have been told why this client ends; nothing else that it says counts.
            return Ok(());
        }
        if let Some(next) = pairing.taken_back(&signal, owned, tries, link).await {
            settings.tell_at = None;
            return next;
        }
        if let Some(refusal) = pairing.end_of_passkey_step(&signal, owned) {
            return pairing.passkey_failed(refusal, owned, tries, link).await;
        }
        match signal {
            Signal::PasskeyRequired { expires_in, .. } => {
                tries.answered();
                pairing.passkey_required(signal, expires_in, owned).await
            }
            Signal::PasskeyConfirmation { automatic, .. } => {
                tries.answered();
                pairing.passkey_taken(signal, automatic, owned, link).await
            }
            Signal::Outdated { version, detail } => tries.version_refused(version, detail, owned).await,
            Signal::LoggedIn => {
                tries.answered();
                settings.logged_in(owned, link).await
            }
            Signal::Connected { id, push_name, .. } => {
                tries.answered();
                settings.connected(id, push_name, owned, link).await
            }
            Signal::SettingsStored => settings.settings_stored(owned),
            Signal::KeyStored => settings.key_stored(owned),
            // The next owner has logged in, and this one learns of it from WhatsApp first.
            Signal::Replaced if !owned.is_still_owned().await => {
                warn!(sessionId = %owned.id(), "another replica has taken over");
                Err(End::Leave)
            }
            Signal::Connecting => {
                tries.connecting();
                if settings.takes_connecting() { Ok(()) } else { owned.write(signal).await }
            }
            signal => {
                self.note(&signal, link).await;
                self.owned.write(self.pairing.with_help(signal, &self.owned)).await
            }
        }
    }

    /// Sets the clocks that a signal moves.
    async fn note(&mut self, signal: &Signal, link: &mut dyn Link) {
        let Self { owned, tries, pairing, settings, .. } = self;
        match signal {
            Signal::ConnectFailed { detail } => tries.try_failed(detail, owned, link),
            Signal::Lost { .. } => tries.lost(owned, link),
            Signal::TurnedAway { again_in, by_client, .. } => {
                tries.turned_away(*again_in, *by_client, owned, link).await;
            }
            Signal::QrExhausted { stops } => {
                owned.qr_expired();
                pairing.out_of_qrs |= !stops;
                if *stops {
                    tries.answered();
                }
            }
            Signal::Code { expires_in, .. } => {
                tries.answered();
                pairing.code_until = Some(Instant::now() + *expires_in);
            }
            Signal::PairingRefused { method: PairingMethod::Code, .. } => {
                tries.answered();
                pairing.code_until = None;
            }
            Signal::Paired { .. } => {
                tries.answered();
                pairing.paired(link);
                settings.expect_login(owned);
            }
            _ => tries.answered(),
        }
    }

    /// A phone that scans now would be linked by a replica that may not store it.
    fn lapsed(&self) -> Next {
        warn!(sessionId = %self.owned.id(), "the lease has lapsed before a phone linked the device");
        self.owned.session.clear_screen();
        Err(End::Leave)
    }

    async fn obey(&mut self, command: Command, link: &mut dyn Link) -> Next {
        let Self { owned, tries, pairing, .. } = self;
        match command {
            Command::Ask(ask) => {
                pairing.ask(ask, owned, link);
                Ok(())
            }
            Command::Leave => Err(End::Leave),
            Command::HandOver => Err(End::HandOver),
            Command::Reopen => match link.reopen().await {
                Ok(()) => Ok(()),
                Err(StartError::Fenced) => tries.client_stopped(Stopped::Fenced, owned).await,
                Err(error @ StartError::Failed(_)) => {
                    // The store is away once more; the command comes again when it is back.
                    warn!(sessionId = %owned.id(), %error, "a device was not written again");
                    Ok(())
                }
            },
            Command::Erase { done } => Err(End::erase(owned.journal.write_deleted().await, done)),
            Command::Restart { done } => {
                if owned.state().status == Status::Connected {
                    let lost = Disconnected::new(Reason::ConnectionLost, Some(RESTART.into()));
                    owned.journal.write(Kind::Disconnected(lost), Time::now()).await?;
                }
                let _ = done.send(());
                Err(End::Leave)
            }
        }
    }
}

async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
