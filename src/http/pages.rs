//! The static files, embedded in the binary: which there are, and the answer to a request for one.
//!
//! They change with the binary only, but keep their names. So a browser keeps them and asks each time whether its copy is
//! still the right one; the answer is then a 304 without a body.

mod conditions;
mod prepared;

use std::sync::OnceLock;

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use self::prepared::Prepared;
use super::describe::{Answer, Content, Operation};

/// Pages of any origin may use it; whether they may read it, CORS says.
pub(super) const CROSS_ORIGIN: [(HeaderName, &str); 1] =
    [(HeaderName::from_static("cross-origin-resource-policy"), "cross-origin")];

/// One static file: where it is served, what it is, what it says.
pub(super) struct Page {
    pub(super) path: &'static str,
    content_type: &'static str,
    body: &'static str,
    /// As it is sent: by a server with keys, and by one without.
    prepared: [OnceLock<Prepared>; 2],
}

/// A page at a path, from a file under `static/`.
macro_rules! page {
    ($path:literal, $content_type:literal, $file:literal) => {
        Page {
            path: $path,
            content_type: $content_type,
            body: include_str!(concat!("../../static/", $file)),
            prepared: [const { OnceLock::new() }; 2],
        }
    };
}

/// What each of them is to the API's description.
pub(super) const PAGE: Operation = Operation::new(
    "",
    "A file of the live page, of the dashboard, or of qrcast.js",
    &[
        Answer::ok("The file", &[Content::text("*/*", "")]),
        Answer::of(StatusCode::NOT_MODIFIED, "The file of this `ETag` is still the right one", &[]),
    ],
);

/// Every static file.
pub(super) static PAGES: [Page; 32] = [
    page!("/", "text/html; charset=utf-8", "index.html"),
    page!("/live.js", "text/javascript; charset=utf-8", "live.js"),
    page!("/style.css", "text/css; charset=utf-8", "style.css"),
    page!("/reference.css", "text/css; charset=utf-8", "reference.css"),
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
    /// The file in the encoding that the client likes best, or that the client's copy is still right.
    ///
    /// `open`: this server has no keys. The live page then sends none, because an `Authorization` may be meant for a proxy.
    pub(in crate::http) async fn answer(&'static self, open: bool, asked: HeaderMap) -> Response {
        let prepared = &self.prepared[usize::from(open)];
        if prepared.get().is_none() {
            // Takes some 20 ms the first time, which no other request should wait for. If it fails, the line below does it.
            let _ = tokio::task::spawn_blocking(move || _ = self.prepare(open)).await;
        }
        let chosen = self.prepare(open).choose(&asked);
        let mut answer = if conditions::has_it(&asked, &chosen.etag) {
            StatusCode::NOT_MODIFIED.into_response()
        } else {
            let mut answer =
                ([(header::CONTENT_TYPE, self.content_type)], chosen.body.clone()).into_response();
            if let Some(name) = chosen.coding.name() {
                answer.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static(name));
            }
            answer
        };
        let headers = answer.headers_mut();
        headers.insert(header::ETAG, chosen.etag.clone());
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
        // Made to be used in other pages.
        if self.path.starts_with("/qrcast") { (CROSS_ORIGIN, answer).into_response() } else { answer }
    }

    /// Made once; whoever asks meanwhile waits for it.
    fn prepare(&self, open: bool) -> &Prepared {
        self.prepared[usize::from(open)].get_or_init(|| {
            if open && matches!(self.path, "/" | "/admin") {
                Prepared::new(self.body.replacen("<html ", "<html data-open ", 1).into())
            } else {
                Prepared::new(self.body.into())
            }
        })
    }
}
