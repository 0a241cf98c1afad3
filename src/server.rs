//! Puts the pieces together: the only module that names the client and, beside `migrate`, the concrete stores.

pub mod check;
mod stop;
mod store;

use std::net::SocketAddr;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::net::TcpListener;
use tracing::{error, info, warn};

use self::stop::{Left, Stages};
pub(crate) use self::store::{DATABASE, MIGRATIONS};
use self::store::{Replicas, Store, Stores};
use crate::config::{Config, LEAST_TOKEN_SECRET, is_token_secret};
use crate::http::{self, App, Door, KEPT, listener};
use crate::ownership::Ownership;
use crate::records::{RecordsError, SessionLimits};
use crate::registry::janitor::{self, Ages};
use crate::registry::supervisor;
use crate::registry::{Parts, Registry, Timers};
use crate::shutdown::Shutdown;
use crate::storage::folder::FolderError;
use crate::storage::redis::ConnectError;
use crate::storage::sqlite::OpenError;
use crate::webhooks::{self, Webhooks};
use crate::whatsapp::WhatsApp;
use crate::whatsapp::client::{Options, WhatsAppWeb};
#[cfg(feature = "simulator")]
use crate::whatsapp::script::Script;
use crate::whatsapp::version::Version;

/// Connections beside streams: requests, and streams that are refused for being too many.
const OTHER_CONNECTIONS: usize = 1000;

/// Pause between two looks at the secret that signs tokens.
const SECRET_EVERY: Duration = Duration::from_secs(5);

/// Why a server does not start, or does not end well.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// See [`FolderError`].
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// See [`OpenError`].
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Redis cannot be used, and trying again does not help.
    #[error("REDIS_URL: {0}")]
    Redis(ConnectError),
    /// The port of `METRICS_PORT`.
    #[error("cannot listen on {0} for METRICS_PORT: {1}")]
    Metrics(SocketAddr, #[source] std::io::Error),
    /// The records cannot be read.
    #[error("cannot read the stored sessions: {0}")]
    Read(#[from] RecordsError),
    /// Tokens signed with it could be made by anybody.
    #[error(
        "the token secret in the store has {0} bytes, and fewer than {LEAST_TOKEN_SECRET} can be guessed: set TOKEN_SECRET, or \
         remove it there, so that a new one is made (Redis: DEL <REDIS_PREFIX>{{data}}:token-secret; SQLite: DELETE FROM token_secret)"
    )]
    TokenSecret(usize),
    /// A thread of this process cannot be had.
    #[error("starting failed: {0}")]
    Start(#[from] std::io::Error),
    /// The warning before says which.
    #[error("not every session was handed over within the grace period")]
    Unfinished,
}

/// Serves until `stop` begins, then hands over and says goodbye.
///
/// # Errors
/// See [`ServerError`].
pub async fn run(config: Config, listener: TcpListener, stop: Shutdown) -> Result<(), ServerError> {
    Server::new(config).run(listener, stop).await
}

/// The same on a scripted WhatsApp, for `examples/scripted.rs`.
///
/// # Errors
/// See [`ServerError`].
#[cfg(feature = "simulator")]
pub async fn run_with(
    config: Config,
    listener: TcpListener,
    stop: Shutdown,
    script: Script,
) -> Result<(), ServerError> {
    let server = Server { script: Some(Arc::new(script)), ..Server::new(config) };
    server.run(listener, stop).await
}

/// As many connections as this configuration may want.
pub(crate) fn wanted_connections(config: &Config) -> usize {
    config.max_streams + OTHER_CONNECTIONS
}

/// How many connections so many file descriptors are enough for. A quarter is left to sessions and the store: if it were
/// used up, a lost connection to WhatsApp or Redis could not be made again.
pub(crate) fn room_of(limit: u64) -> usize {
    usize::try_from(limit - limit / 4).unwrap_or(usize::MAX)
}

/// How many of these connections there are file descriptors for.
fn room_for(connections: usize) -> usize {
    match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(limit) => {
            let room = room_of(limit);
            if room < connections {
                warn!(
                    limit,
                    connections = room,
                    "few file descriptors: fewer connections are taken in; see ulimit -n"
                );
            }
            connections.min(room)
        }
        Err(error) => {
            warn!(%error, "the number of file descriptors is not known");
            connections
        }
    }
}

/// One process, from its start to its end.
struct Server {
    config: Config,
    /// Names this process among the replicas.
    replica: String,
    stages: Stages,
    app: App,
    /// As soon as the store has been opened.
    registry: OnceLock<Arc<Registry>>,
    /// Instead of the real WhatsApp.
    script: Option<Arc<dyn WhatsApp>>,
}

