//! Which pages may use this server: one matcher for CORS and for WebSocket upgrades, and the `Host` rule of an open server.

use std::sync::{Arc, Once};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};
use url::Url;

use super::credentials;
use crate::config::{Config, Origin};
use crate::http::error::{ApiError, ErrorCode};

/// How long a browser may remember the answer to a preflight.
const PREFLIGHT_AGE: Duration = Duration::from_secs(600);

/// How much of an origin is repeated, in bytes.
const LONGEST_SHOWN: usize = 128;

/// What pages of other origins may read of an answer, beside its body.
const EXPOSED: [&str; 6] = [
    "ratelimit-limit",
    "ratelimit-policy",
    "ratelimit-remaining",
    "ratelimit-reset",
    "retry-after",
    "x-request-id",
];

/// The CORS headers of every answer, errors and streams among them.
pub(in crate::http) fn cors(config: &Config) -> CorsLayer {
    let layer = CorsLayer::new()
        .allow_methods([Method::GET, Method::POST, Method::DELETE])
        // What is allowed is the page. Which headers its tools add, for tracing or caching, makes no difference.
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers(EXPOSED.map(HeaderName::from_static))
        .max_age(PREFLIGHT_AGE);
    // A page that sends credentials with all its calls must not be refused for that: this server has no cookies to protect.
    // Never together with `*`, which would let any page send credentials.
    let credentials = !config.security.origins.any;
    let config = config.clone();
    let allowed = AllowOrigin::predicate(move |origin, parts| {
        let host = host(&parts.headers, parts.uri.authority());
        origin.to_str().is_ok_and(|origin| allows(&config, origin, host))
    });
    layer.allow_origin(allowed).allow_credentials(credentials)
}

/// Whether the page behind this request may open a WebSocket, which no preflight protects. Without an `Origin` it is
/// no browser.
pub(in crate::http) fn check(config: &Config, headers: &HeaderMap) -> Result<(), ApiError> {
    check_page(config, headers, None)
}

/// Keeps pages of other origins from causing anything here, for example with a plain form: they could not read the answer,
/// but the call would have been made. Requests that a browser asks about first (CORS), and those that it marks as
/// same-origin, cannot come from such a page.
pub(in crate::http) async fn only_known_pages(
    State(config): State<Arc<Config>>,
    request: Request,
    next: Next,
) -> Response {
    let headers = request.headers();
    let asks_only = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    let same_origin = || headers.get("sec-fetch-site").is_some_and(|site| site == "same-origin");
    if asks_only || same_origin() || credentials::is_presented(headers) {
        return next.run(request).await;
    }
    match check_page(&config, headers, request.uri().authority()) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    }
}

fn check_page(config: &Config, headers: &HeaderMap, target: Option<&Authority>) -> Result<(), ApiError> {
    let mut origins = headers.get_all(header::ORIGIN).iter();
    let Some(origin) = origins.next() else { return Ok(()) };
    let host = host(headers, target);
    let allowed =
        origins.next().is_none() && origin.to_str().is_ok_and(|origin| allows(config, origin, host));
    if allowed {
        return Ok(());
    }
    let named = shown(origin.as_bytes());
    let own = public_origin(config).map(Origin::to_string);
    let own = own.unwrap_or_else(|| shown(host.unwrap_or_default().as_bytes()));
    say_once(&named, &own);
    Err(ApiError::foreign_origin(&named, &own))
}

/// A text that a client chose, escaped and cut for a message.
fn shown(text: &[u8]) -> String {
    text.iter().take(LONGEST_SHOWN).flat_map(|byte| byte.escape_ascii()).map(char::from).collect()
}

/// Logs a refused origin, because a browser does not show why a WebSocket was refused. Only once, because anybody can cause
/// it.
fn say_once(origin: &str, own: &str) {
    static SAID: Once = Once::new();
    SAID.call_once(|| {
        tracing::warn!(
            origin,
            own,
            "a page of another origin was refused; if that is this server's own page behind a proxy, set PUBLIC_URL"
        );
    });
}

fn allows(config: &Config, origin: &str, host: Option<&str>) -> bool {
    config.security.origins.allow(origin) || is_own(config, origin, host)
}

/// Whether it is this server's own origin: that of `PUBLIC_URL`, else the host and port that the request was sent to. A
/// proxy may have taken TLS off, so the scheme says nothing then.
fn is_own(config: &Config, origin: &str, host: Option<&str>) -> bool {
    let Some(origin) = Origin::parse(origin) else { return false };
    match public_origin(config) {
        Some(own) => origin == *own,
        None => host.and_then(|host| Origin::of_host(origin.scheme(), host)).is_some_and(|own| origin == own),
    }
}

/// Whether the live page may lead a person there: to a page that may use this server, or to one of its own.
pub(in crate::http) fn may_return_to(config: &Config, address: &str, headers: &HeaderMap) -> bool {
    let Ok(url) = Url::parse(address) else { return false };
    let is_page = matches!(url.scheme(), "http" | "https");
    let is_plain = url.username().is_empty() && url.password().is_none();
    is_page && is_plain && allows(config, &url.origin().ascii_serialization(), host(headers, None))
}

/// The origin of `PUBLIC_URL`.
fn public_origin(config: &Config) -> Option<&Origin> {
    config.public_url.as_ref().map(|url| &url.origin)
}

