//! Keys that are of another kind than they should be: named where one is met, and looked for.
//!
//! Only notes them; what a caller does without such a key is its own affair. `check_store` sets them aside.

use std::collections::BTreeSet;

use tokio::time::timeout;

use super::schema::Kind;
use super::target::Connection;
use super::{LIMIT, Redis, StorageError, failure};
use crate::id::SessionId;

/// Why such a key cannot be read.
const OTHER_KIND: &str = "it is of another type";

/// How many keys a node looks at before it answers.
const SCAN_COUNT: usize = 1000;

impl Redis {
    /// Passes on an answer about a key. Where the key is of another kind, that is noted, and its name is in the log.
    ///
    /// # Errors
    /// The answer's own.
    pub(crate) fn about<T>(
        &self,
        key: &str,
        session: Option<&SessionId>,
        answer: Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        match &answer {
            Err(error) if error.is_damage() => self.damage().note(key, "", session, OTHER_KIND),
            // The key of a session may be damaged in another way.
            Ok(_) if session.is_none() => self.damage().is_whole(key, ""),
            _ => {}
        }
        answer
    }

    /// Notes a key that is of another kind than this.
    ///
    /// # Errors
    /// See [`query`](Self::query).
    pub(crate) async fn check_kind(&self, key: &str, kind: Kind) -> Result<(), StorageError> {
        let found: String = self.query(redis::cmd("TYPE").arg(key)).await?;
        let is_whole = found == "none" || found == kind.name();
        self.about(key, None, if is_whole { Ok(()) } else { Err(StorageError::Corrupt) }).or(Ok(()))
    }

    /// The names of all keys of this pattern, on every node. A name that is not text is left out.
    ///
    /// # Errors
    /// [`StorageError::Away`] where a node does not answer.
    pub(crate) async fn scan(&self, pattern: &str) -> Result<BTreeSet<String>, StorageError> {
        let mut connections = vec![self.0.connection()?];
        if self.is_cluster() {
            let nodes = self.0.target.peers(&mut connections[0]).await;
            connections.clear();
            for node in nodes {
                connections.push(node.connect().await.map_err(|error| failure::explain(&error))?);
            }
        }
        let mut found = BTreeSet::new();
        for mut connection in connections {
            let mut cursor = 0;
            loop {
                let (next, names) = scan_on(&mut connection, pattern, cursor).await?;
                found.extend(names.into_iter().filter_map(|name| String::from_utf8(name).ok()));
                cursor = next;
                if cursor == 0 {
                    break;
                }
            }
        }
        Ok(found)
    }
}

async fn scan_on(
    connection: &mut Connection,
    pattern: &str,
    cursor: u64,
) -> Result<(u64, Vec<Vec<u8>>), StorageError> {
    let mut scan = redis::cmd("SCAN");
    scan.arg(cursor).arg("MATCH").arg(pattern).arg("COUNT").arg(SCAN_COUNT);
    let answer = timeout(LIMIT, connection.query(&scan)).await.map_err(|_| StorageError::Away)?;
    answer.map_err(|error| failure::explain(&error))
}
