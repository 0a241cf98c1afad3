//! What an operator should know now, and since when: the one place that decides.
//!
//! It compares readings with their limits; `ops/readings.rs` takes them, once a second. The log hears of each beginning and
//! end once, and the metric follows.

use std::time::{Duration, Instant};

use metrics::{counter, gauge};
use parking_lot::{Mutex, MutexGuard};
use schemars::JsonSchema;
use serde::Serialize;
use tracing::{info, warn};

use crate::config::AlertLimits;
use crate::event::Time;
use crate::http::door::refusal::AuthFailure;
use crate::telemetry::alerts::AlertName;
use crate::telemetry::metrics::{ALERT, AUTH_FAILURES};

/// How long Redis may be away before an operator should know.
const REDIS_PATIENCE: Duration = Duration::from_secs(5);

/// How long the store may fail.
const STORE_PATIENCE: Duration = Duration::from_secs(5);

/// The number of slots over which refused keys and tokens are counted.
const SLOTS: usize = 30;

/// All slots together are five minutes.
const SLOT: Duration = Duration::from_secs(10);

/// Something an operator should know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub(in crate::http) struct Alert {
    pub(in crate::http) name: AlertName,
    since: Time,
    /// What was read last, where it is a number: bytes, sessions, failures, or seconds.
    value: Option<u64>,
    /// It holds above this.
    threshold: Option<u64>,
}

impl Alert {
    /// Whether this process does its work less well while it holds.
    pub(in crate::http) fn degrades(&self) -> bool {
        matches!(
            self.name,
            AlertName::Memory
                | AlertName::RedisLost
                | AlertName::RedisFallback
                | AlertName::StorageLost
                | AlertName::StorageFailing
                | AlertName::SessionsUnattended
        )
    }
}

/// What holds now.
pub(in crate::http) struct Alerts {
    held: Mutex<Vec<Alert>>,
    failures: Mutex<Failures>,
}

impl Alerts {
    pub(in crate::http) fn new() -> Self {
        Self { held: Mutex::default(), failures: Mutex::new(Failures::new(Instant::now())) }
    }

    /// A caller was refused because it may not make the request.
    pub(in crate::http) fn auth_failed(&self, failure: AuthFailure) {
        counter!(AUTH_FAILURES, "reason" => failure.as_str()).increment(1);
        // A page that was left open comes with an old token: that is not an attempt to guess one.
        if failure != AuthFailure::Expired {
            self.failures().add(Instant::now());
        }
    }

    /// What holds at this moment.
    pub(in crate::http) fn look(&self, readings: &Readings, limits: &AlertLimits) -> Vec<Alert> {
        let found = readings.alerts(limits, Time::now());
        let mut held = self.held.lock();
        let Change { started, ended } = change(&mut held, found);
        for Alert { name, value, threshold, .. } in started {
            gauge!(ALERT, "name" => name.as_str()).set(1.0);
            warn!(name = name.as_str(), value, threshold, "alert started");
        }
        for Alert { name, value, threshold, .. } in ended {
            gauge!(ALERT, "name" => name.as_str()).set(0.0);
            info!(name = name.as_str(), value, threshold, "alert ended");
        }
        held.clone()
    }

    /// How many requests were refused for their credentials within five minutes.
    pub(in crate::http) fn auth_failures(&self) -> usize {
        self.failures().sum(Instant::now())
    }

    fn failures(&self) -> MutexGuard<'_, Failures> {
        self.failures.lock()
    }
}

/// What alerts are made of.
#[derive(Clone, Debug, Default)]
pub(in crate::http) struct Readings {
    pub(in crate::http) memory: Option<u64>,
    pub(in crate::http) active: usize,
    pub(in crate::http) auth_failures: usize,
    /// Sessions that have been `authenticated` for too long.
    pub(in crate::http) stuck: usize,
    /// Sessions that have been without a link task for too long.
    pub(in crate::http) unattended: usize,
    /// Since when Redis does not answer.
    pub(in crate::http) redis_away: Option<Time>,
    /// Since when this replica runs without the Redis that it was told of.
    pub(in crate::http) fallen_back: Option<Time>,
    /// When Redis came back without its data.
    pub(in crate::http) data_lost: Option<Time>,
    /// Since when a store that is there takes no writes, or cannot be read.
    pub(in crate::http) failing: Option<Time>,
    /// Stored records that cannot be read.
    pub(in crate::http) damaged: usize,
    /// Events that receivers of webhooks did not get within the last hour.
    pub(in crate::http) webhooks_lost: u64,
    /// Since when the version of WhatsApp Web cannot be looked up, and how long that may last.
    pub(in crate::http) version_unknown: Option<(Time, Duration)>,
}

