//! The alerts, by the names that `/health`, the metric and the log give them.

use schemars::JsonSchema;
use serde::{Serialize, Serializer};

/// Something an operator should know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(rename_all = "snake_case")]
pub enum AlertName {
    /// This process uses more memory than allowed.
    Memory,
    /// Redis does not answer.
    RedisLost,
    /// More sessions run than expected.
    Sessions,
    /// Many requests were refused for their credentials.
    AuthFailures,
    /// This process runs on SQLite although Redis is configured.
    RedisFallback,
    /// Redis came back without its data.
    StorageLost,
    /// Stored records cannot be read.
    StorageDamaged,
    /// The version of WhatsApp Web cannot be looked up.
    VersionLookup,
    /// A phone has linked a device, and its login is not heard of.
    LoginStuck,
    /// The store takes no writes, or cannot be read.
    StorageFailing,
    /// Sessions have no link task and need one.
    SessionsUnattended,
    /// Receivers of webhooks did not get events.
    WebhooksLost,
}

impl AlertName {
    /// Every one there is.
    pub const ALL: [Self; 12] = [
        Self::Memory,
        Self::RedisLost,
        Self::Sessions,
        Self::AuthFailures,
        Self::RedisFallback,
        Self::StorageLost,
        Self::StorageDamaged,
        Self::VersionLookup,
        Self::LoginStuck,
        Self::StorageFailing,
        Self::SessionsUnattended,
        Self::WebhooksLost,
    ];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::RedisLost => "redis_lost",
            Self::Sessions => "sessions",
            Self::AuthFailures => "auth_failures",
            Self::RedisFallback => "redis_fallback",
            Self::StorageLost => "storage_lost",
            Self::StorageDamaged => "storage_damaged",
            Self::VersionLookup => "version_lookup",
            Self::LoginStuck => "login_stuck",
            Self::StorageFailing => "storage_failing",
            Self::SessionsUnattended => "sessions_unattended",
            Self::WebhooksLost => "webhooks_lost",
        }
    }
}

impl Serialize for AlertName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}
