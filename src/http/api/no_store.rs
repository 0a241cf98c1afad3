//! An answer that no cache may keep: it holds a credential, or is out of date in a moment.

use axum::http::header;
use axum::response::{IntoResponse, Response};

/// With `Cache-Control: no-store`.
pub(in crate::http) struct NoStore<T>(pub(in crate::http) T);

impl<T: IntoResponse> IntoResponse for NoStore<T> {
    fn into_response(self) -> Response {
        ([(header::CACHE_CONTROL, "no-store")], self.0).into_response()
    }
}
