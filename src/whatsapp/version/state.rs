//! What is known about the version, which versions are believed, and when the next look-up is due. Pure: it has no
//! channel and no store, and is given the time.

use std::time::Duration;

use tokio::time::Instant;

use super::{BUILT_IN, StoredVersion, Version, VersionReport, VersionSource};
use crate::backoff::Backoff;
use crate::event::Time;

/// How far a believable version may be ahead of the built-in one: ten years at about 19 million builds a year, as in
/// 2026.
const MOST_AHEAD: u32 = 200_000_000;

/// The times between look-ups.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schedule {
    /// From a successful look-up to the next one.
    day: Duration,
    /// The pauses after failed look-ups.
    backoff: Backoff,
    /// The shortest time between two look-ups that refusals cause.
    again: Duration,
}

impl Schedule {
    pub(super) fn faster(factor: f64) -> Self {
        let scaled = |minutes: u64| Duration::from_secs(minutes * 60).div_f64(factor);
        let backoff = Backoff { first: scaled(10), longest: scaled(60) };
        Self { day: scaled(24 * 60), backoff, again: scaled(1) }
    }
}

/// The version that a look-up found, if it is believable; otherwise the reason why it is not.
pub(super) fn believed(numbers: (u32, u32, u32)) -> Result<Version, String> {
    let (2, 3000, revision) = numbers else {
        return Err(format!("{numbers:?} is not a version of WhatsApp Web"));
    };
    let version = Version(revision);
    // The library finds the version 2.3000.0 in answers that contain none.
    if version < BUILT_IN {
        return Err(format!("{version} is older than {BUILT_IN}, which is built in"));
    }
    if revision > BUILT_IN.0 + MOST_AHEAD {
        return Err(format!("{version} is too far ahead to be a version of WhatsApp Web"));
    }
    Ok(version)
}

/// The state of the version in this process.
#[derive(Clone, Copy, Debug)]
pub(super) struct VersionState {
    /// The version that new clients claim.
    pub(super) version: Version,
    pub(super) source: VersionSource,
    /// Whether clients can use it without waiting for the first look-up.
    pub(super) is_ready: bool,
    /// When the next look-up is due.
    pub(super) due: Instant,
    /// Whether a refusal has asked for a look-up that has not ended yet.
    pub(super) wanted: bool,
    /// How many look-ups have ended.
    pub(super) look_ups: u64,
    /// When the last look-up that a refusal had asked for ended.
    wanted_ended: Option<Instant>,
    /// When a look-up last succeeded.
    succeeded: Option<Time>,
    failures: u32,
    failing_since: Option<Time>,
}

impl VersionState {
    pub(super) fn built_in() -> Self {
        Self {
            version: BUILT_IN,
            source: VersionSource::BuiltIn,
            is_ready: false,
            due: Instant::now(),
            wanted: false,
            look_ups: 0,
            wanted_ended: None,
            succeeded: None,
            failures: 0,
            failing_since: None,
        }
    }

    pub(super) fn fixed(version: Version) -> Self {
        Self { version, source: VersionSource::Fixed, is_ready: true, ..Self::built_in() }
    }

    /// Begins with the stored version. A look-up of less than a day ago counts as one of our own, even if another
    /// process made it.
    pub(super) fn begin(&mut self, stored: Option<StoredVersion>, clock: &Schedule, now: Time, at: Instant) {
        self.adopt(stored);
        let age = self.succeeded.map(|at| at.elapsed(now));
        if let Some(left) = age.and_then(|age| clock.day.checked_sub(age)) {
            self.due = at + left;
            self.is_ready = true;
        }
    }

    /// Whether a refusal causes a look-up. It does not if one was asked for already, which then serves this refusal as
    /// well, or shortly after the last one.
    pub(super) fn may_ask(&self, clock: &Schedule, now: Instant) -> bool {
        !self.wanted && self.wanted_ended.is_none_or(|ended| now >= ended + clock.again)
    }

    /// Notes the version that a look-up found. WhatsApp serves several versions at a time, so the newest one seen is
    /// kept.
    pub(super) fn learn(&mut self, version: Version, at: Time, clock: &Schedule, now: Instant) {
        if version > BUILT_IN && version >= self.version {
            self.version = version;
            self.source = VersionSource::LookedUp;
        }
        self.succeeded = Some(at);
        self.failing_since = None;
        self.failures = 0;
        self.ended(now + clock.day, now);
    }

    /// Notes a failed look-up. The store may have a newer version by now.
    pub(super) fn miss(&mut self, stored: Option<StoredVersion>, clock: &Schedule, at: Time, now: Instant) {
        self.adopt(stored);
        self.failures = self.failures.saturating_add(1);
        // An earlier process may have failed before this one, so the time counts from when the look-up was due.
        let was_due = self.succeeded.map(|succeeded| succeeded.after(clock.day));
        self.failing_since = self.failing_since.or(Some(was_due.map_or(at, |due| due.min(at))));
        self.ended(now + clock.backoff.after(self.failures), now);
    }

    pub(super) fn look_up_soon(&mut self, clock: &Schedule, now: Instant) {
        self.due = now + clock.backoff.after(1);
    }

    fn ended(&mut self, due: Instant, now: Instant) {
        if self.wanted {
            self.wanted_ended = Some(now);
        }
        self.wanted = false;
        self.look_ups += 1;
        self.is_ready = true;
        self.due = due;
    }

    fn adopt(&mut self, stored: Option<StoredVersion>) {
        let Some(StoredVersion { version, at }) = stored else { return };
        if version > self.version && believed(version.numbers()).is_ok() {
            self.version = version;
            self.source = VersionSource::Stored;
        }
        self.succeeded = self.succeeded.max(Some(at));
    }

    pub(super) fn report(&self, clock: &Schedule) -> VersionReport {
        VersionReport {
            version: self.version,
            source: self.source,
            looked_up: self.succeeded,
            failing_since: self.failing_since,
            patience: clock.day,
        }
    }
}