impl Readings {
    fn alerts(&self, limits: &AlertLimits, now: Time) -> Vec<Alert> {
        let above = |name, value: u64, threshold: u64| {
            (value > threshold).then_some(Alert {
                name,
                since: now,
                value: Some(value),
                threshold: Some(threshold),
            })
        };
        let plain = |name, since| Alert { name, since, value: None, threshold: None };
        let lasts = |name, since: Option<Time>, patience: Duration| {
            let since = since?;
            let alert = above(name, begun_seconds(since.elapsed(now)), begun_seconds(patience))?;
            Some(Alert { since, ..alert })
        };
        let version = self.version_unknown.unzip();
        [
            self.memory.and_then(|bytes| above(AlertName::Memory, bytes, limits.memory)),
            lasts(AlertName::RedisLost, self.redis_away, REDIS_PATIENCE),
            above(AlertName::Sessions, self.active as u64, limits.sessions as u64),
            above(AlertName::AuthFailures, self.auth_failures as u64, limits.auth_failures as u64),
            self.fallen_back.map(|since| plain(AlertName::RedisFallback, since)),
            self.data_lost.map(|since| plain(AlertName::StorageLost, since)),
            above(AlertName::StorageDamaged, self.damaged as u64, 0),
            lasts(AlertName::StorageFailing, self.failing, STORE_PATIENCE),
            lasts(AlertName::VersionLookup, version.0, version.1.unwrap_or_default()),
            above(AlertName::LoginStuck, self.stuck as u64, 0),
            above(AlertName::SessionsUnattended, self.unattended as u64, 0),
            above(AlertName::WebhooksLost, self.webhooks_lost, 0),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// So that a moment more than a limit is above it.
fn begun_seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

/// What a look has changed.
struct Change {
    started: Vec<Alert>,
    ended: Vec<Alert>,
}

/// What was found holds from now on; one that held before does since then.
fn change(held: &mut Vec<Alert>, found: Vec<Alert>) -> Change {
    let before = std::mem::take(held);
    let has = |alerts: &[Alert], name| alerts.iter().any(|alert| alert.name == name);
    let started = found.iter().filter(|alert| !has(&before, alert.name)).cloned().collect();
    let ended = before.iter().filter(|alert| !has(&found, alert.name)).cloned().collect();
    held.extend(found.into_iter().map(|alert| {
        let since = before.iter().find(|old| old.name == alert.name).map_or(alert.since, |old| old.since);
        Alert { since, ..alert }
    }));
    Change { started, ended }
}

/// How many were refused within five minutes, slot by slot.
struct Failures {
    begun: Instant,
    slots: [usize; SLOTS],
    /// The slot of the last look, counted from the beginning.
    newest: u64,
}

impl Failures {
    fn new(begun: Instant) -> Self {
        Self { begun, slots: [0; SLOTS], newest: 0 }
    }

    fn add(&mut self, now: Instant) {
        self.forget_the_old(now);
        self.slots[place(self.newest)] += 1;
    }

    fn sum(&mut self, now: Instant) -> usize {
        self.forget_the_old(now);
        self.slots.iter().sum()
    }

    fn forget_the_old(&mut self, now: Instant) {
        let slot = now.saturating_duration_since(self.begun).as_secs() / SLOT.as_secs();
        for old in (self.newest + 1..=slot).take(SLOTS) {
            self.slots[place(old)] = 0;
        }
        self.newest = self.newest.max(slot);
    }
}

fn place(slot: u64) -> usize {
    usize::try_from(slot % SLOTS as u64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: AlertLimits = AlertLimits { memory: 100, sessions: 2, auth_failures: 3 };

    fn at(seconds: i64) -> Time {
        Time::from_millis(seconds * 1000)
    }

    #[test]
    fn an_alert_holds_above_its_limit_and_since_it_began() {
        let mut held = Vec::new();
        let mut look = |memory, now| {
            let readings = Readings { memory: Some(memory), ..Readings::default() };
            let change = change(&mut held, readings.alerts(&LIMITS, at(now)));
            (change.started.len(), change.ended.len(), held.clone())
        };
        assert_eq!(look(100, 1), (0, 0, Vec::new()));
        let memory = |value| {
            vec![Alert { name: AlertName::Memory, since: at(2), value: Some(value), threshold: Some(100) }]
        };
        assert_eq!(look(101, 2), (1, 0, memory(101)));
        assert_eq!(look(150, 3), (0, 0, memory(150)));
        assert_eq!(look(100, 4), (0, 1, Vec::new()));
    }

    #[test]
    fn redis_may_be_away_for_a_while() {
        let away = Readings { redis_away: Some(at(10)), ..Readings::default() };
        assert!(away.alerts(&LIMITS, at(15)).is_empty());
        let lost = Alert { name: AlertName::RedisLost, since: at(10), value: Some(6), threshold: Some(5) };
        assert_eq!(away.alerts(&LIMITS, Time::from_millis(15_001)), [lost]);
    }

    #[test]
    fn a_version_may_stay_unknown_for_a_day_and_degrades_nothing() {
        let day = Duration::from_secs(24 * 3600);
        let unknown = Readings { version_unknown: Some((at(10), day)), ..Readings::default() };
        assert!(unknown.alerts(&LIMITS, at(86_410)).is_empty());
        let late = Alert {
            name: AlertName::VersionLookup,
            since: at(10),
            value: Some(86_401),
            threshold: Some(86_400),
        };
        assert!(!late.degrades());
        assert_eq!(unknown.alerts(&LIMITS, at(86_411)), [late]);
    }

    #[test]
    fn only_some_degrade() {
        let readings = Readings { active: 3, auth_failures: 4, stuck: 1, ..Readings::default() };
        let alerts = readings.alerts(&LIMITS, at(0));
        assert_eq!(
            alerts.iter().map(|alert| alert.name).collect::<Vec<_>>(),
            [AlertName::Sessions, AlertName::AuthFailures, AlertName::LoginStuck]
        );
        assert!(!alerts.iter().any(Alert::degrades));
    }

    #[test]
    fn failures_are_forgotten_after_five_minutes() {
        let begun = Instant::now();
        let after = |seconds| begun + Duration::from_secs(seconds);
        let mut failures = Failures::new(begun);
        failures.add(after(0));
        failures.add(after(9));
        failures.add(after(150));
        assert_eq!(failures.sum(after(299)), 3);
        assert_eq!(failures.sum(after(300)), 1);
        assert_eq!(failures.sum(after(450)), 0);
        failures.add(after(100_000));
        assert_eq!(failures.sum(after(100_001)), 1);
    }
}
