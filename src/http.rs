//! Every route in one table, every layer in its order.
//!
//! Handlers are thin: they read the request, ask `session` or `stream`, and answer. They never see a store, the log or
//! WhatsApp.

mod alerts;
mod auth;
mod body;
mod caller;
mod client;
mod clock;
mod codes;
mod error;
mod health;
mod host;
mod init;
mod json;
mod limits;
pub mod listener;
pub mod metrics;
mod origins;
mod pages;
mod pairing;
mod passkey;
mod paths;
mod phone;
mod polling;
mod requests;
mod sessions;
mod sse;
mod stream_token;
mod tokens;
mod viewer;
mod websocket;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::Method;
use axum::middleware::{from_fn, from_fn_with_state, map_response};
use axum::response::Response;
use axum::routing::{MethodRouter, delete, get, post};
use tower_http::catch_panic::CatchPanicLayer;
use tower_service::Service as _;

use self::alerts::Alerts;
pub use self::caller::Access;
use self::error::ApiError;
use self::health::StorageProbe;
use self::limits::Limits;
use self::tokens::Signer;
use crate::config::Config;
use crate::event::Time;
use crate::id::SessionId;
use crate::registry::Registry;
use crate::session::Session;
use crate::shutdown::Shutdown;
use crate::stream::drain::Drain;
use crate::stream::heartbeat::Heartbeats;

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
    /// Signs and reads stream tokens, as soon as the deployment's secret is known.
    signer: RwLock<Option<Arc<Signer>>>,
    limits: Arc<Limits>,
    config: Config,
    /// Names this process among the replicas.
    replica: String,
    started: Instant,
    /// Begins first: link tasks are handed over, `/readyz` says so.
    links: Shutdown,
    /// Begins when the link tasks are done: streams say goodbye.
    drain: Drain,
    /// Begins when they have: what streams stand on ends.
    streams: Shutdown,
    sse_heartbeats: Heartbeats,
    websocket_heartbeats: Heartbeats,
    storage_probe: StorageProbe,
    alerts: Alerts,
}

impl App {
    /// Without sessions yet: see [`App::open`]. `replica` names this process among others.
    pub fn new(config: Config, replica: String, links: Shutdown, drain: Drain, streams: Shutdown) -> Self {
        let sse_heartbeats = Heartbeats::start(Duration::from_secs(15), &streams);
        let websocket_heartbeats = Heartbeats::start(Duration::from_secs(25), &streams);
        let started = Instant::now();
        let inner = Inner {
            registry: OnceLock::new(),
            fallen_back: AtomicBool::new(false),
            signer: RwLock::default(),
            limits: Limits::start(&config, &streams),
            config,
            replica,
            started,
            links,
            drain,
            streams,
            sse_heartbeats,
            websocket_heartbeats,
            storage_probe: StorageProbe::default(),
            alerts: Alerts::new(),
        };
        let app = Self { inner: Arc::new(inner) };
        app.inner.streams.spawn_until_begun(alerts::watch(app.clone()));
        app
    }

