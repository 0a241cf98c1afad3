//! `GET /docs/api`: the description as a page, for people. It is HTML and nothing else: no script, nothing fetched from elsewhere.

use maud::{DOCTYPE, Markup, html};
use serde_json::{Map, Value};

/// The page of a document that [`super::document`] made.
pub(in crate::http) fn page(document: &Value) -> String {
    let operations: Vec<_> = members(&document["paths"])
        .flat_map(|(path, methods)| members(methods).map(move |(method, said)| Call { path, method, said }))
        // The files of the live page are nothing to call.
        .filter(|call| call.said["operationId"].is_string())
        .collect();
    let has_calls = |tag: &Value| operations.iter().any(|call| call.said["tags"][0] == tag["name"]);
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { "qrcast: the API" }
                link rel="icon" href="../icon.svg";
                link rel="stylesheet" href="../reference.css";
            }
            body {
                header {
                    h1 { "The API of qrcast " (text(&document["info"]["version"])) }
                    p { (prose(text(&document["info"]["description"]))) " As a document: " a href="../openapi.json" { "/openapi.json" } ". All " a href="../docs" { "documents" } "." }
                }
                nav aria-label="Calls" {
                    @for tag in array(&document["tags"]).iter().filter(|tag| has_calls(tag)) {
                        h2 { (text(&tag["name"])) }
                        ul {
                            @for call in operations.iter().filter(|call| call.said["tags"][0] == tag["name"]) {
                                li { a href={ "#" (call.anchor()) } { (call.method.to_uppercase()) " " (call.path) } }
                            }
                        }
                    }
                }
                main {
                    @for call in &operations { (call.section()) }
                    h2 { "Types" }
                    @for (name, schema) in members(&document["components"]["schemas"]) {
                        section id={ "type-" (name) } {
                            h3 { (name) }
                            (fields(schema))
                        }
                    }
                }
            }
        }
    };
    page.into_string()
}

/// One operation of the document.
struct Call<'a> {
    path: &'a str,
    method: &'a str,
    said: &'a Value,
}

impl Call<'_> {
    fn anchor(&self) -> String {
        let word = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
        format!("{}{}", self.method, self.path.chars().map(word).collect::<String>())
    }

    fn section(&self) -> Markup {
        let body = &self.said["requestBody"]["content"]["application/json"];
        html! {
            section id=(self.anchor()) {
                h3 { code { (self.method.to_uppercase()) " " (self.path) } }
                p { (prose(text(&self.said["summary"]))) "." }
                p.who { (self.who()) }
                @if let [_, ..] = array(&self.said["parameters"]) { (parameters(&self.said["parameters"])) }
                @if body.is_object() { h4 { "Body" } (shown(body)) }
                @for (status, response) in members(&self.said["responses"]) { (answer(status, response)) }
            }
        }
    }

    fn who(&self) -> &'static str {
        let ways = array(&self.said["security"]);
        match ways {
            [] => "For everyone.",
            ways if ways.iter().any(|way| way.get("token").is_some()) => {
                "With an API key, or a stream token of the session."
            }
            _ => "With an API key.",
        }
    }
}

fn parameters(parameters: &Value) -> Markup {
    html! {
        table {
            thead { tr { th { "Parameter" } th { "in" } th { "what" } th { "for example" } } }
            tbody {
                @for one in array(parameters) {
                    tr {
                        td { code { (text(&one["name"])) } }
                        td { (text(&one["in"])) }
                        td { (prose(text(&one["description"]))) }
                        td { code { (text(&one["example"])) } }
                    }
                }
            }
        }
    }
}

/// One status: what comes, or why it was not done.
fn answer(status: &str, response: &Value) -> Markup {
    let said = text(&response["description"]);
    html! {
        @if status.starts_with(['1', '2']) || !said.starts_with('`') {
            h4 { (status) " " (prose(said)) }
            @for (kind, media) in members(&response["content"]) {
                p { code { (kind) } }
                (shown(media))
            }
        } @else {
            details {
                summary { (status) " " (members(&response["content"]["application/json"]["examples"]).map(|(code, _)| code).collect::<Vec<_>>().join(", ")) }
                ul { @for line in said.split("\n\n") { li { (prose(line)) } } }
            }
        }
    }
}

/// The example of a body, and its type.
fn shown(media: &Value) -> Markup {
    let example = match &media["example"] {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        value => serde_json::to_string_pretty(value).unwrap_or_default(),
    };
    html! {
        @if !example.is_empty() { pre { code { (example) } } }
        @if let Some(name) = type_name(&media["schema"]) { p { a href={ "#type-" (name) } { (name) } } }
    }
}

/// What an object is made of, or which words there are.
fn fields(schema: &Value) -> Markup {
    let required = array(&schema["required"]);
    html! {
        p { (prose(text(&schema["description"]))) }
        @if schema["properties"].is_object() {
            table {
                thead { tr { th { "Field" } th { "type" } th { "what" } } }
                tbody {
                    @for (name, field) in members(&schema["properties"]) {
                        tr {
                            td { code { (name) } @if !required.iter().any(|one| one == name) { " (optional)" } }
                            td { (kind(field)) }
                            td { (prose(text(&field["description"]))) }
                        }
                    }
                }
            }
        } @else {
            ul { @for one in array(&schema["oneOf"]) { li { (kind(one)) " " (text(&one["description"])) (fields(one)) } } }
        }
    }
}

/// The type of a field in a few words.
fn kind(schema: &Value) -> Markup {
    let several = ["anyOf", "oneOf"].into_iter().find_map(|word| schema[word].as_array());
    html! {
        @if let Some(name) = type_name(schema) { a href={ "#type-" (name) } { (name) } }
        @else if let Some(several) = several {
            @for (at, one) in several.iter().enumerate() { @if at > 0 { " or " } (kind(one)) }
        } @else if let Some(word) = schema["const"].as_str() { code { (word) } }
        @else if let Some(words) = schema["enum"].as_array() {
            @for word in words { code { (text(word)) } " " }
        } @else if schema["type"] == "array" { "list of " (kind(&schema["items"])) }
        @else if let Some(several) = schema["type"].as_array() {
            (several.iter().map(text).collect::<Vec<_>>().join(" or "))
        } @else { (text(&schema["type"])) }
    }
}

/// A text in which backticks stand around code.
fn prose(said: &str) -> Markup {
    html! {
        @for (at, part) in said.split('`').enumerate() {
            @if at % 2 == 1 { code { (part) } } @else { (part) }
        }
    }
}

fn type_name(schema: &Value) -> Option<&str> {
    schema["$ref"].as_str()?.rsplit('/').next()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn members(value: &Value) -> impl Iterator<Item = (&str, &Value)> + Clone {
    value.as_object().into_iter().flat_map(Map::iter).map(|(name, value)| (name.as_str(), value))
}
