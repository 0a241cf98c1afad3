//! The stored records that cannot be read. Each is logged once, counted, and kept for the health report and
//! `check_store`.
//!
//! The module that reads a row or key skips it if it is damaged, and notes it here, so that everything else runs.
//! Nothing is repaired here: `check_store` lists the same records, and sets them aside if it is told to. The content of
//! a row never comes here, because it may be a key or a password.

use std::collections::BTreeMap;
use std::sync::Arc;

use metrics::gauge;
use parking_lot::{Mutex, MutexGuard};
use tracing::error;

use crate::id::SessionId;
use crate::telemetry::metrics::DAMAGED_RECORDS;

/// The longest key that is shown, in characters. A damaged key can be of any length.
const LONGEST: usize = 120;

/// The damaged records of one store. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Damage(Arc<Mutex<BTreeMap<(String, String), Damaged>>>);

/// One row or key that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Damaged {
    /// The table, or the key of Redis.
    pub table: String,
    /// The row of the table, or the part of the key.
    pub key: String,
    /// Whose it is; `None` where its name cannot be read, and where it is the whole deployment's.
    pub session: Option<SessionId>,
    /// What is wrong with it.
    pub why: &'static str,
}

impl Damage {
    /// Notes a record that cannot be read. It is logged the first time.
    pub(crate) fn note(&self, table: &str, key: &str, session: Option<&SessionId>, why: &'static str) {
        let key = shown(key);
        let mut known = self.known();
        let name = (table.to_owned(), key.clone());
        if known.get(&name).is_some_and(|before| before.why == why) {
            return;
        }
        error!(table = table, key, why, "a stored record is damaged and was skipped");
        known.insert(name, Damaged { table: table.to_owned(), key, session: session.cloned(), why });
        gauge!(DAMAGED_RECORDS).set(known.len() as f64);
    }

    /// Notes that a record can be read. If it was damaged before, somebody has repaired it.
    pub(crate) fn is_whole(&self, table: &str, key: &str) {
        let mut known = self.known();
        if !known.is_empty() && known.remove(&(table.to_owned(), shown(key))).is_some() {
            gauge!(DAMAGED_RECORDS).set(known.len() as f64);
        }
    }

    /// Parses names as session ids. A name that is not one is noted and left out. Names are bytes, because a damaged
    /// one may contain any.
    pub(crate) fn session_ids(&self, table: &str, names: Vec<Vec<u8>>, why: &'static str) -> Vec<SessionId> {
        let id = |name: Vec<u8>| {
            let id = std::str::from_utf8(&name).ok().and_then(|name| name.parse().ok());
            if id.is_none() {
                self.note(table, &String::from_utf8_lossy(&name), None, why);
            }
            id
        };
        names.into_iter().filter_map(id).collect()
    }

    /// Whether something of this session is damaged.
    pub(crate) fn is_about(&self, session: &SessionId) -> bool {
        self.known().values().any(|damaged| damaged.session.as_ref() == Some(session))
    }

    /// Whether a damaged record has no known session. Then a row without a record may belong to that session.
    pub(crate) fn hides_a_session(&self) -> bool {
        self.known().values().any(|damaged| damaged.session.is_none())
    }

    /// The number of damaged records.
    pub(crate) fn count(&self) -> usize {
        self.known().len()
    }

    /// All damaged records, in the order of table and key.
    pub(crate) fn list(&self) -> Vec<Damaged> {
        self.known().values().cloned().collect()
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<(String, String), Damaged>> {
        self.0.lock()
    }
}

/// The form in which a key is shown and compared: the beginning of a long one.
pub(crate) fn shown(key: &str) -> String {
    let mut shown: String = key.chars().take(LONGEST).collect();
    if shown.len() < key.len() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_damaged_is_known_until_it_is_mended() {
        let damage = Damage::default();
        let id = SessionId::new(&"ada".parse().unwrap());
        for _ in 0..3 {
            damage.note("session", id.as_str(), Some(&id), "its metadata is not a JSON object");
            damage.note("session", &"x".repeat(500), None, "its id is not a session id");
        }
        assert_eq!((damage.count(), damage.is_about(&id), damage.hides_a_session()), (2, true, true));
        assert!(damage.list().iter().all(|damaged| damaged.key.len() < 200));
        damage.is_whole("session", id.as_str());
        assert_eq!((damage.count(), damage.is_about(&id), damage.hides_a_session()), (1, false, true));
    }
}