impl Server {
    fn new(config: Config) -> Self {
        let replica = uuid::Uuid::new_v4().to_string();
        let stages = Stages::default();
        let Stages { links, drain, streams, .. } = stages.clone();
        let app = App::new(config.clone(), replica.clone(), links, drain, streams.clone());
        streams.spawn_until_begun(http::watch(app.clone()));
        Self { config, replica, stages, app, registry: OnceLock::new(), script: None }
    }

    async fn run(self, listener: TcpListener, stop: Shutdown) -> Result<(), ServerError> {
        for warning in self.config.security.unwise() {
            warn!("{warning}");
        }
        self.serve_metrics().await?;
        // Nobody is answered before the one file has been read; Redis may take its time.
        let mut store = None;
        if self.config.redis.is_none() {
            let alone = Store::alone(&self.config.data_dir).await?;
            self.open(store.insert(alone)).await?;
        }
        self.listen(listener)?;
        let result = self.live(&mut store, &stop).await;
        let left = match store {
            Some(_) if result.is_ok() => {
                let Config { ready_delay, drain, .. } = self.config;
                self.stages.end(ready_delay, drain, self.is_alone()).await
            }
            // It was never ready, so nobody has to notice.
            _ => self.stages.end(Duration::ZERO, Duration::ZERO, std::future::ready(true)).await,
        };
        if let Some(store) = store
            && tokio::time::timeout_at(left.until, store.close()).await.is_err()
        {
            warn!("the store was not closed in time");
        }
        result.and_then(|()| self.says(&left))
    }

    /// Begins to answer requests.
    fn listen(&self, listener: TcpListener) -> Result<(), ServerError> {
        info!(address = %listener.local_addr()?, version = env!("CARGO_PKG_VERSION"), "listening");
        let connections = &self.stages.connections;
        let wanted = wanted_connections(&self.config);
        let bounds = listener::Bounds { patience: self.config.slow_viewer, connections: room_for(wanted) };
        let (app, routes) = (self.app.clone(), http::router(self.app.clone()));
        connections.spawn(listener::serve(listener, app, Door::Public, routes, bounds, connections.clone()));
        Ok(())
    }

    /// Serves the metrics on `METRICS_PORT`, where one is set, to everyone who can reach it.
    async fn serve_metrics(&self) -> Result<(), ServerError> {
        let Some(port) = self.config.metrics_port else { return Ok(()) };
        let address = SocketAddr::new(self.config.host, port);
        let listener =
            TcpListener::bind(address).await.map_err(|error| ServerError::Metrics(address, error))?;
        info!(%address, "metrics");
        let connections = &self.stages.connections;
        let bounds = listener::Bounds { patience: self.config.slow_viewer, connections: KEPT };
        let (app, routes) = (self.app.clone(), http::metrics_router(self.app.clone()));
        connections.spawn(listener::serve(listener, app, Door::Metrics, routes, bounds, connections.clone()));
        Ok(())
    }

    /// Runs the sessions until `stop` begins.
    async fn live(&self, store: &mut Option<Store>, stop: &Shutdown) -> Result<(), ServerError> {
        if store.is_none() {
            let shared = tokio::select! {
                shared = Store::shared(&self.config) => shared?,
                () = stop.begun() => return Ok(()),
            };
            self.open(store.insert(shared)).await?;
        }
        stop.begun().await;
        Ok(())
    }

    /// Begins to answer for the sessions of this store, and to run them.
    async fn open(&self, store: &Store) -> Result<(), ServerError> {
        let Self { config, stages: Stages { links, streams, .. }, .. } = self;
        let (parts, replicas, webhooks) = self.parts(store);
        self.app.set_webhooks(Webhooks::start(webhooks));
        self.keep_token_secret(&parts).await?;
        streams.spawn_until_begun(store::probe(parts.records.clone()));
        let registry = Registry::open(parts).await?;
        // Called once.
        let _ = self.registry.set(registry.clone());
        self.app.open(registry.clone(), config.redis.is_some() && matches!(replicas, Replicas::One(_)));
        match replicas {
            Replicas::Many(replica) => Ownership::start(&registry, replica, links, streams),
            // Requests are answered while the stored sessions come back.
            Replicas::One(_) => {
                let (starting, shutdown) = (registry.clone(), links.clone());
                links.spawn(async move {
                    starting.start_all().await;
                    supervisor::run(starting, shutdown).await;
                });
            }
        }
        let ages =
            Ages { every: config.cleanup_interval, unlinked: config.unlinked_ttl, ended: config.ended_ttl };
        links.spawn(janitor::run(registry, ages, links.clone()));
        Ok(())
    }

