//! Every route in one table, every layer in its order.
//!
//! Handlers are thin: they read the request, ask `session` or `stream`, and answer. They never see a store, the bus or
//! WhatsApp.

mod body;
mod error;
mod health;
mod init;
pub mod listener;
mod pages;
mod pairing;
mod polling;
mod sessions;
mod sse;
mod viewer;
mod websocket;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::{DefaultBodyLimit, Path};
use axum::http::Method;
use axum::routing::{MethodRouter, delete, get, post};
use tower_http::catch_panic::CatchPanicLayer;

use self::error::ApiError;
use self::health::StorageProbe;
use crate::config::Config;
use crate::id::SessionId;
use crate::session::Session;
use crate::session::registry::Registry;
use crate::shutdown::Shutdown;
use crate::stream::pulse::Pulses;

/// Largest request body, in bytes.
const MAX_BODY: usize = 16 * 1024;

/// What every handler can reach.
#[derive(Clone)]
pub struct App {
    inner: Arc<Inner>,
}

struct Inner {
    /// Set when the store has been opened.
    registry: OnceLock<Arc<Registry>>,
    /// Whether it runs on SQLite because Redis could not be reached.
    fallen_back: AtomicBool,
    config: Config,
    /// Names this process among the replicas.
    replica: String,
    started: Instant,
    /// Begins first: link tasks are handed over, `/readyz` says so.
    links: Shutdown,
    /// Begins when the link tasks are done: streams say goodbye.
    streams: Shutdown,
    sse_pulses: Pulses,
    websocket_pulses: Pulses,
    storage_probe: StorageProbe,
}

impl App {
    /// Without sessions yet: see [`App::open`]. `replica` names this process among others.
    pub fn new(config: Config, replica: String, links: Shutdown, streams: Shutdown) -> Self {
        let sse_pulses = Pulses::start(Duration::from_secs(15), &streams);
        let websocket_pulses = Pulses::start(Duration::from_secs(25), &streams);
        let started = Instant::now();
        let inner = Inner {
            registry: OnceLock::new(),
            fallen_back: AtomicBool::new(false),
            config,
            replica,
            started,
            links,
            streams,
            sse_pulses,
            websocket_pulses,
            storage_probe: StorageProbe::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// From now on over these sessions; on SQLite for want of Redis, perhaps.
    pub fn open(&self, registry: Arc<Registry>, fallen_back: bool) {
        self.inner.fallen_back.store(fallen_back, Ordering::Relaxed);
        // Called once.
        let _ = self.inner.registry.set(registry);
    }
}

/// A path's one parameter, as axum found it.
type NamedPath = Result<Path<String>, PathRejection>;

impl App {
    /// The sessions, as soon as their store has been opened.
    fn registry(&self) -> Result<&Arc<Registry>, ApiError> {
        self.inner.registry.get().ok_or_else(ApiError::store_away)
    }

    /// The session of this id.
    async fn session(&self, id: &str) -> Result<Arc<Session>, ApiError> {
        let id = id.parse::<SessionId>()?;
        self.registry()?.find(&id).await?.ok_or_else(ApiError::session_not_found)
    }
}

/// One line of the route table.
struct Route {
    method: Method,
    path: &'static str,
    handler: MethodRouter<App>,
}

fn routes() -> Vec<Route> {
    let get = |path, handler| Route { method: Method::GET, path, handler };
    let post = |path, handler| Route { method: Method::POST, path, handler };
    let delete = |path, handler| Route { method: Method::DELETE, path, handler };
    let mut routes: Vec<Route> =
        pages::PAGES.iter().map(|page| get(page.path, self::get(async || page.answer()))).collect();
    routes.extend([
        post("/api/init-session", self::post(init::init)),
        get("/api/sessions", self::get(sessions::list)),
        delete("/api/sessions/{id}", self::delete(sessions::delete)),
        post("/api/sessions/{id}/restart", self::post(sessions::restart)),
        post("/api/sessions/{id}/pairing-code", self::post(pairing::code)),
        get("/api/qr-code/{id}", self::get(polling::qr_code)),
        get("/api/session-status/{id}", self::get(polling::status)),
        get("/api/sessions/{id}/events", self::get(sse::events)),
        get("/api/sessions/{id}/ws", self::get(websocket::upgrade)),
        get("/health", self::get(health::health)),
        get("/livez", self::get(health::livez)),
        get("/readyz", self::get(health::readyz)),
    ]);
    routes
}

/// The whole HTTP service.
pub fn router(app: App) -> Router {
    let mut router = Router::new();
    for Route { method, path, handler } in routes() {
        tracing::trace!(%method, path, "route");
        router = router.route(path, handler);
    }
    router
        .fallback(|| async { ApiError::no_such_route() })
        .method_not_allowed_fallback(|| async { ApiError::method_not_allowed() })
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(CatchPanicLayer::custom(error::panicked))
        .with_state(app)
}
