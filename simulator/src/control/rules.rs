//! Routes that change what WhatsApp's server does, rather than what a phone does. `control` adds them to its own.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};

use super::body::{Body, required};
use super::refused::{Answer, Refused, bad_request};
use crate::actions::{MOST, Network, Noise, Stream, Version, What};
use crate::server::{Shared, web};
use crate::state::Latest;

/// A clock that is further off than ten years shows nothing more.
const CLOCK_OFFSET: u64 = 10 * 366 * 24 * 3600;

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/sw.js", get(sw_js))
        .route("/control/version", post(version))
        .route("/control/network", post(network))
        .route("/control/stream", post(stream))
        .route("/control/noise", post(noise))
}

async fn sw_js(State(shared): State<Arc<Shared>>) -> Response {
    web::sw_js(&shared).await
}

async fn version(State(shared): State<Arc<Shared>>, body: Bytes) -> Answer {
    let body = Body::read(&body)?;
    let version = Version { min: body.rule("min")?, latest: latest(&body)?, expires: body.rule("expires")? };
    shared.version(version);
    Ok(Json(json!({})))
}

async fn network(State(shared): State<Arc<Shared>>, body: Bytes) -> Answer {
    let body = Body::read(&body)?;
    let network = Network {
        delay_ms: body.rule("delayMs")?,
        compress: body.flag("compress")?,
        split: body.flag("split")?,
        logins_per_second: body.rule("loginsPerSecond")?,
        clock_offset_seconds: body.signed_rule("clockOffsetSeconds")?,
    };
    shared.network(network)?;
    Ok(Json(json!({})))
}

async fn stream(State(shared): State<Arc<Shared>>, body: Bytes) -> Answer {
    let body = Body::read(&body)?;
    let what = match required(body.text("what")?, "what")?.as_str() {
        "recycle" => What::Recycle,
        "ack-error" => What::AckError,
        "silent" => What::Silent,
        "throttle" => What::Throttle,
        "unavailable" => What::Unavailable,
        "ping" => What::Ping,
        _ => {
            let known = "recycle, ack-error, silent, throttle, unavailable, ping";
            return Err(bad_request(format!("what is none of {known}")));
        }
    };
    // Some hundred years: a clock that adds more has no time for it.
    let seconds = body.number::<u32>("seconds")?.map(u64::from);
    let streamed = shared.stream(Stream { jid: body.text("jid")?, what, seconds }).await?;
    Ok(Json(json!(streamed)))
}

async fn noise(State(shared): State<Arc<Shared>>, body: Bytes) -> Answer {
    let body = Body::read(&body)?;
    let noise = Noise {
        jid: body.jid()?,
        messages: body.amount("messages")?,
        groups: body.amount("groups")?,
        calls: body.amount("calls")?,
        devices: body.amount("devices")?,
        prekeys_low: body.flag("prekeysLow")?.unwrap_or_default(),
    };
    Ok(Json(json!(shared.noise(noise).await?)))
}

fn latest(body: &Body) -> Result<Option<Latest>, Refused> {
    let wrong = || bad_request("latest is neither a build's number nor \"broken\" nor \"silent\"".to_owned());
    Ok(Some(match body.get("latest") {
        None => return Ok(None),
        Some(Value::String(text)) if text == "broken" => Latest::Broken,
        Some(Value::String(text)) if text == "silent" => Latest::Silent,
        Some(value) => {
            let build = value.as_u64().and_then(|build| u32::try_from(build).ok());
            Latest::Build(build.ok_or_else(wrong)?)
        }
    }))
}

impl Body {
    /// A number that is a rule: `false` turns it off as 0 does.
    fn rule<T: TryFrom<u64> + Default>(&self, name: &str) -> Result<Option<T>, Refused> {
        match self.get(name) {
            Some(Value::Bool(false)) => Ok(Some(T::default())),
            _ => self.number(name),
        }
    }

    /// How much noise; none unless it is named.
    fn amount(&self, name: &str) -> Result<usize, Refused> {
        let amount = self.number(name)?.unwrap_or_default();
        match amount <= MOST {
            true => Ok(amount),
            false => Err(bad_request(format!("{name} is not a number from 0 to {MOST}"))),
        }
    }

    fn signed_rule(&self, name: &str) -> Result<Option<i64>, Refused> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Bool(false)) => Ok(Some(0)),
            Some(value) => {
                let number = value.as_i64().filter(|number| number.unsigned_abs() <= CLOCK_OFFSET);
                let wrong =
                    || bad_request(format!("{name} is not a number from -{CLOCK_OFFSET} to {CLOCK_OFFSET}"));
                number.map(Some).ok_or_else(wrong)
            }
        }
    }
}
