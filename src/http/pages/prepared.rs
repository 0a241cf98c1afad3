//! A file in every encoding, each with an `ETag` of its own: made when somebody asks for it, and kept. `pages` keeps one of each
//! static file, `docs` of each document, and `http.rs` of the API's descriptions.

use std::io::Write;
use std::sync::OnceLock;

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::conditions::{self, Coding};

/// Of the file's hash in its `ETag`; two versions of a file share so many by chance once in 2^96.
const HASH_BYTES: usize = 12;

/// A file as it is sent.
pub(in crate::http) struct Prepared {
    plain: Encoded,
    /// The shorter, the later.
    shorter: Vec<Encoded>,
}

struct Encoded {
    coding: Coding,
    body: Bytes,
    etag: HeaderValue,
}

/// What is kept in `cell`, as the client likes it best, or that the client's copy is still right.
pub(in crate::http) async fn answer(
    cell: &'static OnceLock<Prepared>,
    content_type: &'static str,
    asked: &HeaderMap,
    make: impl Fn() -> Bytes + Clone + Send + 'static,
) -> Response {
    if cell.get().is_none() {
        let make = make.clone();
        // Takes some 20 ms the first time, which no other request should wait for. If it fails, the line below does it.
        let first = move || _ = cell.get_or_init(|| Prepared::new(make()));
        let _ = tokio::task::spawn_blocking(first).await;
    }
    cell.get_or_init(|| Prepared::new(make())).answer(content_type, asked)
}

impl Prepared {
    fn new(body: Bytes) -> Self {
        let encode =
            |coding| Some(Encoded { coding, etag: etag(&body, coding), body: encode(coding, &body)? });
        let shorter = [Coding::Gzip, Coding::Brotli].into_iter().filter_map(encode).collect();
        let coding = Coding::Identity;
        Self { shorter, plain: Encoded { coding, etag: etag(&body, coding), body } }
    }

    fn answer(&self, content_type: &'static str, asked: &HeaderMap) -> Response {
        let chosen = self.choose(asked);
        let mut answer = if conditions::has_it(asked, &chosen.etag) {
            StatusCode::NOT_MODIFIED.into_response()
        } else {
            let mut answer = ([(header::CONTENT_TYPE, content_type)], chosen.body.clone()).into_response();
            if let Some(name) = chosen.coding.name() {
                answer.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static(name));
            }
            answer
        };
        let headers = answer.headers_mut();
        headers.insert(header::ETAG, chosen.etag.clone());
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
        answer
    }

    /// What the client likes best of what there is. A client that takes none of it gets the file as it is.
    fn choose(&self, asked: &HeaderMap) -> &Encoded {
        let liking = |encoded: &Encoded| conditions::liking(asked, encoded.coding);
        self.shorter.iter().fold(&self.plain, |best, shorter| {
            if liking(shorter) > 0 && liking(shorter) >= liking(best) { shorter } else { best }
        })
    }
}

/// A strong one, and so another for each encoding: the bytes are others.
fn etag(body: &Bytes, coding: Coding) -> HeaderValue {
    let hash = BASE64_URL_SAFE_NO_PAD.encode(&Sha256::digest(body)[..HASH_BYTES]);
    let tag = match coding.name() {
        Some(name) => format!("\"{hash}-{name}\""),
        None => format!("\"{hash}\""),
    };
    // Letters, digits, `-` and `_` between quotes are a header's value.
    HeaderValue::try_from(tag).unwrap_or_else(|_| HeaderValue::from_static("\"\""))
}

/// `None` if it is no shorter.
fn encode(coding: Coding, body: &Bytes) -> Option<Bytes> {
    let encoded = match coding {
        Coding::Identity => return None,
        Coding::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
            encoder.write_all(body).ok()?;
            encoder.finish().ok()?
        }
        Coding::Brotli => {
            let mut encoded = Vec::new();
            // A build for tests would take ten times as long for the best, and its pages would wait.
            let quality = if cfg!(debug_assertions) { 5 } else { 11 };
            let parameters = brotli::enc::BrotliEncoderParams { quality, ..Default::default() };
            brotli::BrotliCompress(&mut &body[..], &mut encoded, &parameters).ok()?;
            encoded
        }
    };
    (encoded.len() < body.len()).then(|| encoded.into())
}
