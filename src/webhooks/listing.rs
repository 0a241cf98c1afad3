//! How webhooks stand, for people, and their wish to have some of them again.

use super::Webhooks;
use super::lanes::Receiver;
use super::standing::{Standing, is_stale};
use super::store::{Change, Found};
use crate::event::{Cursor, Time};
use crate::id::SessionId;
use crate::receiver::ReceiverUrl;
use crate::storage::StorageError;

/// How often a wish is tried, where somebody else changes the same.
const TRIES: usize = 8;

/// One receiver of one session.
#[derive(Clone, Debug)]
pub(crate) struct Listed {
    pub(crate) url: ReceiverUrl,
    /// Whether it is one of `WEBHOOK_URLS`.
    pub(crate) is_shared: bool,
    pub(crate) state: &'static str,
    pub(crate) error: Option<String>,
    pub(crate) delivered: Option<Time>,
    /// When the next event is tried again.
    pub(crate) next: Option<Time>,
    /// How many events wait.
    pub(crate) waiting: usize,
    /// How many events it never got.
    pub(crate) lost: u64,
}

/// Why nothing is sent again.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum ResendError {
    /// There is no such session.
    #[error("no such session")]
    Unknown,
    /// The session has no event after this one.
    #[error("the session's last event is {0}")]
    NotYet(Cursor),
    /// Ask again.
    #[error("the store is away")]
    Away,
    /// Asking again does not help.
    #[error(transparent)]
    Failed(StorageError),
}

impl From<StorageError> for ResendError {
    fn from(error: StorageError) -> Self {
        if error.passes() || matches!(error, StorageError::Closed) { Self::Away } else { Self::Failed(error) }
    }
}

impl Webhooks {
    /// The receivers of a session; none where there is no such session.
    pub(crate) async fn list(&self, session: &SessionId) -> Result<Vec<Listed>, ResendError> {
        let Some(found) = self.0.store.look(session).await? else { return Ok(Vec::new()) };
        let mut listed = Vec::new();
        for receiver in self.receivers(&found) {
            listed.push(self.listed(session, &found, receiver).await?);
        }
        Ok(listed)
    }

    async fn listed(
        &self,
        session: &SessionId,
        found: &Found,
        receiver: Receiver,
    ) -> Result<Listed, ResendError> {
        let standing = Standing::read(found.standings.get(&receiver.id).map_or("", String::as_str));
        let mut waiting = 0;
        if !standing.is_done(found.last) {
            let now = (self.0.now)();
            let events = self.0.log.after(session, standing.cursor).await?.events;
            waiting =
                events.iter().filter(|event| self.is_for(&receiver, event) && !is_stale(event, now)).count();
        }
        Ok(Listed {
            is_shared: receiver.key.is_none(),
            url: receiver.url,
            state: standing.state(),
            waiting,
            error: standing.error,
            delivered: standing.delivered,
            next: standing.next,
            lost: standing.lost,
        })
    }

    /// Sends a session's events after this one again, to each of its receivers; to how many.
    pub(crate) async fn resend(&self, session: &SessionId, after: Cursor) -> Result<usize, ResendError> {
        let found = self.0.store.look(session).await?.ok_or(ResendError::Unknown)?;
        match found.last {
            Some(last) if after <= last => {}
            last => return Err(ResendError::NotYet(last.unwrap_or(Cursor::start_of(0)))),
        }
        let receivers = self.receivers(&found);
        for receiver in &receivers {
            self.rewind(session, receiver, after).await?;
        }
        self.0.store.put(session, (self.0.now)()).await?;
        self.look(session, None).await;
        Ok(receivers.len())
    }

    async fn rewind(
        &self,
        session: &SessionId,
        receiver: &Receiver,
        after: Cursor,
    ) -> Result<(), ResendError> {
        for _ in 0..TRIES {
            let found = self.0.store.look(session).await?.ok_or(ResendError::Unknown)?;
            let before = found.standings.get(&receiver.id).map_or("", String::as_str);
            let mut standing = Standing::read(before);
            standing.resend(after);
            let after = standing.to_text();
            let change = Change { before, after: &after, claimed: false };
            if self.0.store.save(session, &receiver.id, change).await? {
                return Ok(());
            }
        }
        Err(ResendError::Away)
    }
}
