//! What others ask of a session: restart, delete, a pairing code.
//!
//! Where its link task runs here the task is told. Where another replica owns it the wish is written down, and the owner,
//! or the next one, does it; the answer is read from the session's own log. Where nobody owns it this replica claims it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};

use super::takeover::UNLIMITED;
use super::{Entry, PATIENCE, Registry, Task};
use crate::event::{Me, Reason, Time};
use crate::id::SessionId;
use crate::link::{Ask, Command, Start};
use crate::records::{Leases, RecordsError, Wish};
use crate::whatsapp::StartError;

/// How long a restart waits for an owner elsewhere.
const OWNER_PATIENCE: Duration = Duration::from_secs(20);

/// Pause between two looks at whether it has.
const LOOK_AGAIN: Duration = Duration::from_millis(25);

/// Why a session is not restarted.
#[derive(Debug, thiserror::Error)]
pub enum RestartError {
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

impl Registry {
    /// A fresh start of the link task: new QRs where no device is linked, a reconnect where one is, new keys after a
    /// logout.
    ///
    /// # Errors
    /// See [`RestartError`].
    pub async fn restart(self: &Arc<Self>, id: &SessionId) -> Result<(), RestartError> {
        let (this, id) = (self.clone(), id.clone());
        let restart = self.to_its_end(async move { this.restart_anywhere(&id).await });
        // What is under way goes on.
        timeout(OWNER_PATIENCE, restart).await.unwrap_or(Err(RestartError::OwnerSilent))
    }

    async fn restart_anywhere(self: &Arc<Self>, id: &SessionId) -> Result<(), RestartError> {
        let give_up = Instant::now() + OWNER_PATIENCE;
        while Instant::now() < give_up {
            let entry = self.entry(id).await?.ok_or(RecordsError::Unknown)?;
            match (&self.parts.leases, self.owner_elsewhere(&entry)) {
                (Some(leases), true) => {
                    if ask_for_restart(leases.as_ref(), id, give_up).await? {
                        return Ok(());
                    }
                }
                _ => match self.restart_entry(&entry).await {
                    // Another replica was faster.
                    Err(RestartError::Records(RecordsError::Held)) => {}
                    done => return done,
                },
            }
            sleep(LOOK_AGAIN).await;
        }
        Err(RestartError::OwnerSilent)
    }

    /// Ends a session for good: its device is logged out and its keys are forgotten. Returns when that is certain to
    /// happen, not when it has. An unknown session is no error.
    pub async fn delete(self: &Arc<Self>, id: &SessionId) -> Result<(), RecordsError> {
        let (this, id) = (self.clone(), id.clone());
        self.to_its_end(async move { this.delete_anywhere(&id).await }).await
    }

    async fn delete_anywhere(self: &Arc<Self>, id: &SessionId) -> Result<(), RecordsError> {
        let Some(entry) = self.entry(id).await? else { return Ok(()) };
        let now = Time::now();
        let mut watch = entry.session.watch(None);
        self.parts.records.delete(id, now).await?;
        if self.owner_elsewhere(&entry) {
            if watch.state.ended {
                return Ok(());
            }
            // The deletion is stored: it happens whether or not its last word comes in time.
            let last_word = async { while watch.live.recv().await.is_ok_and(|event| !event.state.ended) {} };
            let _ = timeout(PATIENCE, last_word).await;
            return Ok(());
        }
        if !entry.session.mark_deleted(now) {
            return Ok(());
        }
        match self.erase(&entry).await {
            // Another replica was faster, and knows of the deletion.
            Err(RecordsError::Held) => Ok(()),
            done => done,
        }
    }

    /// Asks something of a session's client; what becomes of it comes as an event. False when the session has no client to
    /// ask.
    pub async fn ask(self: &Arc<Self>, id: &SessionId, ask: Ask) -> Result<bool, RecordsError> {
        let Some(entry) = self.entry(id).await? else { return Ok(false) };
        if self.owner_elsewhere(&entry)
            && let Some(leases) = &self.parts.leases
            && leases.wish(id, &ask.clone().into()).await?
        {
            return Ok(true);
        }
        if self.parts.leases.is_some() && !self.is_owned(id) {
            let (this, id) = (self.clone(), id.clone());
            self.to_its_end(async move { this.take_over(&id).await }).await?;
        }
        let task = entry.task.lock().await;
        Ok(task.as_ref().is_some_and(|task| task.commands.send(Command::Ask(ask)).is_ok()))
    }

    /// Goes on with it when whoever asked has gone: half of it would leave a session without a task, or with two.
    pub(crate) async fn to_its_end<T: Send + 'static, E: From<RecordsError> + Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, E>> + Send + 'static,
    ) -> Result<T, E> {
        let (done, ended) = oneshot::channel();
        self.parts.shutdown.spawn(async move {
            // Nobody may be there to hear it.
            let _ = done.send(work.await);
        });
        ended.await.unwrap_or_else(|_| Err(RecordsError::away().into()))
    }

