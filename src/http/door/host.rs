//! One `Host`, and the same as in the request's own target: what hyper lets through and RFC 9112 (3.2) wants refused.
//!
//! Two readers of such a request, a proxy before this server and the server itself, may see two hosts in it. The rest of
//! what smuggles requests hyper refuses by itself, or, where both `Content-Length` and `Transfer-Encoding` are given,
//! closes the connection after the answer.

use axum::http::uri::Authority;
use axum::http::{Request, Version, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use crate::http::error::{ApiError, ErrorCode};

/// Refuses a request whose host is not clear, or whose target is not a path.
pub(in crate::http) async fn is_clear(request: axum::extract::Request, next: Next) -> Response {
    match check(&request) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    }
}

fn check<B>(request: &Request<B>) -> Result<(), ApiError> {
    let uri = request.uri();
    // `CONNECT host:port` and `OPTIONS *`, which are for proxies.
    if !uri.path().starts_with('/') {
        return Err(ErrorCode::InvalidTarget.into());
    }
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let host = match hosts.next() {
        Some(host) => authority(host.as_bytes()).ok_or(ErrorCode::InvalidHost)?,
        // Older monitors send none.
        None if request.version() == Version::HTTP_10 => return Ok(()),
        None => return Err(ErrorCode::InvalidHost.into()),
    };
    let agrees = uri.authority().is_none_or(|target| target.as_str().eq_ignore_ascii_case(host.as_str()));
    if agrees && hosts.next().is_none() { Ok(()) } else { Err(ErrorCode::InvalidHost.into()) }
}

/// A host and perhaps a port, without a user; a comma would be two hosts that a proxy has made one of.
fn authority(value: &[u8]) -> Option<Authority> {
    Authority::try_from(value).ok().filter(|authority| !authority.as_str().contains(['@', ',']))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passes(target: &str, hosts: &[&[u8]]) -> bool {
        let mut request = Request::get(target);
        for host in hosts {
            request = request.header(header::HOST, *host);
        }
        check(&request.body(()).unwrap()).is_ok()
    }

    #[test]
    fn one_host_that_agrees_with_the_target_is_wanted() {
        for host in ["localhost", "127.0.0.1:3000", "[::1]:3000", "a-b.example.com", "EXAMPLE.com"] {
            assert!(passes("/", &[host.as_bytes()]), "{host}");
        }
        assert!(passes("http://example.com/livez", &[b"Example.com"]));
        assert!(!passes("/", &[]));
        assert!(!passes("/", &[b"a", b"b"]));
        assert!(!passes("/", &[b"a", b"a"]));
        assert!(!passes("http://example.com/livez", &[b"other.com"]));
        assert!(!passes("*", &[b"a"]));
        for host in [b"".as_slice(), b"a b", b"a,b", b"a@b", b"a/b", b"\xff", b"a:b:c"] {
            assert!(!passes("/", &[host]), "{host:?}");
        }
    }
}
