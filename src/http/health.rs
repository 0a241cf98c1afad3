//! Is this process well, alive, ready?

use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::App;
use super::alerts::{self, Alert};
use super::error::ApiError;
use crate::clock;
use crate::event::{Status, Time};
use crate::registry::{Registry, Storage, VersionReport};
use crate::session::Error;

/// The old service's name, which its monitors look for.
const SERVICE: &str = "WhatsApp Web Production Service";

/// How old an answer of the store may be.
const PROBE_EVERY: Duration = Duration::from_secs(1);

/// How long the store may take to answer: a disk that hangs is one that stores nothing. Longer than SQLite waits for another
/// process, twice.
const PROBE_PATIENCE: Duration = Duration::from_secs(5);

/// How this process does its work.
#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Health {
    Healthy,
    Degraded,
    Unhealthy,
}

/// What the store makes of this process.
struct Verdict {
    health: Health,
    kind: &'static str,
    redis_connected: bool,
}

/// `GET /health`: 503 when nothing can be stored.
pub(super) async fn health(State(app): State<App>) -> Response {
    let registry = app.inner.registry.get();
    let whatsapp = registry.map(|registry| whatsapp(&registry.whatsapp_version()));
    let counts = registry.map(|registry| registry.counts()).unwrap_or_default();
    let alerts = app.inner.alerts.look(&app);
    let verdict = judge(&app).await;
    let health = match verdict.health {
        Health::Healthy if alerts.iter().any(Alert::degrades) => Health::Degraded,
        health => health,
    };
    let status = if health == Health::Unhealthy { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    let body = json!({
        "status": health,
        "service": SERVICE,
        "version": env!("CARGO_PKG_VERSION"),
        "replica": app.inner.replica,
        "uptime": app.inner.started.elapsed().as_secs(),
        "sessions": { "active": counts.active(), "qr_codes": counts.of(Status::ScanQr) },
        "storage": { "type": verdict.kind, "redis_connected": verdict.redis_connected },
        "whatsapp": whatsapp,
        "clock": { "skewMs": clock::skew() },
        "memory": { "rssBytes": alerts::memory() },
        "alerts": alerts,
    });
    (status, Json(body)).into_response()
}

/// The version of WhatsApp Web that new clients claim. Nobody can tell before the store is open.
fn whatsapp(version: &VersionReport) -> Value {
    json!({
        "version": version.version.to_string(),
        "source": version.source.as_str(),
        "ageSeconds": version.looked_up.map(|at| at.elapsed(Time::now()).as_secs()),
    })
}

/// Beside what the alerts say: a Redis that is away is no good store from the first moment on.
async fn judge(app: &App) -> Verdict {
    let Some(registry) = app.inner.registry.get() else {
        // Only Redis is waited for.
        return Verdict { health: Health::Degraded, kind: "Redis", redis_connected: false };
    };
    let (kind, redis_connected) = match registry.storage() {
        Storage::Here => ("SQLite", false),
        Storage::Shared { away: Some(_), .. } => {
            return Verdict { health: Health::Degraded, kind: "Redis", redis_connected: false };
        }
        Storage::Shared { away: None, .. } => ("Redis", true),
    };
    let stores = app.inner.storage_probe.stores(registry).await;
    Verdict { health: if stores { Health::Healthy } else { Health::Unhealthy }, kind, redis_connected }
}

/// Asks the store now and then, not for every monitor that calls.
#[derive(Default)]
pub(super) struct StorageProbe(Mutex<Option<(Instant, bool)>>);

impl StorageProbe {
    /// Whether the store takes what is written, or will without anybody's doing: how long that may last say the alerts.
    async fn stores(&self, registry: &Registry) -> bool {
        let mut last = self.0.lock().await;
        if let Some((at, stores)) = *last
            && at.elapsed() < PROBE_EVERY
        {
            return stores;
        }
        // While it fails it is tried once a second in any case.
        let stores = match registry.judgement().trouble() {
            Some(trouble) => trouble.error.passes(),
            None => takes_writes(registry).await,
        };
        *last = Some((Instant::now(), stores));
        stores
    }
}

async fn takes_writes(registry: &Registry) -> bool {
    match timeout(PROBE_PATIENCE, registry.check_storage()).await {
        Ok(Ok(())) => true,
        Ok(Err(Error::Away)) => true,
        Ok(Err(error)) => {
            tracing::error!(%error, "nothing can be stored");
            false
        }
        Err(_) => {
            tracing::error!("the storage does not answer");
            false
        }
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
