//! When a client is built anew: one that has stopped, hangs or could not reach WhatsApp.
//!
//! One that WhatsApp turned away keeps its own pauses, which grow, and is left to them. Where WhatsApp cannot be reached at
//! all this waits for a place in the queue of those who come back ([`Link::turn`]), and viewers are told once.

use std::time::Duration;

use tokio::time::Instant;
use tracing::{debug, error, warn};

use super::owned::{Next, Owned};
use super::version::Outdated;
use crate::link::End;
use crate::whatsapp::version::Version;
use crate::whatsapp::{Link, LoginTurn, Signal, StartError, Stopped};

/// The tries of one client.
#[derive(Default)]
pub(super) struct Tries {
    /// When another client is wanted, should this one not try by itself before.
    retry_at: Option<Instant>,
    /// A place in the queue of those who log in: when the turn comes another client is built.
    pub(super) turn: Option<LoginTurn>,
    /// WhatsApp refuses the client's version.
    pub(super) outdated: Outdated,
    outage: Option<Outage>,
    /// The client was halted: whatever it said before that changes nothing.
    halted: bool,
    /// Failed tries to reach WhatsApp, in a row.
    failed: u32,
}

/// WhatsApp out of reach: since a failed try, until any answer.
struct Outage {
    /// When viewers hear of it; `None` once they have.
    tell_at: Option<Instant>,
    detail: String,
}

impl Tries {
    /// When another client is wanted.
    pub(super) fn retry_at(&self) -> Option<Instant> {
        self.retry_at
    }

    /// The client tries by itself. The signal of one that was halted may come late, and is no new try.
    pub(super) fn connecting(&mut self) {
        if !self.halted {
            self.retry_at = None;
        }
    }

    /// When viewers hear of an outage.
    pub(super) fn tell_at(&self) -> Option<Instant> {
        self.outage.as_ref().and_then(|outage| outage.tell_at)
    }

    /// Ends when it is this session's turn. May be dropped while it waits; its place is kept.
    pub(super) async fn turn(turn: &mut Option<LoginTurn>) {
        match turn {
            Some(turn) => turn.as_mut().await,
            None => std::future::pending().await,
        }
    }

    pub(super) fn retry_after(&mut self, pause: Duration) {
        self.retry_at = Some(Instant::now() + pause);
    }

    /// WhatsApp is there: it said something.
    pub(super) fn answered(&mut self) {
        self.outage = None;
        self.turn = None;
        self.failed = 0;
        self.outdated.clear();
    }

    /// The connection broke. The client opens another after a pause of its own. If it takes longer than that, it hangs.
    pub(super) fn lost(&mut self, owned: &Owned<'_>, link: &dyn Link) {
        if self.halted {
            return;
        }
        self.retry_after(link.back_off() + owned.parts.timers.retry);
    }

    /// WhatsApp wants to be left alone for now.
    pub(super) async fn turned_away(
        &mut self,
        again_in: Duration,
        by_client: bool,
        owned: &Owned<'_>,
        link: &mut dyn Link,
    ) {
        self.answered();
        if by_client {
            return self.lost(owned, link);
        }
        link.halt().await;
        self.halted = true;
        self.retry_after(again_in);
    }

    /// A try did not reach WhatsApp.
    pub(super) fn try_failed(&mut self, detail: &str, owned: &Owned<'_>, link: &dyn Link) {
        if self.halted {
            return;
        }
        self.failed += 1;
        self.out_of_reach(detail.to_owned(), owned);
        let (id, retries) = (owned.id(), self.failed);
        if link.may_dial() {
            warn!(sessionId = %id, error = %detail, retryCount = retries, "client connection failed");
            return self.retry_after(owned.parts.timers.retry);
        }
        debug!(sessionId = %id, error = %detail, retryCount = retries, "client does not try to connect");
        self.retry_at = None;
        self.queue(link);
    }

    fn out_of_reach(&mut self, detail: String, owned: &Owned<'_>) {
        let tell_at = Instant::now() + owned.parts.timers.unreachable;
        match &mut self.outage {
            Some(outage) => outage.detail = detail,
            None => self.outage = Some(Outage { tell_at: Some(tell_at), detail }),
        }
    }

