//! The static files over HTTP: short on their way, kept by browsers, and asked for anew only when they have changed.

use std::io::Read as _;

use qrcast::http::{Access, table};
use reqwest::header::{HeaderMap, HeaderValue};
use reqwest::{Method, Response, StatusCode};

use crate::support::{Server, world};

/// What the whole live page may cost a browser that has none of it, in bytes.
const BUDGET: usize = 40_000;

/// Every path of a static file.
fn paths() -> Vec<&'static str> {
    let everyone = table().into_iter().filter(|(_, _, access)| *access == Access::Everyone);
    let is_file =
        |path: &&str| ["/", "/admin"].contains(path) || path.contains('.') && !path.ends_with(".json");
    let paths: Vec<_> = everyone.map(|(_, path, _)| path).filter(is_file).collect();
    assert!(paths.len() >= 46, "{paths:?}");
    paths
}

async fn ask(server: &Server, method: Method, path: &str, headers: &[(&'static str, &str)]) -> Response {
    let headers: HeaderMap =
        headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
    server.request(method, path).headers(headers).send().await.unwrap()
}

async fn get(server: &Server, path: &str, takes: &str) -> Response {
    ask(server, Method::GET, path, &[("accept-encoding", takes)]).await
}

fn header<'a>(answer: &'a Response, name: &str) -> Option<&'a str> {
    answer.headers().get(name).map(|value| value.to_str().unwrap())
}

fn length(answer: &Response) -> usize {
    header(answer, "content-length").unwrap().parse().unwrap()
}

fn decoded(coding: Option<&str>, body: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::new();
    match coding {
        None => decoded.extend_from_slice(body),
        Some("gzip") => drop(flate2::read::GzDecoder::new(body).read_to_end(&mut decoded).unwrap()),
        Some("br") => brotli::BrotliDecompress(&mut &body[..], &mut decoded).unwrap(),
        Some(other) => panic!("{other}"),
    }
    decoded
}

#[tokio::test]
async fn every_file_is_sent_as_short_as_the_client_takes_it() {
    let (_whatsapp, server) = world().await;
    for path in paths() {
        let plain = get(&server, path, "identity").await;
        let tag = header(&plain, "etag").unwrap().to_owned();
        assert!(tag.starts_with('"') && header(&plain, "content-encoding").is_none(), "{path}: {tag}");
        let (kind, body) = (plain.headers()["content-type"].clone(), plain.bytes().await.unwrap());
        let mut tags = vec![tag];
        for (takes, coding) in
            [("gzip", "gzip"), ("br;q=0.9, gzip;q=0.1", "br"), ("gzip, deflate, br, zstd", "br")]
        {
            let answer = get(&server, path, takes).await;
            assert_eq!(
                (answer.status(), &answer.headers()["content-type"]),
                (StatusCode::OK, &kind),
                "{path}"
            );
            let sent = header(&answer, "content-encoding").map(str::to_owned);
            // An icon can be too short to gain anything.
            assert!(sent.as_deref() == Some(coding) || body.len() < 500, "{path}: {sent:?}");
            tags.push(header(&answer, "etag").unwrap().to_owned());
            let (length, bytes) = (length(&answer), answer.bytes().await.unwrap());
            assert_eq!(bytes.len(), length, "{path}");
            assert!(
                bytes.len() <= body.len() && decoded(sent.as_deref(), &bytes) == body,
                "{path} as {takes}"
            );
        }
        // One for each encoding, and the same one for the same bytes.
        assert!(
            tags[0] != tags[1] && tags[1] != tags[2] && tags[2] == tags[3] || body.len() < 500,
            "{tags:?}"
        );
    }
    // Who takes neither gets it as it is, and so does who says nothing.
    let unasked = ask(&server, Method::GET, "/qrcast.js", &[]).await;
    assert_eq!(header(&unasked, "content-encoding"), None);
    assert_eq!(header(&get(&server, "/qrcast.js", "zstd, br;q=0").await, "content-encoding"), None);
}

#[tokio::test]
async fn a_browser_that_has_a_file_is_told_so_without_its_body() {
    let (_whatsapp, server) = world().await;
    for path in paths() {
        let first = get(&server, path, "gzip, br").await;
        assert_eq!(header(&first, "cache-control"), Some("no-cache"), "kept, and asked for each time");
        assert!(varies(&first).contains("accept-encoding"), "{path}: {}", varies(&first));
        let tag = header(&first, "etag").unwrap();
        for known in [tag, &format!("W/{tag}"), &format!("\"another\", {tag}"), "*"] {
            let asked = [("accept-encoding", "gzip, br"), ("if-none-match", known)];
            for method in [Method::GET, Method::HEAD] {
                let again = ask(&server, method, path, &asked).await;
                assert_eq!(again.status(), StatusCode::NOT_MODIFIED, "{path} {known}");
                for name in ["etag", "cache-control", "vary", "cross-origin-resource-policy"] {
                    assert_eq!(header(&again, name), header(&first, name), "{path} {name}");
                }
                assert!(again.bytes().await.unwrap().is_empty());
            }
        }
        // A copy in another encoding, or of another version, is not this one.
        for (takes, known) in [("identity", tag), ("gzip, br", "\"another\"")] {
            if length(&first) < 300 {
                continue;
            }
            let asked = [("accept-encoding", takes), ("if-none-match", known)];
            let other = ask(&server, Method::GET, path, &asked).await;
            assert_eq!(other.status(), StatusCode::OK, "{path} {takes} {known}");
            assert!(!other.bytes().await.unwrap().is_empty());
        }
    }
}

