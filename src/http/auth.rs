//! Who asks, and whether they may: the one door before every route that is not public.
//!
//! `http.rs` says in its table who may use which route; [`guard`] holds it. A handler that must look closer (a user id in
//! the body, the scope of a new token) takes [`Caller`] from the request.

use std::sync::Arc;

use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{Extension, FromRequestParts, RawPathParams, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use subtle::ConstantTimeEq as _;

use super::App;
use super::client::Client;
use super::error::ApiError;
use super::limits::{Allowance, Limited};
use super::tokens::{Claims, Scope, TokenError};
use crate::close::Close;
use crate::config::{ApiKey, Doors};
use crate::event::Time;
use crate::id::{InvalidSessionId, SessionId};

/// Who may use a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everybody, also without a key.
    Everyone,
    /// An API key for all user ids.
    Operator,
    /// An API key.
    Key,
    /// The same, for a new session: counted apart.
    Init,
    /// A session's stream: a key, or any token of it, also after its deletion.
    Stream,
    /// A session's status: the same.
    Status,
    /// A key, or any token of the session.
    Read,
    /// A key, or a token of the session with the scope `link`.
    Link,
}

/// Who asks.
#[derive(Clone, Debug)]
pub(super) enum Caller {
    /// Nobody is asked for a key here.
    Anyone,
    /// Whoever has this key.
    Key(Arc<ApiKey>),
    /// Whoever has this token.
    Token(Claims),
}

/// Why somebody is not let in.
enum Stranger {
    /// No key and no token.
    Unknown,
    /// A wrong key, or no token of ours.
    Wrong,
    /// A token that was good.
    Expired,
    /// Nobody can tell: the store that has the secret was not reached yet.
    Away,
}

impl Caller {
    /// Whether it may do things with the sessions of this user.
    pub(super) fn has_user(&self, user_id: &str) -> bool {
        match self {
            Self::Anyone => true,
            Self::Key(key) => key.prefix.as_ref().is_none_or(|prefix| user_id.starts_with(prefix.as_str())),
            Self::Token(claims) => claims.session.user_id() == user_id,
        }
    }

    /// What the user ids begin with that it is good for.
    pub(super) fn prefix(&self) -> Option<&str> {
        match self {
            Self::Key(key) => key.prefix.as_deref(),
            Self::Anyone | Self::Token(_) => None,
        }
    }

    /// When what it may do ends.
    pub(super) fn expires(&self) -> Option<Time> {
        match self {
            Self::Token(claims) => Some(claims.expires()),
            Self::Anyone | Self::Key(_) => None,
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        let caller = Extension::<Self>::from_request_parts(parts, state).await;
        caller.map(|Extension(caller)| caller).map_err(|_| ApiError::unauthorized())
    }
}

/// Lets in whoever may use this route, within the limits, and says why nobody else.
pub(super) async fn guard(
    State((app, access)): State<(App, Access)>,
    params: Result<RawPathParams, RawPathParamsRejection>,
    mut request: Request,
    next: Next,
) -> Response {
    let id = match &params {
        Ok(params) => params.iter().find(|(name, _)| *name == "id").map(|(_, id)| named_session(id)),
        // No UTF-8.
        Err(_) => Some(Err(InvalidSessionId)),
    };
    let (allowance, refusal) = admit(&app, access, id, &mut request).await;
    let mut response = match refusal {
        None => next.run(request).await,
        // An EventSource gives up for good on any status but 200: it is told when to come back.
        Some(Refusal { close: Some(close), .. }) if access == Access::Stream => {
            request.extensions_mut().insert(close);
            next.run(request).await
        }
        Some(Refusal { error, .. }) => error.into_response(),
    };
    if let Some(allowance) = allowance {
        allowance.write(response.headers_mut());
    }
    response
}

/// A refusal, and what a stream is told instead where it passes with time.
struct Refusal {
    error: ApiError,
    close: Option<Close>,
}

impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Self {
        let close = error.is_store_away().then_some(Close::StoreAway);
        Self { error, close }
    }
}

async fn admit(
    app: &App,
    access: Access,
    id: Option<Result<SessionId, InvalidSessionId>>,
    request: &mut Request,
) -> (Option<Allowance>, Option<Refusal>) {
    let caller = identify(app, request);
    let client = Client::of(caller.as_ref().ok(), request.extensions());
    let allowance = match app.inner.limits.count(access, &client, id.as_ref().and_then(|id| id.as_ref().ok()))
    {
        Ok(allowance) => allowance,
        Err(Limited { allowance, wait }) => {
            let close = Some(Close::Overloaded { pause: wait });
            return (Some(allowance), Some(Refusal { error: ApiError::rate_limited(wait), close }));
        }
    };
    let caller = match caller {
        Ok(caller) => caller,
        Err(stranger) => return (allowance, Some(stranger.refusal())),
    };
    if let Err(error) = check(app, access, id, &caller).await {
        return (allowance, Some(error.into()));
    }
    request.extensions_mut().insert(client);
    request.extensions_mut().insert(caller);
    (allowance, None)
}

