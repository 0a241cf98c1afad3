//! Makes sessions: `POST /api/init-session`, as the old service had it.

use std::str::FromStr as _;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use url::form_urlencoded;

use super::body::JsonBody;
use super::no_store::NoStore;
use super::phone::phone_number;
use crate::config::Config;
use crate::event::{Status, Time};
use crate::http::app::App;
use crate::http::describe::{Answer, Content, Operation, Parameter};
use crate::http::door::admission::Admission;
use crate::http::door::author::Author;
use crate::http::door::caller::Caller;
use crate::http::door::origins;
use crate::http::door::tokens::{Issued, Scope};
use crate::http::error::{ApiError, ErrorCode, Warnings};
use crate::id::{InvalidUserId, SessionId, UserId};
use crate::proxy::{self, ProxyHosts, ProxyUrl};
use crate::receiver::{self, OwnReceiver, ReceiverUrl};
use crate::registry::{Creation, IdempotencyKey, NewSession};
use crate::session::Error;

/// Longest device name, in characters: what a phone's list of linked devices shows on a line or two.
const MAX_DEVICE_NAME: usize = 50;

/// Longest `returnUrl`, in bytes: it is a part of another address.
const MAX_RETURN_URL: usize = 1024;

/// What an embedder asks for. Fields that this server does not know are ignored, as the old service did.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::http) struct InitRequest {
    /// Your own name for the person: 1 to 64 characters of A-Z a-z 0-9 . _ @ + -
    #[schemars(
        required,
        with = "String",
        length(min = 1, max = 64),
        regex(pattern = r"^[A-Za-z0-9._@+-]+$")
    )]
    user_id: Option<Value>,
    /// What the phone lists the device as.
    #[schemars(length(min = 1, max = 50))]
    device_name: Option<String>,
    /// The session's own way to WhatsApp, on one of the hosts of `PROXY_ALLOWED_HOSTS`.
    proxy: Option<String>,
    /// Where this session's events are posted, signed with a secret of the API key's.
    webhook_url: Option<String>,
    /// Your own notes, which the session's status gives back.
    metadata: Option<Map<String, Value>>,
    /// Whom to ask for a pairing code, which then comes as a `code` event.
    phone_number: Option<String>,
    /// Where the live page leads the person when the account is linked: a page of an origin in `ALLOWED_ORIGINS`.
    #[schemars(length(max = 1024))]
    return_url: Option<String>,
}

/// A new session, and where its stream is.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::http) struct InitAnswer {
    session_id: SessionId,
    status: Status,
    message: &'static str,
    estimated_time: &'static str,
    stream_token: String,
    stream_token_expires_at: Time,
    stream_url: String,
    web_socket_url: String,
    link_url: String,
    #[serde(skip_serializing_if = "Warnings::is_empty")]
    warnings: Warnings,
}

