//! Is this process well, alive, ready?

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::App;
use super::error::ApiError;

/// The old service's name, which its monitors look for.
const SERVICE: &str = "WhatsApp Web Production Service";

/// `GET /health`
pub(super) async fn health(State(app): State<App>) -> Response {
    let counts = app.inner.registry.counts();
    Json(json!({
        "status": "healthy",
        "service": SERVICE,
        "version": env!("CARGO_PKG_VERSION"),
        "replica": app.inner.replica,
        "uptime": app.inner.started.elapsed().as_secs(),
        "sessions": { "active": counts.active, "qr_codes": counts.scan_qr },
        "memory": { "rssBytes": memory_stats::memory_stats().map(|stats| stats.physical_mem) },
    }))
    .into_response()
}

/// `GET /livez`
pub(super) async fn livez() -> &'static str {
    "ok"
}

/// `GET /readyz`
pub(super) async fn readyz(State(app): State<App>) -> Result<&'static str, ApiError> {
    if app.inner.links.has_begun() { Err(ApiError::draining()) } else { Ok("ok") }
}
