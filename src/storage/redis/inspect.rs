//! Inspects a Redis without changing anything: one `INFO` to each node, over a connection of its own. `doctor` calls
//! it.

use redis::{ErrorKind, FromRedisValue, RedisError};
use tokio::time::timeout;

use super::target::{Connection, Target};
use super::{ConnectError, LIMIT, failure};

/// What a Redis reports about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Inspection {
    /// Host and port of the URL.
    pub address: String,
    /// How many nodes answered; `None` if it is not a cluster.
    pub cluster: Option<usize>,
    /// Its clock, Unix time in milliseconds.
    pub time: i64,
    /// The reports of its nodes.
    pub nodes: Vec<Node>,
}

/// What one node reports about itself. A field is `None` if the node does not report it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Node {
    /// Product and version, for example `Redis 7.2.4`.
    pub product: Option<String>,
    /// The major and minor version of Redis with which it is compatible.
    pub version: Option<(u32, u32)>,
    /// Whether it keeps an append-only file.
    pub append_only: Option<bool>,
    /// Its `maxmemory-policy`: what it does when its memory is full.
    pub eviction: Option<String>,
    /// Whether it is a copy and takes no writes.
    pub is_copy: bool,
}

/// Why a Redis could not be inspected. Contains neither user nor password.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum InspectError {
    /// Mend the setting.
    #[error("{0}")]
    Url(ConnectError),
    /// Mend the password in the URL, or the rights of its user.
    #[error("{0} refuses the user or the password")]
    Refused(String),
    /// Start it, or mend the network.
    #[error("{0} cannot be reached: {1}")]
    Away(String, String),
}

/// Inspects the Redis of a URL; on a cluster, each node that it names. A node that does not answer is left out.
///
/// # Errors
/// See [`InspectError`].
pub(crate) async fn inspect(url: &str) -> Result<Inspection, InspectError> {
    let target = Target::alone(url).map_err(InspectError::Url)?;
    let address = target.address();
    let failed = |error: RedisError| explain(&address, &error);
    let mut connection = target.connect().await.map_err(failed)?;
    let (seconds, micros): (i64, i64) = limited(&mut connection, "TIME").await.map_err(failed)?;
    let said = match limited::<String>(&mut connection, "INFO").await {
        // A user without the right to ask gets no answer.
        Err(error) if failure::is_refusal(&error) && error.code() == Some("NOPERM") => String::new(),
        said => said.map_err(failed)?,
    };
    let time = seconds.saturating_mul(1000).saturating_add(micros / 1000);
    if !said.contains("cluster_enabled:1") {
        return Ok(Inspection { address, cluster: None, time, nodes: vec![node(&said)] });
    }
    let mut nodes = Vec::new();
    for other in target.peers(&mut connection).await {
        if let Ok(mut connection) = other.connect().await
            && let Ok(said) = limited::<String>(&mut connection, "INFO").await
        {
            // On a cluster a copy is not a problem: it redirects writes to its primary, and takes over if that fails.
            nodes.push(Node { is_copy: false, ..node(&said) });
        }
    }
    Ok(Inspection { address, cluster: Some(nodes.len()), time, nodes })
}

async fn limited<T: FromRedisValue>(connection: &mut Connection, command: &str) -> Result<T, RedisError> {
    let late = |_| RedisError::from(std::io::Error::from(std::io::ErrorKind::TimedOut));
    timeout(2 * LIMIT, connection.query(&redis::cmd(command))).await.map_err(late)?
}

fn explain(address: &str, error: &RedisError) -> InspectError {
    if failure::is_refusal(error) {
        return InspectError::Refused(address.to_owned());
    }
    let why = match error.kind() {
        // Only the operating system's message is shown, because one of Redis may quote what it was sent.
        ErrorKind::Io => error.to_string(),
        _ => format!("{} {}", error.category(), error.code().unwrap_or_default()),
    };
    InspectError::Away(address.to_owned(), why.trim_end().to_owned())
}

fn node(said: &str) -> Node {
    let field = |name: &str| {
        let value = said.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        value.map(|value| value.trim().to_owned())
    };
    let version = field("redis_version");
    let product = match field("valkey_version") {
        Some(valkey) => Some(format!("Valkey {valkey}")),
        None => version.as_ref().map(|version| format!("Redis {version}")),
    };
    Node {
        product,
        version: version.and_then(|version| {
            let mut parts = version.split('.').map(str::parse);
            Some((parts.next()?.ok()?, parts.next()?.ok()?))
        }),
        append_only: field("aof_enabled").map(|enabled| enabled == "1"),
        eviction: field("maxmemory_policy"),
        is_copy: field("role").as_deref() == Some("slave"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_what_it_says() {
        let said = "# Server\r\nredis_version:7.0.15\r\n# Memory\r\nmaxmemory_policy:noeviction\r\n\
            # Persistence\r\naof_enabled:0\r\n# Replication\r\nrole:master\r\n";
        let seen = node(said);
        assert_eq!((seen.product.as_deref(), seen.version), (Some("Redis 7.0.15"), Some((7, 0))));
        assert_eq!((seen.append_only, seen.eviction.as_deref()), (Some(false), Some("noeviction")));
        assert!(!seen.is_copy && node("role:slave\r\n").is_copy);
        assert_eq!(node(""), Node::default());
        let valkey = node("redis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:8.0.1\r\n");
        assert_eq!((valkey.product.as_deref(), valkey.version), (Some("Valkey 8.0.1"), Some((7, 2))));
    }
}
