//! Every route in one table, every layer in its order.
//!
//! Handlers are thin: they read the request, ask `session` or `stream`, and answer. They never see a store, the log or
//! WhatsApp.

mod api;
mod app;
mod asyncapi;
mod describe;
mod docs;
mod door;
mod error;
mod guard;
mod openapi;
mod ops;
mod pages;
mod serve;
mod stream;

use std::sync::OnceLock;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, Method, Uri};
use axum::middleware::{from_fn, from_fn_with_state, map_response};
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::routing::{MethodRouter, delete, get, post};
use serde_json::Value;
use tower_http::catch_panic::CatchPanicLayer;
use tower_service::Service as _;

use self::api::{
    body, init, pairing, passkey, paths, polling, session_log, sessions, stream_token, webhooks,
};
pub(crate) use self::app::App;
use self::describe::{Described, Operation};
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
use self::pages::Prepared;
pub(crate) use self::serve::listener;
use self::serve::trace;
use self::stream::{sse, websocket};

/// One line of the route table.
struct Route {
    method: Method,
    path: &'static str,
    terms: Terms,
    handler: MethodRouter<App>,
    operation: &'static Operation,
}

impl Route {
    fn new(
        method: Method,
        path: &'static str,
        access: Access,
        handler: MethodRouter<App>,
        operation: &'static Operation,
    ) -> Self {
        let terms = Terms { access, budget: Budget::Read, telling: Telling::Status };
        Self { method, path, terms, handler, operation }
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
    let get = |path, access, handler, says| Route::new(Method::GET, path, access, handler, says);
    let post = |path, access, handler, says| Route::new(Method::POST, path, access, handler, says);
    let delete = |path, access, handler, says| Route::new(Method::DELETE, path, access, handler, says);
    let mut routes: Vec<Route> =
        pages::PAGES.iter().map(page_route).chain(other_routes()).chain(routes_of_all()).collect();
    routes.extend([
        delete("/api/sessions/{id}", Access::Key, self::delete(sessions::delete), &sessions::DELETE),
        post("/api/sessions/{id}/restart", Access::Link, self::post(sessions::restart), &sessions::RESTART),
        post(
            "/api/sessions/{id}/pairing-code",
            Access::Link,
            self::post(pairing::code),
            &pairing::PAIRING_CODE,
        ),
        post("/api/sessions/{id}/passkey", Access::Link, self::post(passkey::answer), &passkey::ANSWER),
        post(
            "/api/sessions/{id}/passkey/confirm",
            Access::Link,
            self::post(passkey::confirm),
            &passkey::CONFIRM,
        ),
        post(
            "/api/sessions/{id}/stream-token",
            Access::Read,
            self::post(stream_token::stream_token),
            &stream_token::STREAM_TOKEN,
        ),
        get("/api/qr-code/{id}", Access::Read, self::get(polling::qr_code), &polling::QR_CODE),
        get("/api/session-status/{id}", Access::Follow, self::get(polling::status), &polling::STATUS),
        get("/api/sessions/{id}/log", Access::Key, self::get(session_log::log), &session_log::LOG),
        get("/api/sessions/{id}/events", Access::Follow, self::get(sse::events), &sse::EVENTS).stream(),
        get("/api/sessions/{id}/ws", Access::Follow, self::get(websocket::upgrade), &websocket::WS).stream(),
    ]);
    routes
}

/// What has to do with all sessions under a key, or with a new one.
fn routes_of_all() -> [Route; 7] {
    let get = |path, handler, says| Route::new(Method::GET, path, Access::Key, handler, says);
    let post = |path, handler, says| Route::new(Method::POST, path, Access::Key, handler, says);
    let delete = |path, handler, says| Route::new(Method::DELETE, path, Access::Key, handler, says);
    [
        post("/api/init-session", self::post(init::init), &init::INIT).init(),
        get("/api/sessions", self::get(sessions::list), &sessions::LIST),
        delete("/api/sessions", self::delete(sessions::delete_of_user), &sessions::DELETE_OF_USER),
        get("/api/webhooks", self::get(webhooks::list), &webhooks::LIST),
        post("/api/webhooks/resend", self::post(webhooks::resend), &webhooks::RESEND),
        get("/api/events", self::get(sse::feed), &sse::FEED).stream(),
        get("/api/ws", self::get(websocket::feed), &websocket::FEED).stream(),
    ]
}

/// A static file.
fn page_route(page: &'static pages::Page) -> Route {
    let handler = async |State(app): State<App>, asked: HeaderMap| page.answer(&app.config, asked).await;
    Route::new(Method::GET, page.path, Access::Everyone, get(handler), &pages::PAGE)
}

/// What has to do with no session: for monitors, and what describes the rest.
fn other_routes() -> [Route; 10] {
    let get = |path, access, handler, says| Route::new(Method::GET, path, access, handler, says);
    [
        get("/health", Access::Everyone, self::get(health::health), &health::HEALTH),
        get("/metrics", Access::Operator, self::get(metrics::metrics), &metrics::METRICS),
        get("/livez", Access::Everyone, self::get(health::livez), &health::LIVEZ),
        get("/readyz", Access::Everyone, self::get(health::readyz), &health::READYZ),
        get("/openapi.json", Access::Everyone, self::get(openapi), &openapi::OPENAPI),
        get("/asyncapi.json", Access::Everyone, self::get(asyncapi), &asyncapi::ASYNCAPI),
        get("/docs", Access::Everyone, self::get(docs::first), &docs::FIRST),
        get("/docs/api", Access::Everyone, self::get(reference), &openapi::REFERENCE),
        get("/docs/search", Access::Everyone, self::get(docs::found), &docs::SEARCH),
        get("/docs/{name}", Access::Everyone, self::get(docs::named), &docs::NAMED),
    ]
}

/// The API's description.
async fn openapi(asked: HeaderMap) -> Response {
    static KEPT: OnceLock<Prepared> = OnceLock::new();
    pages::answer(&KEPT, "application/json", &asked, || described().to_string().into()).await
}

/// The same as a page.
async fn reference(asked: HeaderMap) -> Response {
    static KEPT: OnceLock<Prepared> = OnceLock::new();
    let make = || openapi::reference::page(&described()).into();
    pages::answer(&KEPT, "text/html; charset=utf-8", &asked, make).await
}

/// The streams' description.
async fn asyncapi(asked: HeaderMap) -> Response {
    static KEPT: OnceLock<Prepared> = OnceLock::new();
    pages::answer(&KEPT, "application/json", &asked, || asyncapi::document().to_string().into()).await
}

fn described() -> Value {
    let described = routes().into_iter().map(|Route { method, path, terms, operation, .. }| {
        let Terms { access, telling, .. } = terms;
        Described { method, path, access, telling, operation }
    });
    openapi::document(&described.collect::<Vec<_>>())
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
        .fallback(no_route)
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

async fn no_route(asked: Uri) -> Response {
    match docs::without_slash(asked.path()) {
        Some(page) => Redirect::permanent(&page).into_response(),
        None => ApiError::from(ErrorCode::NotFound).into_response(),
    }
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
