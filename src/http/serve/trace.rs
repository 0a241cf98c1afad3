//! Around every request: its id, its span, its place in the metrics.
//!
//! The outermost layer, so that a refusal by any other is counted too. What a request says beside its method and its
//! path, its query above all, may be a credential, and is in no line.

use std::time::Instant;

use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};
use axum::middleware::Next;
use axum::response::Response;
use metrics::{counter, histogram};
use tracing::field::Empty;
use tracing::{Instrument as _, Span, debug, info_span};
use uuid::Uuid;

use crate::clock;
use crate::http::door::client;
use crate::telemetry::metrics::{HTTP_REQUEST_SECONDS, HTTP_REQUESTS};
use crate::telemetry::traces;

/// Carries the id, in and out.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longest id that is taken from a client.
const LONGEST_ID: usize = 128;

/// The status of a request whose client has left, in the metrics and the log: nginx's.
const CLIENT_GONE: u16 = 499;

/// The route of a request for which there is none, in the metrics.
const NO_ROUTE: &str = "none";

/// The layer.
pub(in crate::http) async fn around(request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let id = id(request.headers());
    let method = word(request.method());
    let route = request.extensions().get::<MatchedPath>().cloned();
    let traced = traces::of_request(method, route.as_ref().map_or(NO_ROUTE, MatchedPath::as_str));
    let span = traced.in_scope(|| span(&id, method, route.as_ref(), request.uri().path()));
    let call = Call { begun, method, route, status: CLIENT_GONE };
    let answered = traced.clone();
    async move {
        // All of it goes in here, to be dropped with the request.
        let mut call = call;
        let mut response = next.run(request).await;
        call.status = response.status().as_u16();
        traces::answered(&answered, call.status);
        response.headers_mut().insert(REQUEST_ID, id);
        response
    }
    .instrument(span)
    .instrument(traced)
    .await
}

/// One request, counted when it is over: answered, or dropped because its client has left.
struct Call {
    begun: Instant,
    method: &'static str,
    route: Option<MatchedPath>,
    status: u16,
}

impl Drop for Call {
    fn drop(&mut self) {
        let route = self.route.as_ref().map_or(NO_ROUTE, MatchedPath::as_str).to_owned();
        histogram!(HTTP_REQUEST_SECONDS, "route" => route.clone()).record(self.begun.elapsed());
        let labels =
            [("method", self.method.to_owned()), ("route", route), ("status", self.status.to_string())];
        counter!(HTTP_REQUESTS, &labels).increment(1);
        let ms = clock::millis(self.begun.elapsed());
        debug!(status = self.status, ms, "request answered");
    }
}

/// The client's own id, where it has a fit one.
fn id(headers: &HeaderMap) -> HeaderValue {
    let fit = |id: &&HeaderValue| {
        (1..=LONGEST_ID).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
    };
    headers.get(REQUEST_ID).filter(fit).cloned().unwrap_or_else(|| {
        let id = Uuid::new_v4().to_string();
        HeaderValue::from_str(&id).unwrap_or_else(|_| unreachable!("hexadecimal digits and dashes"))
    })
}

fn span(id: &HeaderValue, method: &str, route: Option<&MatchedPath>, path: &str) -> Span {
    let id = id.to_str().unwrap_or_default();
    match route {
        Some(route) => info_span!("request", requestId = id, method, route = route.as_str(), key = Empty),
        // Whatever is written in another way than it had to be may be a query: a token.
        None => {
            let plain = path.split('%').next().unwrap_or_default();
            info_span!("request", requestId = id, method, path = client::shortened(plain))
        }
    }
}

/// A method in the metrics: a client may invent as many as it likes.
fn word(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_taken_where_it_is_fit() {
        let given = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_ID, HeaderValue::from_bytes(text.as_bytes()).unwrap());
            id(&headers)
        };
        for fit in ["a", "7d1f0c36/3f0e;4c5b", &"x".repeat(128)] {
            assert_eq!(given(fit), fit);
        }
        for unfit in ["", "two words", "ü", &"x".repeat(129)] {
            let made = given(unfit);
            assert!(made.to_str().unwrap().parse::<Uuid>().is_ok(), "{unfit:?} became {made:?}");
        }
    }
}
