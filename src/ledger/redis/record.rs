//! A session's record as it stands in its hash.

use serde::{Deserialize, Serialize};

use crate::event::Time;
use crate::id::SessionId;
use crate::ledger::Record;
use crate::storage::StorageError;

/// What [`parse`] wants, in this order.
pub(super) const FIELDS: [&str; 5] = ["record", "owner", "epoch", "runs", "deleted"];

/// What never changes. The rest are fields of the hash, which scripts change.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stored {
    created: i64,
    #[serde(default)]
    device_name: Option<String>,
    #[serde(default)]
    metadata: Option<serde_json::Map<String, serde_json::Value>>,
}

pub(super) fn encode(record: &Record) -> String {
    let stored = Stored {
        created: record.created.as_millis(),
        device_name: record.device_name.clone(),
        metadata: record.metadata.clone(),
    };
    serde_json::to_string(&stored)
        .unwrap_or_else(|error| unreachable!("strings and numbers always encode: {error}"))
}

/// The record and its owner; `None` where there is no such session.
pub(super) fn parse(
    session: &SessionId,
    fields: [Option<String>; 5],
) -> Result<Option<(Record, Option<String>)>, StorageError> {
    let [stored, owner, epoch, runs, deleted] = fields;
    let Some(stored) = stored else { return Ok(None) };
    let number = |text: Option<String>| {
        text.map(|text| text.parse::<i64>().map_err(|_| StorageError::Corrupt)).transpose()
    };
    let stored: Stored = serde_json::from_str(&stored).map_err(|_| StorageError::Corrupt)?;
    let record = Record {
        session: session.clone(),
        created: Time::from_millis(stored.created),
        device_name: stored.device_name,
        metadata: stored.metadata,
        epoch: number(epoch)?.unwrap_or_default().cast_unsigned(),
        claimed: runs.as_deref() == Some("1"),
        deleted: number(deleted)?.map(Time::from_millis),
    };
    Ok(Some((record, owner.filter(|owner| !owner.is_empty()))))
}
