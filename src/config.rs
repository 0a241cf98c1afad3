//! Every setting: its variable, its default, what is allowed. All mistakes are reported at once.
//!
//! The environment is read through a function, so tests pass a map. Nothing else in this crate reads it.

mod reader;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use self::reader::Reader;

/// Everything that can be set.
#[derive(Clone, Debug)]
pub struct Config {
    /// Address to listen on; loopback only. `HOST`
    pub host: IpAddr,
    /// TCP port to listen on; 0 takes a free one. `PORT`
    pub port: u16,
    /// Folder of the database; one process at a time. `DATA_DIR`
    pub data_dir: PathBuf,
    /// Redis, for many replicas; one replica on SQLite without it. `REDIS_URL` or `REDISCLOUD_URL`
    pub redis: Option<RedisSettings>,
    /// Where browsers reach this server, without a slash at the end; answers hold paths without it. `PUBLIC_URL`
    pub public_url: Option<String>,
    /// Which log lines are written, in the syntax of `tracing_subscriber::EnvFilter`. `RUST_LOG`
    pub log_filter: String,
    /// How log lines look. `LOG_FORMAT`, by default JSON where `APP_ENV` (or `NODE_ENV`) is `production`
    pub log_format: LogFormat,
    /// Events that a session keeps for returning viewers. `HISTORY_EVENTS`
    pub history_events: u32,
    /// A viewer that accepts no bytes for so long is closed, in seconds. `SLOW_VIEWER_SECONDS`
    pub slow_viewer: Duration,
    /// Sessions with a link task, in all and of one user. `MAX_SESSIONS`, `MAX_SESSIONS_PER_USER`
    pub max_sessions: u32,
    /// See `max_sessions`.
    pub max_sessions_per_user: u32,
    /// Pause between two rounds of the janitor, in seconds. `CLEANUP_INTERVAL_SECONDS`
    pub cleanup_interval: Duration,
    /// A session that no phone has linked is deleted after so many seconds. `SESSION_TTL_UNLINKED_SECONDS`
    pub unlinked_ttl: Duration,
    /// An ended or deleted session can be read for so many seconds. `SESSION_TTL_ENDED_SECONDS`
    pub ended_ttl: Duration,
    /// What a phone lists the device as. `WA_DEVICE_NAME`
    pub device_name: String,
    /// The version of WhatsApp Web to claim, `2.3000.N`; looked up once a day without it. `WA_VERSION`
    pub whatsapp_version: Option<(u32, u32, u32)>,
    /// A WhatsApp of your own. `WHATSAPP_URL`, only in a build with the feature `simulator`
    #[cfg(feature = "simulator")]
    pub whatsapp_url: Option<String>,
    /// Divides the client's and the link task's timers. `WHATSAPP_TIME_FACTOR`, only with the feature `simulator`
    #[cfg(feature = "simulator")]
    pub time_factor: f64,
}

/// The store of many replicas.
#[derive(Clone, Debug)]
pub struct RedisSettings {
    /// `redis://[user:password@]host[:port][/db]`, or `rediss://` for TLS.
    pub url: Secret,
    /// What all keys of this deployment begin with. `REDIS_PREFIX`
    pub prefix: String,
    /// Whether to run alone on SQLite when Redis cannot be reached at the start. `REDIS_FALLBACK`
    pub fallback: bool,
    /// How long a replica owns a session without renewing it, in milliseconds. `LEASE_TTL_MS`
    pub lease: Duration,
}

/// A text that is in no log line.
#[derive(Clone)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For a person at a terminal.
    Pretty,
    /// One JSON object a line.
    Json,
}

/// One line of the table of variables.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// The variable.
    pub name: &'static str,
    /// What holds without it, as a person would write it.
    pub default: &'static str,
    /// What it does, and what is allowed.
    pub meaning: &'static str,
}

const fn setting(name: &'static str, default: &'static str, meaning: &'static str) -> Setting {
    Setting { name, default, meaning }
}

