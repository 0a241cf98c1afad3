//! Whether this process is well, alive and ready: `/health`, `/livez`, `/readyz`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;

use super::readings;
use crate::clock;
use crate::event::{Status, Time};
use crate::http::app::App;
use crate::http::app::alerts::Alert;
use crate::http::describe::{Answer, Content, Operation};
use crate::http::error::{ApiError, ErrorCode};
use crate::registry::{Storage, VersionReport};

/// The old service's name, which its monitors look for.
const SERVICE: &str = "WhatsApp Web Production Service";

/// How this process does its work.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Health {
    Healthy,
    Degraded,
    Unhealthy,
}

/// How this process is. The names are those of the old service, which its monitors read.
#[derive(Serialize, JsonSchema)]
pub(in crate::http) struct HealthAnswer<'a> {
    status: Health,
    service: &'static str,
    version: &'static str,
    /// Names this process among the replicas.
    replica: &'a str,
    /// Seconds.
    uptime: u64,
    sessions: SessionsHealth,
    storage: StorageHealth,
    /// Null before the store is open.
    whatsapp: Option<WhatsAppHealth>,
    clock: ClockHealth,
    memory: MemoryHealth,
    alerts: Vec<Alert>,
}

#[derive(Serialize, JsonSchema)]
struct SessionsHealth {
    active: usize,
    qr_codes: usize,
}

#[derive(Serialize, JsonSchema)]
struct StorageHealth {
    /// `SQLite` or `Redis`
    r#type: &'static str,
    redis_connected: bool,
}

/// The version of WhatsApp Web that new clients claim.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct WhatsAppHealth {
    version: String,
    source: &'static str,
    /// Since the last look-up that succeeded.
    age_seconds: Option<u64>,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct ClockHealth {
    /// How far this machine's clock is ahead of Redis's; null with SQLite.
    skew_ms: Option<i64>,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct MemoryHealth {
    rss_bytes: Option<u64>,
}

/// What the store makes of this process.
struct Verdict {
    health: Health,
    kind: &'static str,
    redis_connected: bool,
}

const HEALTH_CONTENT: &[Content] = &[Content::json::<HealthAnswer<'_>>(
    r#"{"status": "healthy", "service": "WhatsApp Web Production Service", "version": "0.1.0", "replica": "b7e3",
    "uptime": 3600, "sessions": {"active": 12, "qr_codes": 1},
    "storage": {"type": "SQLite", "redis_connected": false},
    "whatsapp": {"version": "2.3000.1020194674", "source": "web", "ageSeconds": 120},
    "clock": {"skewMs": null}, "memory": {"rssBytes": 25165824}, "alerts": []}"#,
)];

pub(in crate::http) const HEALTH: Operation = Operation::new(
    "getHealth",
    "How this process is",
    &[
        Answer::ok("`healthy` or `degraded`", HEALTH_CONTENT),
        Answer::of(StatusCode::SERVICE_UNAVAILABLE, "`unhealthy`: nothing can be stored", HEALTH_CONTENT),
    ],
);

pub(in crate::http) const LIVEZ: Operation = Operation::new(
    "isAlive",
    "Whether the process answers",
    &[Answer::ok("It does", &[Content::text("text/plain", "ok")])],
);

pub(in crate::http) const READYZ: Operation = Operation {
    errors: &[ErrorCode::Draining, ErrorCode::StoreAway],
    ..Operation::new(
        "isReady",
        "Whether it takes requests",
        &[Answer::ok("It does", &[Content::text("text/plain", "ok")])],
    )
};

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
    let answer = HealthAnswer {
        status: health,
        service: SERVICE,
        version: env!("CARGO_PKG_VERSION"),
        replica: &app.replica,
        uptime: app.started.elapsed().as_secs(),
        sessions: SessionsHealth { active: counts.active(), qr_codes: counts.of(Status::ScanQr) },
        storage: StorageHealth { r#type: verdict.kind, redis_connected: verdict.redis_connected },
        whatsapp,
        clock: ClockHealth { skew_ms: clock::skew() },
        memory: MemoryHealth { rss_bytes: readings::memory() },
        alerts,
    };
    (status, Json(answer)).into_response()
}

fn whatsapp(version: &VersionReport) -> WhatsAppHealth {
    WhatsAppHealth {
        version: version.version.to_string(),
        source: version.source.as_str(),
        age_seconds: version.looked_up.map(|at| at.elapsed(Time::now()).as_secs()),
    }
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
