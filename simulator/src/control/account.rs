//! `POST /control/account` and `/control/refs`, and the route of the media host.
//!
//! `account`: {`phone`, `contacts`?, `blobs`? `ok` | `missing` | `slow` | `silent` | `badBlob` | `badSnapshot`, `refuse`?
//! [`NAME` or `NAME:CODE`; 400], `keyShare`? `now` | `late` | `never`, `hosted`?, `removeAfterMs`? milliseconds, or `false`
//! for a device that stays}. A field that is missing or `null` leaves what was; `refuse` `[]` refuses nothing any more.
//! It answers when the history is ready.
//!
//! `refs`: {`refresh`? `true` (another secret: `companion_reg_refresh`) | `"pair-device"` (other references), `count`? 1 to
//! 100, for the next pairings}; answers {`refreshed`}: how many clients were told.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use axum::{Json, Router, routing};
use serde_json::{Value, json};

use super::body::{Body, required};
use super::refused::{Answer, Refused, bad_request};
use crate::actions::{Account, Refresh, Refs, Removal};
use crate::phone::BLOB_PATH;
use crate::server::{Shared, media};
use crate::state::{Blobs, KeyShare};

/// Adds the routes of this file.
pub(super) fn routes(router: Router<Arc<Shared>>) -> Router<Arc<Shared>> {
    router
        .route("/control/account", routing::post(account))
        .route("/control/refs", routing::post(refs))
        .route(&format!("{BLOB_PATH}/{{number}}/{{name}}"), routing::get(media))
}

async fn media(
    State(shared): State<Arc<Shared>>,
    at: Path<(String, String)>,
    shown: Query<media::Credentials>,
) -> Response {
    media::serve(shared, at, shown).await
}

async fn account(State(shared): State<Arc<Shared>>, body: Bytes) -> Answer {
    let body = Body::read(&body)?;
    let account = Account {
        phone: required(body.text("phone")?, "phone")?,
        contacts: body.number("contacts")?,
        blobs: body.text("blobs")?.as_deref().map(blobs).transpose()?,
        refuse: body.texts("refuse")?,
        key_share: body.text("keyShare")?.as_deref().map(key_share).transpose()?,
        hosted: body.flag("hosted")?,
        remove: removal(&body)?,
    };
    shared.account(account).await?;
    Ok(Json(json!({})))
}

async fn refs(State(shared): State<Arc<Shared>>, body: Bytes) -> Answer {
    let body = Body::read(&body)?;
    let refresh = match body.get("refresh") {
        None | Some(Value::Bool(false)) => None,
        Some(Value::Bool(true)) => Some(Refresh::Secret),
        Some(Value::String(text)) if text == "pair-device" => Some(Refresh::References),
        Some(_) => return Err(bad_request("refresh is none of true, false, \"pair-device\"".to_owned())),
    };
    let refreshed = shared.refs(Refs { refresh, count: body.number("count")? })?;
    Ok(Json(json!({ "refreshed": refreshed })))
}

/// Milliseconds, or `false` for a device that stays.
fn removal(body: &Body) -> Result<Option<Removal>, Refused> {
    match body.get("removeAfterMs") {
        None => Ok(None),
        Some(Value::Bool(false)) => Ok(Some(Removal::Never)),
        Some(value) => {
            let wrong =
                || bad_request("removeAfterMs is neither a number of milliseconds nor false".to_owned());
            value.as_u64().map(|time| Some(Removal::After(Duration::from_millis(time)))).ok_or_else(wrong)
        }
    }
}

fn blobs(text: &str) -> Result<Blobs, Refused> {
    Ok(match text {
        "ok" => Blobs::Ok,
        "missing" => Blobs::Missing,
        "slow" => Blobs::Slow,
        "silent" => Blobs::Silent,
        "badBlob" => Blobs::BadBlob,
        "badSnapshot" => Blobs::BadSnapshot,
        _ => {
            return Err(bad_request(
                "blobs is none of ok, missing, slow, silent, badBlob, badSnapshot".to_owned(),
            ));
        }
    })
}

fn key_share(text: &str) -> Result<KeyShare, Refused> {
    Ok(match text {
        "now" => KeyShare::Now,
        "late" => KeyShare::Late,
        "never" => KeyShare::Never,
        _ => return Err(bad_request("keyShare is none of now, late, never".to_owned())),
    })
}
