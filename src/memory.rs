//! A deployment in memory: records, leases, logs and the words between replicas, on tokio's clock. For tests in paused time.
//!
//! As many replicas share it as a test wants, each with a [`Deployment::replica`] of its own. What Redis decides in one script
//! is decided here under one lock, with the same answers (`records/redis/*.lua`, `log/redis/*.lua`); a [`Fate`] holds back,
//! loses or delays any of them. There is no index that lags and no cluster: those are for the real one.

mod cluster;
mod gate;
mod log;
mod records;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{broadcast, watch};
use tokio::time::Instant;

use self::gate::Gate;
pub(crate) use self::gate::{Fate, Hold};
use crate::cluster::contact::StoreContact;
use crate::cluster::peers::Peers;
use crate::cluster::{Contact, News, Viewers};
use crate::event::{Event, Time};
use crate::id::SessionId;
use crate::records::{OwnerRequest, Record, RecordsError};
use crate::storage::StorageError;
use crate::storage::health::Health;
use crate::storage::redis::Server;

/// How many words between replicas may wait to be heard.
const WORDS: usize = 1024;

/// What all replicas share.
#[derive(Clone)]
pub(crate) struct Deployment(Arc<Shared>);

struct Shared {
    lease: Duration,
    history: usize,
    gate: Gate,
    begun: (Instant, i64),
    world: Mutex<World>,
    /// For this replica, or for all.
    words: broadcast::Sender<(Option<String>, News)>,
    /// An event that was appended; `None`: the log was removed.
    live: broadcast::Sender<(SessionId, Option<Arc<Event>>)>,
    /// Whether each replica gets answers.
    contacts: Mutex<BTreeMap<String, watch::Sender<Contact>>>,
}

#[derive(Default)]
struct World {
    sessions: BTreeMap<SessionId, Row>,
    /// Until when each replica lives, and since when.
    replicas: BTreeMap<String, (Instant, Instant)>,
    viewers: HashMap<String, Viewers>,
    /// Requests that are done once: their bodies, the sessions they make, whether they have.
    requests: HashMap<String, ([u8; 32], SessionId, bool)>,
    secret: Option<String>,
}

/// One session, and its log.
#[derive(Default)]
struct Row {
    record: Option<Record>,
    owner: Option<String>,
    expires: Option<Instant>,
    epoch: u64,
    /// Whether it has a link task, or gets one.
    runs: bool,
    request: Option<(i64, OwnerRequest, Instant)>,
    log: Vec<Arc<Event>>,
}

impl Row {
    fn lasts(&self) -> bool {
        self.expires.is_some_and(|expires| Instant::now() < expires)
    }

    fn owner_now(&self) -> Option<String> {
        self.owner.clone().filter(|_| self.lasts())
    }

    fn is_held_by_another(&self, replica: &str) -> bool {
        self.owner_now().is_some_and(|owner| owner != replica)
    }
}

impl Deployment {
    /// Empty. A claim lasts for `lease`, and each log keeps its last `history` events.
    pub(crate) fn new(lease: Duration, history: usize) -> Self {
        Self(Arc::new(Shared {
            lease,
            history,
            gate: Gate::default(),
            begun: (Instant::now(), Time::now().as_millis()),
            world: Mutex::default(),
            words: broadcast::Sender::new(WORDS),
            live: broadcast::Sender::new(WORDS),
            contacts: Mutex::default(),
        }))
    }

    /// The same, as the replica of this name uses it.
    pub(crate) fn replica(&self, name: &str) -> Arc<Replica> {
        let contact = StoreContact::new(self.contact(name).subscribe());
        Arc::new(Replica {
            deployment: self.clone(),
            name: name.to_owned(),
            health: Health::default(),
            contact,
            peers: Peers::default(),
        })
    }

    /// What becomes of this replica's next call of this name: a method of `Records`, `Leases` or `EventLog`.
    pub(crate) fn next(&self, replica: &str, call: &'static str, fate: Fate) {
        self.0.gate.next(replica, call, fate);
    }

    /// From now on this replica gets no answer, and knows it.
    pub(crate) fn cuts(&self, replica: &str) {
        self.contact(replica).send_replace(Contact::Away);
    }

    /// It gets answers again, from a store that has everything it had.
    pub(crate) fn mends(&self, replica: &str) {
        self.contact(replica).send_replace(Contact::Up(the_store()));
    }

    fn contact(&self, replica: &str) -> watch::Sender<Contact> {
        let mut contacts = self.0.contacts.lock();
        let new = || watch::Sender::new(Contact::Up(the_store()));
        contacts.entry(replica.to_owned()).or_insert_with(new).clone()
    }

    /// Who owns a session at this moment, and by which epoch.
    pub(crate) fn owner(&self, session: &SessionId) -> Option<(String, u64)> {
        let world = self.world();
        let row = world.sessions.get(session)?;
        Some((row.owner_now()?, row.epoch))
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.0.world.lock()
    }

    /// Unix time in milliseconds, by tokio's clock.
    fn now(&self) -> i64 {
        let (begun, at) = self.0.begun;
        at + i64::try_from(begun.elapsed().as_millis()).unwrap_or(i64::MAX)
    }

    /// A new epoch: the larger of the last one plus one and the time.
    fn next_epoch(&self, last: u64) -> u64 {
        self.now().cast_unsigned().max(last + 1)
    }
}

fn the_store() -> Server {
    Server { run_id: "it".into(), data: "data".into() }
}

/// What a call decided; the store's own failures come before it.
type Decided<T> = Result<T, RecordsError>;

/// A deployment, as one of its replicas uses it.
pub(crate) struct Replica {
    deployment: Deployment,
    name: String,
    health: Health,
    contact: StoreContact,
    peers: Peers,
}

impl Replica {
    /// One call: away with the store, else as the test has it.
    async fn call<T: Send + 'static>(
        &self,
        name: &'static str,
        work: impl FnOnce(&Deployment, &str) -> T + Send + 'static,
    ) -> Result<T, StorageError> {
        if *self.deployment.contact(&self.name).borrow() == Contact::Away {
            return Err(StorageError::Away);
        }
        let (deployment, me) = (self.deployment.clone(), self.name.clone());
        self.deployment.0.gate.pass(&self.name, name, move || work(&deployment, &me)).await
    }
}
