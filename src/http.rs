//! Every route in one table, every layer in its order.
//!
//! Handlers are thin: they read the request, ask `session` or `stream`, and answer. They never see a store, the log or
//! WhatsApp.

mod api;
mod app;
mod door;
mod error;
mod guard;
mod ops;
mod pages;
mod serve;
mod stream;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, Method};
use axum::middleware::{from_fn, from_fn_with_state, map_response};
use axum::response::Response;
use axum::routing::{MethodRouter, delete, get, post};
use tower_http::catch_panic::CatchPanicLayer;
use tower_service::Service as _;

use self::api::{body, init, pairing, passkey, paths, polling, sessions, stream_token};
pub(crate) use self::app::App;
pub use self::door::caller::Access;
use self::door::limits::Budget;
pub(crate) use self::door::limits::held::{Door, KEPT};
use self::door::refusal::Telling;
use self::door::{client, host, origins};
use self::error::{ApiError, ErrorCode};
use self::guard::Terms;
pub(crate) use self::ops::metrics::router as metrics_router;
pub(crate) use self::ops::readings::watch;
use self::ops::{health, metrics};
pub(crate) use self::serve::listener;
use self::serve::trace;
use self::stream::{sse, websocket};

/// One line of the route table.
struct Route {
    method: Method,
    path: &'static str,
    terms: Terms,
    handler: MethodRouter<App>,
}

impl Route {
    fn new(method: Method, path: &'static str, access: Access, handler: MethodRouter<App>) -> Self {
        let terms = Terms { access, budget: Budget::Read, telling: Telling::Status };
        Self { method, path, terms, handler }
    }

    /// Counted as a new session.
    fn init(mut self) -> Self {
        self.terms.budget = Budget::Init;
        self
    }

    /// A stream, over which a refusal is told as well where it passes with time.
    fn stream(mut self) -> Self {
        self.terms.telling = Telling::Close;
        self
    }
}

fn routes() -> Vec<Route> {
    let get = |path, access, handler| Route::new(Method::GET, path, access, handler);
    let post = |path, access, handler| Route::new(Method::POST, path, access, handler);
    let delete = |path, access, handler| Route::new(Method::DELETE, path, access, handler);
    let page = |page: &'static pages::Page| {
        get(
            page.path,
            Access::Everyone,
            self::get(async |State(app): State<App>, asked: HeaderMap| {
                page.answer(app.config.security.is_open(), asked).await
            }),
        )
    };
    let mut routes: Vec<Route> = pages::PAGES.iter().map(page).collect();
    routes.extend([
        post("/api/init-session", Access::Key, self::post(init::init)).init(),
        get("/api/sessions", Access::Key, self::get(sessions::list)),
        delete("/api/sessions/{id}", Access::Key, self::delete(sessions::delete)),
        post("/api/sessions/{id}/restart", Access::Link, self::post(sessions::restart)),
        post("/api/sessions/{id}/pairing-code", Access::Link, self::post(pairing::code)),
        post("/api/sessions/{id}/passkey", Access::Link, self::post(passkey::answer)),
        post("/api/sessions/{id}/passkey/confirm", Access::Link, self::post(passkey::confirm)),
        post("/api/sessions/{id}/stream-token", Access::Read, self::post(stream_token::stream_token)),
        get("/api/qr-code/{id}", Access::Read, self::get(polling::qr_code)),
        get("/api/session-status/{id}", Access::Follow, self::get(polling::status)),
        get("/api/sessions/{id}/events", Access::Follow, self::get(sse::events)).stream(),
        get("/api/sessions/{id}/ws", Access::Follow, self::get(websocket::upgrade)).stream(),
        get("/health", Access::Everyone, self::get(health::health)),
        get("/metrics", Access::Operator, self::get(metrics::metrics)),
        get("/livez", Access::Everyone, self::get(health::livez)),
        get("/readyz", Access::Everyone, self::get(health::readyz)),
    ]);
    routes
}

/// Every route, and who may use it.
pub fn table() -> Vec<(Method, &'static str, Access)> {
    routes().into_iter().map(|Route { method, path, terms, .. }| (method, path, terms.access)).collect()
}

/// The whole HTTP service.
pub(crate) fn router(app: App) -> Router {
    let mut router = Router::new();
    for Route { path, terms, handler, .. } in routes() {
        let handler = match terms.access {
            Access::Everyone => handler,
            _ => handler.route_layer(from_fn_with_state((app.clone(), terms), guard::guard)),
        };
        router = router.route(path, handler);
    }
    let config = &app.config;
    let security = origins::security(config);
    let secure = move |mut response: Response| {
        for (name, value) in &security {
            response.headers_mut().entry(name).or_insert_with(|| value.clone());
        }
        std::future::ready(response)
    };
    // The last one is the first to see a request.
    let router = router
        .fallback(|| async { ApiError::from(ErrorCode::NotFound) })
        .method_not_allowed_fallback(|| async { ApiError::from(ErrorCode::MethodNotAllowed) })
        .layer(DefaultBodyLimit::max(body::MAX_BODY))
        .layer(CatchPanicLayer::custom(error::panicked))
        .layer(from_fn_with_state(config.clone(), origins::only_known_pages))
        .layer(from_fn_with_state(config.clone(), origins::only_this_machine))
        .layer(origins::cors(config))
        .layer(map_response(secure))
        .layer(from_fn_with_state(config.clone(), client::locate))
        .layer(from_fn(host::is_clear))
        // The outermost: whatever the others refuse has an id and is counted.
        .layer(from_fn(trace::around))
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
