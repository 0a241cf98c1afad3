//! The static files, embedded in the binary: which there are, and the answer to a request for one.
//!
//! They change with the binary only, but keep their names. So a browser keeps them and asks each time whether its copy is
//! still the right one; the answer is then a 304 without a body.

mod conditions;
mod front;
mod prepared;
mod short;

use std::sync::{Arc, OnceLock};

use axum::http::{HeaderMap, HeaderName};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;

pub(super) use self::prepared::{Prepared, answer};
use super::describe::{Answer, Content, Operation};
use crate::config::Config;

/// Pages of any origin may use it; whether they may read it, CORS says.
pub(super) const CROSS_ORIGIN: [(HeaderName, &str); 1] =
    [(HeaderName::from_static("cross-origin-resource-policy"), "cross-origin")];

/// One static file: where it is served, what it is, what it says.
pub(super) struct Page {
    pub(super) path: &'static str,
    content_type: &'static str,
    body: &'static str,
    /// As it is sent. A process has one configuration.
    prepared: OnceLock<Prepared>,
}

/// A page at a path, from a file under `static/`.
macro_rules! page {
    ($path:literal, $content_type:literal, $file:literal) => {
        Page {
            path: $path,
            content_type: $content_type,
            body: include_str!(concat!("../../static/", $file)),
            prepared: OnceLock::new(),
        }
    };
}

/// What each of them is to the API's description.
pub(super) const PAGE: Operation = Operation::new(
    "",
    "A file of the live page, of the dashboard, or of qrcast.js",
    &[Answer::ok("The file", &[Content::text("*/*", "")]), Answer::UNCHANGED],
);

/// Every static file.
pub(super) static PAGES: [Page; 46] = [
    page!("/", "text/html; charset=utf-8", "index.html"),
    page!("/live.js", "text/javascript; charset=utf-8", "live.js"),
    page!("/key.js", "text/javascript; charset=utf-8", "key.js"),
    page!("/style.css", "text/css; charset=utf-8", "style.css"),
    page!("/reference.css", "text/css; charset=utf-8", "reference.css"),
    page!("/docs.css", "text/css; charset=utf-8", "docs.css"),
    page!("/icon.svg", "image/svg+xml", "icon.svg"),
    page!("/admin", "text/html; charset=utf-8", "admin.html"),
    page!("/admin.css", "text/css; charset=utf-8", "admin.css"),
    page!("/admin/api.js", "text/javascript; charset=utf-8", "admin/api.js"),
    page!("/admin/charts.js", "text/javascript; charset=utf-8", "admin/charts.js"),
    page!("/admin/dialogs.js", "text/javascript; charset=utf-8", "admin/dialogs.js"),
    page!("/admin/dom.js", "text/javascript; charset=utf-8", "admin/dom.js"),
    page!("/admin/feed.js", "text/javascript; charset=utf-8", "admin/feed.js"),
    page!("/admin/list.js", "text/javascript; charset=utf-8", "admin/list.js"),
    page!("/admin/main.js", "text/javascript; charset=utf-8", "admin/main.js"),
    page!("/admin/server.js", "text/javascript; charset=utf-8", "admin/server.js"),
    page!("/admin/session.js", "text/javascript; charset=utf-8", "admin/session.js"),
    page!("/admin/sessions.js", "text/javascript; charset=utf-8", "admin/sessions.js"),
    page!("/admin/words.js", "text/javascript; charset=utf-8", "admin/words.js"),
    page!("/qrcast.js", "text/javascript; charset=utf-8", "qrcast.js"),
    page!("/qrcast/api.js", "text/javascript; charset=utf-8", "qrcast/api.js"),
    page!("/qrcast/ends.js", "text/javascript; charset=utf-8", "qrcast/ends.js"),
    page!("/qrcast/extension.js", "text/javascript; charset=utf-8", "qrcast/extension.js"),
    page!("/qrcast/known.js", "text/javascript; charset=utf-8", "qrcast/known.js"),
    page!("/qrcast/link.js", "text/javascript; charset=utf-8", "qrcast/link.js"),
    page!("/qrcast/parts.js", "text/javascript; charset=utf-8", "qrcast/parts.js"),
    page!("/qrcast/passkey-views.js", "text/javascript; charset=utf-8", "qrcast/passkey-views.js"),
    page!("/qrcast/passkey.js", "text/javascript; charset=utf-8", "qrcast/passkey.js"),
    page!("/qrcast/pauses.js", "text/javascript; charset=utf-8", "qrcast/pauses.js"),
    page!("/qrcast/step.js", "text/javascript; charset=utf-8", "qrcast/step.js"),
    page!("/qrcast/style.js", "text/javascript; charset=utf-8", "qrcast/style.js"),
    page!("/qrcast/subscribe.js", "text/javascript; charset=utf-8", "qrcast/subscribe.js"),
    page!("/qrcast/tabs.js", "text/javascript; charset=utf-8", "qrcast/tabs.js"),
    page!("/qrcast/transports.js", "text/javascript; charset=utf-8", "qrcast/transports.js"),
    page!("/qrcast/views.js", "text/javascript; charset=utf-8", "qrcast/views.js"),
    page!("/qrcast/words.js", "text/javascript; charset=utf-8", "qrcast/words.js"),
    page!("/words/ar.js", "text/javascript; charset=utf-8", "words/ar.js"),
    page!("/words/de.js", "text/javascript; charset=utf-8", "words/de.js"),
    page!("/words/en.js", "text/javascript; charset=utf-8", "words/en.js"),
    page!("/words/es.js", "text/javascript; charset=utf-8", "words/es.js"),
    page!("/words/fr.js", "text/javascript; charset=utf-8", "words/fr.js"),
    page!("/words/hi.js", "text/javascript; charset=utf-8", "words/hi.js"),
    page!("/words/id.js", "text/javascript; charset=utf-8", "words/id.js"),
    page!("/words/pt.js", "text/javascript; charset=utf-8", "words/pt.js"),
    page!("/words/tr.js", "text/javascript; charset=utf-8", "words/tr.js"),
];

/// Whether a static file is served at this path.
pub(super) fn is_one(path: &str) -> bool {
    PAGES.iter().any(|page| page.path == path)
}

impl Page {
    /// The file in the encoding that the client likes best, or that the client's copy is still right.
    pub(in crate::http) async fn answer(&'static self, config: &Arc<Config>, asked: HeaderMap) -> Response {
        let config = Arc::clone(config);
        let made = move || self.made(&config);
        let answer = prepared::answer(&self.prepared, self.content_type, &asked, made).await;
        // Made to be used in other pages.
        let is_for_all = self.path.starts_with("/qrcast") || self.path.starts_with("/words/");
        if is_for_all { (CROSS_ORIGIN, answer).into_response() } else { answer }
    }

    fn made(&self, config: &Config) -> Bytes {
        // A page is as it is, but for those that say what this server's settings are.
        let body = match self.path {
            "/" => front::page(self.body, config),
            "/admin" if config.security.is_open() => front::opened(self.body),
            _ => self.body.to_owned(),
        };
        let is_code = !self.path.ends_with(".svg");
        if is_code { short::shortened(&body) } else { body }.into()
    }
}
