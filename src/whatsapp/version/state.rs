//! What is known of the version, what is believed, and when it is looked up next. Pure: no channel, no store, and the time
//! is told.

use std::time::Duration;

use tokio::time::Instant;

use super::{BUILT_IN, StoredVersion, Version, VersionReport, VersionSource};
use crate::backoff::Backoff;
use crate::event::Time;

/// How many builds ahead of the one built in are believed. WhatsApp made some 19 million a year in 2026: ten years.
const MOST_AHEAD: u32 = 200_000_000;

/// The clocks of look-ups.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schedule {
    /// From a good look-up to the next.
    day: Duration,
    /// After failed look-ups.
    backoff: Backoff,
    /// From a look-up that a refusal has caused to the next such one.
    again: Duration,
}

impl Schedule {
    pub(super) fn faster(factor: f64) -> Self {
        let scaled = |minutes: u64| Duration::from_secs(minutes * 60).div_f64(factor);
        let backoff = Backoff::new(scaled(10), scaled(60));
        Self { day: scaled(24 * 60), backoff, again: scaled(1) }
    }
}

/// A look-up's answer, where it can be true; otherwise why it cannot.
pub(super) fn believed(numbers: (u32, u32, u32)) -> Result<Version, String> {
    let (2, 3000, revision) = numbers else {
        return Err(format!("{numbers:?} is no version of WhatsApp Web"));
    };
    let version = Version(revision);
    // The library also reads a version out of answers that name none: it is then 2.3000.0.
    if version < BUILT_IN {
        return Err(format!("{version} is older than {BUILT_IN}, which is built in"));
    }
    if revision > BUILT_IN.0 + MOST_AHEAD {
        return Err(format!("{version} is no version that there can be by now"));
    }
    Ok(version)
}

/// The state of the version in this process.
#[derive(Clone, Copy, Debug)]
pub(super) struct VersionState {
    /// What new clients claim.
    pub(super) version: Version,
    pub(super) source: VersionSource,
    /// Whether clients need not wait for it any longer.
    pub(super) is_ready: bool,
    /// When it is looked up next.
    pub(super) due: Instant,
    /// A refusal wants it to be looked up at once; until that is done.
    pub(super) wanted: bool,
    /// How many look-ups have ended.
    pub(super) look_ups: u64,
    /// When the last one that was wanted has ended.
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

    /// At the start. A look-up of less than a day ago, whoever made it, is as good as one of our own.
    pub(super) fn begin(
        &mut self,
        stored: Option<StoredVersion>,
        clock: &Schedule,
        now: Time,
        instant: Instant,
    ) {
        self.adopt(stored);
        let age = self.succeeded.map(|at| at.elapsed(now));
        if let Some(left) = age.and_then(|age| clock.day.checked_sub(age)) {
            self.due = instant + left;
            self.is_ready = true;
        }
    }

    /// Whether a refusal causes a look-up. Not where one is wanted already, which then serves for this one as well, and not
    /// within a short time of the last such one.
    pub(super) fn may_ask(&self, clock: &Schedule, now: Instant) -> bool {
        !self.wanted && self.wanted_ended.is_none_or(|ended| now >= ended + clock.again)
    }

    /// A look-up has found this version. WhatsApp serves more than one at a time, so the newest that was seen stays.
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

    /// A look-up has failed; the store may know more by now.
    pub(super) fn miss(&mut self, stored: Option<StoredVersion>, clock: &Schedule, at: Time, now: Instant) {
        self.adopt(stored);
        self.failures = self.failures.saturating_add(1);
        // A process that was started a moment ago is not the first to fail.
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
