//! Port: which replica runs which session, for how long, and words between replicas.
//!
//! [`Cluster`] has two real implementations. [`alone::Alone`] is a process that has every session to itself: its lease never
//! ends, and there is nobody to ask. [`redis::OnRedis`] is one of many, with Redis as the only authority; it is also
//! [`Leases`], which only `ownership` uses. Records and claims are `records`'; nothing here runs a session.

pub(crate) mod alone;
pub(crate) mod contact;
pub(crate) mod lease;
pub(crate) mod peers;
pub(crate) mod redis;

use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use tokio::sync::{OwnedSemaphorePermit, watch};

pub(crate) use self::lease::Lease;
use crate::event::Time;
use crate::id::SessionId;
use crate::records::{OwnerRequest, Record, RecordsError, SessionInfo};
pub(crate) use crate::storage::redis::ConnectionState as Contact;

/// Who else there is, as one process sees it.
#[async_trait]
pub(crate) trait Cluster: Send + Sync {
    /// This process, as the others know it.
    fn me(&self) -> &str;

    /// How long a claim that is made now will last. Taken before the claim: the store counts from when it was made.
    fn lease(&self) -> Lease;

    /// The sessions that this process has from its start on, without claiming them.
    async fn at_start(&self) -> Result<Vec<Record>, RecordsError>;

    /// Where a session is at this moment.
    async fn find(&self, session: &SessionId) -> Result<Whereabouts, RecordsError>;

    /// Every session, in no order, of which these are in this process. May name one that was just removed.
    async fn sessions(&self, here: Vec<SessionId>) -> Result<Vec<SessionId>, RecordsError>;

    /// How many viewers each session has, over all replicas, where these are the ones of this process.
    async fn viewers(&self, here: Viewers) -> Result<Viewers, RecordsError>;

    /// Whether the session is still this process's, by this epoch. No where nobody can tell.
    async fn owns(&self, session: &SessionId, epoch: u64) -> bool;

    /// Waits until this process may hand one more session over. Each of them needs a next owner as well, so a few at a time
    /// are down for a shorter time.
    async fn turn_to_hand_over(&self) -> HandOver;

    /// Gives a running session to the next process that claims it, and tells all of them. Of another's session: nothing.
    async fn hand_over(&self, session: &SessionId, epoch: u64) -> Result<(), RecordsError>;

    /// The owner of a session whose link task has ended here, until it is claimed again.
    fn owner_at_rest(&self) -> Option<String>;

    /// Writes down what a session's owner, or its next one, is to do, and tells the owner. False when it has none.
    async fn ask_owner(&self, session: &SessionId, request: &OwnerRequest) -> Result<bool, RecordsError>;

    /// Makes the limits' counts agree with the records; how many places were given back.
    async fn sweep(&self) -> Result<usize, RecordsError>;

    /// Whether no other process lives that could serve the viewers of this one, as far as is known. Asked while it leaves.
    async fn is_last(&self) -> bool;

    /// Where everything is kept, and whether that answers.
    fn storage(&self) -> Storage;

    /// Waits until a store that is elsewhere has gone away or come back, perhaps without its data.
    async fn store_changed(&self);
}

/// What one of many replicas needs beside: leases that last and lapse, who lives, and what the others say.
#[async_trait]
pub(crate) trait Leases: Cluster {
    /// How long a claim or a renewal lasts, counted from when the call began.
    fn duration(&self) -> Duration;

    /// How many sessions have, or wait for, a link task.
    async fn claimed(&self) -> Result<usize, RecordsError>;

    /// Renews the lease of a session, of the epoch that this replica holds. `keeps` says, when the answer is here, whether
    /// it still does: a session that is released meanwhile must not look as if it were owned.
    async fn renew(&self, session: &SessionId, epoch: u64, keeps: &(dyn Fn() -> bool + Sync)) -> Renewal;

    /// Up to `limit` sessions that are to run and have no owner; or that are this replica's, with a lapsed lease, whether or
    /// not they have a link task; or, where `since` is given, whose lease lapsed at least that long ago.
    async fn lapsed(&self, since: Option<Duration>, limit: usize) -> Result<Vec<SessionId>, RecordsError>;

    /// Writes record and lease again, as the owner of `record.epoch` knows them, after the store may have lost them.
    /// False when another replica has claimed the session.
    async fn reassert(&self, record: &Record) -> Result<bool, RecordsError>;

    /// Says that this replica lives, and how many viewers each session has on it; hears who else lives.
    async fn beat(&self, viewers: &Viewers) -> Result<(), RecordsError>;

    /// This replica goes: the others need not wait for its next beat.
    async fn leave(&self);

    /// The replicas that lived at the last beat.
    fn living(&self) -> Vec<Replica>;

    /// What the others say to this replica. Ends when the store is closed.
    fn news(&self) -> BoxStream<'static, News>;

    /// Whether the store answers, now and from now on, and which one it is.
    fn contact(&self) -> watch::Receiver<Contact>;
}

/// Where a session is.
#[derive(Debug)]
pub(crate) enum Whereabouts {
    /// In this process, which has every session there is.
    Here,
    /// In the store that all replicas share, which knows this of it.
    Shared(Box<SessionInfo>),
    /// There is no such session. While the store may have lost it, and an owner may write it again, `find` fails instead.
    Nowhere,
}

/// Held while a session is handed over.
#[derive(Debug)]
pub(crate) struct HandOver(
    #[expect(dead_code, reason = "held for its drop")] pub(crate) Option<OwnedSemaphorePermit>,
);

/// Where everything is kept.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Storage {
    /// In this process's own file.
    Here,
    /// In the store of many replicas.
    Shared {
        /// Since when it does not answer.
        away: Option<Time>,
        /// When it came back without its data.
        data_lost: Option<Time>,
    },
}

/// What other replicas say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// A session was handed over: it waits for an owner.
    Released(SessionId),
    /// There is a request for a session of ours, or it was deleted.
    Requested(SessionId),
    /// Something may have been missed.
    Missed,
}

/// What became of a lease that was to be renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Renewal {
    /// It lasts for a whole lease, counted from when the call began.
    Kept {
        /// A request stands, or the session is deleted.
        requested: bool,
    },
    /// Another replica has the session: stop its link task, quietly.
    Lost,
    /// The store has lost this ownership: all of the session, or the end of its data. See [`Leases::reassert`].
    Missing,
    /// No answer: the lease lasts as it did before.
    Unknown,
}

/// A replica that lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Replica {
    /// Its name, the `owner` of leases.
    pub name: String,
    /// How long ago it appeared.
    pub age: Duration,
}

/// How many viewers sessions have; those that have none are left out.
pub(crate) type Viewers = std::collections::HashMap<SessionId, usize>;
