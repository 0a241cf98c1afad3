//! Redis (or Valkey), alone or as a cluster: one command connection, one Pub/Sub connection, scripts.
//!
//! Not a store: the keys' meaning and the scripts come from its callers (`records`, `log`, `whatsapp::store`). `server`
//! connects and closes it.
//!
//! - **A time limit of [`LIMIT`] on every command**, and none waits for a connection: while Redis is away each call
//!   fails at once with [`StorageError::Away`], nothing is kept to be sent later.
//! - **The wrong server is away as well**: one that answers and takes no writes (a primary that has become a copy, say) is
//!   left, with both connections, until one that takes them answers by the same name.
//! - **Away leaves it open whether it was done**: a command whose answer did not come may still be carried out. So every
//!   script of this crate may be run twice, and one that must not come late carries a number that says so.
//! - **Memory while Redis is away**: what callers had sent within the about two seconds until that was noticed, and
//!   nothing after.
//! - **Keys** begin with the deployment's prefix, then a hash tag in braces: all keys of one tag are on one node of a
//!   cluster, and a script touches keys of one tag only.

mod channels;
mod failure;
pub(crate) mod index;
pub(crate) mod inspect;
mod keeper;
mod kinds;
mod loss;
pub(crate) mod schema;
mod script;
mod target;
#[cfg(test)]
pub(crate) mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use metrics::{counter, gauge, histogram};
use parking_lot::RwLock;
use redis::{Cmd, FromRedisValue};
use tokio::sync::{Notify, watch};

use self::channels::Channels;
pub(crate) use self::channels::{Heard, Subscription};
use self::loss::Seen;
use self::schema::Keys;
pub(crate) use self::script::{Call, Script};
use self::target::{Connection, Target};
use super::StorageError;
use super::damage::Damage;
use super::health::Health;
use crate::backoff::Backoff;
use crate::shutdown::Shutdown;
use crate::telemetry::metrics::{REDIS_CALL_SECONDS, REDIS_FAILURES, REDIS_UP};

/// How long a command may take.
pub(crate) const LIMIT: Duration = Duration::from_secs(1);

/// The pauses between two tries to connect again.
const RECONNECT: Backoff = Backoff { first: Duration::from_millis(20), longest: Duration::from_secs(1) };

/// How long [`Redis::close`] waits for its two tasks.
const GRACE: Duration = Duration::from_secs(2);

/// A handle; clones share the connections. End it with [`close`](Self::close).
#[derive(Clone)]
pub(crate) struct Redis(Arc<Inner>);

struct Inner {
    keys: Keys,
    target: Target,
    /// The command connection. Callers use clones of it.
    connection: RwLock<Connection>,
    state: watch::Sender<ConnectionState>,
    /// Wakes the keeper at once: a command found the connection broken or silent, or the server takes no writes.
    trouble: Notify,
    health: Health,
    damage: Damage,
    channels: Channels,
    seen: Seen,
    tasks: Shutdown,
}

/// Whether Redis answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ConnectionState {
    /// Redis answers.
    Up(Server),
    /// Redis does not answer; it is tried again without a limit.
    Away,
    /// [`Redis::close`] was called.
    Closed,
}

/// The Redis that answers; on a cluster, the node that holds the mark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Server {
    /// Changes with every restart of the server, and at a fail-over. Empty if our user may not ask for it.
    pub run_id: String,
    /// A random word in the data, stored at the first connect ever: another word means that the data is gone.
    pub data: String,
}

/// A weakness of a working Redis that an operator should know of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Warning {
    /// A restart loses what was written since the last snapshot, ratchets of linked devices among it.
    #[error("Redis does not keep an append-only file: set `appendonly yes`, or a restart may unlink devices")]
    NotDurable,
    /// When memory is short, Redis throws keys of devices away.
    #[error("Redis may evict keys: set `maxmemory-policy noeviction`, or devices may be unlinked")]
    Evicts,
}