/// Every variable of an ordinary build. The README's table says the same; a test compares them.
pub const SETTINGS: &[Setting] = &[
    setting("HOST", "127.0.0.1", "address to listen on; loopback only, for there are no keys yet"),
    setting("PORT", "3000", "TCP port; 0 takes a free one"),
    setting("DATA_DIR", "./data", "folder of the database, made if missing; one process at a time"),
    setting(
        "REDIS_URL",
        "",
        "`redis://` or `rediss://` URL; makes many replicas one server; `REDISCLOUD_URL` is read where it is unset",
    ),
    setting("REDIS_PREFIX", "qrcast:", "what all keys begin with; one for each deployment on the same Redis"),
    setting(
        "REDIS_FALLBACK",
        "",
        "`local`: run alone on SQLite when Redis cannot be reached at the start; for one replica only",
    ),
    setting(
        "LEASE_TTL_MS",
        "10000",
        "a dead replica's sessions are taken over after so many milliseconds, 3000 to 600000",
    ),
    setting("PUBLIC_URL", "", "where browsers reach this server, `https://…`; without it answers hold paths"),
    setting(
        "RUST_LOG",
        "qrcast=info,warn",
        "which log lines are written, such as `warn` or `qrcast=debug,info`",
    ),
    setting("LOG_FORMAT", "pretty", "`pretty` or `json`; `json` by default where `APP_ENV` is `production`"),
    setting("APP_ENV", "", "`production` makes `LOG_FORMAT` `json`; `NODE_ENV` is read where it is unset"),
    setting("HISTORY_EVENTS", "200", "events a session keeps for returning viewers, 10 to 10000"),
    setting("SLOW_VIEWER_SECONDS", "30", "a viewer that accepts no bytes for so long is closed, 1 to 3600"),
    setting("MAX_SESSIONS", "1000", "sessions that are linked or being linked, in all, 1 to 100000"),
    setting(
        "MAX_SESSIONS_PER_USER",
        "5",
        "sessions that are linked or being linked, of one user, 1 to 100000",
    ),
    setting("CLEANUP_INTERVAL_SECONDS", "300", "pause between two rounds of the janitor, 1 to 86400"),
    setting(
        "SESSION_TTL_UNLINKED_SECONDS",
        "3600",
        "a session that no phone has linked is deleted after so long, 1 to 31536000",
    ),
    setting(
        "SESSION_TTL_ENDED_SECONDS",
        "86400",
        "an ended or deleted session can be read for so long, 1 to 31536000",
    ),
    setting("API_KEYS", "", "not built yet: must be unset, so that nobody believes a door locked"),
    setting("WA_DEVICE_NAME", "qrcast", "what the phone lists the device as, 1 to 50 characters"),
    setting(
        "WA_VERSION",
        "",
        "version of WhatsApp Web to claim, `2.3000.N`; looked up once a day without it",
    ),
];

/// A setting that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    name: &'static str,
    found: String,
    allowed: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, found, allowed } = self;
        write!(f, "{name}: {found:?} is not allowed; {allowed}")
    }
}

/// All settings that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct Mistakes(pub Vec<Mistake>);

impl Config {
    /// Reads every setting through `variable`.
    ///
    /// # Errors
    /// Every mistake there is, not only the first.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self, Mistakes> {
        let mut reader = Reader::new(&variable);
        // Half a lock is worse than none that says so.
        reader.refused_secret("API_KEYS", "this version has no access control; unset it");
        let seconds = |reader: &mut Reader<'_>, name, default, most| {
            Duration::from_secs(reader.number(name, default, 1..=most))
        };
        let config = Self {
            host: reader.parsed(
                "HOST",
                IpAddr::V4(Ipv4Addr::LOCALHOST),
                "a loopback address: 127.0.0.1, ::1 or localhost",
                host,
            ),
            port: reader.number("PORT", 3000, 0..=65535),
            data_dir: reader.text("DATA_DIR").unwrap_or_else(|| "./data".into()).into(),
            redis: redis(&mut reader),
            public_url: reader.optional(
                "PUBLIC_URL",
                "an http:// or https:// URL without query and fragment",
                public_url,
            ),
            log_filter: reader.parsed(
                "RUST_LOG",
                "qrcast=info,warn".into(),
                "directives such as warn or qrcast=debug,info",
                log_filter,
            ),
            log_format: log_format(&mut reader),
            history_events: reader.number("HISTORY_EVENTS", 200, 10..=10_000),
            slow_viewer: seconds(&mut reader, "SLOW_VIEWER_SECONDS", 30, 3600),
            max_sessions: reader.number("MAX_SESSIONS", 1000, 1..=100_000),
            max_sessions_per_user: reader.number("MAX_SESSIONS_PER_USER", 5, 1..=100_000),
            cleanup_interval: seconds(&mut reader, "CLEANUP_INTERVAL_SECONDS", 300, 86_400),
            unlinked_ttl: seconds(&mut reader, "SESSION_TTL_UNLINKED_SECONDS", 3600, 31_536_000),
            ended_ttl: seconds(&mut reader, "SESSION_TTL_ENDED_SECONDS", 86_400, 31_536_000),
            device_name: reader.parsed("WA_DEVICE_NAME", "qrcast".into(), "1 to 50 characters", device_name),
            whatsapp_version: reader.optional("WA_VERSION", "2.3000.N", version),
            #[cfg(feature = "simulator")]
            whatsapp_url: reader.optional("WHATSAPP_URL", "a ws:// URL", |text| {
                text.starts_with("ws://").then(|| text.to_owned())
            }),
            #[cfg(feature = "simulator")]
            time_factor: reader.parsed("WHATSAPP_TIME_FACTOR", 1.0, "a number from 1 to 100", |text| {
                text.parse().ok().filter(|factor| (1.0..=100.0).contains(factor))
            }),
        };
        reader.finish(config)
    }

    /// Where to listen.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::new(self.host, self.port)
    }

    /// How much faster than real the timers run: 1 in every build without the simulator.
    pub fn time_factor(&self) -> f64 {
        #[cfg(feature = "simulator")]
        return self.time_factor;
        #[cfg(not(feature = "simulator"))]
        1.0
    }
}

