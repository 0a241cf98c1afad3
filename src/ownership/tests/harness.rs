//! Replicas in one process, on one deployment in memory and one scripted WhatsApp.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

use crate::cluster::Cluster;
use crate::cluster::alone::Alone;
use crate::event::Status;
use crate::id::SessionId;
use crate::memory::{Deployment, Replica};
use crate::ownership::Ownership;
use crate::records::{Damage, SessionLimits};
use crate::registry::supervisor;
use crate::registry::{NewSession, Parts, Registry, Timers};
use crate::shutdown::Shutdown;
use crate::whatsapp::script::Script;

/// How long a lease lasts.
pub(crate) const LEASE: Duration = Duration::from_secs(10);

/// In paused time this costs nothing.
const PATIENCE: Duration = Duration::from_secs(600);

/// A deployment, and the WhatsApp that it talks to.
pub(crate) struct Net {
    pub(crate) deployment: Deployment,
    pub(crate) whatsapp: Script,
}

/// One of its processes.
pub(crate) struct Server {
    pub(crate) name: &'static str,
    pub(crate) registry: Arc<Registry>,
    links: Shutdown,
    streams: Shutdown,
}

impl Net {
    pub(crate) fn new() -> Self {
        Self { deployment: Deployment::new(LEASE, 50), whatsapp: Script::default() }
    }

    /// One of many.
    pub(crate) async fn replica(&self, name: &'static str) -> Server {
        self.start(name, true).await
    }

    /// A process that has all sessions.
    pub(crate) async fn alone(&self) -> Server {
        self.start("alone", false).await
    }

    async fn start(&self, name: &'static str, shared: bool) -> Server {
        let (links, streams) = (Shutdown::new(), Shutdown::new());
        let store = self.deployment.replica(name);
        let cluster: Arc<dyn Cluster> =
            if shared { store.clone() } else { Arc::new(Alone::new(name, store.clone())) };
        let registry = Registry::open(self.parts(&store, cluster, &links, &streams)).await.unwrap();
        if shared {
            Ownership::start(&registry, store, &links, &streams);
        } else {
            let (starting, stop) = (registry.clone(), links.clone());
            links.spawn(async move {
                starting.start_all().await;
                supervisor::run(starting, stop).await;
            });
        }
        Server { name, registry, links, streams }
    }

    fn parts(
        &self,
        store: &Arc<Replica>,
        cluster: Arc<dyn Cluster>,
        links: &Shutdown,
        streams: &Shutdown,
    ) -> Parts {
        Parts {
            log: store.clone(),
            records: store.clone(),
            cluster,
            whatsapp: Arc::new(self.whatsapp.clone()),
            timers: Timers::faster(1.0),
            limits: SessionLimits { all: 100, user: 100 },
            history: 50,
            shutdown: links.clone(),
            streams: streams.clone(),
            not_released: AtomicUsize::new(0),
            damage: Damage::default(),
        }
    }

    /// A linked session, made on this replica.
    pub(crate) async fn links(&self, server: &Server, user: &str) -> SessionId {
        let id = server.create(user).await;
        self.whatsapp.client(&id, 1).await;
        self.whatsapp.links(&id);
        server.reaches(&id, Status::Connected).await;
        id
    }

    /// The session has an owner, which is this one, and a client of its own. A device that is linked logs in.
    pub(crate) async fn is_run_by(&self, server: &Server, id: &SessionId) {
        eventually(&format!("{} to run it", server.name), || {
            self.deployment.owner(id).is_some_and(|(owner, _)| owner == server.name)
                && self.whatsapp.alive(id) == 1
                && server.registry.running().contains(id)
        })
        .await;
    }

    /// There were never two clients of one account.
    pub(crate) fn never_two_clients(&self, id: &SessionId) {
        assert_eq!(self.whatsapp.most_at_once(id), 1, "{:?}", self.whatsapp.epochs(id));
    }
}

impl Server {
    pub(crate) async fn create(&self, user: &str) -> SessionId {
        let new = NewSession {
            user: user.parse().unwrap(),
            device_name: None,
            proxy: None,
            webhook: None,
            metadata: None,
            phone_number: None,
        };
        self.registry.create(new, None).await.unwrap().id
    }

    pub(crate) async fn status(&self, id: &SessionId) -> Option<Status> {
        let found = self.registry.find(id).await.ok().flatten();
        found.map(|session| session.snapshot().state.status)
    }

    pub(crate) async fn reaches(&self, id: &SessionId, status: Status) {
        let since = Instant::now();
        while self.status(id).await != Some(status) {
            assert!(since.elapsed() < PATIENCE, "{} never saw {status:?}", self.name);
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// SIGTERM; how many sessions could not be released.
    pub(crate) async fn stops(&self) -> usize {
        self.links.begin();
        self.links.finished(PATIENCE).await;
        self.streams.begin();
        self.registry.not_released()
    }
}

/// What the replicas of a test have counted, as long as the test runs.
#[derive(Default)]
pub(super) struct Counters(Mutex<HashMap<String, Arc<AtomicU64>>>);

impl Counters {
    /// Of a counter with this name, its label with this value.
    pub(super) fn of(&self, name: &str, label: &str) -> u64 {
        let counters = self.0.lock();
        counters.get(&format!("{name} {label}")).map_or(0, |count| count.load(Ordering::Relaxed))
    }
}

impl Recorder for Counters {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        let labels: Vec<_> = key.labels().map(|label| label.value().to_owned()).collect();
        let mut counters = self.0.lock();
        Counter::from_arc(counters.entry(format!("{} {}", key.name(), labels.join(","))).or_default().clone())
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

/// Waits until it is so.
pub(crate) async fn eventually(what: &str, is: impl Fn() -> bool) {
    let since = Instant::now();
    while !is() {
        assert!(since.elapsed() < PATIENCE, "waited for {what}");
        sleep(Duration::from_millis(5)).await;
    }
}
