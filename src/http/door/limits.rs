//! How much one client may take of this process: requests over a window, open streams, open connections.
//!
//! Each client has one account (`limits/account.rs`), and every limit asks it.

mod account;
mod codes;
pub(in crate::http) mod connections;
pub(crate) mod held;
mod window;

use std::sync::Arc;
use std::time::{Duration, Instant};

use metrics::counter;
use parking_lot::{Mutex, MutexGuard};

use self::account::Accounts;
use self::codes::{Codes, Taken};
use self::held::{Connections, Door};
use self::window::Rate;
pub(in crate::http) use self::window::{Allowance, Limited};
use super::client::Client;
use crate::close::Close;
use crate::config::{Config, TrustedProxies};
use crate::http::error::ApiError;
use crate::id::SessionId;
use crate::shutdown::Shutdown;
use crate::telemetry::metrics::REQUESTS_LIMITED;

/// When a viewer that was refused a stream should come back.
const COME_BACK: Duration = Duration::from_secs(5);

/// Pause between two rounds that forget clients which have their whole allowance again.
const FORGET_EVERY: Duration = Duration::from_secs(60);

/// How many times as much a client without a key may ask for all its sessions together as for one.
const ALL_SESSIONS: u32 = 10;

/// Connections that a client may have for each stream: a page has its stream, and makes calls beside it.
const CONNECTIONS_OF_STREAM: usize = 2;

/// Which limit counts a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum Budget {
    /// That of new sessions, `RATE_LIMIT_INIT`.
    Init,
    /// That of all others, `RATE_LIMIT_READ`.
    Read,
}

/// Everything that is counted, and how much of it is allowed.
pub(in crate::http) struct Limits {
    rules: Rules,
    state: Mutex<State>,
    /// Empty if requests are not limited.
    codes: Codes,
}

struct Rules {
    /// `None`: requests are not limited.
    rates: Option<Rates>,
    streams: usize,
    streams_of_client: usize,
    connections_of_client: usize,
    proxies: TrustedProxies,
}

struct Rates {
    init: Rate,
    read: Rate,
    all: Rate,
}

#[derive(Default)]
struct State {
    accounts: Accounts,
    /// Open streams, of all clients.
    streams: usize,
    connections: Connections,
}

impl Limits {
    /// As configured. Clients that were here long ago are forgotten by a task of its own.
    pub(in crate::http) fn start(config: &Config, streams: &Shutdown) -> Arc<Self> {
        let limits = Arc::new(Self::new(config));
        let forgetting = limits.clone();
        streams.spawn_until_begun(async move {
            loop {
                tokio::time::sleep(FORGET_EVERY).await;
                forgetting.state().accounts.forget(Instant::now());
                forgetting.codes.forget();
            }
        });
        limits
    }

    fn new(config: &Config) -> Self {
        let rates = config.rates;
        let rate = |limit| Rate { limit, window: rates.window };
        let all = rate(rates.read.saturating_mul(ALL_SESSIONS));
        let rates = (!rates.disabled).then(|| Rates { init: rate(rates.init), read: rate(rates.read), all });
        let rules = Rules {
            rates,
            streams: config.max_streams,
            streams_of_client: config.max_streams_per_client,
            connections_of_client: config.max_streams_per_client.saturating_mul(CONNECTIONS_OF_STREAM),
            proxies: config.security.proxies.clone(),
        };
        Self { rules, state: Mutex::default(), codes: Codes::default() }
    }

    /// How many connections this door takes in at a time.
    pub(in crate::http) fn opens(&self, door: Door, most: usize) {
        self.state().connections.doors.entry(door).or_default().most = most;
    }

    /// Counts a request for a session, or for none, and refuses it if it is one too many. Tell [`Asked::ended`] what came of it.
    pub(in crate::http) fn ask(
        self: &Arc<Self>,
        budget: Budget,
        client: &Client,
        session: Option<&SessionId>,
    ) -> Result<Asked, Limited> {
        let counted = match &self.rules.rates {
            Some(rates) if *client != Client::Backend => {
                let counted = self.state().ask(rates, budget, client, session);
                counted.inspect_err(|_| limited(budget.as_str()))?
            }
            _ => Counted::Not,
        };
        Ok(Asked { limits: self.clone(), client: client.clone(), session: session.cloned(), counted })
    }

