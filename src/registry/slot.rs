//! What this process is to one session: nothing, a mirror, or its owner. Nothing else says it.
//!
//! The transitions are [`Slot::own`], [`Slot::rest`] and [`Slot::follow`]; docs/architecture.md has the table of what leads to
//! which. Whether a session has ended, is deleted or waits for a command is its record's matter, and whether a lease has
//! lapsed is the lease's: an owner whose lease has lapsed is an owner until its link task has ended.

use std::sync::{Arc, Weak};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::cluster::Lease;
use crate::link::{Command, LAST_WORD, Purpose};
use crate::session::Session;

/// One session's entry in the registry.
pub(crate) struct Slot {
    role: Mutex<Role>,
    /// Held by whatever claims the session or begins its link task, so that one does at a time.
    pub(crate) change: tokio::sync::Mutex<Past>,
}

/// What this process is to a session, and with that, what keeps the session in memory.
pub(crate) enum Role {
    /// It does nothing with it. Where each session is this process's own, this is one without a link task.
    Idle(Arc<Session>),
    /// It follows the log that others write, as long as somebody here holds the session.
    Mirror(Follower),
    /// It runs its link task.
    Owner(Tenure),
}

/// The task that follows a log; dropping this stops it.
pub(crate) struct Follower {
    pub(crate) session: Weak<Session>,
    pub(crate) _stop: DropGuard,
}

/// One ownership: from the start of a link task until that has ended.
#[derive(Clone)]
pub(crate) struct Tenure {
    pub(crate) session: Arc<Session>,
    pub(crate) epoch: u64,
    pub(crate) lease: Arc<Lease>,
    pub(crate) purpose: Purpose,
    /// Boxed, because the channel has room for 32 from the start, and there is one for each session.
    pub(crate) commands: mpsc::UnboundedSender<Box<Command>>,
}

/// What the next link task has to know of those before it.
#[derive(Default)]
pub(crate) struct Past {
    /// Ends when the last client and every one before it have stopped: never two of one account.
    pub(crate) stopped: Option<CancellationToken>,
    /// When the newest request that was heard of was made (Unix ms, the store's clock): an older one is done or void.
    pub(crate) heard: i64,
}

/// A session and its slot. The slot stays in the registry as long as one of these, or a viewer, holds the session.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) session: Arc<Session>,
    pub(crate) slot: Arc<Slot>,
}

impl Slot {
    pub(crate) fn idle(session: Arc<Session>) -> Self {
        Self { role: Mutex::new(Role::Idle(session)), change: tokio::sync::Mutex::default() }
    }

    /// `None` once nobody holds what was a mirror.
    pub(crate) fn session(&self) -> Option<Arc<Session>> {
        match &*self.role() {
            Role::Idle(session) => Some(session.clone()),
            Role::Mirror(follower) => follower.session.upgrade(),
            Role::Owner(tenure) => Some(tenure.session.clone()),
        }
    }

    /// The ownership, while a link task runs here.
    pub(crate) fn tenure(&self) -> Option<Tenure> {
        match &*self.role() {
            Role::Owner(tenure) => Some(tenure.clone()),
            Role::Idle(_) | Role::Mirror(_) => None,
        }
    }

    /// Whether a link task runs here, and no other replica can have the session.
    pub(crate) fn is_surely_owned(&self) -> bool {
        matches!(&*self.role(), Role::Owner(tenure) if tenure.lease.lasts())
    }

    /// The session, where this process answers for it: it owns the session under a lease that lasts, or it is the only process
    /// and the session does not run.
    pub(crate) fn answered_for(&self, me: &str) -> Option<Arc<Session>> {
        match &*self.role() {
            Role::Owner(tenure) => tenure.lease.lasts().then(|| tenure.session.clone()),
            Role::Idle(session) => session.is_owned_by(me).then(|| session.clone()),
            Role::Mirror(_) => None,
        }
    }

    /// A link task begins. A mirror stops following: what the task writes need not come back to it.
    pub(crate) fn own(&self, tenure: Tenure, me: &str) {
        let mut role = self.role();
        tenure.session.set_owner(Some(me.to_owned()));
        *role = Role::Owner(tenure);
    }

    /// The link task of this epoch is told to erase.
    pub(crate) fn erases(&self, epoch: u64) {
        if let Role::Owner(tenure) = &mut *self.role()
            && tenure.epoch == epoch
        {
            tenure.purpose = Purpose::Erase;
        }
    }

    /// The link task of this epoch has ended; from now on `owner` runs the session. False where a later one has begun.
    pub(crate) fn rest(&self, epoch: u64, owner: Option<String>) -> bool {
        let mut role = self.role();
        let session = match &*role {
            Role::Owner(tenure) if tenure.epoch == epoch => tenure.session.clone(),
            Role::Idle(_) | Role::Mirror(_) | Role::Owner(_) => return false,
        };
        session.set_owner(owner);
        *role = Role::Idle(session);
        true
    }

    /// Makes an idle one a mirror, by the follower that `begin` starts.
    pub(crate) fn follow(&self, begin: impl FnOnce(&Arc<Session>) -> Follower) {
        let mut role = self.role();
        if let Role::Idle(session) = &*role {
            let follower = begin(session);
            *role = Role::Mirror(follower);
        }
    }

    fn role(&self) -> MutexGuard<'_, Role> {
        self.role.lock()
    }
}

impl Tenure {
    /// Sends a command and waits until the link task has written its last word. False when the task has ended, or does not
    /// answer.
    pub(crate) async fn told(&self, command: impl FnOnce(oneshot::Sender<()>) -> Command) -> bool {
        let (done, heard) = oneshot::channel();
        if self.commands.send(command(done).into()).is_err() {
            return false;
        }
        matches!(timeout(LAST_WORD, heard).await, Ok(Ok(())))
    }

    /// Tells the link task something that needs no answer. One that has just ended does not need to hear it.
    pub(crate) fn tell(&self, command: Command) {
        let _ = self.commands.send(command.into());
    }
}
