//! The static files, embedded in the binary.

use axum::http::{HeaderName, header};
use axum::response::{IntoResponse, Response};

use super::describe::{Answer, Content, Operation};

/// Pages of any origin may use it; whether they may read it, CORS says.
pub(super) const CROSS_ORIGIN: [(HeaderName, &str); 1] =
    [(HeaderName::from_static("cross-origin-resource-policy"), "cross-origin")];

/// One static file: where it is served, what it is, what it says.
pub(super) struct Page {
    pub(super) path: &'static str,
    content_type: &'static str,
    body: &'static str,
}

/// A page at a path, from a file under `static/`.
macro_rules! page {
    ($path:literal, $content_type:literal, $file:literal) => {
        Page { path: $path, content_type: $content_type, body: include_str!(concat!("../../static/", $file)) }
    };
}

/// What each of them is to the API's description.
pub(super) const PAGE: Operation = Operation::new(
    "",
    "A file of the live page, or of qrcast.js",
    &[Answer::ok("The file", &[Content::text("*/*", "")])],
);

/// Every static file.
pub(super) const PAGES: &[Page] = &[
    page!("/", "text/html; charset=utf-8", "index.html"),
    page!("/live.js", "text/javascript; charset=utf-8", "live.js"),
    page!("/style.css", "text/css; charset=utf-8", "style.css"),
    page!("/reference.css", "text/css; charset=utf-8", "reference.css"),
    page!("/icon.svg", "image/svg+xml", "icon.svg"),
    page!("/qrcast.js", "text/javascript; charset=utf-8", "qrcast.js"),
    page!("/qrcast/api.js", "text/javascript; charset=utf-8", "qrcast/api.js"),
    page!("/qrcast/extension.js", "text/javascript; charset=utf-8", "qrcast/extension.js"),
    page!("/qrcast/known.js", "text/javascript; charset=utf-8", "qrcast/known.js"),
    page!("/qrcast/link.js", "text/javascript; charset=utf-8", "qrcast/link.js"),
    page!("/qrcast/parts.js", "text/javascript; charset=utf-8", "qrcast/parts.js"),
    page!("/qrcast/passkey-views.js", "text/javascript; charset=utf-8", "qrcast/passkey-views.js"),
    page!("/qrcast/passkey.js", "text/javascript; charset=utf-8", "qrcast/passkey.js"),
    page!("/qrcast/step.js", "text/javascript; charset=utf-8", "qrcast/step.js"),
    page!("/qrcast/style.js", "text/javascript; charset=utf-8", "qrcast/style.js"),
    page!("/qrcast/subscribe.js", "text/javascript; charset=utf-8", "qrcast/subscribe.js"),
    page!("/qrcast/transports.js", "text/javascript; charset=utf-8", "qrcast/transports.js"),
    page!("/qrcast/views.js", "text/javascript; charset=utf-8", "qrcast/views.js"),
    page!("/qrcast/words.js", "text/javascript; charset=utf-8", "qrcast/words.js"),
];

/// Whether a static file is served at this path.
pub(super) fn is_one(path: &str) -> bool {
    PAGES.iter().any(|page| page.path == path)
}

impl Page {
    /// A file that changes with the binary only, but under the same name: browsers ask each time.
    ///
    /// `open`: this server has no keys. The live page then sends none, because an `Authorization` may be meant for a proxy.
    pub(in crate::http) fn answer(&self, open: bool) -> Response {
        let headers = [(header::CONTENT_TYPE, self.content_type), (header::CACHE_CONTROL, "no-cache")];
        if self.path.starts_with("/qrcast") {
            // Made to be used in other pages.
            return (headers, CROSS_ORIGIN, self.body).into_response();
        }
        if self.path == "/" && open {
            return (headers, self.body.replacen("<html ", "<html data-open ", 1)).into_response();
        }
        (headers, self.body).into_response()
    }
}
