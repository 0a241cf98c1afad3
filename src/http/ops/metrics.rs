//! `GET /metrics`: what this process has counted, as Prometheus reads it.

use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use metrics::gauge;

use super::health;
use super::readings::LOGIN_PATIENCE;
use crate::event::{Status, Time};
use crate::http::api::no_store::NoStore;
use crate::http::app::App;
use crate::http::describe::{Answer, Content, Operation};
use crate::http::door::{host, origins};
use crate::telemetry::metrics::{SESSIONS, SESSIONS_STUCK, SESSIONS_UNATTENDED, scrape};

pub(in crate::http) const METRICS: Operation = Operation::new(
    "getMetrics",
    "What this process has counted, as Prometheus reads it",
    &[Answer::ok(
        "The metrics",
        &[Content::text("text/plain", "qrcast_sessions{status=\"connected\"} 12\n")],
    )],
);

/// `GET /metrics`
pub(in crate::http) async fn metrics(State(app): State<App>) -> Response {
    let counts = app.registry.get().map(|registry| registry.counts()).unwrap_or_default();
    for status in Status::ALL {
        gauge!(SESSIONS, "status" => status.as_str()).set(counts.of(status) as f64);
    }
    let stuck = app.registry.get().map(|sessions| sessions.waiting_for_login(LOGIN_PATIENCE, Time::now()));
    gauge!(SESSIONS_STUCK).set(stuck.unwrap_or_default() as f64);
    let unattended = app.registry.get().map(|sessions| sessions.unattended());
    gauge!(SESSIONS_UNATTENDED).set(unattended.unwrap_or_default() as f64);
    NoStore(([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], scrape())).into_response()
}

/// The service of `METRICS_PORT`: the metrics, and whether this process is alive and ready, without a key. What
/// happens on the other port does not keep a probe out of this one.
pub(crate) fn router(app: App) -> Router {
    let local = from_fn_with_state(app.config.clone(), origins::only_this_machine);
    Router::new()
        .route("/metrics", get(metrics))
        .route("/livez", get(health::livez))
        .route("/readyz", get(health::readyz))
        .layer(local)
        .layer(from_fn(host::is_clear))
        .with_state(app)
}
