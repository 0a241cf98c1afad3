//! Whether this process is well, alive and ready: `/health`, `/livez`, `/readyz`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Value, json};

use super::readings;
use crate::clock;
use crate::event::{Status, Time};
use crate::http::app::App;
use crate::http::app::alerts::Alert;
use crate::http::error::{ApiError, ErrorCode};
use crate::registry::{Storage, VersionReport};

/// The old service's name, which its monitors look for.
const SERVICE: &str = "WhatsApp Web Production Service";

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
pub(in crate::http) async fn health(State(app): State<App>) -> Response {
    let registry = app.registry.get();
    let whatsapp = registry.map(|registry| whatsapp(&registry.whatsapp_version()));
    let counts = registry.map(|registry| registry.counts()).unwrap_or_default();
    let alerts = readings::look(&app);
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
        "replica": app.replica,
        "uptime": app.started.elapsed().as_secs(),
        "sessions": { "active": counts.active(), "qr_codes": counts.of(Status::ScanQr) },
        "storage": { "type": verdict.kind, "redis_connected": verdict.redis_connected },
        "whatsapp": whatsapp,
        "clock": { "skewMs": clock::skew() },
        "memory": { "rssBytes": readings::memory() },
        "alerts": alerts,
    });
    (status, Json(body)).into_response()
}

/// The version of WhatsApp Web that new clients claim. It is not known before the store is open.
fn whatsapp(version: &VersionReport) -> Value {
    json!({
        "version": version.version.to_string(),
        "source": version.source.as_str(),
        "ageSeconds": version.looked_up.map(|at| at.elapsed(Time::now()).as_secs()),
    })
}

/// What the store makes of it. The alerts wait a few seconds; a Redis that is away is told at once.
async fn judge(app: &App) -> Verdict {
    let Some(registry) = app.registry.get() else {
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
    let stores = app.storage_probe.stores(registry).await;
    Verdict { health: if stores { Health::Healthy } else { Health::Unhealthy }, kind, redis_connected }
}

/// `GET /livez`
pub(in crate::http) async fn livez() -> &'static str {
    "ok"
}

/// `GET /readyz`: 503 while draining, and while Redis has not been reached for the first time.
pub(in crate::http) async fn readyz(State(app): State<App>) -> Result<&'static str, ApiError> {
    if app.links.has_begun() {
        return Err(ErrorCode::Draining.into());
    }
    app.registry().map(|_| "ok")
}
