//! A window that refills evenly (GCRA): a client that has used it up gets one more request after `window / limit`.

use std::time::{Duration, Instant};

use axum::http::{HeaderMap, HeaderName, HeaderValue};

/// A number of requests in a length of time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rate {
    pub(super) limit: u32,
    pub(super) window: Duration,
}

/// What a client has used of one rate. It begins whole, and is whole again by itself.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Window {
    /// When nothing of it is used any more.
    whole: Option<Instant>,
}

/// What a client has left, for the `RateLimit-*` headers.
#[derive(Clone, Copy, Debug)]
pub(in crate::http) struct Allowance {
    limit: u32,
    window: Duration,
    remaining: u32,
}

/// One request too many.
#[derive(Clone, Copy, Debug)]
pub(in crate::http) struct Limited {
    pub(in crate::http) allowance: Allowance,
    /// Until the next one.
    pub(in crate::http) wait: Duration,
}

impl Rate {
    /// The time after which one request is given back.
    fn one(self) -> Duration {
        self.window / self.limit.max(1)
    }
}

impl Window {
    /// Uses one request of it, where there is one.
    pub(super) fn take(&mut self, rate: Rate, now: Instant) -> Result<Allowance, Limited> {
        let used = self.used(now) + rate.one();
        if used > rate.window {
            let allowance = Allowance { limit: rate.limit, window: rate.window, remaining: 0 };
            return Err(Limited { allowance, wait: used - rate.window });
        }
        self.whole = Some(now + used);
        let remaining = (rate.window - used).as_nanos() / rate.one().as_nanos().max(1);
        let remaining = u32::try_from(remaining).unwrap_or(u32::MAX).min(rate.limit);
        Ok(Allowance { limit: rate.limit, window: rate.window, remaining })
    }

    /// Uses one request of it in any case: what is owed already grows no further.
    pub(super) fn charge(&mut self, rate: Rate, now: Instant) {
        self.whole = Some(now + (self.used(now) + rate.one()).min(rate.window));
    }

    /// As if one request had not been.
    pub(super) fn give_back(&mut self, rate: Rate, now: Instant) {
        self.whole = Some(now + self.used(now).saturating_sub(rate.one()));
    }

    pub(super) fn is_whole(&self, now: Instant) -> bool {
        self.used(now).is_zero()
    }

    fn used(&self, now: Instant) -> Duration {
        self.whole.map_or(Duration::ZERO, |whole| whole.saturating_duration_since(now))
    }
}

impl Allowance {
    /// As the old service said it: the sixth draft of "RateLimit header fields for HTTP" of the IETF.
    pub(in crate::http) fn write(&self, headers: &mut HeaderMap) {
        let Self { limit, window, remaining } = self;
        let used = f64::from(limit - remaining.min(limit)) / f64::from(*limit);
        // Until the whole allowance is there again.
        let reset = window.mul_f64(used).as_secs_f64().ceil();
        for (name, value) in [
            ("ratelimit-policy", format!("{limit};w={}", window.as_secs())),
            ("ratelimit-limit", limit.to_string()),
            ("ratelimit-remaining", remaining.to_string()),
            ("ratelimit-reset", reset.to_string()),
        ] {
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.insert(HeaderName::from_static(name), value);
            }
        }
    }

    #[cfg(test)]
    pub(super) fn remaining(self) -> u32 {
        self.remaining
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { limit: 3, window: Duration::from_secs(900) };

    #[test]
    fn a_window_gives_back_evenly() {
        let (mut window, begun) = (Window::default(), Instant::now());
        let left: Vec<u32> = (0..3).map(|_| window.take(RATE, begun).unwrap().remaining()).collect();
        assert_eq!(left, [2, 1, 0]);
        assert_eq!(window.take(RATE, begun).unwrap_err().wait, Duration::from_secs(300));
        let later = begun + Duration::from_secs(299);
        assert_eq!(window.take(RATE, later).unwrap_err().wait, Duration::from_secs(1));
        let later = begun + Duration::from_secs(300);
        assert_eq!(window.take(RATE, later).unwrap().remaining(), 0);
        assert!(!window.is_whole(begun + Duration::from_secs(1199)));
        assert!(window.is_whole(begun + Duration::from_secs(1200)));
    }

    #[test]
    fn each_limit_gives_as_many_as_it_says() {
        let now = Instant::now();
        for limit in [1, 2, 7, 100, 3000, 1_000_000] {
            for window in [1, 900, 86_400] {
                let rate = Rate { limit, window: Duration::from_secs(window) };
                let mut used = Window::default();
                let given = (0..=limit).take_while(|_| used.take(rate, now).is_ok()).count();
                assert_eq!(given, limit as usize, "in {window} s");
            }
        }
    }

    #[test]
    fn what_is_owed_has_a_bound_and_what_is_given_back_is_there() {
        let (mut window, now) = (Window::default(), Instant::now());
        (0..100).for_each(|_| window.charge(RATE, now));
        assert_eq!(window.take(RATE, now).unwrap_err().wait, Duration::from_secs(300));
        window.give_back(RATE, now);
        assert_eq!(window.take(RATE, now).unwrap().remaining(), 0);
        (0..100).for_each(|_| window.give_back(RATE, now));
        assert!(window.is_whole(now));
    }

    #[test]
    fn what_is_left_is_said_in_headers() {
        let mut headers = HeaderMap::new();
        Allowance { limit: 100, window: Duration::from_secs(900), remaining: 99 }.write(&mut headers);
        let said = |name: &str| headers[name].to_str().unwrap().to_owned();
        assert_eq!(said("ratelimit-policy"), "100;w=900");
        assert_eq!(
            [said("ratelimit-limit"), said("ratelimit-remaining"), said("ratelimit-reset")],
            ["100", "99", "9"]
        );
    }
}
