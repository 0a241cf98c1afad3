//! How long to pause between two tries of something that fails: twice as long after each failure, up to a limit.
//!
//! It neither sleeps nor counts: a caller sleeps itself, and counts its own failures in a row.

use std::time::Duration;

/// The pauses of one kind of try.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backoff {
    /// The pause after the first failure.
    pub first: Duration,
    /// The longest pause.
    pub longest: Duration,
}

impl Backoff {
    /// The pause after this many failures in a row, counted from 1.
    pub(crate) fn after(self, failures: u32) -> Duration {
        let factor = 1u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
        self.first.saturating_mul(factor).min(self.longest)
    }
}

/// A random number from 0 to 1, so that what failed together does not come back together.
pub(crate) fn random() -> f64 {
    let (_, low) = uuid::Uuid::new_v4().as_u64_pair();
    (low & 0xffff_ffff) as f64 / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let backoff = Backoff { first: Duration::from_millis(20), longest: Duration::from_secs(1) };
        let pauses = [1, 2, 3, 6, 7, 40, u32::MAX].map(|failures| backoff.after(failures).as_millis());
        assert_eq!(pauses, [20, 40, 80, 640, 1000, 1000, 1000]);
    }
}
