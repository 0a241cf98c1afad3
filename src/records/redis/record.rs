//! A session's record as it stands in its hash.

use serde::{Deserialize, Serialize};

use crate::id::SessionId;
use crate::proxy::ProxyUrl;
use crate::receiver::OwnReceiver;
use crate::records::{OwnerRequest, REQUEST_LIFE, Record, SessionInfo, epoch as epoch_of, moment};

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
    /// A replica that does not know it keeps it: nothing here is written again but by who has read it. The log looks
    /// whether it is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    webhook: Option<OwnReceiver>,
    #[serde(default)]
    metadata: Option<serde_json::Map<String, serde_json::Value>>,
}

pub(crate) fn encode(record: &Record) -> String {
    let stored = Stored {
        created: record.created.as_millis(),
        device_name: record.device_name.clone(),
        proxy: record.proxy.as_ref().map(|proxy| proxy.reveal().to_owned()),
        webhook: record.webhook.clone(),
        metadata: record.metadata.clone(),
    };
    serde_json::to_string(&stored)
        .unwrap_or_else(|error| unreachable!("strings and numbers always encode: {error}"))
}

/// What `find.lua` answers: record, owner, epoch, runs, deleted, request, when it was made, last event, the time, last owner. The record is empty where there
/// is no such session. Bytes: a field may hold any.
pub(crate) type Fields = Vec<Vec<u8>>;

/// What a session's hash says; where it does not, why.
pub(crate) fn parse(session: &SessionId, fields: Fields) -> Result<Option<SessionInfo>, &'static str> {
    let texts = fields.into_iter().map(String::from_utf8).collect::<Result<Vec<_>, _>>();
    let texts: [String; 10] =
        texts.ok().and_then(|texts| texts.try_into().ok()).ok_or("one of its fields is not text")?;
    let [stored, owner, epoch, runs, deleted, request, requested, last, now, last_owner] = texts;
    if stored.is_empty() {
        return Ok(None);
    }
    let number = |text: &str, why| match text {
        "" => Ok(None),
        text => text.parse::<i64>().map(Some).map_err(|_| why),
    };
    let stored: Stored = serde_json::from_str(&stored).map_err(|_| "its record is none")?;
    let deleted = number(&deleted, "the time of its deletion is none")?;
    let record = Record {
        session: session.clone(),
        created: moment(stored.created).ok_or("the time of its creation is none")?,
        device_name: stored.device_name,
        proxy: stored.proxy.map(ProxyUrl::new),
        webhook: stored.webhook,
        metadata: stored.metadata,
        epoch: epoch_of(number(&epoch, "its epoch is none")?.unwrap_or_default())
            .ok_or("its epoch is none")?,
        claimed: runs == "1",
        deleted: match deleted {
            Some(deleted) => Some(moment(deleted).ok_or("the time of its deletion is none")?),
            None => None,
        },
    };
    // A request of a later version is none, and so is one that is damaged: nobody waits for it for long.
    let request = requested.parse::<i64>().ok().zip(serde_json::from_str(&request).ok());
    let now = now.parse::<i64>().unwrap_or_default();
    let request = request.filter(|(at, request)| match request {
        OwnerRequest::Restart { .. } => true,
        OwnerRequest::Code { .. } | OwnerRequest::Passkey(_) | OwnerRequest::ConfirmPasskey => {
            now - at < REQUEST_LIFE.as_millis().cast_signed().try_into().unwrap_or(i64::MAX)
        }
    });
    let last =
        if last.is_empty() { None } else { Some(last.parse().map_err(|_| "its last event's id is none")?) };
    let [owner, last_owner] = [owner, last_owner].map(|name| Some(name).filter(|name| !name.is_empty()));
    Ok(Some(SessionInfo { record, owner, last_owner, request, last }))
}
