//! The static files, embedded in the binary.

use axum::http::header;
use axum::response::IntoResponse;

/// `GET /`
pub(super) async fn live() -> impl IntoResponse {
    file("text/html; charset=utf-8", include_str!("../../static/index.html"))
}

/// `GET /live.js`
pub(super) async fn live_script() -> impl IntoResponse {
    file("text/javascript; charset=utf-8", include_str!("../../static/live.js"))
}

/// `GET /style.css`
pub(super) async fn style() -> impl IntoResponse {
    file("text/css; charset=utf-8", include_str!("../../static/style.css"))
}

/// A file that changes with the binary only, but under the same name: browsers ask each time.
fn file(content_type: &'static str, body: &'static str) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, content_type), (header::CACHE_CONTROL, "no-cache")], body)
}