    /// Does what others want of a session that is owned here.
    pub(crate) async fn obey(self: &Arc<Self>, id: &SessionId) -> Result<(), RestartError> {
        let (Some(leases), Some(entry)) = (&self.parts.leases, self.known(id)) else { return Ok(()) };
        let Some(found) = leases.find(id).await? else { return Ok(()) };
        if !self.is_owned(id) {
            return Ok(());
        }
        if let Some(at) = found.record.deleted {
            entry.session.mark_deleted(at);
            return Ok(self.erase(&entry).await?);
        }
        let Some((at, wish)) = found.wish else { return Ok(()) };
        if entry.heard.fetch_max(at, Ordering::Relaxed) >= at {
            return Ok(());
        }
        match wish {
            Wish::Restart { epoch } if epoch == found.record.epoch => self.restart_entry(&entry).await,
            Wish::Restart { .. } => Ok(()),
            wish => {
                if let (Some(ask), Some(task)) = (Ask::of(wish), &*entry.task.lock().await) {
                    // Ended just now: whoever asked sees why in the log.
                    let _ = task.commands.send(Command::Ask(ask));
                }
                Ok(())
            }
        }
    }

    pub(crate) async fn restart_entry(self: &Arc<Self>, entry: &Arc<Entry>) -> Result<(), RestartError> {
        let mut task = entry.task.lock().await;
        self.restart_task(entry, &mut task).await
    }

    /// The same, by whoever holds the place of its link task.
    pub(crate) async fn restart_task(
        self: &Arc<Self>,
        entry: &Arc<Entry>,
        task: &mut Option<Task>,
    ) -> Result<(), RestartError> {
        let session = &entry.session;
        if session.snapshot().deleted.is_some() {
            return Err(RestartError::Deleted);
        }
        if !self.parts.whatsapp.is_whole(session.id()).await? {
            // A link task would try for ever.
            return Err(RecordsError::damaged().into());
        }
        let after = match task {
            Some(last) => {
                // What could not be started again must not be stopped: the new epoch has to be stored.
                self.parts.records.check().await?;
                last.told(|done| Command::Restart { done }).await;
                if self.parts.leases.is_some() {
                    // A new epoch refuses what the last client stores as it stops.
                    last.stopped.cancelled().await;
                }
                Some(last.stopped.clone())
            }
            None => None,
        };
        let lease = self.lease();
        let epoch = self.claim(session, self.parts.limits).await?;
        let state = session.snapshot().state;
        let mut me: Option<Me> = state.me;
        if state.ended && state.reason == Some(Reason::LoggedOut) {
            if let Some(last_client) = &after {
                last_client.cancelled().await;
            }
            // WhatsApp knows the old keys no more.
            self.parts.whatsapp.forget(session.id()).await?;
            me = None;
        }
        session.restart(me);
        *task = Some(self.start(
            entry,
            Start { epoch, lease, owner_lost: false, after, taken: None, in_turn: false },
            None,
        ));
        Ok(())
    }

    /// Has a deleted session logged out and wiped, by its link task or by a new one.
    async fn erase(self: &Arc<Self>, entry: &Arc<Entry>) -> Result<(), RecordsError> {
        let mut task = entry.task.lock().await;
        let id = entry.session.id();
        if self.had(id) && entry.session.snapshot().state.reason == Some(Reason::Deleted) {
            // Under way.
            return Ok(());
        }
        if let Some(running) = &*task
            && running.told(|done| Command::Erase { done }).await
        {
            return Ok(());
        }
        let lease = self.lease();
        let epoch = self.claim(&entry.session, UNLIMITED).await?;
        let after = task.as_ref().map(|last| last.stopped.clone());
        let (done, heard) = oneshot::channel();
        let start = Start { epoch, lease, owner_lost: false, after, taken: None, in_turn: false };
        *task = Some(self.start(entry, start, Some(Command::Erase { done })));
        // The deletion is stored: it happens whether or not its last word comes in time.
        let _ = timeout(PATIENCE, heard).await;
        Ok(())
    }
}

impl RestartError {
    /// For a restart that belongs to a take-over.
    pub(crate) fn into_records(self) -> RecordsError {
        match self {
            Self::Records(error) => error,
            error => RecordsError::failed(error),
        }
    }
}

/// Whether the owner has done it; no, when there is none any more.
async fn ask_for_restart(
    leases: &dyn Leases,
    id: &SessionId,
    give_up: Instant,
) -> Result<bool, RestartError> {
    let Some(found) = leases.find(id).await? else { return Ok(false) };
    if found.record.deleted.is_some() {
        return Err(RestartError::Deleted);
    }
    let epoch = found.record.epoch;
    let mut owned = leases.wish(id, &Wish::Restart { epoch }).await?;
    while owned && Instant::now() < give_up {
        sleep(LOOK_AGAIN).await;
        let Some(found) = leases.find(id).await? else { break };
        if found.record.epoch > epoch {
            return Ok(true);
        }
        owned = found.owner.is_some();
    }
    Ok(false)
}
