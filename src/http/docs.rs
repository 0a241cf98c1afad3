//! The documents as a site: `/docs` and what is below it, but for `/docs/api`, which `openapi` makes.
//!
//! A page is made when somebody asks for it for the first time, and kept as it is sent. It is HTML alone, without a script: the
//! search is a form, and its answer a page.

mod layout;
mod library;
mod markdown;
mod navigation;
mod search;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use url::form_urlencoded;

use self::library::{Content as Kind, Document, Entry};
use super::describe::{Answer, Content, Operation, Parameter};
use super::pages;

const HTML: &str = "text/html; charset=utf-8";

/// `GET /docs`
pub(super) const FIRST: Operation = Operation::new(
    "",
    "The first page of the documents",
    &[Answer::ok("The page", &[Content::text("text/html", "")]), Answer::UNCHANGED],
);

/// `GET /docs/{name}`
pub(super) const NAMED: Operation = Operation {
    parameters: &[Parameter::path("name", "The document, or a file that one refers to", "first-link")],
    ..Operation::new(
        "",
        "A document as a page, or a file that one refers to",
        &[
            Answer::ok("The page, or the file", &[Content::text("text/html", ""), Content::text("*/*", "")]),
            Answer::UNCHANGED,
            Answer::of(StatusCode::NOT_FOUND, "There is no such document", &[Content::text("text/html", "")]),
        ],
    )
};

/// `GET /docs/search`
pub(super) const SEARCH: Operation = Operation {
    parameters: &[Parameter::query("q", "Words that a section must have, 100 characters at most", "lease")],
    ..Operation::new(
        "",
        "The sections of the documents that have all words",
        &[
            Answer::ok("The page", &[Content::text("text/html", "")]),
            Answer::of(StatusCode::URI_TOO_LONG, "`q` is too long", &[Content::text("text/html", "")]),
        ],
    )
};

/// Whether this path is the first page's or below it.
pub(super) fn is_one(path: &str) -> bool {
    path == "/docs" || path.starts_with("/docs/")
}

/// Where a page is that was asked for with a slash at its end, seen from there. What it refers to would be looked for in the wrong
/// place, so it is not answered itself; and it is not known from where a proxy has the server.
pub(super) fn without_slash(path: &str) -> Option<String> {
    let page = path.strip_suffix('/').filter(|page| is_one(page) && !page.ends_with('/'))?;
    Some(format!("../{}", page.rsplit('/').next()?))
}

/// The first page.
pub(super) async fn first(asked: HeaderMap) -> Response {
    answer("", &asked).await
}

/// A document by its name.
pub(super) async fn named(name: Result<Path<String>, PathRejection>, asked: HeaderMap) -> Response {
    // What is no UTF-8 is no name either.
    let name = name.map(|Path(name)| name).unwrap_or_default();
    if name.is_empty() { unknown() } else { answer(&name, &asked).await }
}

/// What was found.
pub(super) async fn found(RawQuery(query): RawQuery) -> Response {
    let query = query.unwrap_or_default();
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    let query = pairs.find(|(name, _)| name == "q").map(|(_, words)| words.trim().to_owned());
    let query = query.unwrap_or_default();
    let is_long = query.chars().count() > search::MAX_QUERY;
    if !is_long && !query.is_empty() && !search::is_ready() {
        // The index is made of all documents. If this fails, the search below makes it.
        let _ = tokio::task::spawn_blocking(search::prepare).await;
    }
    let status = if is_long { StatusCode::URI_TOO_LONG } else { StatusCode::OK };
    page(status, layout::found(&query))
}

async fn answer(name: &str, asked: &HeaderMap) -> Response {
    let Some(entry) = library::named(name) else { return unknown() };
    let content_type = match entry.content {
        Kind::Document(_) => HTML,
        Kind::File(content_type, _) => content_type,
    };
    pages::answer(&entry.prepared, content_type, asked, || made(entry)).await
}

fn made(entry: &'static Entry) -> Bytes {
    match entry.content {
        Kind::Document(text) => layout::document(Document { entry, text }).into(),
        Kind::File(_, bytes) => Bytes::from_static(bytes),
    }
}

fn unknown() -> Response {
    page(StatusCode::NOT_FOUND, layout::unknown())
}

/// One that is not kept.
fn page(status: StatusCode, html: String) -> Response {
    (status, [(header::CONTENT_TYPE, HTML), (header::CACHE_CONTROL, "no-cache")], html).into_response()
}