/// The session that a path names, perhaps as an image.
fn named_session(name: &str) -> Result<SessionId, InvalidSessionId> {
    let image = [".png", ".svg"].into_iter().find_map(|format| name.strip_suffix(format));
    image.unwrap_or(name).parse()
}

/// Whether this caller may use this route for this session.
async fn check(
    app: &App,
    access: Access,
    id: Option<Result<SessionId, InvalidSessionId>>,
    caller: &Caller,
) -> Result<(), ApiError> {
    match (caller, id.transpose()?) {
        (Caller::Anyone, _) => Ok(()),
        (Caller::Key(key), None) if access != Access::Operator || key.prefix.is_none() => Ok(()),
        (Caller::Key(_), Some(session)) if caller.has_user(session.user_id()) => Ok(()),
        (Caller::Token(claims), Some(session)) if claims.session == session => {
            check_token(app, access, claims).await
        }
        (Caller::Key(_) | Caller::Token(_), _) => Err(ApiError::forbidden()),
    }
}

/// Whether a token of the session is good for this route.
async fn check_token(app: &App, access: Access, claims: &Claims) -> Result<(), ApiError> {
    if matches!(access, Access::Stream | Access::Status) {
        return Ok(());
    }
    let session = app.session(claims.session.as_str()).await?;
    if session.snapshot().deleted.is_some() {
        return Err(ApiError::unauthorized());
    }
    match access {
        Access::Operator | Access::Key | Access::Init => Err(ApiError::forbidden()),
        Access::Link if claims.scope != Scope::Link => Err(ApiError::forbidden()),
        _ => Ok(()),
    }
}

/// A key or a token, by whichever way it came. More than one way: the first of these.
fn identify(app: &App, request: &Request) -> Result<Caller, Stranger> {
    let doors = &app.inner.config.doors;
    if doors.is_open() {
        return Ok(Caller::Anyone);
    }
    let headers = request.headers();
    if let Some(key) = headers.get("x-api-key") {
        return key.to_str().ok().and_then(|key| key_of(doors, key)).ok_or(Stranger::Wrong);
    }
    let presented = bearer(headers)
        .or_else(|| subprotocol(headers))
        .or_else(|| query(request.uri().query().unwrap_or_default()))
        .ok_or(Stranger::Unknown)?;
    if let Some(caller) = key_of(doors, &presented) {
        return Ok(caller);
    }
    let signer = app.signer().ok_or(Stranger::Away)?;
    match signer.read(&presented) {
        Ok(claims) => Ok(Caller::Token(claims)),
        Err(TokenError::Expired) => Err(Stranger::Expired),
        Err(TokenError::Invalid) => Err(Stranger::Wrong),
    }
}

/// The key with this secret. Every key is compared, and each in constant time.
fn key_of(doors: &Doors, secret: &str) -> Option<Caller> {
    let hash = ApiKey::hash(secret);
    let mut found = None;
    for key in &doors.keys {
        if bool::from(key.hash.ct_eq(&hash)) {
            found = Some(key);
        }
    }
    found.map(|key| Caller::Key(Arc::new(key.clone())))
}

fn bearer(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().unwrap_or_default();
    let (scheme, credentials) = value.split_once(' ').unwrap_or((value, ""));
    // Another scheme is a wrong answer to the question, not none.
    let known = scheme.eq_ignore_ascii_case("bearer");
    Some(if known { credentials.trim().to_owned() } else { String::new() })
}

/// The way of a WebSocket in a browser, which cannot set a header.
fn subprotocol(headers: &HeaderMap) -> Option<String> {
    let offered = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL);
    let offered = offered.iter().filter_map(|value| value.to_str().ok()).flat_map(|list| list.split(','));
    offered.map(str::trim).find_map(|protocol| protocol.strip_prefix("bearer.")).map(str::to_owned)
}

/// The way of an EventSource or an image in a page.
fn query(query: &str) -> Option<String> {
    query.split('&').find_map(|pair| pair.strip_prefix("token=")).map(str::to_owned)
}

impl Stranger {
    fn refusal(&self) -> Refusal {
        match self {
            Self::Unknown | Self::Wrong => ApiError::unauthorized().into(),
            Self::Expired => Refusal { error: ApiError::token_expired(), close: Some(Close::TokenExpired) },
            Self::Away => ApiError::store_away().into(),
        }
    }
}