    /// A place for one more stream of this client, until it is dropped.
    pub(in crate::http) fn enter(self: &Arc<Self>, client: &Client) -> Result<Place, Close> {
        let refused = |limit| {
            limited(limit);
            Err(Close::Overloaded { pause: COME_BACK })
        };
        let mut state = self.state();
        if state.streams >= self.rules.streams {
            return refused("streams");
        }
        let account = state.accounts.of(client);
        if account.streams >= self.rules.streams_of_client && *client != Client::Backend {
            return refused("streams_per_client");
        }
        account.streams += 1;
        state.streams += 1;
        Ok(Place { limits: self.clone(), client: client.clone() })
    }

    /// Counts a pairing code for this number, unless it is too many. `session`: where there is one already.
    pub(in crate::http) fn take_code(
        &self,
        session: Option<&SessionId>,
        number: &str,
    ) -> Result<TakenCode, ApiError> {
        if self.rules.rates.is_none() {
            return Ok(TakenCode(None));
        }
        self.codes.take(session, number).map(|taken| TakenCode(Some(taken))).map_err(|wait| {
            limited("codes");
            ApiError::rate_limited(wait)
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

/// A pairing code, which counts unless it is given back. `None` where requests are not limited.
#[must_use]
pub(in crate::http) struct TakenCode(Option<Taken>);

impl TakenCode {
    /// See [`Taken::also_of`].
    pub(in crate::http) fn also_of(self, session: &SessionId) {
        if let Some(taken) = self.0 {
            taken.also_of(session);
        }
    }

    /// See [`Taken::give_back`].
    pub(in crate::http) fn give_back(self) {
        if let Some(taken) = self.0 {
            taken.give_back();
        }
    }
}

impl Budget {
    /// The metrics' word.
    fn as_str(self) -> &'static str {
        match self {
            Self::Init => "init",
            Self::Read => "read",
        }
    }
}

/// Counts a refusal for the metrics.
fn limited(limit: &'static str) {
    counter!(REQUESTS_LIMITED, "limit" => limit).increment(1);
}

impl State {
    fn ask(
        &mut self,
        rates: &Rates,
        budget: Budget,
        client: &Client,
        session: Option<&SessionId>,
    ) -> Result<Counted, Limited> {
        let now = Instant::now();
        let account = self.accounts.of(client);
        if budget == Budget::Init {
            return account.init.take(rates.init, now).map(Counted::Init);
        }
        // `None` needs no entry: there is one of it.
        let known = match session {
            Some(_) => account.sessions.get_mut(&session.cloned()),
            None => Some(account.sessions.entry(None).or_default()),
        };
        let counted = match known {
            Some(window) => Counted::Session(window.take(rates.read, now)?),
            // Counted against the client until the session is found, so that it cannot try many ids at once.
            None => {
                account.lost.take(rates.read, now)?;
                Counted::Unknown
            }
        };
        if matches!(client, Client::Address(_)) {
            let all = account.all.take(rates.all, now);
            if all.is_err() && matches!(counted, Counted::Unknown) {
                account.lost.give_back(rates.read, now);
            }
            all?;
        }
        Ok(counted)
    }
}

/// A request that was let in, until it is known what came of it.
pub(in crate::http) struct Asked {
    limits: Arc<Limits>,
    client: Client,
    session: Option<SessionId>,
    counted: Counted,
}

enum Counted {
    /// It is not limited.
    Not,
    Init(Allowance),
    /// For a session that was there before, or for none.
    Session(Allowance),
    /// For one that may not exist.
    Unknown,
}

impl Asked {
    /// It was answered, or it was refused or found nothing; what is left. `None`: it is not limited.
    pub(in crate::http) fn ended(self, is_lost: bool) -> Option<Allowance> {
        let Self { limits, client, session, counted } = self;
        let (rates, now) = (limits.rules.rates.as_ref()?, Instant::now());
        let mut state = limits.state();
        match counted {
            Counted::Not => None,
            Counted::Init(allowance) => Some(allowance),
            Counted::Session(allowance) => {
                if is_lost {
                    state.accounts.of(&client).lost.charge(rates.read, now);
                }
                Some(allowance)
            }
            Counted::Unknown if is_lost => None,
            Counted::Unknown => {
                let account = state.accounts.of(&client);
                account.lost.give_back(rates.read, now);
                let window = account.sessions.entry(session).or_default();
                // Others may have used it up in the meantime.
                Some(window.take(rates.read, now).unwrap_or_else(|limited| limited.allowance))
            }
        }
    }
}

/// One open stream. Dropping it makes room for another.
pub(in crate::http) struct Place {
    limits: Arc<Limits>,
    client: Client,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.limits.state();
        state.streams = state.streams.saturating_sub(1);
        let account = state.accounts.of(&self.client);
        account.streams = account.streams.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::held::KEPT;
    use super::*;
    use crate::id::UserId;

    /// With these variables, and so many connections.
    pub(in crate::http) fn limits(variables: &[(&str, &str)], connections: usize) -> Arc<Limits> {
        let variable = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let limits = Arc::new(Limits::new(&Config::read(variable).unwrap()));
        limits.opens(Door::Public, connections);
        limits.opens(Door::Metrics, KEPT);
        limits
    }

    fn address(last: u8) -> Client {
        Client::Address(Ipv4Addr::new(192, 0, 2, last).into())
    }

    fn session() -> SessionId {
        SessionId::new(&"ada".parse::<UserId>().unwrap())
    }

    #[test]
    fn names_that_are_invented_are_counted_for_the_client() {
        let limits = limits(&[("RATE_LIMIT_READ", "3")], 9);
        let tenant = Client::Key("tenant".into());
        for client in [address(1), tenant] {
            for _ in 0..3 {
                limits.ask(Budget::Read, &client, Some(&session())).unwrap().ended(true);
            }
            assert!(limits.ask(Budget::Read, &client, Some(&session())).is_err());
            // Nothing is kept of a name that led nowhere.
            assert!(limits.state().accounts.of(&client).sessions.is_empty());
        }
        assert!(limits.ask(Budget::Read, &address(2), Some(&session())).is_ok());
    }

    #[test]
    fn what_is_found_is_counted_by_session() {
        let limits = limits(&[("RATE_LIMIT_READ", "3")], 9);
        let (client, one, other) = (address(1), session(), session());
        let read = |id: &SessionId, lost| {
            let asked = limits.ask(Budget::Read, &client, Some(id));
            asked.ok().and_then(|asked| asked.ended(lost)).map(Allowance::remaining)
        };
        assert_eq!([read(&one, false), read(&one, false), read(&one, false)], [Some(2), Some(1), Some(0)]);
        assert_eq!((read(&one, false), read(&other, false)), (None, Some(2)));
        // Who has used up what it may get wrong still follows what it knows, and learns of nothing new.
        for _ in 0..3 {
            read(&session(), true);
        }
        assert_eq!((read(&other, false), read(&session(), false)), (Some(1), None));
        // Also what is wrong with a session that is there.
        assert_eq!(read(&other, true), Some(0));
    }

    #[test]
    fn a_client_without_a_key_has_ten_times_as_much_over_all() {
        let limits = limits(&[("RATE_LIMIT_READ", "2")], 9);
        let reads = |client: &Client| {
            let read =
                |_: &i32| limits.ask(Budget::Read, client, Some(&session())).map(|asked| asked.ended(false));
            (0..30).take_while(|n| read(n).is_ok()).count()
        };
        assert_eq!(reads(&address(1)), 20);
        assert_eq!(reads(&Client::Key("tenant".into())), 30);
        assert_eq!(reads(&Client::Backend), 30);
    }

    #[test]
    fn whoever_holds_nothing_is_forgotten() {
        let limits = limits(&[], 1000);
        let _held = limits.connect(Door::Public, Ipv4Addr::new(192, 0, 2, 1).into());
        let _watched = limits.enter(&address(2)).unwrap();
        for n in 0..20_000_u32 {
            let client = Client::Address(Ipv4Addr::from_bits(0x0a00_0000 + n).into());
            drop(limits.enter(&client));
            assert!(limits.state().accounts.count() <= 2048);
        }
        limits.ask(Budget::Init, &address(3), None).unwrap();
        limits.state().accounts.forget(Instant::now());
        assert_eq!(limits.state().accounts.count(), 3);
        limits.state().accounts.forget(Instant::now() + Duration::from_secs(900));
        assert_eq!(limits.state().accounts.count(), 2);
    }

    #[test]
    fn places_come_back() {
        let limits = limits(&[("MAX_STREAMS", "3"), ("MAX_STREAMS_PER_IP", "2")], 9);
        let first = limits.enter(&address(1)).unwrap();
        let second = limits.enter(&address(1)).unwrap();
        assert!(limits.enter(&address(1)).is_err(), "of one client");
        let third = limits.enter(&address(2)).unwrap();
        assert!(limits.enter(&address(3)).is_err(), "in all");
        assert!(limits.enter(&Client::Backend).is_err(), "in all, also of a backend");
        drop(first);
        let _fourth = limits.enter(&address(1)).unwrap();
        drop((second, third));
        let mut state = limits.state();
        assert_eq!((state.streams, state.accounts.of(&address(1)).streams), (1, 1));
        // The last place locks it as well.
        drop(state);
    }
}
