//! How much one client may ask for, counted in this process: requests over a window, and open streams.

use std::collections::hash_map::RandomState;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use dashmap::DashMap;
use governor::clock::{Clock as _, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::DefaultKeyedStateStore;
use governor::{Quota, RateLimiter};
use metrics::counter;

use super::caller::Access;
use super::client::Client;
use super::codes::{Codes, Taken};
use super::error::ApiError;
use crate::close::Close;
use crate::config::{Config, RateLimits};
use crate::id::SessionId;
use crate::shutdown::Shutdown;
use crate::telemetry::metrics::REQUESTS_LIMITED;

/// How long a viewer that finds no place stays away.
const COME_BACK: Duration = Duration::from_secs(5);

/// Pause between two rounds that forget clients which have their whole allowance again.
const FORGET_EVERY: Duration = Duration::from_secs(60);

/// Everything that is counted.
pub(super) struct Limits {
    /// `None`: nothing is.
    requests: Option<Requests>,
    /// Empty for as long as nothing is counted.
    codes: Codes,
    streams: Arc<Streams>,
}

struct Requests {
    init: Counter<Client>,
    read: Counter<(Client, Option<SessionId>)>,
}

/// A window that refills evenly (GCRA): whoever has used it up gets one more request after `window / limit`.
struct Counter<K: Clone + std::hash::Hash + Eq> {
    limiter: RateLimiter<K, DefaultKeyedStateStore<K, RandomState>, DefaultClock, StateInformationMiddleware>,
    limit: u32,
    window: Duration,
}

/// What a client has left, for the `RateLimit-*` headers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Allowance {
    limit: u32,
    window: Duration,
    remaining: u32,
}

/// One request too many.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limited {
    pub(super) allowance: Allowance,
    /// Until the next one.
    pub(super) wait: Duration,
}

impl Limits {
    /// As configured. Forgets by itself who was here long ago.
    pub(super) fn start(config: &Config, streams: &Shutdown) -> Arc<Self> {
        let requests = (!config.rates.disabled).then(|| Requests::new(config.rates));
        let places = Streams {
            open: AtomicUsize::new(0),
            of_client: DashMap::new(),
            most: config.max_streams,
            most_of_client: config.max_streams_per_client,
        };
        let limits = Arc::new(Self { requests, codes: Codes::default(), streams: Arc::new(places) });
        let forgetting = limits.clone();
        streams.spawn_until_begun(async move {
            loop {
                tokio::time::sleep(FORGET_EVERY).await;
                forgetting.forget();
            }
        });
        limits
    }

    /// Counts a request for a session, or for none; what is left. `None`: it is not limited.
    pub(super) fn count(
        &self,
        access: Access,
        client: &Client,
        session: Option<&SessionId>,
    ) -> Result<Option<Allowance>, Limited> {
        let Some(requests) = &self.requests else { return Ok(None) };
        if *client == Client::Backend {
            return Ok(None);
        }
        match (access, session) {
            (Access::Everyone, _) => Ok(None),
            (Access::Init, _) => counted("init", requests.init.count(client.clone())),
            (_, session) => counted("read", requests.read.count((client.clone(), session.cloned()))),
        }
    }

    /// A place for one more stream of this client, until it is dropped.
    pub(super) fn enter(&self, client: &Client) -> Result<Place, Close> {
        Streams::enter(&self.streams, client).ok_or(Close::Overloaded { pause: COME_BACK })
    }

    /// Counts a pairing code for this number, unless it is too many. `session`: where there is one already.
    pub(super) fn take_code(&self, session: Option<&SessionId>, number: &str) -> Result<TakenCode, ApiError> {
        if self.requests.is_none() {
            return Ok(TakenCode(None));
        }
        self.codes.take(session, number).map(|taken| TakenCode(Some(taken))).map_err(|wait| {
            limited("codes");
            ApiError::rate_limited(wait)
        })
    }

    fn forget(&self) {
        self.codes.forget();
        if let Some(Requests { init, read }) = &self.requests {
            init.limiter.retain_recent();
            read.limiter.retain_recent();
            init.limiter.shrink_to_fit();
            read.limiter.shrink_to_fit();
        }
    }
}

/// A pairing code, which counts unless it is given back. Without limits: of none.
#[must_use]
pub(super) struct TakenCode(Option<Taken>);

impl TakenCode {
    /// See [`Taken::also_of`].
    pub(super) fn also_of(self, session: &SessionId) {
        if let Some(taken) = self.0 {
            taken.also_of(session);
        }
    }

