//! What the network and the server's clock are like. Read at every frame, so atomics rather than the big lock.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

use axum::http::HeaderValue;
use wacore_binary::Node;

/// The way from WhatsApp to the phone and back. The client keeps its session only after the call that sent the prologue has
/// returned: a continuation in the same instant finds none (in 8 to 17 of 20 tries; in none with 5 ms).
const PASSKEY_PAUSE_MS: u64 = 30;

/// Conditions that hold for every connection.
pub(crate) struct Conditions {
    delay_ms: AtomicU64,
    compress: AtomicBool,
    split: AtomicBool,
    clock_offset: AtomicI64,
    refuse: AtomicBool,
    passkey_pause_ms: AtomicU64,
}

impl Default for Conditions {
    fn default() -> Self {
        Self {
            delay_ms: AtomicU64::default(),
            compress: AtomicBool::default(),
            split: AtomicBool::default(),
            clock_offset: AtomicI64::default(),
            refuse: AtomicBool::default(),
            passkey_pause_ms: AtomicU64::new(PASSKEY_PAUSE_MS),
        }
    }
}

impl Conditions {
    /// How long a byte is on its way, in each direction.
    pub(crate) fn delay(&self) -> Duration {
        Duration::from_millis(self.delay_ms.load(Relaxed))
    }

    pub(crate) fn set_delay_ms(&self, milliseconds: u64) {
        self.delay_ms.store(milliseconds, Relaxed);
    }

    /// Whether frames that are worth it are compressed.
    pub(crate) fn compresses(&self) -> bool {
        self.compress.load(Relaxed)
    }

    pub(crate) fn set_compress(&self, compress: bool) {
        self.compress.store(compress, Relaxed);
    }

    /// Whether frames and WebSocket messages have different ends.
    pub(crate) fn splits(&self) -> bool {
        self.split.load(Relaxed)
    }

    pub(crate) fn set_split(&self, split: bool) {
        self.split.store(split, Relaxed);
    }

    /// Seconds by which the server's clock is ahead.
    pub(crate) fn clock_offset(&self) -> i64 {
        self.clock_offset.load(Relaxed)
    }

    pub(crate) fn set_clock_offset(&self, seconds: i64) {
        self.clock_offset.store(seconds, Relaxed);
    }

    /// Whether nobody but tests can reach the simulator.
    pub(crate) fn refuses(&self) -> bool {
        self.refuse.load(Relaxed)
    }

    pub(crate) fn set_refuse(&self, refuse: bool) {
        self.refuse.store(refuse, Relaxed);
    }

    /// How long the phone takes to answer within a passkey step.
    pub(crate) fn passkey_pause(&self) -> Duration {
        Duration::from_millis(self.passkey_pause_ms.load(Relaxed))
    }

    pub(crate) fn set_passkey_pause(&self, milliseconds: u64) {
        self.passkey_pause_ms.store(milliseconds, Relaxed);
    }

    /// The time by a clock that is off, for HTTP.
    pub(crate) fn date(&self) -> Option<HeaderValue> {
        let offset = self.clock_offset();
        let step = Duration::from_secs(offset.unsigned_abs());
        let now = SystemTime::now();
        let date = if offset < 0 { now.checked_sub(step) } else { now.checked_add(step) };
        let date = date.filter(|_| offset != 0)?;
        HeaderValue::from_str(&httpdate::fmt_http_date(date)).ok()
    }

    /// Sets the time of a stanza by the server's clock. Builders use the true one.
    pub(super) fn stamp(&self, node: &mut Node) {
        let offset = self.clock_offset();
        if offset == 0 {
            return;
        }
        let time = node.attrs.get("t").and_then(|time| time.as_str().parse::<i64>().ok());
        if let Some(time) = time {
            node.attrs.insert("t", time.saturating_add(offset).to_string());
        }
    }
}
