//! What every handler can reach: the settings, the sessions, and what is counted and remembered between requests.
//!
//! It decides nothing about a request: `door/` says who may come in, `api/`, `stream/` and `ops/` answer. `server.rs` makes it.

pub(super) mod alerts;
pub(super) mod probe;

use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::RwLock;

use self::alerts::Alerts;
use self::probe::StorageProbe;
use super::door::limits::Limits;
use super::door::tokens::Signer;
use super::error::{ApiError, ErrorCode};
use crate::clock;
use crate::config::Config;
use crate::event::Time;
use crate::id::SessionId;
use crate::registry::Registry;
use crate::session::Session;
use crate::shutdown::Shutdown;
use crate::stream::drain::Drain;
use crate::stream::heartbeat::Heartbeats;
use crate::telemetry::traces;
use crate::webhooks::Webhooks;

/// What every handler can reach.
#[derive(Clone)]
pub(crate) struct App(Arc<Inner>);

pub(crate) struct Inner {
    pub(super) config: Arc<Config>,
    /// Set when the store has been opened.
    pub(super) registry: OnceLock<Arc<Registry>>,
    /// Set when the store has been opened.
    pub(super) webhooks: OnceLock<Webhooks>,
    /// Whether it runs on SQLite because Redis could not be reached.
    fallen_back: AtomicBool,
    /// Signs and reads stream tokens, as soon as the deployment's secret is known.
    signer: RwLock<Option<Arc<Signer>>>,
    pub(super) limits: Arc<Limits>,
    /// Names this process among the replicas.
    pub(super) replica: String,
    pub(super) started: Instant,
    /// Begins first: link tasks are handed over, `/readyz` says so.
    pub(super) links: Shutdown,
    /// Begins when the link tasks are done: streams say goodbye.
    pub(super) drain: Drain,
    /// Begins when the streams are closed: it ends what they depend on.
    pub(super) streams: Shutdown,
    pub(super) sse_heartbeats: Heartbeats,
    pub(super) websocket_heartbeats: Heartbeats,
    pub(in crate::http) storage_probe: StorageProbe,
    pub(in crate::http) alerts: Alerts,
}

impl Deref for App {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl App {
    /// Without sessions yet: see [`App::open`]. `replica` names this process among others.
    pub(crate) fn new(
        config: Config,
        replica: String,
        links: Shutdown,
        drain: Drain,
        streams: Shutdown,
    ) -> Self {
        Self(Arc::new(Inner {
            limits: Limits::start(&config, &streams),
            config: Arc::new(config),
            registry: OnceLock::new(),
            webhooks: OnceLock::new(),
            fallen_back: AtomicBool::new(false),
            signer: RwLock::default(),
            replica,
            started: Instant::now(),
            links,
            drain,
            sse_heartbeats: Heartbeats::start(Duration::from_secs(15), &streams),
            websocket_heartbeats: Heartbeats::start(Duration::from_secs(25), &streams),
            streams,
            storage_probe: StorageProbe::default(),
            alerts: Alerts::new(),
        }))
    }

    /// What signs stream tokens from now on; all replicas have the same.
    pub(crate) fn set_token_secret(&self, secret: &str) {
        let signer = Signer::new(secret, self.config.security.token_max_age);
        *self.signer.write() = Some(Arc::new(signer));
        if let Some(webhooks) = self.webhooks.get() {
            webhooks.set_secret(secret);
        }
    }

    /// Answers for these webhooks from now on.
    pub(crate) fn set_webhooks(&self, webhooks: Webhooks) {
        // Called once.
        let _ = self.webhooks.set(webhooks);
    }

    /// Answers for these sessions from now on. `fallen_back`: they are on SQLite because Redis could not be reached.
    pub(crate) fn open(&self, registry: Arc<Registry>, fallen_back: bool) {
        self.fallen_back.store(fallen_back, Ordering::Relaxed);
        // Called once.
        let _ = self.registry.set(registry);
    }
}

impl App {
    pub(super) fn signer(&self) -> Option<Arc<Signer>> {
        self.signer.read().clone()
    }

    /// The sessions, as soon as their store has been opened.
    pub(super) fn registry(&self) -> Result<&Arc<Registry>, ApiError> {
        self.registry.get().ok_or(ErrorCode::StoreAway.into())
    }

    /// Does to its end what a client has asked for, with its lines in the log, even if the client leaves meanwhile.
    pub(super) async fn finish<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, ApiError>> + Send + 'static,
    ) -> Result<T, ApiError> {
        self.links.finish(traces::carried(work)).await.unwrap_or(Err(ErrorCode::StoreAway.into()))
    }

    /// The webhooks, as soon as their store has been opened.
    pub(super) fn webhooks(&self) -> Result<&Webhooks, ApiError> {
        self.webhooks.get().ok_or(ErrorCode::StoreAway.into())
    }

    /// When this process began.
    pub(super) fn started_at(&self) -> Time {
        Time::from_millis(Time::now().as_millis() - clock::millis(self.started.elapsed()))
    }

    /// Whether it runs on SQLite because Redis could not be reached.
    pub(super) fn has_fallen_back(&self) -> bool {
        self.fallen_back.load(Ordering::Relaxed)
    }

    /// The session of this id.
    pub(super) async fn session(&self, id: &SessionId) -> Result<Arc<Session>, ApiError> {
        self.registry()?.find(id).await?.ok_or(ErrorCode::SessionNotFound.into())
    }
}
