//! Which refusals a route may answer with: those that it names, and those of every route of its kind.

use std::collections::BTreeMap;

use axum::http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::http::describe::Described;
use crate::http::door::caller::Access;
use crate::http::door::refusal::Telling;
use crate::http::error::{ErrorBody, ErrorCode as E};

/// The refusals of a route by their status.
pub(super) fn responses_of(route: &Described) -> impl Iterator<Item = (String, Value)> + use<> {
    let mut by_status = BTreeMap::<StatusCode, Vec<E>>::new();
    for code in codes_of(route) {
        by_status.entry(code.status()).or_default().push(code);
    }
    by_status.into_iter().map(|(status, codes)| (status.as_str().to_owned(), response(&codes)))
}

fn codes_of(route: &Described) -> Vec<E> {
    let mut codes = vec![E::InvalidTarget, E::InvalidHost, E::InvalidForwarded, E::Misdirected, E::Internal];
    if route.method != Method::GET {
        codes.push(E::ForeignOrigin);
    }
    if route.access != Access::Everyone {
        codes.extend([E::Unauthorized, E::Forbidden]);
        // A stream tells them itself, with 200.
        if route.telling == Telling::Status {
            codes.extend([E::RateLimited, E::StoreAway]);
        }
    }
    let takes_tokens = matches!(route.access, Access::Follow | Access::Read | Access::Link);
    if takes_tokens && route.telling == Telling::Status {
        codes.push(E::TokenExpired);
    }
    if route.path.contains("{id}") {
        codes.extend([E::InvalidSessionId, E::StoreDamaged]);
        // One that is not there is as good as deleted.
        if route.method != Method::DELETE {
            codes.push(E::SessionNotFound);
        }
    }
    if route.operation.body.is_some() {
        codes.extend([E::InvalidBody, E::RequestTimeout, E::BodyTooLarge, E::UnsupportedMediaType]);
    }
    codes.extend(route.operation.errors);
    codes
}

/// One status, and each word that may come with it.
fn response(codes: &[E]) -> Value {
    let said: Vec<_> = codes.iter().map(|code| format!("`{}`: {}", code.as_str(), code.said())).collect();
    let mut words: Vec<_> = codes.iter().map(|code| code.as_str()).collect();
    words.sort_unstable();
    words.dedup();
    let example = |code: &E| (code.as_str().to_owned(), json!({ "value": ErrorBody::example(*code) }));
    let examples: serde_json::Map<_, _> = codes.iter().map(example).collect();
    let schema = json!({
        "allOf": [{ "$ref": "#/components/schemas/Error" }, { "properties": { "code": { "enum": words } } }],
    });
    let mut response = json!({
        "description": said.join("\n\n"),
        "content": { "application/json": { "schema": schema, "examples": examples } },
    });
    if codes.iter().any(|code| code.wait() > 0 || code.status() == StatusCode::TOO_MANY_REQUESTS) {
        response["headers"] = json!({
            "Retry-After": { "description": "Seconds, where waiting helps", "schema": { "type": "integer", "minimum": 1 } },
        });
    }
    response
}
