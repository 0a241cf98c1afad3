//! Keeps the command connection alive: pings it, tests whether Redis takes writes, reports that Redis is away, and
//! connects again.
//!
//! If the old connection is only silent, it is asked again first: commands that were sent on it are then carried out
//! before new ones. If its server says that it takes no writes, the connection is dropped at once, because another
//! server may answer under the same name while this one keeps refusing.

use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use redis::RedisError;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use super::schema::Keys;
use super::target::Connection;
use super::{ConnectError, ConnectionState, Inner, LIMIT, RECONNECT, Script, Server, Warning, failure};
use crate::clock;
use crate::storage::StorageError;
use crate::telemetry::metrics::REDIS_UP;

/// How often an idle connection is used. A managed Redis drops one that is not, and only a failed call shows that a
/// connection broke.
const PING_EVERY: Duration = Duration::from_secs(1);

/// How often a silent connection is asked before it is replaced: its host may have vanished without closing it.
const ASK_AGAIN: u32 = 3;

static BORN: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("born.lua")));

/// Why a server cannot be used.
#[derive(Debug)]
pub(super) enum Unfit {
    /// The connection is broken, or no answer comes: ask again, then connect again.
    Silent(StorageError),
    /// The server takes no writes and says so with this code: connect again.
    WrongServer(&'static str),
    /// Something is wrong that a new connection would not mend.
    Failed(StorageError),
}

/// Runs until the storage is closed.
pub(super) async fn keep(inner: Arc<Inner>) {
    loop {
        tokio::select! {
            () = inner.tasks.begun() => return,
            () = inner.trouble.notified() => {}
            () = sleep(PING_EVERY) => {}
        }
        let mut connection = inner.last_connection();
        let unfit = match look(&inner, &mut connection).await {
            Ok(server) => {
                tell(&inner, ConnectionState::Up(server));
                continue;
            }
            // Callers learn of this failure from their own calls.
            Err(Unfit::Failed(_)) => continue,
            Err(unfit) => unfit,
        };
        match unfit {
            Unfit::WrongServer(code) => warn!(code, "Redis is away: the server takes no writes"),
            _ => warn!("Redis is away"),
        }
        tell(&inner, ConnectionState::Away);
        tokio::select! {
            () = inner.tasks.begun() => return,
            server = come_back(&inner, connection, unfit) => {
                info!(run_id = server.run_id, "Redis is back");
                tell(&inner, ConnectionState::Up(server));
            }
        }
    }
}

/// Checks the server behind the connection. It may be replaced while the connection stays open, for example a node of a
/// cluster or a server behind a proxy.
async fn look(inner: &Inner, connection: &mut Connection) -> Result<Server, Unfit> {
    match timeout(LIMIT, connection.ping()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            // Any other answer to a ping means that the server cannot be used.
            return Err(Unfit::of(&error).unwrap_or(Unfit::Silent(failure::explain(&error))));
        }
        Err(_) => return Err(Unfit::Silent(StorageError::Away)),
    }
    if connection.is_cluster() {
        inner.target.learn_nodes(connection).await;
    }
    examine(connection, &inner.keys, &inner.seen.word()).await
}

/// Tries without a limit. When this returns, the connection works: the old one again, or a new one in its place.
async fn come_back(inner: &Inner, mut connection: Connection, mut unfit: Unfit) -> Server {
    let mut failures = 0;
    let mut asked = 0;
    let known = inner.seen.word();
    loop {
        if matches!(unfit, Unfit::WrongServer(_)) {
            asked = ASK_AGAIN;
        }
        if asked < ASK_AGAIN {
            match timeout(LIMIT, connection.ping()).await {
                Ok(Ok(())) => match examine(&mut connection, &inner.keys, &known).await {
                    Ok(server) => return server,
                    Err(why) => unfit = why,
                },
                Ok(Err(error)) if failure::is_unanswered(&error) => asked = ASK_AGAIN,
                Ok(Err(_)) | Err(_) => asked += 1,
            }
        }
        if asked >= ASK_AGAIN
            && let Ok(mut new) = inner.target.connect().await
            && let Ok(server) = examine(&mut new, &inner.keys, &known).await
        {
            inner.replace_connection(new);
            return server;
        }
        failures += 1;
        sleep(RECONNECT.after(failures)).await;
    }
}

