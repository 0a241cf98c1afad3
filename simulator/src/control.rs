//! The HTTP side: `/ws/chat` for clients, `/control/…` for tests. Every handler reads its body and calls the method of the
//! same name; shapes and status codes are fixed by the contract ("The simulator" in docs).

mod account;
mod rules;

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{State as Shares, WebSocketUpgrade};
use axum::http::StatusCode;
use axum::http::header::DATE;
use axum::middleware::map_response_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use axum::{Json, Router};
use serde_json::{Map, Value, json};
use tokio_util::task::TaskTracker;

use crate::actions::{ActionError, EnterCode, Fail, LinkError, Passkey, Scan, Write, WriteError};
use crate::server::{Shared, serve};

type Shares_ = Shares<Control>;

#[derive(Clone)]
struct Control {
    shared: Arc<Shared>,
    tasks: TaskTracker,
}

/// Everything on the simulator's port. WebSockets become tasks of `tasks`.
pub(crate) fn router(shared: Arc<Shared>, tasks: TaskTracker) -> Router {
    account::routes(Router::new())
        .route("/ws/chat", any(chat))
        .route("/control/scan", post(scan))
        .route("/control/enter-code", post(enter_code))
        .route("/control/refuse-code", post(refuse_code))
        .route("/control/message", post(message))
        .route("/control/drop", post(drop_connections))
        .route("/control/replace", post(replace))
        .route("/control/logout", post(logout))
        .route("/control/fail", post(fail))
        .route("/control/pause", post(pause))
        .route("/control/resume", post(resume))
        .route("/control/state", get(state))
        .merge(rules::routes())
        .fallback(async || Refused(StatusCode::NOT_FOUND, "not_found", "no such path".to_owned()))
        .method_not_allowed_fallback(async || {
            Refused(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "no such method here".to_owned())
        })
        .layer(map_response_with_state(Arc::clone(&shared), date))
        .with_state(Control { shared, tasks })
}

/// A server whose clock is off shows it in HTTP too.
async fn date(Shares(shared): Shares<Arc<Shared>>, mut response: Response) -> Response {
    if let Some(date) = shared.conditions.date() {
        response.headers_mut().insert(DATE, date);
    }
    response
}

/// An error as the control API answers it.
struct Refused(StatusCode, &'static str, String);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        (self.0, Json(json!({ "error": self.2, "code": self.1 }))).into_response()
    }
}

type Answer = Result<Json<Value>, Refused>;

async fn chat(Shares(control): Shares_, upgrade: WebSocketUpgrade) -> Response {
    // Held from now on: the simulator's end waits for a connection that is still being upgraded, too.
    let task = control.tasks.token();
    upgrade.on_upgrade(async move |socket| {
        serve::client(control.shared, socket).await;
        drop(task);
    })
}

async fn scan(Shares(control): Shares_, body: Bytes) -> Result<(StatusCode, Json<Value>), Refused> {
    let body = Body::read(&body)?;
    let scan = Scan {
        qr: required(body.text("qr")?.filter(|qr| !qr.is_empty()), "qr")?,
        phone: body.text("phone")?,
        push_name: body.text("pushName")?,
    };
    let Some(passkey) = passkey(&control, &body)? else {
        let jid = control.shared.scan(scan).await?;
        return Ok((StatusCode::OK, Json(json!({ "jid": jid }))));
    };
    let jid = control.shared.scan_with_passkey(scan, passkey)?;
    Ok((StatusCode::ACCEPTED, Json(json!({ "jid": jid }))))
}

/// What the account does about its passkey; the key of the one it has (`passkeyKey`) is registered.
fn passkey(control: &Control, body: &Body) -> Result<Option<Passkey>, Refused> {
    if let Some(key) = body.text("passkeyKey")? {
        control.shared.register_passkey(&required(body.text("phone")?, "phone")?, &key)?;
    }
    match body.text("passkey")?.as_deref() {
        None => Ok(None),
        Some("ask") => Ok(Some(Passkey::Ask)),
        Some("refuse") => Ok(Some(Passkey::Refuse)),
        Some(_) => Err(bad_request("passkey is neither ask nor refuse".to_owned())),
    }
}

async fn enter_code(Shares(control): Shares_, body: Bytes) -> Result<(StatusCode, Json<Value>), Refused> {
    let body = Body::read(&body)?;
    let enter = EnterCode {
        phone: required(body.text("phone")?, "phone")?,
        code: required(body.text("code")?, "code")?,
        push_name: body.text("pushName")?,
    };
    let (status, jid) = match passkey(&control, &body)? {
        None => (StatusCode::OK, control.shared.enter_code(enter).await?),
        Some(passkey) => {
            (StatusCode::ACCEPTED, control.shared.enter_code_with_passkey(enter, passkey).await?)
        }
    };
    Ok((status, Json(json!({ "jid": jid }))))
}

async fn refuse_code(Shares(control): Shares_, body: Bytes) -> Answer {
    let error = required(Body::read(&body)?.number("error")?, "error")?;
    control.shared.refuse_code(error)?;
    Ok(Json(json!({})))
}

async fn drop_connections(Shares(control): Shares_, body: Bytes) -> Answer {
    let jid = Body::read(&body)?.text("jid")?;
    let dropped = control.shared.drop_connections(jid.as_deref())?;
    Ok(Json(json!({ "dropped": dropped })))
}

