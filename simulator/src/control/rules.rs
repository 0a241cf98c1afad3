//! Routes that change what WhatsApp's server does, rather than what a phone does. `control` adds them to its own.

use axum::body::Bytes;
use axum::extract::State as Shares;
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};

use super::{Answer, Body, Control, Refused, Shares_, bad_request};
use crate::actions::Version;
use crate::server::web;
use crate::state::Latest;

pub(super) fn routes() -> Router<Control> {
    Router::new().route("/sw.js", get(sw_js)).route("/control/version", post(version))
}

async fn sw_js(Shares(control): Shares_) -> Response {
    web::sw_js(&control.shared).await
}

async fn version(Shares(control): Shares_, body: Bytes) -> Answer {
    let body = Body::read(&body)?;
    let version = Version { min: body.rule("min")?, latest: latest(&body)?, expires: body.rule("expires")? };
    control.shared.version(version);
    Ok(Json(json!({})))
}

fn latest(body: &Body) -> Result<Option<Latest>, Refused> {
    let wrong = || bad_request("latest is neither a build's number nor \"broken\" nor \"silent\"".to_owned());
    Ok(Some(match body.0.get("latest") {
        None | Some(Value::Null) => return Ok(None),
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
        match self.0.get(name) {
            Some(Value::Bool(false)) => Ok(Some(T::default())),
            _ => self.number(name),
        }
    }
}
