//! The API as one OpenAPI 3.1 document, made of the route table and of what each route says of itself (`describe.rs`), so that
//! nothing can be in one and not in the other.

mod errors;
pub(super) mod reference;

use axum::http::StatusCode;
use schemars::SchemaGenerator;
use serde_json::{Map, Value, json};

use self::errors::responses_of;
use super::describe::{Answer, Content, Described, Operation, Parameter, Position, schema_settings};
use super::door::caller::Access;
use super::error::ErrorBody;

/// `GET /openapi.json`
pub(super) const OPENAPI: Operation = Operation::new(
    "getOpenApi",
    "This document",
    &[Answer::ok("OpenAPI 3.1", &[Content::json::<Value>("")]), Answer::UNCHANGED],
);

/// `GET /docs/api`
pub(super) const REFERENCE: Operation = Operation::new(
    "",
    "This document as a page",
    &[Answer::ok("The page", &[Content::text("text/html", "")]), Answer::UNCHANGED],
);

/// What clients send may lack what they get: each has schemas of its own.
struct Schemas {
    of_requests: SchemaGenerator,
    of_answers: SchemaGenerator,
}

impl Schemas {
    fn new() -> Self {
        Self {
            of_requests: schema_settings().for_deserialize().into_generator(),
            of_answers: schema_settings().for_serialize().into_generator(),
        }
    }

    fn all(mut self) -> Map<String, Value> {
        let mut all = self.of_answers.take_definitions(true);
        // A type that is sent and received reads alike both ways.
        all.extend(self.of_requests.take_definitions(true));
        all
    }
}

/// The document.
pub(super) fn document(routes: &[Described]) -> Value {
    let mut schemas = Schemas::new();
    schemas.of_answers.subschema_for::<ErrorBody<'_>>();
    let mut paths = Map::new();
    for route in routes {
        let operation = operation(route, &mut schemas);
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[route.method.as_str().to_ascii_lowercase()] = operation;
    }
    json!({
        "openapi": "3.1.0",
        "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
        "info": {
            "title": "qrcast",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": env!("CARGO_PKG_DESCRIPTION"),
            "description": "An error is `{error, code, details?, timestamp}`; `code` is stable. The streams are described by \
                /asyncapi.json.",
            "license": { "name": "MIT", "identifier": "MIT" },
        },
        "servers": [{ "url": "/" }],
        "tags": [
            { "name": "sessions", "description": "Link an account, and follow the link" },
            { "name": "operation", "description": "For monitors and operators" },
            { "name": "pages", "description": "What browsers load" },
        ],
        "paths": paths,
        "components": { "schemas": schemas.all(), "securitySchemes": security_schemes() },
    })
}

fn security_schemes() -> Value {
    json!({
        "key": {
            "type": "apiKey", "in": "header", "name": "X-Api-Key",
            "description": "An API key of `API_KEYS`; a server without any is open",
        },
        "bearer": { "type": "http", "scheme": "bearer", "description": "An API key, or a stream token" },
        "token": {
            "type": "apiKey", "in": "query", "name": "token",
            "description": "A stream token, for an `EventSource` or an image, which cannot send headers",
        },
    })
}

fn operation(route: &Described, schemas: &mut Schemas) -> Value {
    let Described { access, operation, .. } = route;
    let mut described = json!({
        "summary": operation.summary,
        "tags": [tag(route)],
        "parameters": parameters(route),
        "security": security(*access),
        "responses": responses(route, &mut schemas.of_answers),
    });
    if !operation.id.is_empty() {
        described["operationId"] = json!(operation.id);
    }
    if let Some(body) = &operation.body {
        let content = content(std::slice::from_ref(body), &mut schemas.of_requests);
        described["requestBody"] = json!({ "required": true, "content": content });
    }
    described
}

fn tag(route: &Described) -> &'static str {
    match route.access {
        _ if route.path.starts_with("/api/") => "sessions",
        Access::Everyone if route.operation.id.is_empty() => "pages",
        _ => "operation",
    }
}

fn security(access: Access) -> Value {
    match access {
        Access::Everyone => json!([]),
        Access::Operator | Access::Key => json!([{ "key": [] }, { "bearer": [] }]),
        Access::Follow | Access::Read | Access::Link => {
            json!([{ "key": [] }, { "bearer": [] }, { "token": [] }])
        }
    }
}

fn parameters(route: &Described) -> Value {
    let own = route.operation.parameters.iter().map(|parameter| {
        let Parameter { position, name, description, example, required } = parameter;
        let position = match position {
            Position::Path => "path",
            Position::Query => "query",
            Position::Header => "header",
        };
        json!({
            "name": name, "in": position, "required": required, "description": description,
            "example": example, "schema": { "type": "string" },
        })
    });
    let id = route.path.contains("{id}").then(|| {
        json!({
            "name": "id", "in": "path", "required": true, "description": "The session",
            "example": "session_ada_7d1f0c36-3f0e-4c5b-9b1e-0a4b4f1f9a11", "schema": { "type": "string" },
        })
    });
    id.into_iter().chain(own).collect()
}

fn responses(route: &Described, schemas: &mut SchemaGenerator) -> Map<String, Value> {
    let mut responses: Map<_, _> = responses_of(route).collect();
    for Answer { status, description, content: bodies } in route.operation.answers {
        let mut response = json!({ "description": description });
        if !bodies.is_empty() {
            response["content"] = content(bodies, schemas);
        }
        let refused = responses.insert(status.as_str().to_owned(), response);
        // 503 of /health has two bodies: its own, and the server's that is not open yet.
        assert!(
            refused.is_none() || *status == StatusCode::SERVICE_UNAVAILABLE,
            "{} answers {status} twice",
            route.path
        );
    }
    responses
}

fn content(bodies: &[Content], schemas: &mut SchemaGenerator) -> Value {
    let body = |Content { kind, schema, example }: &Content| {
        let mut media = json!({ "schema": schema(schemas) });
        if !example.is_empty() {
            let text = || Value::from(*example);
            media["example"] = if *kind == "application/json" {
                serde_json::from_str(example).unwrap_or_else(|_| text())
            } else {
                text()
            };
        }
        ((*kind).to_owned(), media)
    };
    Value::Object(bodies.iter().map(body).collect())
}
