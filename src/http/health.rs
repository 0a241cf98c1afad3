//! Is this process well, alive, ready?

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::json;
use tokio::sync::Mutex;

use super::App;
use super::error::ApiError;
use crate::event::{Status, Time};
use crate::session::registry::{Registry, Storage};

/// The old service's name, which its monitors look for.
const SERVICE: &str = "WhatsApp Web Production Service";

/// How old an answer of the store may be.
const PROBE_EVERY: Duration = Duration::from_secs(1);

/// How long Redis may be away before an operator should know.
const REDIS_PATIENCE: Duration = Duration::from_secs(5);

/// Something an operator should know.
#[derive(Serialize)]
struct Alert {
    name: &'static str,
    since: Time,
}

/// What the store makes of this process.
struct Verdict {
    word: &'static str,
    kind: &'static str,
    redis_connected: bool,
    alerts: Vec<Alert>,
}

/// `GET /health`: 503 when nothing can be stored.
pub(super) async fn health(State(app): State<App>) -> Response {
    let counts = app.inner.registry.get().map(|registry| registry.counts()).unwrap_or_default();
    let verdict = judge(&app).await;
    let status = if verdict.word == "unhealthy" { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    let body = json!({
        "status": verdict.word,
        "service": SERVICE,
        "version": env!("CARGO_PKG_VERSION"),
        "replica": app.inner.replica,
        "uptime": app.inner.started.elapsed().as_secs(),
        "sessions": { "active": counts.active(), "qr_codes": counts.of(Status::ScanQr) },
        "storage": { "type": verdict.kind, "redis_connected": verdict.redis_connected },
        "memory": { "rssBytes": memory_stats::memory_stats().map(|stats| stats.physical_mem) },
        "alerts": verdict.alerts,
    });
    (status, Json(body)).into_response()
}

async fn judge(app: &App) -> Verdict {
    let started = Time::from_millis(
        Time::now().as_millis() - app.inner.started.elapsed().as_millis().try_into().unwrap_or(0),
    );
    let lost = |since| Alert { name: "redis_lost", since };
    let Some(registry) = app.inner.registry.get() else {
        // Only Redis is waited for.
        return Verdict {
            word: "degraded",
            kind: "Redis",
            redis_connected: false,
            alerts: vec![lost(started)],
        };
    };
    match registry.storage() {
        Storage::Here if app.inner.fallen_back.load(Ordering::Relaxed) => {
            let word = if app.inner.storage_probe.stores(registry).await { "degraded" } else { "unhealthy" };
            let alerts = vec![Alert { name: "redis_fallback", since: started }];
            Verdict { word, kind: "SQLite", redis_connected: false, alerts }
        }
        Storage::Here => {
            let word = if app.inner.storage_probe.stores(registry).await { "healthy" } else { "unhealthy" };
            Verdict { word, kind: "SQLite", redis_connected: false, alerts: Vec::new() }
        }
        Storage::Shared { away, data_lost } => {
            let alarming = away.filter(|since| since.elapsed(Time::now()) > REDIS_PATIENCE);
            let data_lost = data_lost.map(|since| Alert { name: "storage_lost", since });
            let alerts: Vec<_> = alarming.map(lost).into_iter().chain(data_lost).collect();
            let word = match away {
                None if !app.inner.storage_probe.stores(registry).await => "unhealthy",
                None if alerts.is_empty() => "healthy",
                _ => "degraded",
            };
            Verdict { word, kind: "Redis", redis_connected: away.is_none(), alerts }
        }
    }
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
        let result = match registry.check_storage().await {
            // Another matter: it is away, and comes back.
            Err(error) if error.is_away() => Ok(()),
            result => result,
        };
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

/// `GET /readyz`: 503 while draining, and while Redis has not been reached for the first time.
pub(super) async fn readyz(State(app): State<App>) -> Result<&'static str, ApiError> {
    if app.inner.links.has_begun() {
        return Err(ApiError::draining());
    }
    app.registry().map(|_| "ok")
}
