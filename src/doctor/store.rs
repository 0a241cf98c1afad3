//! Checks Redis, if one is set: whether it can be reached, is new enough, and keeps what it is given.

use super::clock::Moment;
use super::{Check, late, limited};
use crate::config::Config;
use crate::storage::redis::inspect::{InspectError, Inspection, Node, inspect};

const REDIS: &str = "redis";

/// The first version of Redis that has every command that qrcast uses.
const OLDEST: (u32, u32) = (6, 2);

/// One check if there is no Redis or it cannot be asked; otherwise three, and the clock of Redis.
pub(super) async fn redis(config: &Config) -> (Vec<Check>, Option<Moment>) {
    let Some(settings) = &config.redis else {
        return (vec![Check::ok(REDIS, "none: REDIS_URL is not set, sessions are kept in DATA_DIR")], None);
    };
    let check = match limited(inspect(&settings.url.0)).await {
        Some(Ok(seen)) => {
            let moment = Moment::now(seen.time);
            return (vec![server(&seen), persistence(&seen.nodes), eviction(&seen.nodes)], Some(moment));
        }
        Some(Err(error)) => {
            let todo = match error {
                InspectError::Url(_) => "correct REDIS_URL",
                InspectError::Refused(_) => {
                    "correct user and password in REDIS_URL, percent-encoded, or that user's rights"
                }
                InspectError::Away(..) => {
                    "see that Redis runs, that REDIS_URL names it (rediss:// for TLS), and that it can be reached from here"
                }
            };
            Check::fail(REDIS, error.to_string(), todo)
        }
        None => Check::fail(
            REDIS,
            format!("REDIS_URL: {}", late()),
            "see that Redis runs and can be reached from here",
        ),
    };
    (vec![check], None)
}

fn server(seen: &Inspection) -> Check {
    let mut products: Vec<_> = seen.nodes.iter().filter_map(|node| node.product.as_deref()).collect();
    products.sort_unstable();
    products.dedup();
    let product =
        if products.is_empty() { "a version that it does not tell".into() } else { products.join(", ") };
    let cluster = match seen.cluster {
        Some(1) => ", a cluster of 1 node".into(),
        Some(count) => format!(", a cluster of {count} nodes"),
        None => String::new(),
    };
    let said = format!("{} answers: {product}{cluster}", seen.address);
    if seen.nodes.iter().filter_map(|node| node.version).any(|version| version < OLDEST) {
        return Check::fail(REDIS, said, "Redis 6.2 or newer is needed, or Valkey");
    }
    if seen.nodes.iter().any(|node| node.is_copy) {
        return Check::fail(
            REDIS,
            format!("{said}; it is a replica and takes no writes"),
            "set REDIS_URL to the primary",
        );
    }
    Check::ok(REDIS, said)
}

/// Checks that every node keeps an append-only file; the worst node decides.
fn persistence(nodes: &[Node]) -> Check {
    const NAME: &str = "persistence";
    let said: Vec<_> = nodes.iter().map(|node| node.append_only).collect();
    if said.contains(&Some(false)) {
        let said = "Redis keeps no append-only file: a restart may unlink devices";
        return Check::warn(NAME, said, "set `appendonly yes`");
    }
    if said.contains(&None) || said.is_empty() {
        let said = "Redis does not tell whether it keeps an append-only file";
        return Check::warn(NAME, said, "look in its console that it persists");
    }
    Check::ok(NAME, "Redis keeps an append-only file")
}

/// Checks that no node evicts keys; the worst node decides.
fn eviction(nodes: &[Node]) -> Check {
    const NAME: &str = "eviction";
    let said: Vec<_> = nodes.iter().map(|node| node.eviction.as_deref()).collect();
    if let Some(policy) = said.iter().flatten().find(|policy| **policy != "noeviction") {
        let said = format!("Redis has maxmemory-policy {policy}: it may throw keys of devices away");
        return Check::warn(NAME, said, "set `maxmemory-policy noeviction`");
    }
    if said.contains(&None) || said.is_empty() {
        let said = "Redis does not tell its maxmemory-policy";
        return Check::warn(NAME, said, "look in its console that it never evicts");
    }
    Check::ok(NAME, "Redis evicts nothing (maxmemory-policy noeviction)")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Finding;

    fn good() -> Node {
        Node {
            product: Some("Redis 7.2.4".into()),
            version: Some((7, 2)),
            append_only: Some(true),
            eviction: Some("noeviction".into()),
            is_copy: false,
        }
    }

    #[test]
    fn one_node_that_is_wrong_is_told() {
        let found = |other: Node| {
            let nodes = vec![good(), other];
            let seen = Inspection { address: "h:1".into(), cluster: Some(2), time: 0, nodes };
            [server(&seen), persistence(&seen.nodes), eviction(&seen.nodes)].map(|check| check.result)
        };
        use Finding::{Fail, Ok, Warn};
        assert_eq!(found(good()), [Ok, Ok, Ok]);
        assert_eq!(found(Node { version: Some((6, 0)), ..good() }), [Fail, Ok, Ok]);
        assert_eq!(found(Node { is_copy: true, ..good() }), [Fail, Ok, Ok]);
        assert_eq!(found(Node { append_only: Some(false), ..good() }), [Ok, Warn, Ok]);
        assert_eq!(found(Node { eviction: Some("allkeys-lru".into()), ..good() }), [Ok, Ok, Warn]);
        assert_eq!(found(Node::default()), [Ok, Warn, Warn]);
    }
}
