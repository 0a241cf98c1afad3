//! The result of a check, for people and as JSON.

use std::fmt;

use serde::Serialize;
use serde::ser::{SerializeStruct as _, Serializer};
use serde_json::json;

use crate::storage::damage::Damaged;

/// What a check found and did.
#[derive(Clone, Debug)]
pub struct StoreReport {
    /// The number of session records that can be read.
    pub(super) sessions: usize,
    /// The records that cannot be read.
    pub(super) damaged: Vec<Damaged>,
    /// Whether all of them were set aside.
    pub(super) set_aside: bool,
}

impl StoreReport {
    /// Whether a server would find nothing damaged.
    pub fn is_ok(&self) -> bool {
        self.damaged.is_empty() || self.set_aside
    }
}

impl fmt::Display for StoreReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.set_aside { "set aside" } else { "damaged" };
        for Damaged { table, key, why, .. } in &self.damaged {
            // A damaged name may contain any characters.
            let name = format!("{table} {key}");
            writeln!(f, "{word}: {}: {why}", name.trim_end().escape_debug())?;
        }
        let sessions = self.sessions;
        match self.damaged.len() {
            0 => write!(f, "nothing is damaged; {sessions} sessions can be read"),
            count if self.set_aside => {
                write!(f, "{count} damaged records were set aside; nothing of them is lost")
            }
            count => write!(
                f,
                "{count} damaged records; {sessions} sessions can be read; `qrcast check-store --quarantine` sets the damaged ones aside"
            ),
        }
    }
}

impl Serialize for StoreReport {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let damaged = self.damaged.iter().map(|damaged| {
            let Damaged { table, key, session, why } = damaged;
            json!({ "table": table, "key": key, "sessionId": session, "why": why })
        });
        let mut report = serializer.serialize_struct("StoreReport", 4)?;
        report.serialize_field("ok", &self.is_ok())?;
        report.serialize_field("sessions", &self.sessions)?;
        report.serialize_field("setAside", &self.set_aside)?;
        report.serialize_field("damaged", &damaged.collect::<Vec<_>>())?;
        report.end()
    }
}
