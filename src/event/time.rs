//! Moments, as clients read them.

use std::borrow::Cow;
use std::fmt;
use std::time::{Duration, SystemTime};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::clock;

/// A moment: RFC 3339, UTC, milliseconds, `Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(jiff::Timestamp);

impl Time {
    /// Now, for the whole deployment, in whole milliseconds.
    pub fn now() -> Self {
        Self::from_millis(clock::now())
    }

    /// From Unix time in milliseconds; what no calendar holds becomes the latest moment it does.
    pub fn from_millis(millis: i64) -> Self {
        Self(jiff::Timestamp::from_millisecond(millis).unwrap_or(jiff::Timestamp::MAX))
    }

    /// Unix time in milliseconds.
    pub fn as_millis(self) -> i64 {
        self.0.as_millisecond()
    }

    /// This moment and a while after it.
    #[must_use]
    pub fn after(self, while_: Duration) -> Self {
        Self::from_millis(self.as_millis().saturating_add(clock::millis(while_)))
    }

    /// How long until this moment, seen from `now`; zero once it has passed.
    pub fn remaining(self, now: Time) -> Duration {
        Duration::from_millis(u64::try_from(self.as_millis() - now.as_millis()).unwrap_or(0))
    }

    /// How long ago this moment was, seen from `now`; zero while it has not come.
    pub fn elapsed(self, now: Time) -> Duration {
        now.remaining(self)
    }
}

impl From<SystemTime> for Time {
    fn from(time: SystemTime) -> Self {
        let moment = jiff::Timestamp::try_from(time).unwrap_or(jiff::Timestamp::MAX);
        Self::from_millis(moment.as_millisecond())
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3}", self.0)
    }
}

impl JsonSchema for Time {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Time".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "date-time" })
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_milliseconds_and_z() {
        assert_eq!(Time::from_millis(1_763_985_600_000).to_string(), "2025-11-24T12:00:00.000Z");
        assert_eq!(Time::from_millis(1_763_985_600_007).to_string(), "2025-11-24T12:00:00.007Z");
        let json = serde_json::to_string(&Time::from_millis(7)).unwrap();
        assert_eq!(serde_json::from_str::<Time>(&json).unwrap(), Time::from_millis(7));
    }
}
