//! Is this process well, alive, ready?

use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tokio::sync::Mutex;

use super::App;
use super::error::ApiError;
use crate::session::registry::Registry;

/// The old service's name, which its monitors look for.
const SERVICE: &str = "WhatsApp Web Production Service";

/// How old an answer of the store may be.
const PROBE_EVERY: Duration = Duration::from_secs(1);

/// `GET /health`: 503 when nothing can be stored.
pub(super) async fn health(State(app): State<App>) -> Response {
    let counts = app.inner.registry.counts();
    let stores = app.inner.storage_probe.stores(&app.inner.registry).await;
    let (status, word) =
        if stores { (StatusCode::OK, "healthy") } else { (StatusCode::SERVICE_UNAVAILABLE, "unhealthy") };
    let body = json!({
        "status": word,
        "service": SERVICE,
        "version": env!("CARGO_PKG_VERSION"),
        "replica": app.inner.replica,
        "uptime": app.inner.started.elapsed().as_secs(),
        "sessions": { "active": counts.active, "qr_codes": counts.scan_qr },
        "storage": { "type": "SQLite", "redis_connected": false },
        "memory": { "rssBytes": memory_stats::memory_stats().map(|stats| stats.physical_mem) },
    });
    (status, Json(body)).into_response()
}

/// Asks the store now and then, not for every monitor that calls.
#[derive(Default)]
pub(super) struct StorageProbe(Mutex<Option<(Instant, bool)>>);

impl StorageProbe {
    async fn stores(&self, registry: &Registry) -> bool {
        let mut last = self.0.lock().await;
        if let Some((at, stores)) = *last
            && at.elapsed() < PROBE_EVERY
        {
            return stores;
        }
        let result = registry.check_storage().await;
        if let Err(error) = &result {
            tracing::error!(%error, "nothing can be stored");
        }
        *last = Some((Instant::now(), result.is_ok()));
        result.is_ok()
    }
}

/// `GET /livez`
pub(super) async fn livez() -> &'static str {
    "ok"
}

/// `GET /readyz`
pub(super) async fn readyz(State(app): State<App>) -> Result<&'static str, ApiError> {
    if app.inner.links.has_begun() { Err(ApiError::draining()) } else { Ok("ok") }
}
