//! Watches the command connection: pings it, tells that Redis is away, connects again.
//!
//! It first asks the old connection again, as long as that is not broken: what was sent on it and not yet carried out
//! then stays before what is sent now.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use super::target::Link;
use super::{Inner, LIMIT, Script, Server, State, Warning, failure};
use crate::storage::StorageError;
use crate::telemetry::metrics::REDIS_UP;

/// An idle connection is used this often: a managed Redis drops one that is not, and nothing else tells that one broke.
const PING_EVERY: Duration = Duration::from_secs(1);

/// The first pause between two tries; each later one is longer, up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// How often a silent connection is asked before it is given up: its host may be gone without a word.
const ASK_AGAIN: u32 = 3;

static BORN: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("born.lua")));

/// Until the storage is closed.
pub(super) async fn keep(inner: Arc<Inner>) {
    loop {
        tokio::select! {
            () = inner.tasks.begun() => return,
            () = inner.trouble.notified() => {}
            () = sleep(PING_EVERY) => {}
        }
        let mut link = inner.last_link();
        if is_alive(&inner, &mut link).await {
            continue;
        }
        warn!("Redis is away");
        tell(&inner, State::Away);
        tokio::select! {
            () = inner.tasks.begun() => return,
            server = come_back(&inner, link) => {
                info!(run_id = server.run_id, "Redis is back");
                tell(&inner, State::Up(server));
            }
        }
    }
}

async fn is_alive(inner: &Inner, link: &mut Link) -> bool {
    if !matches!(timeout(LIMIT, link.ping()).await, Ok(Ok(()))) {
        return false;
    }
    if link.is_cluster() {
        inner.target.learn_nodes(link).await;
    }
    // A node of a cluster can be another one behind an open connection, and so can a server behind a proxy.
    if let Ok(server) = examine(link, &inner.prefix).await {
        tell(inner, State::Up(server));
    }
    true
}

/// Tries without end; the connection is replaced when this returns.
async fn come_back(inner: &Inner, mut link: Link) -> Server {
    let mut pause = FIRST_PAUSE;
    let mut asked = 0;
    loop {
        if asked < ASK_AGAIN {
            match timeout(LIMIT, link.ping()).await {
                Ok(Ok(())) => {
                    if let Ok(server) = examine(&mut link, &inner.prefix).await {
                        return server;
                    }
                }
                Ok(Err(error)) if failure::is_unanswered(&error) => asked = ASK_AGAIN,
                Ok(Err(_)) | Err(_) => asked += 1,
            }
        }
        if asked >= ASK_AGAIN
            && let Ok(mut new) = inner.target.link().await
            && let Ok(server) = examine(&mut new, &inner.prefix).await
        {
            inner.replace_link(new);
            return server;
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Which data, and which process, answers.
pub(super) async fn examine(link: &mut Link, prefix: &str) -> Result<Server, StorageError> {
    let mut born = BORN.whole();
    born.arg(1).arg(format!("{prefix}{{data}}:word")).arg(uuid::Uuid::new_v4().simple().to_string());
    let (data, run_id) = timeout(2 * LIMIT, link.query::<(String, String)>(&born))
        .await
        .map_err(|_| StorageError::Away)?
        .map_err(|error| failure::explain(&error))?;
    Ok(Server { run_id, data })
}

/// A managed Redis refuses `CONFIG`; that is no warning.
pub(super) async fn warnings(link: &mut Link) -> Vec<Warning> {
    let mut warnings = Vec::new();
    for (name, good, warning) in
        [("appendonly", "yes", Warning::NotDurable), ("maxmemory-policy", "noeviction", Warning::Evicts)]
    {
        let mut get = redis::cmd("CONFIG");
        get.arg("GET").arg(name);
        let said = timeout(LIMIT, link.query::<Vec<String>>(&get)).await;
        if let Ok(Ok(said)) = said
            && said.get(1).is_some_and(|value| value != good)
        {
            warnings.push(warning);
        }
    }
    warnings
}

/// Never takes a `Closed` back.
fn tell(inner: &Inner, new: State) {
    metrics::gauge!(REDIS_UP).set(f64::from(matches!(new, State::Up(_))));
    inner.state.send_if_modified(|state| {
        let changes = *state != State::Closed && *state != new;
        if changes {
            judge(inner, &new, *state == State::Away);
            *state = new;
        }
        changes
    });
}

/// While it is away nothing can be stored or read; what a Redis that answers refuses says each call.
fn judge(inner: &Inner, new: &State, was_away: bool) {
    if *new == State::Away {
        inner.health.wrote::<()>(&Err(StorageError::Away));
        inner.health.read::<()>(&Err(StorageError::Away));
    } else if was_away {
        inner.health.stored();
        inner.health.read(&Ok(()));
    }
}
