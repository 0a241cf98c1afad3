//! The time of the whole deployment.
//!
//! Replicas that share a Redis all use its clock: a time that one replica stored (for example when a QR expires) is
//! compared by the others, and the clocks of two machines may differ by any amount. So each check of Redis measures by
//! how much this machine's clock is ahead, and [`now`] subtracts that. With a single replica nothing is measured.
//!
//! The state is process-wide, because there is one machine clock and one store. `storage::redis` measures,
//! `event::Time` asks, `/health` shows it. Durations within this process use the monotonic clock instead.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::{Mutex, MutexGuard};

/// A difference of up to this many milliseconds is not corrected: nobody notices it, and frequent small corrections
/// would make the clock jump.
const LEFT_ALONE: i64 = 250;

static CLOCK: Mutex<Clock> = Mutex::new(Clock { estimate: None, left_out: 0 });

/// How far this machine's clock is ahead, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Clock {
    /// The skew by the last measurement.
    estimate: Option<i64>,
    /// The skew that [`now`] subtracts.
    left_out: i64,
}

/// Unix time in milliseconds, by Redis's clock if there is a Redis.
pub(crate) fn now() -> i64 {
    machine() - clock().left_out
}

/// How far this machine's clock is ahead of Redis's, in milliseconds; `None` without Redis.
pub(crate) fn skew() -> Option<i64> {
    clock().estimate
}

/// This machine's own clock, Unix time in milliseconds.
pub(crate) fn machine() -> i64 {
    millis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

/// A duration in whole milliseconds, as far as these fit. Never negative.
pub(crate) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// Takes a measurement: Redis's clock showed `theirs`; the question was sent when this machine's clock showed `asked`,
/// and the answer took `took`. Returns the new skew if the correction has changed.
pub(crate) fn measured(asked: i64, took: Duration, theirs: i64) -> Option<i64> {
    clock().measured(asked, took, theirs)
}

fn clock() -> MutexGuard<'static, Clock> {
    CLOCK.lock()
}

impl Clock {
    /// A slow answer gives only a range. The earlier estimate stays if it is within that range.
    fn measured(&mut self, asked: i64, took: Duration, theirs: i64) -> Option<i64> {
        let least = asked - theirs;
        let most = least.saturating_add(millis(took));
        let estimate = self.estimate.unwrap_or(i64::midpoint(least, most)).clamp(least, most);
        self.estimate = Some(estimate);
        // This also holds for the first measurement: a clock that is right within a fraction of a second is used as it
        // is.
        if (self.left_out - estimate).abs() <= LEFT_ALONE {
            return None;
        }
        self.left_out = estimate;
        Some(estimate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEW: Clock = Clock { estimate: None, left_out: 0 };
    const QUICK: Duration = Duration::from_millis(2);

    #[test]
    fn a_clock_that_is_right_stays_as_it_is() {
        let mut clock = NEW;
        for (asked, theirs) in [(1000, 1001), (2000, 1990), (3000, 3120), (4000, 3800)] {
            assert_eq!(clock.measured(asked, QUICK, theirs), None);
            assert_eq!(clock.left_out, 0);
        }
        assert_eq!(clock.estimate, Some(200));
    }

    #[test]
    fn one_that_is_off_goes_by_redis() {
        for off in [25_000, -25_000, 300, -300, 86_400_000] {
            let mut clock = NEW;
            assert_eq!(clock.measured(100_000 + off, QUICK, 100_001), Some(off));
            // Repeated measurements do not change it.
            for second in 0..5_i64 {
                let theirs = 101_001 + 1000 * second;
                assert_eq!(clock.measured(theirs - 1 + off, QUICK, theirs), None);
            }
            assert_eq!((clock.estimate, clock.left_out), (Some(off), off));
            // The clock was corrected.
            assert!(clock.measured(200_000, QUICK, 200_001).is_some_and(|left| left.abs() <= 1));
        }
    }

    #[test]
    fn a_slow_answer_takes_nothing_back_and_a_late_one_tells_no_skew() {
        let mut clock = NEW;
        // Asked at 1000, answered at some time within ten seconds, on the same clock.
        assert_eq!(clock.measured(1_000, QUICK, 1_001), None);
        assert_eq!(clock.measured(2_000, Duration::from_secs(10), 11_500), None);
        assert_eq!(clock.measured(12_000, Duration::from_secs(10), 12_001), None);
        assert_eq!(clock.left_out, 0);
        // A skew is seen through a slow answer, as far as that allows.
        assert_eq!(clock.measured(60_000, Duration::from_secs(1), 30_000), Some(30_000));
    }
}
