//! The ways by which a key or a token comes.

use axum::extract::Request;
use axum::http::header::SEC_WEBSOCKET_PROTOCOL;
use axum::http::{HeaderMap, header};
use subtle::ConstantTimeEq as _;

use super::caller::Caller;
use super::refusal::{AuthFailure, Refusal};
use super::tokens::{Signer, TokenError};
use crate::config::{ApiKey, Security};
use crate::http::error::{ApiError, ErrorCode};

/// A key or a token, by whichever way it came. More than one way: the first of these.
///
/// `signer`: `None` before the deployment's secret is known.
pub(in crate::http) fn identify(
    security: &Security,
    signer: Option<&Signer>,
    request: &Request,
) -> Result<Caller, Refusal> {
    if security.is_open() {
        return Ok(Caller::Anyone);
    }
    let headers = request.headers();
    if let Some(key) = headers.get("x-api-key") {
        return key.to_str().ok().and_then(|key| key_of(security, key)).ok_or(AuthFailure::Invalid.into());
    }
    let bearer = bearer(headers)?;
    if let Some(caller) = bearer.as_ref().and_then(|secret| key_of(security, secret)) {
        return Ok(caller);
    }
    // The other two ways are for tokens only: addresses end up in logs, and a key is valid for more than minutes.
    let presented = bearer
        .or_else(|| subprotocol(headers))
        .or_else(|| query(request.uri().query().unwrap_or_default()))
        .ok_or(AuthFailure::Missing)?;
    let signer = signer.ok_or(ApiError::from(ErrorCode::StoreAway))?;
    match signer.read(&presented) {
        Ok(claims) => Ok(Caller::Token(claims)),
        Err(TokenError::Expired) => Err(AuthFailure::Expired.into()),
        Err(TokenError::Invalid) => Err(AuthFailure::Invalid.into()),
    }
}

/// The key with this secret. Every key is compared, and each in constant time.
fn key_of(security: &Security, secret: &str) -> Option<Caller> {
    let hash = ApiKey::hash(secret);
    let mut found = None;
    for key in &security.keys {
        if bool::from(key.hash.ct_eq(&hash)) {
            found = Some(key);
        }
    }
    found.cloned().map(Caller::Key)
}

/// What comes as `Bearer`. Any other scheme is somebody else's: a browser sends what a proxy before this server asked it for.
fn bearer(headers: &HeaderMap) -> Result<Option<String>, AuthFailure> {
    for value in headers.get_all(header::AUTHORIZATION) {
        let value = value.as_bytes();
        let end = value.iter().position(|byte| *byte == b' ').unwrap_or(value.len());
        let (scheme, credentials) = value.split_at(end);
        if scheme.eq_ignore_ascii_case(b"bearer") {
            // What cannot be read is a wrong answer, not none.
            let text = std::str::from_utf8(credentials).map_err(|_| AuthFailure::Invalid)?;
            return Ok(Some(text.trim().to_owned()));
        }
    }
    Ok(None)
}

/// Whether the request has something in a header that only somebody who was given it can send: no page of another origin
/// can add these two without asking first (CORS).
pub(super) fn is_presented(headers: &HeaderMap) -> bool {
    headers.contains_key("x-api-key") || !matches!(bearer(headers), Ok(None))
}

/// The way of a WebSocket in a browser, which cannot set a header.
fn subprotocol(headers: &HeaderMap) -> Option<String> {
    offered_protocols(headers).find_map(|protocol| protocol.strip_prefix("bearer.")).map(str::to_owned)
}

/// What a client offers to speak; in a browser also where its token is.
pub(in crate::http) fn offered_protocols(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let lists = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    lists.flat_map(|list| list.split(',')).map(str::trim)
}

/// The way of an EventSource or an image in a page. Escaped or not: what makes addresses may escape more than it must.
fn query(query: &str) -> Option<String> {
    let mut pairs = url::form_urlencoded::parse(query.as_bytes());
    pairs.find(|(name, value)| name == "token" && !value.is_empty()).map(|(_, value)| value.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[&[u8]]) -> Result<Option<String>, AuthFailure> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::AUTHORIZATION, axum::http::HeaderValue::from_bytes(value).unwrap());
        }
        bearer(&headers)
    }

    #[test]
    fn another_scheme_is_somebody_elses() {
        for other in [
            b"Basic dXNlcjpwYXNz".as_slice(),
            b"Negotiate YII",
            b"Digest x=\"y\"",
            b"",
            b"Bearers x",
            b"\xff y",
        ] {
            assert_eq!(of(&[other]), Ok(None), "{other:?}");
            assert_eq!(of(&[other, b"bearer  abc "]), Ok(Some("abc".to_owned())), "{other:?}");
        }
        assert_eq!(of(&[b"Bearer"]), Ok(Some(String::new())));
        assert_eq!(of(&[b"Bearer \xff"]), Err(AuthFailure::Invalid));
    }

    #[test]
    fn a_token_in_an_address_may_be_escaped() {
        for address in [
            "token=a.b-c_d",
            "token=a%2Eb%2dc%5fd",
            "lastEventId=1-2&token=a%2eb-c_d",
            "%74oken=a.b-c_d",
            "token=&token=a.b-c_d",
        ] {
            assert_eq!(query(address).as_deref(), Some("a.b-c_d"), "{address}");
        }
        for address in ["", "token=", "tokens=a", "a=token=b"] {
            assert_eq!(query(address), None, "{address}");
        }
    }
}
