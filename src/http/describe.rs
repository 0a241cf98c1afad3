//! What a route says of itself, for those who build on it: each handler has its [`Operation`] beside it, and the route table
//! names it. `openapi.rs` makes one document of all of them.

use axum::http::{Method, StatusCode};
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator};

use super::door::caller::Access;
use super::door::refusal::Telling;
use super::error::ErrorCode;

/// Schemas as both descriptions have them: in one place of the document, and without a word about their own dialect.
pub(super) fn schema_settings() -> SchemaSettings {
    SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    })
}

/// Makes the schema of a body, and of what that is made of.
pub(super) type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// A route, as its line in the table has it.
pub(super) struct Described {
    pub(super) method: Method,
    pub(super) path: &'static str,
    pub(super) access: Access,
    pub(super) telling: Telling,
    pub(super) operation: &'static Operation,
}

/// The description of one route. What follows from the route table (who may call it, what the guard answers) is not repeated.
pub(super) struct Operation {
    /// Its name in generated clients.
    pub(super) id: &'static str,
    pub(super) summary: &'static str,
    /// Beside the id of a session in the path.
    pub(super) parameters: &'static [Parameter],
    pub(super) body: Option<Content>,
    /// Where all went well; the first one is the usual answer.
    pub(super) answers: &'static [Answer],
    /// Why it may not be done, beside what any route of its kind answers.
    pub(super) errors: &'static [ErrorCode],
}

/// A parameter that is a string, as it is on the wire.
pub(super) struct Parameter {
    pub(super) position: Position,
    pub(super) name: &'static str,
    pub(super) description: &'static str,
    pub(super) example: &'static str,
    pub(super) required: bool,
}

/// Where a parameter stands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Position {
    Path,
    Query,
    Header,
}

/// A body of one media type.
pub(super) struct Content {
    pub(super) kind: &'static str,
    pub(super) schema: SchemaOf,
    /// JSON, or the text itself where the kind is another; empty where no text shows it.
    pub(super) example: &'static str,
}

/// An answer of one status.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) description: &'static str,
    pub(super) content: &'static [Content],
}

impl Operation {
    /// Without parameters, body or errors of its own.
    pub(super) const fn new(id: &'static str, summary: &'static str, answers: &'static [Answer]) -> Self {
        Self { id, summary, parameters: &[], body: None, answers, errors: &[] }
    }
}

impl Parameter {
    /// A part of the path.
    pub(super) const fn path(name: &'static str, description: &'static str, example: &'static str) -> Self {
        Self { position: Position::Path, name, description, example, required: true }
    }

    /// Behind the path's `?`.
    pub(super) const fn query(name: &'static str, description: &'static str, example: &'static str) -> Self {
        Self { position: Position::Query, name, description, example, required: false }
    }

    /// A header of the request.
    pub(super) const fn header(name: &'static str, description: &'static str, example: &'static str) -> Self {
        Self { position: Position::Header, name, description, example, required: false }
    }

    /// That a request may not leave out.
    pub(super) const fn required(self) -> Self {
        Self { required: true, ..self }
    }
}

impl Content {
    /// A body of this type.
    pub(super) const fn json<T: JsonSchema>(example: &'static str) -> Self {
        Self { kind: "application/json", schema: SchemaGenerator::subschema_for::<T>, example }
    }

    /// A text, or bytes.
    pub(super) const fn text(kind: &'static str, example: &'static str) -> Self {
        Self { kind, schema: SchemaGenerator::subschema_for::<String>, example }
    }
}

impl Answer {
    /// To a client that has it already.
    pub(super) const UNCHANGED: Self =
        Self::of(StatusCode::NOT_MODIFIED, "The copy of this `ETag` is still the right one", &[]);

    /// What the usual answer has.
    pub(super) const fn ok(description: &'static str, content: &'static [Content]) -> Self {
        Self { status: StatusCode::OK, description, content }
    }

    /// With another status.
    pub(super) const fn of(
        status: StatusCode,
        description: &'static str,
        content: &'static [Content],
    ) -> Self {
        Self { status, description, content }
    }
}