/// Why there is no connection. Never contains the URL, because a password is in it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ConnectError {
    /// Mend the setting: the URL cannot be read.
    #[error("the URL is not redis://[user:password@]host[:port][/db] or rediss://...")]
    Url,
    /// Mend the setting: a brace would make a hash tag, and those are made by this module.
    #[error("the prefix must not hold a brace")]
    Prefix,
    /// Mend the password in the URL, or the rights of its user.
    #[error("Redis refuses this user or password")]
    Refused,
    /// Wait and try again.
    #[error("Redis does not answer")]
    Away(#[source] StorageError),
    /// Wait and try again: after a fail-over another server, or this one, takes writes.
    #[error("Redis answers and takes no writes ({0})")]
    WrongServer(&'static str),
}

impl Redis {
    /// Connects, finds out whether it is a cluster, and then keeps the connection. It tries once, for a few seconds at
    /// most; a caller that can wait calls again.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub(crate) async fn connect(url: &str, prefix: &str) -> Result<(Self, Vec<Warning>), ConnectError> {
        if prefix.contains(['{', '}']) {
            return Err(ConnectError::Prefix);
        }
        gauge!(REDIS_UP).set(0.0);
        let (target, mut connection) = Target::find(url).await?;
        let keys = Keys::new(prefix);
        let server = keeper::examine(&mut connection, &keys, "").await?;
        let warnings = keeper::warnings(&mut connection).await;
        let inner = Arc::new(Inner {
            keys,
            target,
            connection: RwLock::new(connection),
            seen: Seen::of(&server),
            state: watch::Sender::new(ConnectionState::Up(server)),
            trouble: Notify::new(),
            health: Health::default(),
            damage: Damage::default(),
            channels: Channels::default(),
            tasks: Shutdown::new(),
        });
        gauge!(REDIS_UP).set(1.0);
        inner.tasks.spawn(keeper::keep(inner.clone()));
        inner.tasks.spawn(channels::run(inner.clone()));
        Ok((Self(inner), warnings))
    }

    /// The names of what is kept in it.
    pub(crate) fn keys(&self) -> &Keys {
        &self.0.keys
    }

    /// Sends one command and waits for its answer, [`LIMIT`] at most.
    ///
    /// # Errors
    /// [`StorageError::Away`] when there is no answer: it is not known whether the command was carried out.
    pub(crate) async fn query<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, StorageError> {
        let answer = self.ask(command).await?;
        self.explained(answer)
    }

    /// A refusal as a storage error. One that would meet every caller is about writes.
    fn explained<T>(&self, answer: Result<T, redis::RedisError>) -> Result<T, StorageError> {
        let outcome = answer.map_err(|error| failure::explain(&error));
        self.0.health.wrote(&outcome);
        outcome
    }

    /// The health of Redis.
    pub(crate) fn health(&self) -> &Health {
        &self.0.health
    }

    /// The keys that could not be read so far.
    pub(crate) fn damage(&self) -> &Damage {
        &self.0.damage
    }

    /// The answer or refusal of Redis; Err if neither came.
    async fn ask<T: FromRedisValue>(
        &self,
        command: &Cmd,
    ) -> Result<Result<T, redis::RedisError>, StorageError> {
        let begun = Instant::now();
        let answer = self.0.ask(command).await;
        match &answer {
            Ok(_) => histogram!(REDIS_CALL_SECONDS).record(begun.elapsed()),
            Err(StorageError::Away) => counter!(REDIS_FAILURES).increment(1),
            Err(_) => {}
        }
        answer
    }

    /// A script, to be given keys and arguments and run.
    pub(crate) fn script(&self, script: &'static Script) -> Call {
        Call::new(self, script)
    }

    /// Runs `work` to its end even if this call is dropped, for work that must not be left half done.
    ///
    /// # Errors
    /// [`StorageError::Closed`] if the process is stopping.
    pub(crate) async fn finish<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, StorageError> {
        self.0.tasks.finish(work).await.ok_or(StorageError::Closed)
    }

    /// Redis's own clock, Unix time in milliseconds.
    ///
    /// # Errors
    /// See [`query`](Self::query).
    pub(crate) async fn now(&self) -> Result<i64, StorageError> {
        let (seconds, micros): (i64, i64) = self.query(&redis::cmd("TIME")).await?;
        Ok(seconds * 1000 + micros / 1000)
    }

    /// Whether Redis is a cluster, where a published message can be lost between two nodes.
    pub(crate) fn is_cluster(&self) -> bool {
        self.0.last_connection().is_cluster()
    }

    /// Whether Redis answers, and its changes.
    pub(crate) fn state(&self) -> watch::Receiver<ConnectionState> {
        self.0.state.subscribe()
    }

    /// Listens to a channel on the one Pub/Sub connection, until the subscription is dropped.
    pub(crate) fn listen(&self, channel: String) -> Subscription {
        channels::listen(&self.0, channel, channels::WAITING)
    }

    /// The same, where so many messages may wait for a listener.
    pub(crate) fn listen_to_many(&self, channel: String, waiting: usize) -> Subscription {
        channels::listen(&self.0, channel, waiting)
    }

    /// Ends both connections. Later calls answer [`StorageError::Closed`], subscriptions end.
    pub(crate) async fn close(&self) {
        self.0.state.send_replace(ConnectionState::Closed);
        self.0.tasks.begin();
        let left = self.0.tasks.finished(GRACE).await;
        if left > 0 {
            tracing::warn!(left, "connections to Redis were not closed in time");
        }
    }
}

impl Inner {
    async fn ask<T: FromRedisValue>(
        &self,
        command: &Cmd,
    ) -> Result<Result<T, redis::RedisError>, StorageError> {
        let mut connection = self.connection()?;
        match tokio::time::timeout(LIMIT, connection.query(command)).await {
            Ok(Err(error)) if failure::is_unanswered(&error) => {
                self.trouble.notify_one();
                Err(StorageError::Away)
            }
            Ok(answer) => {
                if answer.as_ref().is_err_and(|error| failure::wrong_server(error).is_some()) {
                    self.trouble.notify_one();
                }
                Ok(answer)
            }
            Err(_) => {
                self.trouble.notify_one();
                Err(StorageError::Away)
            }
        }
    }

    fn connection(&self) -> Result<Connection, StorageError> {
        match *self.state.borrow() {
            ConnectionState::Up(_) => {}
            ConnectionState::Away => return Err(StorageError::Away),
            ConnectionState::Closed => return Err(StorageError::Closed),
        }
        Ok(self.last_connection())
    }

    /// The last connection, which may be broken.
    fn last_connection(&self) -> Connection {
        self.connection.read().clone()
    }

    fn replace_connection(&self, connection: Connection) {
        *self.connection.write() = connection;
        // The Pub/Sub connection may still lead to the old server.
        self.channels.connect_anew();
    }
}

/// Shows neither the address nor the password.
impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis")
            .field("prefix", &self.0.keys.prefix())
            .field("state", &*self.0.state.borrow())
            .finish_non_exhaustive()
    }
}