pub(in crate::http) const INIT: Operation = Operation {
    parameters: &[Parameter::header(
        "Idempotency-Key",
        "The same request with the same key makes one session, within 24 hours: 1 to 255 visible ASCII characters",
        "order-7",
    )],
    body: Some(Content::json::<InitRequest>(r#"{"userId": "ada", "metadata": {"order": 7}}"#)),
    errors: &[
        ErrorCode::InvalidUserId,
        ErrorCode::InvalidKey,
        ErrorCode::KeyReused,
        ErrorCode::KeyRunning,
        ErrorCode::SessionLimit,
        ErrorCode::Draining,
        ErrorCode::InitNotNow,
        ErrorCode::InitFailed,
    ],
    ..Operation::new(
        "initSession",
        "Makes a session, and starts to link it",
        &[Answer::ok(
            "The session; its QR, or the code that was asked for, comes on its stream",
            &[Content::json::<InitAnswer>(
                r#"{"sessionId": "session_ada_7d1f0c36-3f0e-4c5b-9b1e-0a4b4f1f9a11", "status": "initializing",
                "message": "WhatsApp session başlatılıyor...", "estimatedTime": "30-60 saniye",
                "streamToken": "eyJ…", "streamTokenExpiresAt": "2025-11-24T12:10:00.000Z",
                "streamUrl": "/api/sessions/session_ada_7d1f0c36-3f0e-4c5b-9b1e-0a4b4f1f9a11/events",
                "webSocketUrl": "/api/sessions/session_ada_7d1f0c36-3f0e-4c5b-9b1e-0a4b4f1f9a11/ws",
                "linkUrl": "/?session=session_ada_7d1f0c36-3f0e-4c5b-9b1e-0a4b4f1f9a11#token=eyJ…"}"#,
            )],
        )],
    )
};

/// `POST /api/init-session`
pub(in crate::http) async fn init(
    State(app): State<App>,
    Admission { caller, .. }: Admission,
    author: Author,
    headers: HeaderMap,
    body: JsonBody<InitRequest>,
) -> Result<Response, ApiError> {
    let warnings = body.warnings.clone();
    let made = make(&app, &caller, author, &headers, body).await;
    made.map_err(|error| match error.code() {
        // A client of the old service knows its word for it.
        ErrorCode::StoreAway => ErrorCode::InitNotNow.into(),
        // What was meant may stand under another name.
        _ => error.warning(warnings),
    })
}

async fn make(
    app: &App,
    caller: &Caller,
    author: Author,
    headers: &HeaderMap,
    JsonBody { value: request, bytes, warnings }: JsonBody<InitRequest>,
) -> Result<Response, ApiError> {
    if app.links.has_begun() {
        return Err(ErrorCode::Draining.into());
    }
    let return_url = request.return_url(&app.config, headers)?;
    let new = request.check(&app.config, caller)?;
    if !caller.has_user(new.user.as_str()) {
        return Err(ErrorCode::Forbidden.into());
    }
    let once = once(headers, caller.prefix(), &bytes)?;
    let signer = app.signer().ok_or(ErrorCode::StoreAway)?;
    let taken = new.phone_number.as_deref().map(|number| app.limits.take_code(None, number)).transpose()?;
    let (registry, has_receiver) = (app.registry()?.clone(), new.webhook.is_some());
    let created = app.finish(async move {
        let created = registry.create(new, once).await.map_err(refusal)?;
        if created.is_new {
            author.did("session created", &created.id);
        }
        if created.is_new && has_receiver {
            author.did("webhook set", &created.id);
        }
        Ok(created)
    });
    let created = created.await;
    if let Some(taken) = taken {
        match &created {
            Ok(Creation { id, is_new: true }) => taken.also_of(id),
            // No code was asked for.
            _ => taken.give_back(),
        }
    }
    let id = created?.id;
    let token = signer.issue(&id, Scope::Link, app.config.security.token_ttl, None)?;
    let answer = answer(app, &id, token, return_url.as_deref(), warnings);
    Ok(NoStore(Json(answer)).into_response())
}

/// Why no session was made.
fn refusal(error: Error) -> ApiError {
    match error {
        error @ (Error::Failed(_) | Error::Damaged) => {
            tracing::error!(%error, "session error");
            ErrorCode::InitFailed.into()
        }
        error => error.into(),
    }
}

impl InitRequest {
    fn return_url(&self, config: &Config, headers: &HeaderMap) -> Result<Option<String>, ApiError> {
        let Some(address) = &self.return_url else { return Ok(None) };
        if address.len() > MAX_RETURN_URL || !origins::may_return_to(config, address, headers) {
            let allowed = format!(
                "an http:// or https:// address of at most {MAX_RETURN_URL} bytes, on an origin of ALLOWED_ORIGINS or on this server's own"
            );
            return Err(ApiError::invalid_body("returnUrl", allowed));
        }
        Ok(Some(address.clone()))
    }

    fn check(self, config: &Config, caller: &Caller) -> Result<NewSession, ApiError> {
        let user_id = self.user_id.as_ref().and_then(Value::as_str).ok_or(InvalidUserId)?;
        let device_name = self.device_name.map(|name| name.trim().to_owned());
        if let Some(name) = &device_name
            && (name.is_empty()
                || name.chars().count() > MAX_DEVICE_NAME
                || name.chars().any(char::is_control))
        {
            let allowed = format!("1 to {MAX_DEVICE_NAME} characters, none of them a control character");
            return Err(ApiError::invalid_body("deviceName", allowed));
        }
        let proxy = self.proxy.map(|text| own_proxy(text, config.proxy_hosts.as_ref())).transpose()?;
        let webhook = self.webhook_url.map(|text| own_receiver(&text, config, caller)).transpose()?;
        let phone_number = self.phone_number.as_deref().map(phone_number).transpose()?;
        Ok(NewSession {
            user: UserId::from_str(user_id)?,
            device_name,
            proxy,
            webhook,
            metadata: self.metadata,
            phone_number,
        })
    }
}

/// A session's own proxy, where it may have it. No refusal repeats a word of it: it is a secret.
fn own_proxy(text: String, hosts: Option<&ProxyHosts>) -> Result<ProxyUrl, ApiError> {
    let refusal = |allowed: &str| ApiError::invalid_body("proxy", allowed);
    let hosts =
        hosts.ok_or_else(|| refusal("none, as long as PROXY_ALLOWED_HOSTS is not set on this server"))?;
    let url = ProxyUrl::new(text);
    let proxy = url.parse().map_err(|_| refusal(proxy::ALLOWED))?;
    let may = hosts.allow(&proxy);
    may.then_some(url).ok_or_else(|| refusal("a proxy on one of the hosts of PROXY_ALLOWED_HOSTS"))
}

/// A session's own receiver of webhooks. No refusal repeats it: a secret may be in it.
fn own_receiver(text: &str, config: &Config, caller: &Caller) -> Result<OwnReceiver, ApiError> {
    let url = ReceiverUrl::parse(text, config.webhooks.allow_private);
    let url = url.map_err(|_| ApiError::invalid_body("webhookUrl", receiver::ALLOWED))?;
    Ok(OwnReceiver { url, key: caller.key_name().to_owned() })
}

/// A request with an `Idempotency-Key` is done once, however often it comes.
fn once(headers: &HeaderMap, prefix: Option<&str>, body: &[u8]) -> Result<Option<IdempotencyKey>, ApiError> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    let key = value
        .to_str()
        .ok()
        .filter(|key| (1..=255).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic()));
    let key = key.ok_or_else(|| {
        ApiError::not_allowed(ErrorCode::InvalidKey, "Idempotency-Key", "1 to 255 visible ASCII characters")
    })?;
    // Two tenants may have chosen the same one.
    let key = prefix.map_or_else(|| key.to_owned(), |prefix| format!("{prefix} {key}"));
    Ok(Some(IdempotencyKey { key, body: Sha256::digest(body).into() }))
}

/// The old service's words, and where the new streams are.
fn answer(
    app: &App,
    id: &SessionId,
    token: Issued,
    return_url: Option<&str>,
    warnings: Warnings,
) -> InitAnswer {
    // Without a public URL they are paths.
    let public = app.config.public_url.as_ref();
    let (base, websocket_base) = public.map_or(("", ""), |url| (&url.http, &url.websocket));
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("session", id.as_str());
    if let Some(address) = return_url {
        query.append_pair("returnUrl", address);
    }
    InitAnswer {
        session_id: id.clone(),
        status: Status::Initializing,
        message: "WhatsApp session başlatılıyor...",
        estimated_time: "30-60 saniye",
        stream_url: format!("{base}/api/sessions/{id}/events"),
        web_socket_url: format!("{websocket_base}/api/sessions/{id}/ws"),
        // The fragment never reaches a server or a log.
        link_url: format!("{base}/?{}#token={}", query.finish(), token.token),
        stream_token: token.token,
        stream_token_expires_at: token.expires,
        warnings,
    }
}