    /// What signs stream tokens from now on; all replicas have the same.
    pub fn set_token_secret(&self, secret: &str) {
        let signer = Signer::new(secret, self.inner.config.security.token_max_age);
        *self.inner.signer.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(signer));
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
    fn signer(&self) -> Option<Arc<Signer>> {
        self.inner.signer.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The sessions, as soon as their store has been opened.
    fn registry(&self) -> Result<&Arc<Registry>, ApiError> {
        self.inner.registry.get().ok_or_else(ApiError::store_away)
    }

    /// When this process began.
    fn started_at(&self) -> Time {
        let uptime = i64::try_from(self.inner.started.elapsed().as_millis()).unwrap_or(0);
        Time::from_millis(Time::now().as_millis() - uptime)
    }

    /// Whether it runs on SQLite because Redis could not be reached.
    fn has_fallen_back(&self) -> bool {
        self.inner.fallen_back.load(Ordering::Relaxed)
    }

    /// The session of this id.
    async fn session(&self, id: &str) -> Result<Arc<Session>, ApiError> {
        self.find(&id.parse()?).await
    }

    async fn find(&self, id: &SessionId) -> Result<Arc<Session>, ApiError> {
        self.registry()?.find(id).await?.ok_or_else(ApiError::session_not_found)
    }
}

/// One line of the route table.
struct Route {
    method: Method,
    path: &'static str,
    access: Access,
    handler: MethodRouter<App>,
}

fn routes() -> Vec<Route> {
    let get = |path, access, handler| Route { method: Method::GET, path, access, handler };
    let post = |path, access, handler| Route { method: Method::POST, path, access, handler };
    let delete = |path, access, handler| Route { method: Method::DELETE, path, access, handler };
    let page = |page: &'static pages::Page| {
        get(
            page.path,
            Access::Everyone,
            self::get(async |State(app): State<App>| page.answer(app.inner.config.security.is_open())),
        )
    };
    let mut routes: Vec<Route> = pages::PAGES.iter().map(page).collect();
    routes.extend([
        post("/api/init-session", Access::Init, self::post(init::init)),
        get("/api/sessions", Access::Key, self::get(sessions::list)),
        delete("/api/sessions/{id}", Access::Key, self::delete(sessions::delete)),
        post("/api/sessions/{id}/restart", Access::Link, self::post(sessions::restart)),
        post("/api/sessions/{id}/pairing-code", Access::Link, self::post(pairing::code)),
        post("/api/sessions/{id}/passkey", Access::Link, self::post(passkey::answer)),
        post("/api/sessions/{id}/passkey/confirm", Access::Link, self::post(passkey::confirm)),
        post("/api/sessions/{id}/stream-token", Access::Read, self::post(stream_token::stream_token)),
        get("/api/qr-code/{id}", Access::Read, self::get(polling::qr_code)),
        get("/api/session-status/{id}", Access::Status, self::get(polling::status)),
        get("/api/sessions/{id}/events", Access::Stream, self::get(sse::events)),
        get("/api/sessions/{id}/ws", Access::Stream, self::get(websocket::upgrade)),
        get("/health", Access::Everyone, self::get(health::health)),
        get("/metrics", Access::Operator, self::get(metrics::metrics)),
        get("/livez", Access::Everyone, self::get(health::livez)),
        get("/readyz", Access::Everyone, self::get(health::readyz)),
    ]);
    routes
}

/// Every route, and who may use it.
pub fn table() -> Vec<(Method, &'static str, Access)> {
    routes().into_iter().map(|Route { method, path, access, .. }| (method, path, access)).collect()
}

/// The whole HTTP service.
pub fn router(app: App) -> Router {
    let mut router = Router::new();
    for Route { path, access, handler, .. } in routes() {
        let handler = match access {
            Access::Everyone => handler,
            _ => handler.route_layer(from_fn_with_state((app.clone(), access), auth::guard)),
        };
        router = router.route(path, handler);
    }
    let config = &app.inner.config;
    let security = origins::security(config);
    let secure = move |mut response: Response| {
        for (name, value) in &security {
            response.headers_mut().entry(name).or_insert_with(|| value.clone());
        }
        std::future::ready(response)
    };
    // The last one is the first to see a request.
    let router = router
        .fallback(|| async { ApiError::no_such_route() })
        .method_not_allowed_fallback(|| async { ApiError::method_not_allowed() })
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(CatchPanicLayer::custom(error::panicked))
        .layer(from_fn_with_state(app.clone(), origins::only_known_pages))
        .layer(from_fn_with_state(app.clone(), origins::only_this_machine))
        .layer(origins::cors(config))
        .layer(map_response(secure))
        .layer(from_fn_with_state(app.clone(), client::locate))
        .layer(from_fn(host::is_clear))
        // The outermost: whatever the others refuse has an id and is counted.
        .layer(from_fn(requests::around))
        .with_state(app);
    as_the_old_service_did(router)
}

/// Before anything looks for a route: a slash at the end, or capitals in the paths of the old service, were no matter to it.
fn as_the_old_service_did(router: Router) -> Router {
    Router::new().fallback(async move |mut request: Request| {
        if let Some(target) = paths::usual(request.uri()) {
            *request.uri_mut() = target;
        }
        router.clone().call(request).await
    })
}
