//! The id of a session, parsed once at the edge and trusted afterwards.
//!
//! `session_<userId>_<uuid v4>`: a user id may itself hold `_`, so the uuid is taken from the end.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

/// Longest user id, in characters.
pub const MAX_USER_ID: usize = 64;

/// What a user id may be made of, in words a client can act on.
pub const USER_ID_RULE: &str = "1 to 64 characters of A-Z a-z 0-9 . _ @ + -";

const PREFIX: &str = "session_";
const UUID_CHARS: usize = 36;

/// A well-formed user id: the embedder's own name for a person.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UserId(Arc<str>);

/// The text is not a user id; [`USER_ID_RULE`] says what one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("userId must be {USER_ID_RULE}")]
pub struct InvalidUserId;

impl UserId {
    /// The id as the embedder gave it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for UserId {
    type Err = InvalidUserId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "._@+-".contains(c);
        if text.is_empty() || text.len() > MAX_USER_ID || !text.chars().all(allowed) {
            return Err(InvalidUserId);
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A well-formed session id. Cheap to clone; says nothing about whether the session exists.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(Arc<str>);

/// The text is not a session id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a session id is session_<userId>_<uuid v4>")]
pub struct InvalidSessionId;

impl SessionId {
    /// A new id for a new session of this user.
    pub fn new(user: &UserId) -> Self {
        Self(format!("{PREFIX}{user}_{}", Uuid::new_v4()).into())
    }

    /// The id as clients write it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The user id that it contains.
    pub fn user_id(&self) -> &str {
        &self.0[PREFIX.len()..self.0.len() - UUID_CHARS - 1]
    }
}

impl FromStr for SessionId {
    type Err = InvalidSessionId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (user, uuid) =
            text.strip_prefix(PREFIX).and_then(|rest| rest.rsplit_once('_')).ok_or(InvalidSessionId)?;
        user.parse::<UserId>().map_err(|_| InvalidSessionId)?;
        let parsed = Uuid::try_parse(uuid).map_err(|_| InvalidSessionId)?;
        // One session has one spelling: hyphenated lower case, as `Uuid` prints it.
        if parsed.get_version_num() != 4 || parsed.hyphenated().to_string() != uuid {
            return Err(InvalidSessionId);
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl JsonSchema for SessionId {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "SessionId".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^session_[A-Za-z0-9._@+-]{1,64}_[0-9a-f-]{36}$" })
    }
}

impl Serialize for SessionId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for SessionId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_id_reads_back_with_its_user() {
        for user in ["ada", "a_b_c", "x@y.z", "+90-555", &"u".repeat(64)] {
            let id = SessionId::new(&user.parse().unwrap());
            assert_eq!(id.as_str().parse::<SessionId>().unwrap(), id);
            assert_eq!(id.user_id(), user);
        }
    }

    #[test]
    fn what_is_no_user_id_is_refused() {
        for user in ["", "a b", "ü", "a/b", "a:b", "a\n", &"u".repeat(65)] {
            assert_eq!(user.parse::<UserId>(), Err(InvalidUserId), "{user:?}");
        }
    }

    #[test]
    fn what_is_no_session_id_is_refused() {
        for id in [
            "",
            "session_",
            "session_ada",
            "session_ada_1234",
            "session__7d1f0c36-3f0e-4c5b-9b1e-0a4b4f1f9a11",
            "session_ada_7D1F0C36-3F0E-4C5B-9B1E-0A4B4F1F9A11",
            "session_ada_7d1f0c363f0e4c5b9b1e0a4b4f1f9a11",
            "session_ada_00000000-0000-0000-0000-000000000000",
            "ada_7d1f0c36-3f0e-4c5b-9b1e-0a4b4f1f9a11",
            "session_a/b_7d1f0c36-3f0e-4c5b-9b1e-0a4b4f1f9a11",
        ] {
            assert_eq!(id.parse::<SessionId>(), Err(InvalidSessionId), "{id:?}");
        }
    }
}
