//! The names of everything that qrcast keeps in Redis: keys, the fields of hashes and streams, channels.
//!
//! The one place that spells them: other files call the constructors of [`Keys`] and use the constants of [`field`], and
//! each script is loaded behind [`LUA`], which has the fields under the same names. What each of them means is said in
//! `docs/redis-keys.md`, which a test below compares with this file. Sends nothing.

use std::fmt::{Display, Write as _};

use super::index::shards;
use crate::id::SessionId;

/// How Redis keeps what is under a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Hash,
    Text,
    Set,
    SortedSet,
    Stream,
    /// Is published on, and nothing is kept.
    Channel,
}

impl Kind {
    /// As the command `TYPE` says it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Hash => "hash",
            Self::Text => "string",
            Self::Set => "set",
            Self::SortedSet => "zset",
            Self::Stream => "stream",
            Self::Channel => "channel",
        }
    }
}

/// What stands in a pattern for the shard of an index.
const SHARD: &str = "0-f>";

/// What comes behind the hash tag of everything that was set aside.
const QUARANTINE: &str = ":quarantine:";

/// One row of the schema: how the name is formed, what is under it, its fields.
type Row = (&'static str, Kind, &'static [&'static str]);

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

        const ROWS: &[Row] = &[$(($pattern, Kind::$kind, &[$($($text),*)?])),*];
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
    /// How far each receiver of webhooks is, and who sends to it.
    hooks(id: impl Display) = "{<id>}:hooks", Hash;
    /// One table of its device.
    device(id: impl Display, table: &str) = "{<id>}:dev:<table>", Hash;
    /// Its events as they come.
    live(id: impl Display) = "{<id>}:live", Channel;

    /// A shard of the index of all sessions.
    sessions(shard: &str) = "{<0-f>}:sessions", SortedSet;
    /// A shard of the index of those that have a log.
    logs(shard: &str) = "{<0-f>}:logs", Set;
    /// A shard of the list of those that have something for a receiver of webhooks, by when somebody is to look.
    due_hooks(shard: &str) = "{<0-f>}:hooks", SortedSet;
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
    /// Since when each receiver of all sessions' webhooks is known.
    webhooks() = "{data}:webhooks", Hash;
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

    /// The keys that a deployment has once, and the shards of its indexes.
    pub(crate) fn of_the_deployment(&self) -> Vec<(String, Kind)> {
        let kept = ROWS.iter().filter(|(_, kind, _)| *kind != Kind::Channel);
        let keys = kept.flat_map(|(pattern, kind, _)| {
            let values = match pattern.split_once('<') {
                None => vec![""],
                Some((_, rest)) if rest.starts_with(SHARD) => shards().collect(),
                Some(_) => Vec::new(),
            };
            values.into_iter().map(|value| (self.named(pattern, &[&value]), *kind))
        });
        keys.collect()
    }

    /// Makes patterns for `SCAN` in place of names: a value may be `*`.
    pub(crate) fn glob(&self) -> Self {
        let escaped = |c: char| if "*?[]\\^".contains(c) { vec!['\\', c] } else { vec![c] };
        Self { prefix: self.prefix.chars().flat_map(escaped).collect() }
    }

    /// The session that a key belongs to; what was set aside belongs to none.
    pub(crate) fn session_of(&self, key: &str) -> Option<SessionId> {
        let (tag, rest) = key.strip_prefix(&self.prefix)?.strip_prefix('{')?.split_once('}')?;
        if rest.starts_with(QUARANTINE) { None } else { tag.parse().ok() }
    }

    /// Where `check_store` moves a key to: under the same hash tag, so on the same node.
    pub(crate) fn quarantine(key: &str, at_ms: i64) -> String {
        let (tag, rest) = key.rsplit_once('}').unwrap_or((key, ""));
        let rest = if rest.is_empty() { ":session" } else { rest };
        format!("{tag}}}{QUARANTINE}{at_ms}{rest}")
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    #[test]
    fn a_name_has_its_values_where_the_brackets_are() {
        let keys = Keys::new("test:");
        assert_eq!(keys.beat(), "test:{beat}");
        assert_eq!(keys.device("session_a_1", "device"), "test:{session_a_1}:dev:device");
        assert_eq!(keys.user_places("a<b>c"), "test:{user:a<b>c}:places");
        assert_eq!(keys.wishes(""), "test:{replicas}:wishes:");
        assert_eq!(Keys::quarantine(&keys.log("x"), 7), "test:{x}:quarantine:7:log");
        assert_eq!(Keys::quarantine(&keys.session("x"), 7), "test:{x}:quarantine:7:session");
        assert_eq!(Keys::new("a*[b]:").glob().session("*"), "a\\*\\[b\\]:{*}");
    }

    #[test]
    fn what_is_of_the_deployment_and_whose_a_key_is() {
        let keys = Keys::new("test:");
        let all = keys.of_the_deployment();
        assert_eq!(all.len(), 9 + 4 * 16);
        assert!(
            all.contains(&(keys.life(), Kind::SortedSet)) && all.contains(&(keys.devices("f"), Kind::Set))
        );
        let id = SessionId::new(&"ada".parse().unwrap());
        for key in [keys.session(&id), keys.log(&id), keys.device(&id, "device")] {
            assert_eq!(keys.session_of(&key), Some(id.clone()));
            assert_eq!(keys.session_of(&Keys::quarantine(&key, 7)), None);
        }
        assert_eq!((keys.session_of(&keys.places()), keys.session_of("other:{x}")), (None, None));
    }

    /// The first two cells of each row whose first one is a name in backticks.
    fn rows_of_the_page() -> BTreeSet<(String, String)> {
        let page = std::fs::read_to_string("docs/redis-keys.md").unwrap();
        let row = |line: &str| {
            let mut cells = line.strip_prefix("| `")?.split(" | ");
            let (key, second) = (cells.next()?.strip_suffix('`')?, cells.next()?);
            Some((key.to_owned(), second.to_owned()))
        };
        let rows: Vec<_> = page.lines().filter_map(row).collect();
        let set: BTreeSet<_> = rows.iter().cloned().collect();
        assert_eq!(set.len(), rows.len(), "one stands there twice");
        assert!(page.contains(&Keys::quarantine("{…}", 0).replace("0:session", "<ms>:<what>")));
        set
    }

    #[test]
    fn the_page_lists_every_key_field_and_channel_and_no_other() {
        let mut schema = BTreeSet::new();
        for (key, kind, fields) in ROWS {
            let kind = if *kind == Kind::SortedSet { "sorted set" } else { kind.name() };
            schema.insert(((*key).to_owned(), kind.to_owned()));
            schema.extend(fields.iter().map(|field| ((*key).to_owned(), format!("`{field}`"))));
        }
        let page = rows_of_the_page();
        let differ: Vec<_> = schema.symmetric_difference(&page).collect();
        assert!(differ.is_empty(), "in one of the two only: {differ:#?}");
    }

    /// No other file spells a field in a script, or a key of a hash tag in code.
    #[test]
    fn only_this_file_spells_a_name() {
        let fields: Vec<_> = ROWS.iter().flat_map(|(.., fields)| *fields).map(|f| format!("'{f}'")).collect();
        let mut scripts = 0;
        each_file(Path::new("src"), &mut |file, text| {
            let name = file.to_str().unwrap();
            if name.ends_with(".lua") {
                scripts += 1;
                let calls = text.lines().filter(|line| line.contains("redis.") || line.contains("fence("));
                let spelt: Vec<_> =
                    calls.filter(|line| fields.iter().any(|field| line.contains(field))).collect();
                assert!(spelt.is_empty(), "{name}: {spelt:?}");
            } else if name.ends_with(".rs") && !name.contains("tests") && !name.ends_with("redis/schema.rs") {
                let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
                let spelt: Vec<_> =
                    code.filter(|line| line.contains("{{{") || line.contains("{}{{")).collect();
                assert!(spelt.is_empty(), "{name}: {spelt:?}");
            }
        });
        assert!(scripts > 20, "{scripts}");
    }

    fn each_file(folder: &Path, look: &mut impl FnMut(&Path, &str)) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                each_file(&path, look);
            } else if let Ok(text) = std::fs::read_to_string(&path) {
                look(&path, &text);
            }
        }
    }
}
