//! Time in which this machine ran nothing, a virtual one that was paused for example: no test waits less for it, and one that
//! fails in the same run says so.

use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How often it is looked.
const LOOK: Duration = Duration::from_millis(250);

/// A busy machine may come late by as much.
const LATE: Duration = Duration::from_secs(3);

/// All of it together, in milliseconds.
static STOOD_STILL: AtomicU64 = AtomicU64::new(0);

static WATCHING: Once = Once::new();

/// What waits for something, by a clock that stands still with the machine.
pub(crate) struct Patience {
    left: Duration,
    looked: Instant,
}

impl Patience {
    pub(crate) fn new(length: Duration) -> Self {
        WATCHING.call_once(watch);
        Self { left: length, looked: Instant::now() }
    }

    /// Waits a little; false when there is no patience left.
    pub(crate) fn goes_on(&mut self) -> bool {
        let passed = self.looked.elapsed();
        self.looked = Instant::now();
        self.left = self.left.saturating_sub(passed.min(LATE));
        !self.left.is_zero()
    }

    pub(crate) const LOOK: Duration = LOOK;
}

fn watch() {
    std::thread::spawn(|| {
        loop {
            let asleep = Instant::now();
            std::thread::sleep(LOOK);
            let late = asleep.elapsed().saturating_sub(LOOK);
            if late > LATE {
                STOOD_STILL.fetch_add(late.as_millis() as u64, Ordering::Relaxed);
            }
        }
    });
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        usual(panic);
        let milliseconds = STOOD_STILL.load(Ordering::Relaxed);
        if milliseconds > 0 {
            eprintln!("note: this machine stood still for {milliseconds} ms in this run, which may be why");
        }
    }));
}
