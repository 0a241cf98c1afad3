//! Paths as the old service took them. It ran on Express, to which `/health/` and `/Health` are `/health`, and clients and
//! monitors in use may write them so.

use axum::http::Uri;
use axum::http::uri::PathAndQuery;

use crate::http::{docs, pages};

/// The old service's paths. An id behind one is as it is.
const OLD: [&str; 4] = ["/api/init-session", "/api/qr-code/", "/api/session-status/", "/health"];

/// The same target as the routes have it; `None`: it is that already.
pub(in crate::http) fn usual(target: &Uri) -> Option<Uri> {
    let path = target.path();
    // A file is not a folder, and neither is a document: what it refers to would be looked for in the wrong place.
    let shorter = path.strip_suffix('/').filter(|rest| {
        !rest.is_empty() && !rest.ends_with('/') && !pages::is_one(rest) && !docs::is_one(rest)
    });
    let mut usual = shorter.unwrap_or(path).to_owned();
    for old in OLD {
        let is_this = usual.get(..old.len()).is_some_and(|start| start.eq_ignore_ascii_case(old));
        if is_this && (old.ends_with('/') || usual.len() == old.len()) {
            usual.replace_range(..old.len(), old);
        }
    }
    if usual == path {
        return None;
    }
    if let Some(query) = target.query() {
        usual.push('?');
        usual.push_str(query);
    }
    let mut parts = target.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(usual).ok()?);
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(target: &str) -> Option<String> {
        usual(&target.parse().unwrap()).map(|target| target.to_string())
    }

    #[test]
    fn a_slash_at_the_end_and_old_capitals_are_no_matter() {
        for (given, usual) in [
            ("/health/", "/health"),
            ("/HEALTH", "/health"),
            ("/Health/?verbose=1", "/health?verbose=1"),
            ("/API/Init-Session/", "/api/init-session"),
            ("/api/QR-Code/session_Ada_1/", "/api/qr-code/session_Ada_1"),
            ("/api/qr-code/session_Ada_1.PNG/", "/api/qr-code/session_Ada_1.PNG"),
            ("/api/session-status/a/?token=A.b", "/api/session-status/a?token=A.b"),
            ("/api/sessions/a/events/", "/api/sessions/a/events"),
            ("http://localhost/health/", "http://localhost/health"),
        ] {
            assert_eq!(of(given).as_deref(), Some(usual), "{given}");
        }
        for given in [
            "/",
            "//",
            "/health",
            "/health//",
            "/live.js/",
            "/docs/",
            "/docs/first-link/",
            "/Live.js",
            "/api/Sessions",
            "/api/qr-code/A",
            "/healthy",
            "*",
        ] {
            assert_eq!(of(given), None, "{given}");
        }
    }
}
