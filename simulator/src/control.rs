//! The HTTP side: `/ws/chat` for clients, `/control/…` for tests. Every handler reads its body and calls the method of the
//! same name; shapes and status codes are fixed by the contract ("The simulator" in docs).

mod account;
mod body;
mod refused;
mod rules;

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{State, WebSocketUpgrade};
use axum::http::StatusCode;
use axum::http::header::DATE;
use axum::middleware::map_response_with_state;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{any, get, post};
use axum::{Json, Router};
use serde_json::{Value, json};

use self::body::{Body, required};
use self::refused::{Answer, Refused, bad_request};
use crate::actions::{EnterCode, Fail, Passkey, Scan, Write};
use crate::server::{Shared, serve};

/// Everything on the simulator's port.
pub(crate) fn router(shared: Arc<Shared>) -> Router {
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
        .with_state(shared)
}

/// A server whose clock is off shows it in HTTP too.
async fn date(State(shared): State<Arc<Shared>>, mut response: Response) -> Response {
    if let Some(date) = shared.conditions.date() {
        response.headers_mut().insert(DATE, date);
    }
    response
}

async fn chat(State(shared): State<Arc<Shared>>, upgrade: WebSocketUpgrade) -> Response {
    // Held from now on: the simulator's end waits for a connection that is still being upgraded, too.
    let task = shared.tasks.token();
    upgrade.on_upgrade(async move |socket| {
        serve::client(shared, socket).await;
        drop(task);
    })
}

async fn scan(State(shared): State<Arc<Shared>>, body: Bytes) -> Result<(StatusCode, Json<Value>), Refused> {
    let body = Body::read(&body)?;
    let scan = Scan {
        qr: required(body.text("qr")?.filter(|qr| !qr.is_empty()), "qr")?,
        phone: body.text("phone")?,
        push_name: body.text("pushName")?,
    };
    let Some(passkey) = passkey(&shared, &body)? else {
        let jid = shared.scan(scan).await?;
        return Ok((StatusCode::OK, Json(json!({ "jid": jid }))));
    };
    let jid = shared.scan_with_passkey(scan, passkey)?;
    Ok((StatusCode::ACCEPTED, Json(json!({ "jid": jid }))))
}

/// What the account does about its passkey; the key of the one it has (`passkeyKey`) is registered.
fn passkey(shared: &Shared, body: &Body) -> Result<Option<Passkey>, Refused> {
    if let Some(key) = body.text("passkeyKey")? {
        shared.register_passkey(&required(body.text("phone")?, "phone")?, &key)?;
    }
    match body.text("passkey")?.as_deref() {
        None => Ok(None),
        Some("ask") => Ok(Some(Passkey::Ask)),
        Some("refuse") => Ok(Some(Passkey::Refuse)),
        Some(_) => Err(bad_request("passkey is neither ask nor refuse".to_owned())),
    }
}

async fn enter_code(
    State(shared): State<Arc<Shared>>,
    body: Bytes,
) -> Result<(StatusCode, Json<Value>), Refused> {
    let body = Body::read(&body)?;
    let enter = EnterCode {
        phone: required(body.text("phone")?, "phone")?,
        code: required(body.text("code")?, "code")?,
        push_name: body.text("pushName")?,
    };
    let (status, jid) = match passkey(&shared, &body)? {
        None => (StatusCode::OK, shared.enter_code(enter).await?),
        Some(passkey) => (StatusCode::ACCEPTED, shared.enter_code_with_passkey(enter, passkey).await?),
    };
    Ok((status, Json(json!({ "jid": jid }))))
}

async fn refuse_code(State(shared): State<Arc<Shared>>, body: Bytes) -> Answer {
    let error = required(Body::read(&body)?.number("error")?, "error")?;
    shared.refuse_code(error)?;
    Ok(Json(json!({})))
}

async fn drop_connections(State(shared): State<Arc<Shared>>, body: Bytes) -> Answer {
    let jid = Body::read(&body)?.text("jid")?;
    let dropped = shared.drop_connections(jid.as_deref())?;
    Ok(Json(json!({ "dropped": dropped })))
}

async fn replace(State(shared): State<Arc<Shared>>, body: Bytes) -> Answer {
    shared.replace(&Body::read(&body)?.jid()?)?;
    Ok(Json(json!({})))
}

async fn logout(State(shared): State<Arc<Shared>>, body: Bytes) -> Answer {
    shared.logout(&Body::read(&body)?.jid()?)?;
    Ok(Json(json!({})))
}

async fn fail(State(shared): State<Arc<Shared>>, body: Bytes) -> Answer {
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
    shared.fail(fail)?;
    Ok(Json(json!({})))
}

async fn message(State(shared): State<Arc<Shared>>, body: Bytes) -> Answer {
    let body = Body::read(&body)?;
    let write = Write { jid: body.jid()?, text: body.text("text")?, count: body.number("count")? };
    let written = shared.write(write).await?;
    Ok(Json(json!(written)))
}

async fn pause(State(shared): State<Arc<Shared>>, body: Bytes) -> Answer {
    let refuse = Body::read(&body)?.flag("refuse")?.unwrap_or_default();
    shared.set_outage(true, refuse);
    Ok(Json(json!({})))
}

async fn resume(State(shared): State<Arc<Shared>>) -> Json<Value> {
    shared.set_outage(false, false);
    Json(json!({}))
}

async fn state(State(shared): State<Arc<Shared>>) -> Response {
    Json(shared.state()).into_response()
}
