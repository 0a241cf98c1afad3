//! The names of everything that qrcast keeps in Redis: keys, the fields of hashes and streams, channels.
//!
//! The one place that spells them: other files call the constructors of [`Keys`] and use the constants of [`field`], and
//! each script is loaded behind [`LUA`], which has the fields under the same names. What each of them means is said in
//! `docs/redis-keys.md`. Knows no session and sends nothing.

use std::fmt::{Display, Write as _};

/// The names under one prefix.
#[derive(Debug)]
pub(crate) struct Keys {
    prefix: String,
}

/// Makes a constructor of each row, and of all rows together the fields, for Rust and for Lua.
macro_rules! schema {
    ($(
        $(#[$doc:meta])*
        $name:ident($($arg:ident: $type:ty),*) = $pattern:literal, $kind:ident $([$($field:ident = $text:literal),*])?;
    )*) => {
        impl Keys {
            $(
                $(#[$doc])*
                pub(crate) fn $name(&self, $($arg: $type),*) -> String {
                    self.named($pattern, &[$(&$arg),*])
                }
            )*
        }

        /// The fields that have a name; those of other hashes are data.
        #[allow(dead_code, reason = "some are used by scripts alone")]
        pub(crate) mod field {
            $($($(pub(crate) const $field: &str = $text;)*)?)*
        }

        /// The fields for a script, which is loaded behind this.
        pub(super) const LUA: &str =
            concat!($($($("local ", stringify!($field), " = '", $text, "'\n",)*)?)*);
    };
}

schema! {
    /// The session itself, the one authority on who owns it. `records`, `log` and the device store have fields in it.
    session(id: impl Display) = "{<id>}", Hash [
        RECORD = "record", OWNER = "owner", EPOCH = "epoch", EXPIRES = "expires", RUNS = "runs", DELETED = "deleted",
        WISH = "wish", WISHED = "wished", LAST = "last", EVENT = "event", DEVICE = "device", COMMIT = "commit"
    ];
    /// The end of its log.
    log(id: impl Display) = "{<id>}:log", Stream [ENTRY = "e"];
    /// The string of its newest QR.
    qr(id: impl Display) = "{<id>}:qr", Text;
    /// One table of its device.
    device(id: impl Display, table: &str) = "{<id>}:dev:<table>", Hash;
    /// Its events as they come.
    live(id: impl Display) = "{<id>}:live", Channel;

    /// A shard of the index of all sessions.
    sessions(shard: &str) = "{<0-f>}:sessions", SortedSet;
    /// A shard of the index of those that have a log.
    logs(shard: &str) = "{<0-f>}:logs", Set;
    /// A shard of the index of those that have a device.
    devices(shard: &str) = "{<0-f>}:devices", Set;

    /// What counts for the limit of all.
    places() = "{all}:places", SortedSet;
    /// What counts for the limit of a user.
    user_places(user: impl Display) = "{user:<userId>}:places", SortedSet;
    /// A request with an `Idempotency-Key`, by the hash of that.
    request(hash: impl Display) = "{idem:<SHA-256>}", Hash [BODY = "body", MADE = "session", DONE = "done"];

    /// Live replicas by the end of their heartbeat.
    life() = "{replicas}:life", SortedSet;
    /// When each of them appeared.
    since() = "{replicas}:since", Hash;
    /// How many viewers each session has at a replica.
    viewers(replica: &str) = "{replicas}:viewers:<replica>", Text;
    /// Sessions that were handed over.
    released() = "{replicas}:released", Channel;
    /// What a replica is to do; of no replica, what all these channels begin with.
    wishes(replica: &str) = "{replicas}:wishes:<replica>", Channel;

    /// On which a replica hears itself.
    pulse(random: impl Display) = "{pulse}:<random>", Channel;
    /// The events of all sessions as they come.
    all_live() = "{all}:live", Channel;

    /// The word that marks this data.
    word() = "{data}:word", Text;
    /// Which data was lost, and when that was found.
    lost() = "{data}:lost", Text;
    /// What signs stream tokens.
    token_secret() = "{data}:token-secret", Text;
    /// The newest version of WhatsApp Web that was found.
    whatsapp_version() = "{data}:whatsapp-version", Hash [REVISION = "revision", LOOKED_UP = "at"];
    /// The last write of a health check.
    beat() = "{beat}", Text;
}

impl Keys {
    /// A prefix holds no brace: the first one begins the hash tag, which says on which node of a cluster a key is.
    pub(super) fn new(prefix: impl Into<String>) -> Self {
        Self { prefix: prefix.into() }
    }

    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Where `check_store` moves a key to: under the same hash tag, so on the same node.
    pub(crate) fn quarantine(key: &str, at_ms: i64) -> String {
        let (tag, rest) = key.rsplit_once('}').unwrap_or((key, ""));
        let rest = if rest.is_empty() { ":session" } else { rest };
        format!("{tag}}}:quarantine:{at_ms}{rest}")
    }

    /// The pattern with these values in its angle brackets.
    fn named(&self, pattern: &str, values: &[&dyn Display]) -> String {
        let (mut name, mut values) = (self.prefix.clone(), values.iter());
        for (at, part) in pattern.split(['<', '>']).enumerate() {
            // Every second part stands in brackets.
            let value = if at % 2 == 1 { values.next() } else { None };
            // A String takes everything.
            let _ = write!(name, "{}", value.unwrap_or(&(&part as &dyn Display)));
        }
        name
    }
}
