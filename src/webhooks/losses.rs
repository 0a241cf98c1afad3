//! How many events receivers did not get lately, for an alert.

use std::collections::VecDeque;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// For so long an operator hears of it.
const LATELY: Duration = Duration::from_secs(3600);

/// So many moments at most; beyond, the count goes with the last one.
const MOMENTS: usize = 64;

#[derive(Default)]
pub(super) struct Losses(Mutex<VecDeque<(Instant, u64)>>);

impl Losses {
    pub(super) fn add(&self, events: u64) {
        let mut losses = self.0.lock();
        if losses.len() < MOMENTS {
            losses.push_back((Instant::now(), events));
        } else if let Some((at, count)) = losses.back_mut() {
            (*at, *count) = (Instant::now(), *count + events);
        }
    }

    pub(super) fn lately(&self) -> u64 {
        let mut losses = self.0.lock();
        losses.retain(|(at, _)| at.elapsed() < LATELY);
        losses.iter().map(|(_, count)| count).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_loss_is_told_for_an_hour() {
        let losses = Losses::default();
        (0..100).for_each(|_| losses.add(2));
        assert_eq!(losses.lately(), 200);
        tokio::time::advance(LATELY / 2).await;
        losses.add(1);
        tokio::time::advance(LATELY / 2).await;
        assert_eq!(losses.lately(), 1 + 2 * 37, "the last moment has what came beyond the others");
    }
}