/// Which data, and which process, answers, and that it takes writes; measures its clock. A memory or a disk that is full is another matter:
/// so would be those of any server of this name. `known`: the data that this process knew before, if any.
pub(super) async fn examine(connection: &mut Connection, keys: &Keys, known: &str) -> Result<Server, Unfit> {
    let mut born = BORN.whole();
    born.arg(2).arg(keys.word()).arg(keys.lost());
    born.arg(uuid::Uuid::new_v4().simple().to_string()).arg(known);
    let (asked, begun) = (clock::machine(), Instant::now());
    let (data, run_id, refused, now) =
        timeout(2 * LIMIT, connection.query::<(String, String, String, i64)>(&born))
            .await
            .map_err(|_| Unfit::Failed(StorageError::Away))?
            .map_err(|error| Unfit::of(&error).unwrap_or_else(|| Unfit::Failed(failure::explain(&error))))?;
    if let Some(skew_ms) = clock::measured(asked, begun.elapsed(), now) {
        warn!(skew_ms, "this machine's clock is not that of Redis, which counts");
    }
    match failure::wrong_server_in(&refused) {
        Some(code) => Err(Unfit::WrongServer(code)),
        // The data has no mark yet, and none can be written now.
        None if data.is_empty() => Err(Unfit::Failed(StorageError::Full)),
        None => Ok(Server { run_id, data }),
    }
}

impl Unfit {
    fn of(error: &RedisError) -> Option<Self> {
        failure::wrong_server(error).map(Self::WrongServer)
    }
}

impl From<Unfit> for ConnectError {
    fn from(unfit: Unfit) -> Self {
        match unfit {
            Unfit::WrongServer(code) => Self::WrongServer(code),
            Unfit::Silent(error) | Unfit::Failed(error) => Self::Away(error),
        }
    }
}

/// The weaknesses of this Redis. A managed Redis refuses `CONFIG`, which is not reported as one.
pub(super) async fn warnings(connection: &mut Connection) -> Vec<Warning> {
    let mut warnings = Vec::new();
    for (name, good, warning) in
        [("appendonly", "yes", Warning::NotDurable), ("maxmemory-policy", "noeviction", Warning::Evicts)]
    {
        let mut get = redis::cmd("CONFIG");
        get.arg("GET").arg(name);
        let said = timeout(LIMIT, connection.query::<Vec<String>>(&get)).await;
        if let Ok(Ok(said)) = said
            && said.get(1).is_some_and(|value| value != good)
        {
            warnings.push(warning);
        }
    }
    warnings
}

/// Sets the new state, unless the storage is closed.
fn tell(inner: &Inner, new: ConnectionState) {
    metrics::gauge!(REDIS_UP).set(f64::from(matches!(new, ConnectionState::Up(_))));
    inner.state.send_if_modified(|state| {
        let changes = *state != ConnectionState::Closed && *state != new;
        if changes {
            // Noted before the new state becomes visible.
            inner.seen.note(&new);
            judge(inner, &new, *state == ConnectionState::Away);
            *state = new;
        }
        changes
    });
}

/// Reports the health: while Redis is away nothing can be stored or read. What a Redis that answers refuses is reported
/// by each call.
fn judge(inner: &Inner, new: &ConnectionState, was_away: bool) {
    if *new == ConnectionState::Away {
        inner.health.wrote::<()>(&Err(StorageError::Away));
        inner.health.read::<()>(&Err(StorageError::Away));
    } else if was_away {
        inner.health.stored();
        inner.health.read(&Ok(()));
    }
}