    /// See [`Taken::give_back`].
    pub(super) fn give_back(self) {
        if let Some(taken) = self.0 {
            taken.give_back();
        }
    }
}

/// For the metrics.
fn counted(limit: &'static str, allowance: Result<Allowance, Limited>) -> Result<Option<Allowance>, Limited> {
    allowance.map(Some).inspect_err(|_| limited(limit))
}

fn limited(limit: &'static str) {
    counter!(REQUESTS_LIMITED, "limit" => limit).increment(1);
}

impl Requests {
    fn new(rates: RateLimits) -> Self {
        Self { init: Counter::new(rates.init, rates.window), read: Counter::new(rates.read, rates.window) }
    }
}

impl<K: Clone + std::hash::Hash + Eq> Counter<K> {
    fn new(limit: u32, window: Duration) -> Self {
        let burst = NonZeroU32::new(limit).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::with_period(window / limit.max(1)).unwrap_or(Quota::per_second(burst));
        let limiter = RateLimiter::keyed(quota.allow_burst(burst)).with_middleware();
        Self { limiter, limit, window }
    }

    fn count(&self, key: K) -> Result<Allowance, Limited> {
        let allowance = |remaining| Allowance { limit: self.limit, window: self.window, remaining };
        match self.limiter.check_key(&key) {
            Ok(state) => Ok(allowance(state.remaining_burst_capacity())),
            Err(until) => {
                let wait = until.wait_time_from(DefaultClock::default().now());
                Err(Limited { allowance: allowance(0), wait })
            }
        }
    }
}

impl Allowance {
    /// As the old service said it: the sixth draft of "RateLimit header fields for HTTP" of the IETF.
    pub(super) fn write(&self, headers: &mut HeaderMap) {
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
}

/// The places for streams.
struct Streams {
    open: AtomicUsize,
    /// An entry goes with the client's last stream.
    of_client: DashMap<Client, usize>,
    most: usize,
    most_of_client: usize,
}

/// One open stream. Dropping it makes room for another.
pub(super) struct Place {
    streams: Arc<Streams>,
    client: Client,
}

impl Streams {
    fn enter(streams: &Arc<Self>, client: &Client) -> Option<Place> {
        // Taken first and given back with the place, so that no two take the last one.
        let place = Place { streams: streams.clone(), client: client.clone() };
        let open = streams.open.fetch_add(1, Ordering::Relaxed) + 1;
        let of_client = {
            let mut open = streams.of_client.entry(client.clone()).or_default();
            *open += 1;
            *open
        };
        if open > streams.most {
            limited("streams");
            return None;
        }
        if of_client > streams.most_of_client && *client != Client::Backend {
            limited("streams_per_client");
            return None;
        }
        Some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.streams.open.fetch_sub(1, Ordering::Relaxed);
        self.streams.of_client.remove_if_mut(&self.client, |_, open| {
            *open = open.saturating_sub(1);
            *open == 0
        });
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn address(last: u8) -> Client {
        Client::Address(Ipv4Addr::new(192, 0, 2, last).into())
    }

    #[test]
    fn a_window_is_counted_for_each_client() {
        let counter = Counter::new(3, Duration::from_secs(900));
        let left = |client| counter.count(client).map(|allowance| allowance.remaining);
        assert_eq!([left(1).unwrap(), left(1).unwrap(), left(1).unwrap()], [2, 1, 0]);
        let wait = left(1).unwrap_err().wait;
        assert!(wait > Duration::from_secs(290) && wait <= Duration::from_secs(300), "{wait:?}");
        assert_eq!(left(2).unwrap(), 2);
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

    #[test]
    fn places_come_back() {
        let streams = Streams { open: 0.into(), of_client: DashMap::new(), most: 3, most_of_client: 2 };
        let streams = Arc::new(streams);
        let first = Streams::enter(&streams, &address(1)).unwrap();
        let second = Streams::enter(&streams, &address(1)).unwrap();
        assert!(Streams::enter(&streams, &address(1)).is_none(), "of one client");
        let third = Streams::enter(&streams, &address(2)).unwrap();
        assert!(Streams::enter(&streams, &address(3)).is_none(), "in all");
        assert!(Streams::enter(&streams, &Client::Backend).is_none(), "in all, also of a backend");
        drop(first);
        let _fourth = Streams::enter(&streams, &address(1)).unwrap();
        drop((second, third));
        assert_eq!((streams.open.load(Ordering::Relaxed), streams.of_client.len()), (1, 1));
    }
}
