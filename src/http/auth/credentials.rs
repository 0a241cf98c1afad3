//! The ways by which a key or a token comes.

use axum::extract::Request;
use axum::http::{HeaderMap, header};
use subtle::ConstantTimeEq as _;

use super::{AuthFailure, Refusal};
use crate::config::{ApiKey, Doors};
use crate::http::App;
use crate::http::caller::Caller;
use crate::http::error::ApiError;
use crate::http::tokens::TokenError;
use crate::http::websocket::offered_protocols;

/// A key or a token, by whichever way it came. More than one way: the first of these.
pub(super) fn identify(app: &App, request: &Request) -> Result<Caller, Refusal> {
    let doors = &app.inner.config.doors;
    if doors.is_open() {
        return Ok(Caller::Anyone);
    }
    let headers = request.headers();
    if let Some(key) = headers.get("x-api-key") {
        return key.to_str().ok().and_then(|key| key_of(doors, key)).ok_or(AuthFailure::Invalid.into());
    }
    let bearer = bearer(headers);
    if let Some(caller) = bearer.as_ref().and_then(|secret| key_of(doors, secret)) {
        return Ok(caller);
    }
    // The other two ways are a token's: they end up in other people's logs, and a key is good for more than minutes.
    let presented = bearer
        .or_else(|| subprotocol(headers))
        .or_else(|| query(request.uri().query().unwrap_or_default()))
        .ok_or(AuthFailure::Missing)?;
    let signer = app.signer().ok_or_else(ApiError::store_away)?;
    match signer.read(&presented) {
        Ok(claims) => Ok(Caller::Token(claims)),
        Err(TokenError::Expired) => Err(AuthFailure::Expired.into()),
        Err(TokenError::Invalid) => Err(AuthFailure::Invalid.into()),
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
    found.cloned().map(Caller::Key)
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
    offered_protocols(headers).find_map(|protocol| protocol.strip_prefix("bearer.")).map(str::to_owned)
}

/// The way of an EventSource or an image in a page.
fn query(query: &str) -> Option<String> {
    query.split('&').find_map(|pair| pair.strip_prefix("token=")).map(str::to_owned)
}