async fn replace(Shares(control): Shares_, body: Bytes) -> Answer {
    control.shared.replace(&Body::read(&body)?.jid()?)?;
    Ok(Json(json!({})))
}

async fn logout(Shares(control): Shares_, body: Bytes) -> Answer {
    control.shared.logout(&Body::read(&body)?.jid()?)?;
    Ok(Json(json!({})))
}

async fn fail(Shares(control): Shares_, body: Bytes) -> Answer {
    let body = Body::read(&body)?;
    let fail = Fail {
        jid: body.text("jid")?,
        reason: required(body.number("reason")?, "reason")?,
        code: body.number("code")?,
        expire: body.number("expire")?,
        times: body.number("times")?,
        message: body.text("message")?,
        url: body.text("url")?,
        header: body.text("header")?,
        subtext: body.text("subtext")?,
    };
    control.shared.fail(fail)?;
    Ok(Json(json!({})))
}

async fn message(Shares(control): Shares_, body: Bytes) -> Answer {
    let body = Body::read(&body)?;
    let write = Write { jid: body.jid()?, text: body.text("text")?, count: body.number("count")? };
    let written = control.shared.write(write).await?;
    Ok(Json(json!(written)))
}

async fn pause(Shares(control): Shares_, body: Bytes) -> Answer {
    let refuse = Body::read(&body)?.flag("refuse")?.unwrap_or_default();
    control.shared.set_outage(true, refuse);
    Ok(Json(json!({})))
}

async fn resume(Shares(control): Shares_) -> Json<Value> {
    control.shared.set_outage(false, false);
    Json(json!({}))
}

async fn state(Shares(control): Shares_) -> Response {
    Json(control.shared.state()).into_response()
}

/// A JSON object whose fields are read one by one, so that an error names its field. A field that is `null` is missing.
struct Body(Map<String, Value>);

impl Body {
    /// No body at all is an empty object; the content type does not matter.
    fn read(body: &[u8]) -> Result<Self, Refused> {
        let body = if body.trim_ascii().is_empty() { b"{}" } else { body };
        let object = serde_json::from_slice(body);
        object.map(Self).map_err(|error| bad_request(format!("the body is not a JSON object: {error}")))
    }

    fn text(&self, name: &str) -> Result<Option<String>, Refused> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(bad_request(format!("{name} is not a string"))),
        }
    }

    fn number<T: TryFrom<u64>>(&self, name: &str) -> Result<Option<T>, Refused> {
        let wrong = || bad_request(format!("{name} is not a number in its range"));
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => {
                let number = value.as_u64().ok_or_else(wrong)?;
                T::try_from(number).map(Some).map_err(|_| wrong())
            }
        }
    }

    fn flag(&self, name: &str) -> Result<Option<bool>, Refused> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(_) => Err(bad_request(format!("{name} is neither true nor false"))),
        }
    }

    fn jid(&self) -> Result<String, Refused> {
        required(self.text("jid")?, "jid")
    }
}

fn bad_request(error: String) -> Refused {
    Refused(StatusCode::BAD_REQUEST, "bad_request", error)
}

fn required<T>(field: Option<T>, name: &str) -> Result<T, Refused> {
    field.ok_or_else(|| bad_request(format!("{name} is missing")))
}

impl From<LinkError> for Refused {
    fn from(error: LinkError) -> Self {
        let (status, code) = match error {
            LinkError::Number | LinkError::PasskeyKey => (StatusCode::BAD_REQUEST, "bad_request"),
            LinkError::NotWaiting => (StatusCode::CONFLICT, "not_waiting"),
            LinkError::Busy => (StatusCode::CONFLICT, "busy"),
            LinkError::Gone => (StatusCode::CONFLICT, "client_gone"),
            LinkError::WrongCode => (StatusCode::UNPROCESSABLE_ENTITY, "wrong_code"),
            LinkError::Refused { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "refused_by_client"),
            LinkError::Signature(_) => (StatusCode::UNPROCESSABLE_ENTITY, "wrong_signature"),
            LinkError::Paused => (StatusCode::SERVICE_UNAVAILABLE, "paused"),
            LinkError::Phone(_) => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        };
        Self(status, code, error.to_string())
    }
}

impl From<WriteError> for Refused {
    fn from(error: WriteError) -> Self {
        let (status, code) = match error {
            WriteError::Unknown(_) => (StatusCode::NOT_FOUND, "unknown_jid"),
            WriteError::Unlinked(_) => (StatusCode::CONFLICT, "not_linked"),
            WriteError::Count => (StatusCode::BAD_REQUEST, "bad_request"),
            WriteError::Ended => (StatusCode::SERVICE_UNAVAILABLE, "ended"),
            WriteError::Silent(_) => (StatusCode::GATEWAY_TIMEOUT, "not_acknowledged"),
            WriteError::Phone(_) => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        };
        Self(status, code, error.to_string())
    }
}

impl From<ActionError> for Refused {
    fn from(error: ActionError) -> Self {
        let (status, code) = match error {
            ActionError::Unknown(_) => (StatusCode::NOT_FOUND, "unknown_jid"),
            ActionError::Offline(_) => (StatusCode::CONFLICT, "not_connected"),
            ActionError::Unlinked(_) => (StatusCode::CONFLICT, "not_linked"),
            ActionError::Reason | ActionError::CodeError => (StatusCode::BAD_REQUEST, "bad_request"),
        };
        Self(status, code, error.to_string())
    }
}
