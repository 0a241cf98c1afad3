//! Settings of an account that a fresh device could not fetch: viewers are told that it is linked and incomplete, and they
//! are asked for again until they are there.
//!
//! The device store is the judge ([`Link::missing`]), for some failures of the client have no event. The client asks
//! again over a new connection only, which no viewer needs to hear of.

use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use super::owned::{Next, Owned};
use super::tries::Tries;
use crate::event::{Missing, Status};
use crate::whatsapp::{Link, Signal};

/// When what is missing is asked for again, and which of the client's new connections are ours.
#[derive(Default)]
pub(super) struct Settings {
    /// When viewers are told that a login is incomplete, should the client not be content before.
    pub(super) tell_at: Option<Instant>,
    /// When it is looked at whether everything has come, should the client not say so before.
    pub(super) check_at: Option<Instant>,
    /// When the client asks again.
    pub(super) fetch_at: Option<Instant>,
    /// How often it has asked again.
    tries: usize,
    /// The next connection is one that we asked for.
    reconnecting: bool,
}

impl Settings {
    /// Whether the client opens this connection because we asked it to.
    pub(super) fn takes_connecting(&mut self) -> bool {
        std::mem::take(&mut self.reconnecting)
    }

    fn pause(&self, pauses: &[Duration]) -> Duration {
        pauses.get(self.tries).or(pauses.last()).copied().unwrap_or_default()
    }

    /// A phone has linked the device: its first login follows.
    pub(super) fn expect_login(&mut self, owned: &Owned<'_>) {
        self.tell_at = Some(Instant::now() + owned.parts.timers.settings);
    }

    /// WhatsApp took the login. Where something is known to be missing there is nothing to wait for.
    pub(super) async fn logged_in(&mut self, owned: &mut Owned<'_>, link: &dyn Link) -> Next {
        let state = owned.state();
        if state.status == Status::Connected {
            return Ok(());
        }
        if state.missing.is_some() {
            return self.tell_login(owned, link).await;
        }
        // An account that was complete lacks nothing: its client is content in a moment, or the connection is dead.
        if !state.linked {
            self.expect_login(owned);
        }
        Ok(())
    }

    /// The client has not said that it is content, and viewers have waited long enough.
    pub(super) async fn login_is_late(
        &mut self,
        owned: &mut Owned<'_>,
        tries: &mut Tries,
        link: &mut dyn Link,
    ) -> Next {
        self.tell_at = None;
        let state = owned.state();
        if link.is_logged_in() {
            return self.tell_login(owned, link).await;
        }
        if state.status != Status::Authenticated {
            return Ok(());
        }
        let detail = "the device is linked, but its first login was not answered".into();
        owned.write(Signal::Lost { detail }).await?;
        // One that cannot reach WhatsApp is built anew in its turn.
        if link.may_dial() { tries.retry(owned, link).await } else { Ok(()) }
    }

    /// Tells of a login, with what is missing.
    pub(super) async fn tell_login(&mut self, owned: &mut Owned<'_>, link: &dyn Link) -> Next {
        let Some(me) = owned.state().me else { return Ok(()) };
        let missing = missing(owned, link).await;
        owned.write(Signal::Connected { id: me.id, push_name: None, missing }).await?;
        self.schedule_fetch(missing, owned);
        Ok(())
    }

    /// The client says that it has everything; whether it has, the store says.
    pub(super) async fn connected(
        &mut self,
        id: String,
        push_name: Option<String>,
        owned: &mut Owned<'_>,
        link: &dyn Link,
    ) -> Next {
        self.tell_at = None;
        if owned.state().status == Status::Connected {
            // Told when WhatsApp took the login.
            return self.complete(push_name, owned, link).await;
        }
        let missing = missing(owned, link).await;
        owned.write(Signal::Connected { id, push_name, missing }).await?;
        self.schedule_fetch(missing, owned);
        Ok(())
    }