fn varies(answer: &Response) -> String {
    let values = answer.headers().get_all("vary").into_iter().map(HeaderValue::to_str);
    values.map(Result::unwrap).collect::<Vec<_>>().join(", ")
}

#[tokio::test]
async fn head_says_what_get_would_and_sends_nothing() {
    let (_whatsapp, server) = world().await;
    for takes in ["identity", "gzip", "br"] {
        let head = ask(&server, Method::HEAD, "/live.js", &[("accept-encoding", takes)]).await;
        let get = get(&server, "/live.js", takes).await;
        assert_eq!(head.status(), StatusCode::OK);
        for name in ["content-length", "content-type", "content-encoding", "etag", "cache-control", "vary"] {
            assert_eq!(header(&head, name), header(&get, name), "{name} of {takes}");
        }
        assert!(head.bytes().await.unwrap().is_empty());
    }
}

/// The two files that are not the same on every server: with keys they say so, and a browser that had it before learns of it.
#[tokio::test]
async fn the_page_of_a_server_with_keys_has_another_tag() {
    let (whatsapp, open) = world().await;
    let keyed = Server::builder(&whatsapp.url()).variable("API_KEYS", "web:secret").start().await;
    for page in ["/", "/admin"] {
        let tags = [get(&open, page, "br").await, get(&keyed, page, "br").await];
        assert_ne!(header(&tags[0], "etag"), header(&tags[1], "etag"), "{page}");
    }
    let scripts = [get(&open, "/qrcast.js", "br").await, get(&keyed, "/qrcast.js", "br").await];
    assert_eq!(header(&scripts[0], "etag"), header(&scripts[1], "etag"), "the same on every replica");
}

/// What a browser loads of the page only when it is needed: the passkey step when WhatsApp asks for one, and what other pages use.
const LATER: [&str; 5] = [
    "/qrcast.js",
    "/qrcast/extension.js",
    "/qrcast/passkey-views.js",
    "/qrcast/passkey.js",
    "/qrcast/step.js",
];

/// A file as it is, with gzip and with Brotli, in bytes.
async fn sizes(server: &Server, path: &str) -> [usize; 3] {
    let body = get(server, path, "identity").await.bytes().await.unwrap();
    let gzip = get(server, path, "gzip").await.bytes().await.unwrap().len();
    // As a build that is shipped sends it; this one is in a hurry.
    let (mut best, parameters) = (Vec::new(), brotli::enc::BrotliEncoderParams::default());
    brotli::BrotliCompress(&mut &body[..], &mut best, &parameters).unwrap();
    [body.len(), gzip, best.len().min(body.len())]
}

#[tokio::test]
async fn the_live_page_keeps_to_its_budget() {
    let (_whatsapp, server) = world().await;
    let (mut link, mut passkey, mut language) = ([0; 3], [0; 3], [0; 3]);
    // What the page loads; `/reference.css` is the page of the API's.
    for path in paths() {
        let sizes = sizes(&server, path).await;
        let sum = |all: [usize; 3]| std::array::from_fn(|index| all[index] + sizes[index]);
        match path {
            "/words/en.js" => link = sum(link),
            // One at a time: the longest counts.
            _ if path.starts_with("/words/") => {
                language = std::array::from_fn(|index| language[index].max(sizes[index]))
            }
            _ if LATER.contains(&path) => passkey = sum(passkey),
            _ if path == "/"
                || path == "/live.js"
                || path == "/key.js"
                || path == "/style.css"
                || path == "/icon.svg"
                || path.starts_with("/qrcast/") =>
            {
                link = sum(link);
            }
            _ => {}
        }
    }
    let names = ["plain", "gzip", "Brotli"];
    for index in 0..3 {
        let (english, any) = (link[index], link[index] + language[index]);
        let all = any + passkey[index];
        println!(
            "{}: {english} in English, {any} in any language, {all} with the passkey step",
            names[index]
        );
    }
    for index in [1, 2] {
        assert!(link[index] + language[index] < BUDGET, "{}: the budget is {BUDGET}", names[index]);
    }
    let [_, _, all] = std::array::from_fn::<_, 3, _>(|index| link[index] + language[index] + passkey[index]);
    assert!(all < BUDGET, "{all} bytes with Brotli in all; the budget is {BUDGET}");
}
