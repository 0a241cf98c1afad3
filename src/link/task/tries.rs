//! When a client is built anew: one that has stopped, hangs or could not reach WhatsApp.
//!
//! One that WhatsApp turned away keeps its own pauses, which grow, and is left to them. Where WhatsApp cannot be reached at
//! all this waits for a place in the queue of those who come back ([`Link::turn`]), and viewers are told once.

use std::time::Duration;

use tokio::time::Instant;
use tracing::{debug, error, warn};

use super::{LinkTask, Next};
use crate::whatsapp::{Link, LoginTurn, Signal, StartError, Stopped};

/// The tries of one client.
#[derive(Default)]
pub(crate) struct Tries {
    /// When another client is wanted, should this one not try by itself before.
    retry_at: Option<Instant>,
    /// A place in the queue of those who log in: when the turn comes another client is built.
    turn: Option<LoginTurn>,
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
    pub(crate) fn retry_at(&self) -> Option<Instant> {
        self.retry_at
    }

    /// The client tries by itself. The word of one that was halted meanwhile may have been on its way: that one does not.
    pub(crate) fn connecting(&mut self) {
        if !self.halted {
            self.retry_at = None;
        }
    }

    /// When viewers hear of an outage.
    pub(crate) fn tell_at(&self) -> Option<Instant> {
        self.outage.as_ref().and_then(|outage| outage.tell_at)
    }

    /// Ends when it is this session's turn. May be dropped while it waits; its place is kept.
    pub(crate) async fn turn(turn: &mut Option<LoginTurn>) {
        match turn {
            Some(turn) => turn.as_mut().await,
            None => std::future::pending().await,
        }
    }

    /// What [`Tries::turn`] waits for, apart from all else.
    pub(crate) fn place(&mut self) -> &mut Option<LoginTurn> {
        &mut self.turn
    }

    pub(crate) fn retry_after(&mut self, pause: Duration) {
        self.retry_at = Some(Instant::now() + pause);
    }
}

impl LinkTask<'_> {
    /// WhatsApp is there: it said something.
    pub(crate) fn answered(&mut self) {
        self.tries.outage = None;
        self.tries.turn = None;
        self.tries.failed = 0;
        self.outdated.is_over();
    }

    /// The connection broke. The client opens another after a pause of its own; a longer one is a client that hangs.
    pub(crate) fn lost(&mut self, link: &dyn Link) {
        if self.tries.halted {
            return;
        }
        self.tries.retry_after(link.back_off() + self.parts.timers.retry);
    }

    /// WhatsApp wants to be left alone for now.
    pub(crate) async fn turned_away(&mut self, again_in: Duration, by_client: bool, link: &mut dyn Link) {
        self.answered();
        if by_client {
            return self.lost(link);
        }
        link.halt().await;
        self.tries.halted = true;
        self.tries.retry_after(again_in);
    }

    /// A try did not reach WhatsApp.
    pub(crate) fn try_failed(&mut self, detail: &str, link: &dyn Link) {
        if self.tries.halted {
            return;
        }
        self.tries.failed += 1;
        self.out_of_reach(detail.to_owned());
        let (id, retries) = (self.session.id(), self.tries.failed);
        if link.may_dial() {
            warn!(sessionId = %id, error = %detail, retryCount = retries, "client connection failed");
            return self.tries.retry_after(self.parts.timers.retry);
        }
        debug!(sessionId = %id, error = %detail, retryCount = retries, "client does not try to connect");
        self.tries.retry_at = None;
        self.queue(link);
    }

    fn out_of_reach(&mut self, detail: String) {
        let tell_at = Instant::now() + self.parts.timers.unreachable;
        match &mut self.tries.outage {
            Some(outage) => outage.detail = detail,
            None => self.tries.outage = Some(Outage { tell_at: Some(tell_at), detail }),
        }
    }

    pub(crate) async fn tell_unreachable(&mut self, link: &dyn Link) -> Next {
        let Some(outage) = self.tries.outage.as_mut().filter(|_| !link.is_reached()) else {
            self.tries.outage = None;
            return Ok(());
        };
        outage.tell_at = None;
        let detail = outage.detail.clone();
        self.write(Signal::Unreachable { detail }).await
    }

    /// The client ended without a word that ends the session, as when its QRs ran out while nobody could scan them.
    pub(crate) async fn client_stopped(&mut self, stopped: Stopped) -> Next {
        if stopped == Stopped::Fenced {
            warn!(sessionId = %self.session.id(), "another owner has the keys of this account");
            return Err(super::End::Leave);
        }
        if self.outdated.holds() {
            // That is why.
            return Ok(());
        }
        self.tries.retry_after(self.parts.timers.again);
        self.write(Signal::Lost { detail: "the client stopped".into() }).await
    }

    /// Another client is wanted, when its turn comes.
    pub(crate) fn queue(&mut self, link: &dyn Link) {
        self.tries.retry_at = None;
        if self.tries.turn.is_none() {
            self.tries.turn = Some(link.turn());
        }
    }

    /// It is this session's turn to log in.
    pub(crate) async fn take_turn(&mut self, link: &mut dyn Link) -> Next {
        self.tries.turn = None;
        // It has come back by itself, and its word is on its way.
        if link.is_reached() { Ok(()) } else { self.retry(link).await }
    }

    pub(crate) async fn retry(&mut self, link: &mut dyn Link) -> Next {
        self.tries.retry_at = None;
        self.tries.halted = false;
        self.outdated.rebuilt();
        let started = link.retry().await;
        self.started(started).await
    }

    pub(crate) async fn started(&mut self, started: Result<(), StartError>) -> Next {
        match started {
            Ok(()) => Ok(()),
            Err(StartError::Fenced) => self.client_stopped(Stopped::Fenced).await,
            Err(error @ StartError::Failed(_)) => {
                error!(sessionId = %self.session.id(), %error, "session error");
                self.out_of_reach(error.to_string());
                self.tries.retry_after(self.parts.timers.retry);
                Ok(())
            }
        }
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
