//! A session's record as it stands in its hash.

use serde::{Deserialize, Serialize};

use crate::event::Time;
use crate::id::SessionId;
use crate::ledger::{Found, Record, WISH_LIFE, Wish};
use crate::proxy::ProxyUrl;
use crate::storage::StorageError;

/// What never changes. The rest are fields of the hash, which scripts change.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stored {
    created: i64,
    #[serde(default)]
    device_name: Option<String>,
    /// A secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    proxy: Option<String>,
    #[serde(default)]
    metadata: Option<serde_json::Map<String, serde_json::Value>>,
}

pub(super) fn encode(record: &Record) -> String {
    let stored = Stored {
        created: record.created.as_millis(),
        device_name: record.device_name.clone(),
        proxy: record.proxy.as_ref().map(|proxy| proxy.reveal().to_owned()),
        metadata: record.metadata.clone(),
    };
    serde_json::to_string(&stored)
        .unwrap_or_else(|error| unreachable!("strings and numbers always encode: {error}"))
}

/// What `find.lua` answers: record, owner, epoch, runs, deleted, wish, when it was made, last event, the time, last owner. The record is empty where there
/// is no such session.
pub(super) type Fields = (String, String, String, String, String, String, String, String, i64, String);

pub(super) fn parse(session: &SessionId, fields: Fields) -> Result<Option<Found>, StorageError> {
    let (stored, owner, epoch, runs, deleted, wish, wished, last, now, last_owner) = fields;
    if stored.is_empty() {
        return Ok(None);
    }
    let number = |text: &str| match text {
        "" => Ok(None),
        text => text.parse::<i64>().map(Some).map_err(|_| StorageError::Corrupt),
    };
    let stored: Stored = serde_json::from_str(&stored).map_err(|_| StorageError::Corrupt)?;
    let record = Record {
        session: session.clone(),
        created: Time::from_millis(stored.created),
        device_name: stored.device_name,
        proxy: stored.proxy.map(ProxyUrl::new),
        metadata: stored.metadata,
        epoch: number(&epoch)?.unwrap_or_default().cast_unsigned(),
        claimed: runs == "1",
        deleted: number(&deleted)?.map(Time::from_millis),
    };
    // A wish of a later version is none.
    let wish = number(&wished)?.zip(serde_json::from_str(&wish).ok());
    let wish = wish.filter(|(at, wish)| match wish {
        Wish::Restart { .. } => true,
        Wish::Code { .. } | Wish::Passkey(_) | Wish::ConfirmPasskey => {
            now - at < WISH_LIFE.as_millis().cast_signed().try_into().unwrap_or(i64::MAX)
        }
    });
    let last = if last.is_empty() { None } else { Some(last.parse().map_err(|_| StorageError::Corrupt)?) };
    let [owner, last_owner] = [owner, last_owner].map(|name| Some(name).filter(|name| !name.is_empty()));
    Ok(Some(Found { record, owner, last_owner, wish, last }))
}