fn host(text: &str) -> Option<IpAddr> {
    let address = if text == "localhost" { Some(IpAddr::V4(Ipv4Addr::LOCALHOST)) } else { text.parse().ok() };
    address.filter(IpAddr::is_loopback)
}

fn redis(reader: &mut Reader<'_>) -> Option<RedisSettings> {
    let name = if reader.text("REDIS_URL").is_some() { "REDIS_URL" } else { "REDISCLOUD_URL" };
    let url =
        reader.secret(name, "redis://[user:password@]host[:port][/db], or rediss:// for TLS", redis_url);
    let prefix =
        reader.parsed("REDIS_PREFIX", "qrcast:".into(), "1 to 64 visible characters but { and }", |text| {
            let good =
                text.len() <= 64 && text.bytes().all(|b| b.is_ascii_graphic() && b != b'{' && b != b'}');
            good.then(|| text.to_owned())
        });
    let fallback =
        reader.parsed("REDIS_FALLBACK", false, "local, or unset", |text| (text == "local").then_some(true));
    let lease = Duration::from_millis(reader.number("LEASE_TTL_MS", 10_000, 3_000..=600_000));
    url.map(|url| RedisSettings { url: Secret(url), prefix, fallback, lease })
}

fn redis_url(text: &str) -> Option<String> {
    let rest = text.strip_prefix("redis://").or_else(|| text.strip_prefix("rediss://"))?;
    (!rest.is_empty()).then(|| text.to_owned())
}

fn public_url(text: &str) -> Option<String> {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"))?;
    let plain = !rest.is_empty() && !rest.starts_with('/') && !rest.contains(['?', '#', ' ', '@']);
    plain.then(|| text.trim_end_matches('/').to_owned())
}

fn log_filter(text: &str) -> Option<String> {
    tracing_subscriber::EnvFilter::try_new(text).ok().map(|_| text.to_owned())
}

fn log_format(reader: &mut Reader<'_>) -> LogFormat {
    let production =
        reader.text("APP_ENV").or_else(|| reader.text("NODE_ENV")).as_deref() == Some("production");
    let default = if production { LogFormat::Json } else { LogFormat::Pretty };
    reader.parsed("LOG_FORMAT", default, "pretty or json", |text| match text {
        "pretty" => Some(LogFormat::Pretty),
        "json" => Some(LogFormat::Json),
        _ => None,
    })
}

fn device_name(text: &str) -> Option<String> {
    let good = (1..=50).contains(&text.chars().count()) && !text.chars().any(char::is_control);
    good.then(|| text.to_owned())
}

fn version(text: &str) -> Option<(u32, u32, u32)> {
    let revision = text.strip_prefix("2.3000.")?;
    let digits = !revision.is_empty() && revision.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| revision.parse().ok()).flatten().map(|revision| (2, 3000, revision))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Config, Mistakes> {
        Config::read(|name| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn without_variables_the_defaults_hold() {
        let config = read(&[]).unwrap();
        assert_eq!(config.address().to_string(), "127.0.0.1:3000");
        assert_eq!(config.log_format, LogFormat::Pretty);
        assert_eq!(config.whatsapp_version, None);
    }

    #[test]
    fn an_empty_variable_counts_as_unset() {
        assert_eq!(read(&[("PORT", ""), ("HOST", "")]).unwrap().port, 3000);
    }

    #[test]
    fn production_logs_json_unless_told_otherwise() {
        assert_eq!(read(&[("NODE_ENV", "production")]).unwrap().log_format, LogFormat::Json);
        let told = [("APP_ENV", "production"), ("LOG_FORMAT", "pretty")];
        assert_eq!(read(&told).unwrap().log_format, LogFormat::Pretty);
    }

    #[test]
    fn every_mistake_is_named_at_once() {
        let variables = [("HOST", "0.0.0.0"), ("PORT", "http"), ("WA_VERSION", "3.1"), ("LOG_FORMAT", "xml")];
        let said = read(&variables).unwrap_err().to_string();
        for (name, value) in variables {
            assert!(said.contains(&format!("{name}: {value:?} is not allowed")), "{said}");
        }
        assert_eq!(said.lines().count(), variables.len());
    }

    #[test]
    fn a_secret_that_is_refused_is_not_shown() {
        let said = read(&[("API_KEYS", "name:secret")]).unwrap_err().to_string();
        assert!(said.starts_with("API_KEYS:") && !said.contains("secret"), "{said}");
    }

    #[test]
    fn a_number_out_of_range_is_told_the_range() {
        let said = read(&[("HISTORY_EVENTS", "9")]).unwrap_err().to_string();
        assert_eq!(said, "HISTORY_EVENTS: \"9\" is not allowed; a whole number from 10 to 10000");
    }
}