/// The host that the request was sent to. An absolute target overrides `Host`: RFC 9112, section 3.2.2.
fn host<'a>(headers: &'a HeaderMap, target: Option<&'a Authority>) -> Option<&'a str> {
    match target {
        Some(authority) => Some(authority.as_str()),
        None => headers.get(header::HOST)?.to_str().ok(),
    }
}

/// An open server answers to names of this machine only: any page could otherwise have its own name point here, and be
/// of the same origin (DNS rebinding).
pub(in crate::http) async fn only_this_machine(
    State(config): State<Arc<Config>>,
    request: Request,
    next: Next,
) -> Response {
    let security = &config.security;
    if !security.is_open() || security.anonymous {
        return next.run(request).await;
    }
    let host = host(request.headers(), request.uri().authority());
    let local = host.and_then(|host| Origin::of_host("http", host)).is_some_and(|origin| origin.is_local());
    if local {
        return next.run(request).await;
    }
    let allowed = "localhost, 127.0.0.1 or [::1], because this server has no API_KEYS";
    ApiError::not_allowed(ErrorCode::Misdirected, "Host", allowed).into_response()
}

/// Headers as `helmet` sets them, which the old service used (version 8; <https://helmetjs.github.io>), but that nothing
/// inline is needed here. What an answer says itself is left as it is.
pub(in crate::http) fn security(config: &Config) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let secure = public_origin(config).is_some_and(Origin::is_secure);
    for (name, value) in [
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
        ("origin-agent-cluster", "?1"),
        ("referrer-policy", "no-referrer"),
        ("x-content-type-options", "nosniff"),
        ("x-dns-prefetch-control", "off"),
        ("x-download-options", "noopen"),
        ("x-frame-options", "SAMEORIGIN"),
        ("x-permitted-cross-domain-policies", "none"),
        ("x-xss-protection", "0"),
    ] {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    if secure {
        let year = HeaderValue::from_static("max-age=31536000; includeSubDomains");
        headers.insert(header::STRICT_TRANSPORT_SECURITY, year);
    }
    if let Ok(policy) = HeaderValue::try_from(content_policy(config, secure)) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    headers
}

fn content_policy(config: &Config, secure: bool) -> String {
    let origins = &config.security.origins;
    let mut parents = vec!["'self'".to_owned()];
    parents.extend(origins.any.then(|| "*".to_owned()));
    parents.extend(origins.rules.iter().map(ToString::to_string));
    // `'self'` does not cover WebSockets in Safari before 15.4.
    let streams = public_origin(config).map(|own| {
        let scheme = if own.is_secure() { "wss" } else { "ws" };
        format!(" {scheme}://{}", own.authority())
    });
    let logo = config.page.logo.as_ref().map(|logo| format!(" {}", logo.origin()));
    let mut policy = format!(
        "default-src 'self'; base-uri 'self'; connect-src 'self'{}; font-src 'self'; form-action 'self'; \
         frame-ancestors {}; img-src 'self' data:{}; object-src 'none'; script-src 'self'; script-src-attr 'none'; \
         style-src 'self'",
        streams.unwrap_or_default(),
        parents.join(" "),
        logo.unwrap_or_default(),
    );
    if secure {
        policy.push_str("; upgrade-insecure-requests");
    }
    policy
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(variables: &[(&str, &str)]) -> Config {
        let find = |name: &str| variables.iter().find(|(known, _)| *known == name);
        Config::read(|name| find(name).map(|(_, value)| (*value).to_owned())).unwrap()
    }

    #[test]
    fn the_own_origin_is_the_host_unless_the_public_url_says_otherwise() {
        let open = config(&[]);
        for (origin, host) in [
            ("http://localhost:3000", "localhost:3000"),
            ("https://Link.example.com", "link.example.com"),
            ("https://link.example.com", "link.example.com:443"),
        ] {
            assert!(allows(&open, origin, Some(host)), "{origin} {host}");
        }
        for (origin, host) in [
            ("http://localhost:3001", "localhost:3000"),
            ("https://evil.example", "link.example.com"),
            ("null", "null"),
            ("http://localhost", "localhost:3000"),
        ] {
            assert!(!allows(&open, origin, Some(host)), "{origin} {host}");
        }
        let public = config(&[("PUBLIC_URL", "https://link.example.com/wa")]);
        assert!(allows(&public, "https://link.example.com", Some("10.0.0.1:3000")));
        assert!(!allows(&public, "http://10.0.0.1:3000", Some("10.0.0.1:3000")));
        assert!(!allows(&public, "http://link.example.com", Some("link.example.com")));
    }

    #[test]
    fn a_page_is_embedded_only_where_it_is_allowed() {
        let said =
            |variables| security(&config(variables))["content-security-policy"].to_str().unwrap().to_owned();
        assert!(said(&[]).contains("frame-ancestors 'self';") && !said(&[]).contains("upgrade"));
        let origins = ("ALLOWED_ORIGINS", "https://app.example.com,https://*.example.org");
        let with = said(&[origins, ("PUBLIC_URL", "https://link.example.com")]);
        assert!(
            with.contains("frame-ancestors 'self' https://app.example.com https://*.example.org;"),
            "{with}"
        );
        assert!(with.contains("connect-src 'self' wss://link.example.com;"), "{with}");
        assert!(with.ends_with("; upgrade-insecure-requests") && !with.contains("unsafe-inline"), "{with}");
    }
}
