//! What callers ask of a session: restart, delete, a pairing code, the steps of a passkey.
//!
//! Where its link task runs here the task is told. Where another replica owns it the request is written down, and the owner,
//! or the next one, does it; the answer is read from the session's own log, or, of a restart, from its epoch. Where nobody owns
//! it this replica claims it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};

use super::slot::Entry;
use super::{Registry, UNLIMITED};
use crate::cluster::Whereabouts;
use crate::event::Time;
use crate::id::SessionId;
use crate::link::{Ask, Command, LAST_WORD, Purpose, Start};
use crate::records::{OwnerRequest, RecordsError};
use crate::session::Error;
use crate::telemetry::traces;
use crate::whatsapp::StartError;

/// How long a restart waits for an owner elsewhere.
const OWNER_PATIENCE: Duration = Duration::from_secs(20);

/// Pause between two checks whether the owner has done it.
const LOOK_AGAIN: Duration = Duration::from_millis(25);

/// Why a session is not restarted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RestartError {
    /// It was deleted.
    #[error("the session is deleted")]
    Deleted,
    /// Its owner does not answer; it, or the next one, will still do it.
    #[error("the session's owner does not answer")]
    OwnerSilent,
    /// See [`RecordsError`].
    #[error(transparent)]
    Records(#[from] RecordsError),
    /// See [`StartError`].
    #[error(transparent)]
    Keys(#[from] StartError),
}

impl From<RestartError> for Error {
    fn from(error: RestartError) -> Self {
        match error {
            RestartError::Deleted => Self::Deleted,
            RestartError::OwnerSilent => Self::OwnerSilent,
            RestartError::Records(error) => error.into(),
            RestartError::Keys(error) => Self::Failed(error.into()),
        }
    }
}

impl Registry {
    /// A fresh start of the link task: new QRs where no device is linked, a reconnect where one is, new keys after a
    /// logout.
    ///
    /// # Errors
    /// See [`Error`].
    pub(crate) async fn restart(self: &Arc<Self>, id: &SessionId) -> Result<(), Error> {
        let (this, id) = (self.clone(), id.clone());
        let restart = self.finish(async move { this.restart_anywhere(&id).await });
        // What is under way goes on.
        Ok(timeout(OWNER_PATIENCE, restart).await.unwrap_or(Err(RestartError::OwnerSilent))?)
    }

    async fn restart_anywhere(self: &Arc<Self>, id: &SessionId) -> Result<(), RestartError> {
        let deadline = Instant::now() + OWNER_PATIENCE;
        while Instant::now() < deadline {
            let entry = self.lookup(id).await?.ok_or(RecordsError::Unknown)?;
            if self.runs_elsewhere(&entry) {
                if self.ask_for_restart(id, deadline).await? {
                    return Ok(());
                }
            } else {
                match self.restart_here(&entry).await {
                    // Another replica was faster.
                    Err(RestartError::Records(RecordsError::OwnedElsewhere)) => {}
                    done => return done,
                }
            }
            sleep(LOOK_AGAIN).await;
        }
        Err(RestartError::OwnerSilent)
    }

    /// Ends a session for good: its device is logged out and its keys are forgotten. Returns when that is certain to
    /// happen, not when it has. An unknown or deleted session is not an
    /// error; false then.
    pub(crate) async fn delete(self: &Arc<Self>, id: &SessionId) -> Result<bool, Error> {
        let (this, id) = (self.clone(), id.clone());
        Ok(self.finish(async move { this.delete_anywhere(&id).await }).await?)
    }

    async fn delete_anywhere(self: &Arc<Self>, id: &SessionId) -> Result<bool, RecordsError> {
        let Some(entry) = self.lookup(id).await? else { return Ok(false) };
        let (now, was_there) = (Time::now(), entry.session.snapshot().deleted.is_none());
        let mut watch = entry.session.watch(None);
        self.parts.records.delete(id, now).await?;
        if self.runs_elsewhere(&entry) {
            if watch.state.ended {
                return Ok(was_there);
            }
            // The deletion is stored: it happens whether or not its last word comes in time.
            let last_word = async { while watch.live.recv().await.is_ok_and(|event| !event.state.ended) {} };
            let _ = timeout(LAST_WORD, last_word).await;
            return Ok(was_there);
        }
        if !entry.session.mark_deleted(now) {
            return Ok(was_there);
        }
        match self.erase(&entry).await {
            // Another replica was faster, and knows of the deletion.
            Err(RecordsError::OwnedElsewhere) => {}
            done => done?,
        }
        Ok(was_there)
    }

    /// Asks something of a session's client; what becomes of it comes as an event. False when the session has no client to
    /// ask.
    pub(crate) async fn ask(self: &Arc<Self>, id: &SessionId, ask: Ask) -> Result<bool, Error> {
        let Some(entry) = self.lookup(id).await? else { return Ok(false) };
        if self.runs_elsewhere(&entry) && self.parts.cluster.ask_owner(id, &ask.clone().into()).await? {
            return Ok(true);
        }
        if !self.is_surely_owned(id) {
            let (this, id) = (self.clone(), id.clone());
            self.finish::<bool, RecordsError>(async move { this.take_over(&id).await }).await?;
        }
        // One that begins just now is asked as well.
        let _begun = entry.slot.change.lock().await;
        Ok(entry.slot.tenure().is_some_and(|tenure| tenure.commands.send(Command::Ask(ask).into()).is_ok()))
    }

    /// Finishes `work` even if the caller is dropped: half of it would leave a session without a task, or with two.
    pub(crate) async fn finish<T: Send + 'static, E: From<RecordsError> + Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, E>> + Send + 'static,
    ) -> Result<T, E> {
        self.parts
            .shutdown
            .finish(traces::carried(work))
            .await
            .unwrap_or_else(|| Err(RecordsError::away().into()))
    }

    /// Does what others want of a session that is owned here.
    pub(crate) async fn obey(self: &Arc<Self>, id: &SessionId) -> Result<(), RestartError> {
        let Some(entry) = self.known(id) else { return Ok(()) };
        let Whereabouts::Shared(found) = self.parts.cluster.find(id).await? else { return Ok(()) };
        if !self.is_surely_owned(id) {
            return Ok(());
        }
        if let Some(at) = found.record.deleted {
            entry.session.mark_deleted(at);
            return Ok(self.erase(&entry).await?);
        }
        let Some((at, request)) = found.request else { return Ok(()) };
        let mut past = entry.slot.change.lock().await;
        if past.heard >= at {
            return Ok(());
        }
        past.heard = at;
        match request {
            OwnerRequest::Restart { epoch } if epoch == found.record.epoch => {
                self.restart_entry(&entry, &mut past).await
            }
            OwnerRequest::Restart { .. } => Ok(()),
            request => {
                if let (Some(ask), Some(tenure)) = (Ask::of(request), entry.slot.tenure()) {
                    // Where the task has just ended, the log says why.
                    tenure.tell(Command::Ask(ask));
                }
                Ok(())
            }
        }
    }

    async fn restart_here(self: &Arc<Self>, entry: &Entry) -> Result<(), RestartError> {
        let mut past = entry.slot.change.lock().await;
        self.restart_entry(entry, &mut past).await
    }

    /// Asks the owner to restart, and waits. False if the session has no owner any more.
    async fn ask_for_restart(&self, id: &SessionId, deadline: Instant) -> Result<bool, RestartError> {
        let cluster = &self.parts.cluster;
        let Whereabouts::Shared(found) = cluster.find(id).await? else { return Ok(false) };
        if found.record.deleted.is_some() {
            return Err(RestartError::Deleted);
        }
        let epoch = found.record.epoch;
        let mut owned = cluster.ask_owner(id, &OwnerRequest::Restart { epoch }).await?;
        while owned && Instant::now() < deadline {
            sleep(LOOK_AGAIN).await;
            let Whereabouts::Shared(found) = cluster.find(id).await? else { break };
            if found.record.epoch > epoch {
                return Ok(true);
            }
            owned = found.owner.is_some();
        }
        Ok(false)
    }

    fn runs_elsewhere(&self, entry: &Entry) -> bool {
        let owner = entry.session.snapshot().owner;
        owner.is_some_and(|owner| owner != self.parts.cluster.me())
    }

    /// Has a deleted session logged out and wiped, by its link task or by a new one.
    async fn erase(self: &Arc<Self>, entry: &Entry) -> Result<(), RecordsError> {
        let mut past = entry.slot.change.lock().await;
        if let Some(running) = entry.slot.tenure() {
            if running.purpose == Purpose::Erase {
                // Under way.
                return Ok(());
            }
            if running.told(|done| Command::Erase { done }).await {
                entry.slot.erases(running.epoch);
                return Ok(());
            }
        }
        let claim = self.claim(entry, UNLIMITED).await?;
        let (done, heard) = oneshot::channel();
        self.begin(entry, &mut past, Start::of(claim), Some(Command::Erase { done }));
        // The deletion is stored: it happens whether or not its last word comes in time.
        let _ = timeout(LAST_WORD, heard).await;
        Ok(())
    }
}
