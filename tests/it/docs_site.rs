//! The documents as a site, over HTTP and in Chromium: every link leads somewhere, a page is kept by browsers, the search finds, and
//! nothing is wider than the screen.

use std::collections::BTreeSet;

use reqwest::{Method, StatusCode};
use serde_json::Value;

use crate::support::axe::{axe, is_clean};
use crate::support::browser::{Browser, Screen};
use crate::support::{Server, world};

async fn text(server: &Server, path: &str) -> String {
    let answer = server.get(path).await;
    assert_eq!(answer.status(), StatusCode::OK, "{path}");
    answer.text().await.unwrap()
}

/// The values of an attribute, one for each tag that has it.
fn values<'a>(html: &'a str, attribute: &str) -> Vec<&'a str> {
    let begin = format!(" {attribute}=\"");
    let tags = html.split('<').skip(1).filter_map(|rest| rest.split('>').next());
    tags.filter_map(|tag| tag.split_once(begin.as_str())?.1.split('"').next()).collect()
}

/// A link of a page as a path from the server's root, and its anchor.
fn resolved(page: &str, link: &str) -> (String, String) {
    let url = url::Url::parse("http://server").unwrap().join(page).unwrap().join(link).unwrap();
    (url.path().to_owned(), url.fragment().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn every_link_of_every_document_leads_to_something_that_is_there() {
    let (_whatsapp, server) = world().await;
    let (mut waiting, mut pages) = (vec!["/docs".to_owned()], std::collections::BTreeMap::new());
    let mut anchors = BTreeSet::new();
    while let Some(path) = waiting.pop() {
        if pages.contains_key(&path) {
            continue;
        }
        let html = text(&server, &path).await;
        // What is not of this site is only looked for.
        let is_document = path.starts_with("/docs") && html.contains("<main id=\"text\"");
        let links =
            if is_document { [values(&html, "href"), values(&html, "src")].concat() } else { Vec::new() };
        for link in links.into_iter().filter(|link| !link.contains("://")) {
            let (target, anchor) = resolved(&path, link);
            if !anchor.is_empty() {
                anchors.insert((path.clone(), target.clone(), anchor));
            }
            waiting.push(target);
        }
        pages.insert(path, html);
    }
    let documents = pages.values().filter(|html| html.contains("<main id=\"text\"")).count();
    assert!(documents >= 31 && pages.contains_key("/docs/api"), "{documents}: {:?}", pages.keys());
    assert!(anchors.len() > 100, "{}", anchors.len());
    for (from, target, anchor) in anchors {
        let there = values(&pages[&target], "id").contains(&anchor.as_str());
        assert!(there, "{from} leads to {target}#{anchor}, which no heading has");
    }
    for (path, html) in pages.iter().filter(|(_, html)| html.contains("<main id=\"text\"")) {
        assert_eq!(html.matches("<h1").count(), 1, "{path}");
        assert_eq!(html.matches("aria-current").count(), 1, "{path} is not in the navigation");
        assert!(!html.contains("<script") && !html.contains(" style=\""), "{path} would need another policy");
    }
}

#[tokio::test]
async fn a_page_is_sent_short_and_kept_and_an_unknown_one_is_said_so() {
    let (_whatsapp, server) = world().await;
    for path in
        ["/docs", "/docs/redis", "/docs/scan-light.png", "/docs/api", "/openapi.json", "/asyncapi.json"]
    {
        let first = server.request(Method::GET, path).header("accept-encoding", "br").send().await.unwrap();
        let tag = first.headers()["etag"].clone();
        let is_short = first.headers().get("content-encoding").is_some_and(|coding| coding == "br");
        assert!(is_short || path.ends_with(".png"), "{path}");
        let again = server.request(Method::GET, path).header("accept-encoding", "br");
        let again = again.header("if-none-match", tag).send().await.unwrap();
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED, "{path}");
        let head = server.request(Method::HEAD, path).send().await.unwrap();
        assert_eq!(head.status(), StatusCode::OK, "{path}");
        assert!(head.bytes().await.unwrap().is_empty(), "{path}");
    }
    for path in ["/docs/nothing", "/docs/first-link.md", "/docs/%ff", "/docs/..%2f..%2fCargo.toml"] {
        let answer = server.get(path).await;
        assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{path}");
        assert!(answer.headers().contains_key("content-security-policy"), "{path}");
        let html = answer.text().await.unwrap();
        assert!(html.contains("There is no such document") && html.contains("role=\"search\""), "{html}");
    }
    // A slash at the end leads to the page, whose links are seen from there.
    for (path, page) in
        [("/docs/", "/docs"), ("/docs/first-link/", "/docs/first-link"), ("/docs/api/", "/docs/api")]
    {
        let answer = server.get(path).await;
        assert_eq!((answer.status(), answer.url().path()), (StatusCode::OK, page), "{path}");
    }
    assert_eq!(server.get("/docs//").await.status(), StatusCode::NOT_FOUND);
    // Elsewhere it is the API that answers.
    let answer: Value = server.get("/doc").await.json().await.unwrap();
    assert_eq!(answer["code"], "NOT_FOUND");
}

#[tokio::test]
async fn the_search_finds_sections_and_says_what_to_do_where_it_finds_none() {
    let (_whatsapp, server) = world().await;
    let found = text(&server, "/docs/search?q=Slow_Viewer_Seconds").await;
    assert!(found.contains("<mark>SLOW_VIEWER_SECONDS</mark>"), "{found}");
    let found = text(&server, "/docs/search?q=lease").await;
    assert!(!found.contains("re<mark>lease"), "a word begins so");
    let found = text(&server, "/docs/search?q=production+checklist").await;
    let first = found.split("<ol class=\"hits\">").nth(1).unwrap();
    assert_eq!(values(first, "href")[0], "../docs/deploy#production-checklist");
    for (query, said) in [
        ("", "Type a word or two above"),
        ("?q=", "Type a word or two above"),
        ("?q=zebra-crossing", "Try fewer words"),
        ("?q=%3Cscript%3Ealert(1)%3C%2Fscript%3E", "&lt;script&gt;"),
    ] {
        let html = text(&server, &format!("/docs/search{query}")).await;
        assert!(html.contains(said) && !html.contains("<script"), "{query}: {html}");
    }
    let long = server.get(&format!("/docs/search?q={}", "a".repeat(101))).await;
    assert_eq!(long.status(), StatusCode::URI_TOO_LONG);
    assert!(long.text().await.unwrap().contains("at most 100 characters"));
}

/// Tables and code may be wider, and move within themselves.
#[tokio::test]
async fn no_page_is_wider_than_the_screen_and_the_list_is_folded_on_a_phone() {
    let (_whatsapp, server) = world().await;
    for screen in [Screen::NARROW.dark(), Screen::WIDE] {
        let browser = Browser::open(screen, &format!("{}/docs", server.base)).await;
        for page in ["docs", "docs/configuration", "docs/decisions", "docs/protocol", "docs/search?q=lease"] {
            browser.goes_to(&format!("{}/{page}", server.base)).await;
            browser.until("document.readyState === 'complete' && !!document.querySelector('main h1')").await;
            let width: u32 = browser.js("document.documentElement.scrollWidth").await;
            assert!(width <= screen.width, "{page} is {width} wide on {screen:?}");
            let is_list_seen: bool = browser.js("isSeen(document.querySelector('.pages a'))").await;
            assert_eq!(is_list_seen, screen.width > 1000, "{page} on {screen:?}");
        }
        browser.presses("Tab").await;
        assert_eq!(browser.focus().await, "Skip to the text");
        browser.closes().await;
    }
}

#[tokio::test]
#[ignore = "long: fetches axe-core with npm"]
async fn axe_core_finds_nothing_on_any_kind_of_page() {
    let Some(axe) = axe() else {
        eprintln!("NOT RUN: npm reaches no registry, or is not installed");
        return;
    };
    let (_whatsapp, server) = world().await;
    for screen in [Screen::WIDE, Screen::NARROW.dark()] {
        let browser = Browser::open(screen, &format!("{}/docs", server.base)).await;
        for page in
            ["docs", "docs/first-link", "docs/configuration", "docs/readme", "docs/search?q=lease", "docs/no"]
        {
            browser.goes_to(&format!("{}/{page}", server.base)).await;
            browser.until("document.readyState === 'complete' && !!document.querySelector('main h1')").await;
            is_clean(&browser, &axe, page).await;
        }
        // A page that is not there is a line in the console, and was the point.
        browser.forgives();
        browser.closes().await;
    }
}
