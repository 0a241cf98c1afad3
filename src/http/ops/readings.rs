//! Takes the readings that alerts are made of, from everything that [`App`] reaches: once a second, and for `/health`, whose
//! answer is current.
//!
//! Which alert holds is decided in `app/alerts.rs`.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use crate::event::Time;
use crate::http::app::App;
use crate::http::app::alerts::{Alert, Readings};
use crate::registry::Storage;
use crate::telemetry::metrics::upkeep;
use crate::webhooks::Webhooks;

/// Between two readings.
const READING_INTERVAL: Duration = Duration::from_secs(1);

/// How long a session may be `authenticated`. A minute after the login viewers are told in any case; a link task that does not
/// is broken.
pub(super) const LOGIN_PATIENCE: Duration = Duration::from_secs(120);

/// Looks once a second, whether or not anybody asks.
pub(crate) async fn watch(app: App) {
    let mut tick = interval(READING_INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        look(&app);
        upkeep();
    }
}

/// What holds at this moment.
pub(in crate::http) fn look(app: &App) -> Vec<Alert> {
    app.alerts.look(&readings(app), &app.config.alerts)
}

/// The resident memory of this process, in bytes.
pub(in crate::http) fn memory() -> Option<u64> {
    memory_stats::memory_stats().and_then(|stats| stats.physical_mem.try_into().ok())
}

fn readings(app: &App) -> Readings {
    let readings =
        Readings { memory: memory(), auth_failures: app.alerts.auth_failures(), ..Readings::default() };
    let Some(registry) = app.registry.get() else {
        let redis_away = app.config.redis.is_some().then(|| app.started_at());
        return Readings { redis_away, ..readings };
    };
    let active = registry.counts().active();
    let stuck = registry.waiting_for_login(LOGIN_PATIENCE, Time::now());
    let unattended = registry.unattended();
    let fallen_back = app.has_fallen_back().then(|| app.started_at());
    let (redis_away, data_lost) = match registry.storage() {
        Storage::Here => (None, None),
        Storage::Shared { away, data_lost } => (away, data_lost),
    };
    let failing = registry.judgement().trouble().map(|trouble| trouble.since.into());
    // That is another alert.
    let failing = failing.filter(|_| redis_away.is_none());
    let version = registry.whatsapp_version();
    let version_unknown = version.failing_since.map(|since| (since, version.patience));
    let damaged = registry.damaged();
    let webhooks_lost = app.webhooks.get().map(Webhooks::lost_lately).unwrap_or_default();
    Readings {
        active,
        stuck,
        unattended,
        redis_away,
        fallen_back,
        data_lost,
        failing,
        damaged,
        webhooks_lost,
        version_unknown,
        ..readings
    }
}
