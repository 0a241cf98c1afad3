//! The frame of every page: the navigation, the search, the page's own headings, and what comes before and after it. `docs.rs`
//! answers with what is made here; `static/docs.css` is its look.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::library::Document;
use super::markdown::{self, Section};
use super::navigation;
use super::search::{self, Hit, MAX_QUERY};

/// From here on a page has a list of its own headings.
const MANY_HEADINGS: usize = 3;

/// What differs from page to page.
struct Page<'a> {
    title: &'a str,
    /// The name of the document that is shown, if it is one.
    name: Option<&'static str>,
    /// What was searched.
    query: &'a str,
    sections: &'a [Section],
    main: Markup,
}

/// A document.
pub(super) fn document(document: Document) -> String {
    let name = document.entry.name;
    let rendered = markdown::render(document, root(Some(name)));
    let main = html! {
        (PreEscaped(rendered.html))
        (neighbours(name))
    };
    frame(&Page { title: document.label(), name: Some(name), query: "", sections: &rendered.sections, main })
}

/// The answer to a search.
pub(super) fn found(query: &str) -> String {
    let is_long = query.chars().count() > MAX_QUERY;
    let (hits, found) = if is_long { Default::default() } else { search::search(query) };
    let main = html! {
        h1 { "Search" }
        @if is_long {
            p { "The search takes at most " (MAX_QUERY) " characters. Search for a word or two: the name of a variable, of an event or of an error." }
        } @else if query.is_empty() {
            p { "Type a word or two above: the name of a variable, of an event or of an error finds where it is explained." }
        } @else if found == 0 {
            p { "No section has all of " strong { (query) } "." }
            p { "Try fewer words, or a shorter form of one. Calls and their fields are in " a href="../docs/api" { "the description of the API" } "." }
        } @else {
            p { (found) @if found == 1 { " section has " } @else { " sections have " } strong { (query) } "."
                @if found > hits.len() { " Here are the best " (hits.len()) "; one more word would say which you mean." } }
            ol.hits { @for hit in &hits { (shown(hit)) } }
        }
    };
    frame(&Page { title: "Search", name: None, query: if is_long { "" } else { query }, sections: &[], main })
}

/// Where there is no document.
pub(super) fn unknown() -> String {
    let main = html! {
        h1 { "There is no such document" }
        p { "It may have another name in this version of qrcast. The list of documents has all of them, and the search finds what they say." }
        p { a href="../docs" { "To the first page" } }
    };
    frame(&Page { title: "Not found", name: None, query: "", sections: &[], main })
}

fn shown(hit: &Hit) -> Markup {
    html! {
        li {
            h2 {
                a href={ "../" (hit.document.entry.path()) "#" (hit.id) } {
                    (hit.document.label())
                    @if hit.heading != hit.document.label() { " › " (hit.heading) }
                }
            }
            p { @for piece in &hit.excerpt { @if piece.is_found { mark { (piece.text) } } @else { (piece.text) } } }
        }
    }
}

/// From a page to the server's root, which may be a folder behind a proxy.
fn root(name: Option<&str>) -> &'static str {
    if name == Some("") { "" } else { "../" }
}

fn frame(page: &Page<'_>) -> String {
    let root = root(page.name);
    let headings: Vec<_> = page.sections.iter().filter(|section| section.level == 2).collect();
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (page.title) " · qrcast" }
                link rel="icon" href={ (root) "icon.svg" } type="image/svg+xml";
                link rel="stylesheet" href={ (root) "docs.css" };
            }
            body {
                a.skip href="#text" { "Skip to the text" }
                header {
                    a.brand href={ (root) "docs" } { img src={ (root) "icon.svg" } alt="" width="28" height="28"; " qrcast documents" }
                    form role="search" action={ (root) "docs/search" } {
                        input type="search" name="q" value=(page.query) maxlength=(MAX_QUERY) aria-label="Search the documents" placeholder="Search";
                        button { "Search" }
                    }
                }
                div.columns {
                    details.pages { summary { "All documents" } (contents(page.name, root)) }
                    @if headings.len() >= MANY_HEADINGS {
                        details.here {
                            summary { "On this page" }
                            nav aria-label="On this page" {
                                ul { @for section in headings { li { a href={ "#" (section.id) } { (section.heading) } } } }
                            }
                        }
                    }
                    main #text tabindex="-1" { (page.main) }
                }
            }
        }
    };
    page.into_string()
}

/// The list of all documents.
fn contents(current: Option<&str>, root: &str) -> Markup {
    let is_current = |name: &str| (current == Some(name)).then_some("page");
    html! {
        nav aria-label="Documents" {
            ul { li { a href={ (root) "docs" } aria-current=[is_current("")] { "Start here" } } }
            @for group in navigation::groups() {
                h2 { (group.title) }
                ul {
                    @for document in &group.documents {
                        li {
                            a href={ (root) (document.entry.path()) } aria-current=[is_current(document.entry.name)] { (document.label()) }
                        }
                    }
                    @if group.has_api { li { a href={ (root) "docs/api" } { "The API, call by call" } } }
                }
            }
            h2 { "this server" }
            ul {
                li { a href={ (root) "./" } { "Link an account" } }
                li { a href={ (root) "admin" } { "Dashboard" } }
            }
        }
    }
}

/// What stands before and after a document in the navigation.
fn neighbours(name: &str) -> Markup {
    let root = root(Some(name));
    let order = navigation::in_order();
    let at = order.iter().position(|document| document.entry.name == name).unwrap_or(0);
    let before = at.checked_sub(1).and_then(|at| order.get(at));
    html! {
        nav.neighbours aria-label="Before and after" {
            @if let Some(document) = before {
                a rel="prev" href={ (root) (document.entry.path()) } { span { "Before" } (document.label()) }
            }
            @if let Some(document) = order.get(at + 1) {
                a rel="next" href={ (root) (document.entry.path()) } { span { "Next" } (document.label()) }
            }
        }
    }
}