    /// Something of the account was stored: perhaps the last of what was missing. The account's name comes a moment later,
    /// and the client's word after that.
    pub(super) fn settings_stored(&mut self, owned: &Owned<'_>) -> Next {
        if owned.state().missing.is_some() {
            self.check_at = Some(Instant::now() + owned.parts.timers.grace);
        }
        Ok(())
    }

    /// Tells that nothing is missing any more, if so.
    pub(super) async fn complete(
        &mut self,
        push_name: Option<String>,
        owned: &mut Owned<'_>,
        link: &dyn Link,
    ) -> Next {
        self.check_at = None;
        let state = owned.state();
        if state.status != Status::Connected
            || state.missing.is_none()
            || missing(owned, link).await.is_some()
        {
            return Ok(());
        }
        info!(sessionId = %owned.id(), "the account's settings are complete");
        *self = Self::default();
        let id = state.me.map(|me| me.id).unwrap_or_default();
        owned.write(Signal::Connected { id, push_name, missing: None }).await
    }

    /// The phone has sent a key. The client goes on by itself if it still waits for one; else it has to ask again.
    pub(super) fn key_stored(&mut self, owned: &Owned<'_>) -> Next {
        if owned.state().missing.is_some() {
            self.fetch_at = Some(Instant::now() + owned.parts.timers.grace);
        }
        Ok(())
    }

    /// Asks again, unless it has come meanwhile.
    pub(super) async fn fetch_again(&mut self, owned: &mut Owned<'_>, link: &dyn Link) -> Next {
        self.fetch_at = None;
        self.complete(None, owned, link).await?;
        let state = owned.state();
        if state.status == Status::Connected && state.missing.is_some() {
            self.tries += 1;
            self.reconnecting = true;
            link.fetch_again();
            self.schedule_fetch(state.missing, owned);
        }
        Ok(())
    }

    /// The store takes writes again. What a fresh device was given meanwhile may be lost to its client: another one asks WhatsApp
    /// for all of it again. One that had everything goes on: it stores by itself what it has kept.
    pub(super) async fn store_is_back(
        &mut self,
        owned: &mut Owned<'_>,
        tries: &mut Tries,
        link: &mut dyn Link,
    ) -> Next {
        let state = owned.state();
        let unfinished = state.status == Status::Authenticated
            || state.status == Status::Connected && state.missing.is_some();
        if !unfinished || !link.may_dial() {
            return Ok(());
        }
        info!(sessionId = %owned.id(), "the store is back: the client of a fresh device is built anew");
        self.reconnecting = state.status == Status::Connected;
        tries.retry(owned, link).await
    }

    fn schedule_fetch(&mut self, missing: Option<Missing>, owned: &Owned<'_>) {
        self.tell_at = None;
        let pause = self.pause(&owned.parts.timers.fetch_again);
        self.fetch_at = missing.map(|_| Instant::now() + pause);
    }
}

/// What is missing. Where the store does not say, an account that was complete still is, and of any other the settings are
/// missing: the store is asked again before anything is fetched.
async fn missing(owned: &Owned<'_>, link: &dyn Link) -> Option<Missing> {
    match link.missing().await {
        Ok(missing) => missing,
        Err(error) => {
            warn!(sessionId = %owned.id(), %error, "the store does not say what is missing");
            let state = owned.state();
            let was_complete = state.linked && state.missing.is_none();
            (!was_complete).then_some(state.missing.unwrap_or(Missing::Settings))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_of_failures_costs_few_connections() {
        let pauses = [60, 180, 600, 900].map(Duration::from_secs);
        let mut settings = Settings::default();
        let (mut at, mut connections) = (Duration::ZERO, 1);
        loop {
            at += settings.pause(&pauses);
            if at > Duration::from_secs(3600) {
                break;
            }
            settings.tries += 1;
            connections += 1;
        }
        assert_eq!(connections, 7);
    }
}