    pub(super) async fn tell_unreachable(&mut self, owned: &mut Owned<'_>, link: &dyn Link) -> Next {
        let Some(outage) = self.outage.as_mut().filter(|_| !link.is_reached()) else {
            self.outage = None;
            return Ok(());
        };
        outage.tell_at = None;
        let detail = outage.detail.clone();
        owned.write(Signal::Unreachable { detail }).await
    }

    /// The client ended without a word that ends the session, as when its QRs ran out while nobody could scan them.
    pub(super) async fn client_stopped(&mut self, stopped: Stopped, owned: &mut Owned<'_>) -> Next {
        if stopped == Stopped::Fenced {
            warn!(sessionId = %owned.id(), "another owner has the keys of this account");
            return Err(End::Leave);
        }
        if self.outdated.holds() {
            // It stopped because its version was refused.
            return Ok(());
        }
        self.retry_after(owned.parts.timers.again);
        owned.write(Signal::Lost { detail: "the client stopped".into() }).await
    }

    /// Another client is wanted, when its turn comes.
    pub(super) fn queue(&mut self, link: &dyn Link) {
        self.retry_at = None;
        if self.turn.is_none() {
            self.turn = Some(link.turn());
        }
    }

    /// It is this session's turn to log in.
    pub(super) async fn take_turn(&mut self, owned: &mut Owned<'_>, link: &mut dyn Link) -> Next {
        self.turn = None;
        // It has come back by itself, and its word is on its way.
        if link.is_reached() { Ok(()) } else { self.retry(owned, link).await }
    }

    pub(super) async fn retry(&mut self, owned: &mut Owned<'_>, link: &mut dyn Link) -> Next {
        self.retry_at = None;
        self.halted = false;
        self.outdated.rebuilt();
        let started = link.retry().await;
        self.started(started, owned).await
    }

    pub(super) async fn started(&mut self, started: Result<(), StartError>, owned: &mut Owned<'_>) -> Next {
        match started {
            Ok(()) => Ok(()),
            Err(StartError::Fenced) => self.client_stopped(Stopped::Fenced, owned).await,
            Err(error @ StartError::Failed(_)) => {
                error!(sessionId = %owned.id(), %error, "session error");
                self.out_of_reach(error.to_string(), owned);
                self.retry_after(owned.parts.timers.retry);
                Ok(())
            }
        }
    }

    /// WhatsApp refused the version of this client.
    pub(super) async fn version_refused(
        &mut self,
        version: Version,
        detail: String,
        owned: &mut Owned<'_>,
    ) -> Next {
        let retried = self.outdated.is_retried();
        self.answered();
        self.connecting();
        // A session that no phone has linked ends by this, so a newer version is tried once before viewers are told.
        if owned.state().was_paired() || retried {
            owned.write(Signal::Outdated { version, detail: detail.clone() }).await?;
        }
        self.outdated.refused(version, detail, owned.parts.whatsapp.clone());
        Ok(())
    }

    /// The search for a newer version has ended. Many sessions hear of one in the same moment, so each waits for its turn;
    /// only where a person waits in front of a page the client is built at once.
    pub(super) async fn version_searched(
        &mut self,
        found: bool,
        owned: &mut Owned<'_>,
        link: &mut dyn Link,
    ) -> Next {
        match (found, owned.state().was_paired()) {
            (true, false) => return self.retry(owned, link).await,
            (true, true) => {
                self.outdated.stop_searching();
                self.queue(link);
            }
            (false, false) => {
                if let Some(signal) = self.outdated.take_signal() {
                    return owned.write(signal).await;
                }
            }
            (false, true) => {
                self.retry_after(owned.parts.timers.outdated);
                self.outdated.search_on(owned.parts.whatsapp.clone());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A client that goes on after a second is halted for minutes, and its last word is heard after that.
    #[test]
    fn what_a_halted_client_said_does_not_take_the_next_try_away() {
        let mut tries = Tries::default();
        tries.retry_after(Duration::from_secs(144));
        tries.halted = true;
        tries.connecting();
        assert!(tries.retry_at().is_some());
        tries.halted = false;
        tries.connecting();
        assert!(tries.retry_at().is_none());
    }
}