    /// Where no secret is set, the deployment has one of its own. It is looked at again and again, and whenever the store
    /// comes back: Redis may have lost it, and all replicas must have the same.
    async fn keep_token_secret(&self, parts: &Parts) -> Result<(), ServerError> {
        if let Some(secret) = &self.config.security.token_secret {
            self.app.set_token_secret(&secret.0);
            return Ok(());
        }
        let fresh = format!("{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple());
        let mut known = match parts.records.token_secret(&fresh).await {
            // Asked for again below; until then nobody is given a token.
            Err(error) if error.is_away() => None,
            secret => Some(secret?),
        };
        if let Some(secret) = known.as_ref().filter(|secret| !is_token_secret(secret)) {
            return Err(ServerError::TokenSecret(secret.len()));
        }
        known.iter().for_each(|secret| self.app.set_token_secret(secret));
        let (records, app) = (parts.records.clone(), self.app.clone());
        let cluster = parts.cluster.clone();
        self.stages.streams.spawn_until_begun(async move {
            let mut refused = false;
            loop {
                // Either way it is looked at.
                let _ = tokio::time::timeout(SECRET_EVERY, cluster.store_changed()).await;
                // While the store is away it can lose nothing.
                if let Ok(stored) = records.token_secret(known.as_ref().unwrap_or(&fresh)).await
                    && known.as_ref() != Some(&stored)
                {
                    if !is_token_secret(&stored) {
                        // What was good before goes on to be.
                        if !std::mem::replace(&mut refused, true) {
                            error!(error = %ServerError::TokenSecret(stored.len()), "the token secret is not taken");
                        }
                        continue;
                    }
                    refused = false;
                    app.set_token_secret(&stored);
                    known = Some(stored);
                }
            }
        });
        Ok(())
    }

    /// Whether nobody else serves these sessions, as far as is known.
    async fn is_alone(&self) -> bool {
        match self.registry.get() {
            Some(registry) => registry.is_last().await,
            None => true,
        }
    }

    /// What the end was like.
    fn says(&self, left: &Left) -> Result<(), ServerError> {
        let Left { links, connections, .. } = *left;
        if connections > 0 {
            // Peers that take no bytes: nothing is lost but their last ones.
            warn!(connections, "connections were cut at the end of the grace period");
        }
        let registry = self.registry.get();
        let not_released = registry.map_or(0, |registry| registry.not_released());
        if links + not_released > 0 {
            let sessions = registry.map(|registry| registry.running()).unwrap_or_default();
            warn!(
                tasks = links,
                ?sessions,
                not_released,
                "not all was handed over at the end of the grace period"
            );
            return Err(ServerError::Unfinished);
        }
        info!("stopped");
        Ok(())
    }

    fn parts(&self, store: &Store) -> (Parts, Replicas, webhooks::Parts) {
        let Self { config, replica, stages: Stages { links, streams, .. }, .. } = self;
        let Stores { log, records, replicas, engine, hooks, woken, damage } = store.open(config, replica);
        let webhooks = webhooks::Parts {
            settings: config.webhooks.clone(),
            store: hooks,
            log: log.clone(),
            woken,
            speed: config.time_factor(),
            shutdown: streams.clone(),
        };
        let options = Options {
            proxy: config.proxy.clone(),
            device_name: config.device_name.clone(),
            platform: config.platform,
            version: config.whatsapp_version.map(|(_, _, revision)| Version(revision)),
            logins_per_second: config.logins_per_second,
            #[cfg(feature = "simulator")]
            url: config.whatsapp_url.clone(),
            time_factor: config.time_factor(),
        };
        let parts = Parts {
            log,
            records,
            cluster: replicas.cluster(),
            whatsapp: self
                .script
                .clone()
                .unwrap_or_else(|| Arc::new(WhatsAppWeb::new(options, engine, links.clone()))),
            timers: Timers::faster(config.time_factor()),
            limits: SessionLimits { all: config.max_sessions, user: config.max_sessions_per_user },
            damage,
            history: config.history_events,
            shutdown: links.clone(),
            streams: streams.clone(),
            not_released: AtomicUsize::new(0),
        };
        (parts, replicas, webhooks)
    }
}
