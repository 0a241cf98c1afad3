//! What time it is for the whole deployment.
//!
//! Where many replicas share a Redis, its clock is everyone's: a moment that one replica has written down (when a QR
//! expires, say) is compared by others, and the clocks of two machines may differ by any amount. So each look at Redis
//! measures by how much this machine's clock is ahead of it, and [`now`] leaves that out. Alone nothing is measured.
//!
//! Process-wide, for there is one machine clock and one store. `storage::redis` measures, `event::Time` asks, `/health`
//! shows it. Not for durations within this process: those go by the monotonic clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::{Mutex, MutexGuard};

/// A difference up to this is left alone: it matters to nobody, and a clock that is corrected now and then by a few
/// milliseconds would not rise evenly.
const LEFT_ALONE: i64 = 250;

static CLOCK: Mutex<Clock> = Mutex::new(Clock { estimate: None, left_out: 0 });

/// How far this machine's clock is ahead, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Clock {
    /// By the last measurement.
    estimate: Option<i64>,
    /// What [`now`] leaves out.
    left_out: i64,
}

/// Unix time in milliseconds, by Redis's clock where there is one.
pub fn now() -> i64 {
    machine() - clock().left_out
}

/// How far this machine's clock is ahead of Redis's, in milliseconds; `None` without Redis.
pub fn skew() -> Option<i64> {
    clock().estimate
}

/// This machine's own clock, Unix time in milliseconds.
pub fn machine() -> i64 {
    millis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

/// A duration in whole milliseconds, as far as these fit. Never negative.
pub fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// Redis said that it was `theirs`; it was asked when this machine's clock stood at `asked`, and the answer took so long.
/// The skew from now on, where something else is left out than before.
pub fn measured(asked: i64, took: Duration, theirs: i64) -> Option<i64> {
    clock().measured(asked, took, theirs)
}

fn clock() -> MutexGuard<'static, Clock> {
    CLOCK.lock()
}

impl Clock {
    /// An answer that took long says little: what was known before stays, as far as the answer allows it.
    fn measured(&mut self, asked: i64, took: Duration, theirs: i64) -> Option<i64> {
        let least = asked - theirs;
        let most = least.saturating_add(millis(took));
        let estimate = self.estimate.unwrap_or(i64::midpoint(least, most)).clamp(least, most);
        self.estimate = Some(estimate);
        // Also at first: a clock that is right to a part of a second stays as it is.
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
            // Measured again and again, it is what it is.
            for second in 0..5_i64 {
                let theirs = 101_001 + 1000 * second;
                assert_eq!(clock.measured(theirs - 1 + off, QUICK, theirs), None);
            }
            assert_eq!((clock.estimate, clock.left_out), (Some(off), off));
            // Somebody has set it right.
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
