//! Every setting: its variable, its default, what is allowed. All mistakes are reported at once.
//!
//! The environment is read through a function, so tests pass a map. Nothing else in this crate reads it.

mod client;
mod misspelt;
mod origin;
mod page;
mod reader;
mod security;
mod table;
mod webhooks;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use url::Url;

pub use self::client::ClientSettings;
pub use self::misspelt::{Misspelt, misspelt};
pub use self::origin::{Origin, OriginRule, Origins, PublicUrl};
pub use self::page::{LogoUrl, PageSettings};
use self::reader::Reader;
pub use self::security::{ApiKey, LEAST_TOKEN_SECRET, Security, TrustedProxies, is_token_secret};
pub use self::table::{SETTINGS, Setting};
pub use self::webhooks::{WEBHOOK_EVENTS, WebhookSettings};
use crate::platform::Platform;
use crate::proxy::{self, Proxy, ProxyHosts};

/// Every setting, read and checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// Address to listen on. `HOST`
    pub host: IpAddr,
    /// TCP port to listen on; 0 takes a free one. `PORT`
    pub port: u16,
    /// Folder of the database; one process at a time. `DATA_DIR`
    pub data_dir: PathBuf,
    /// Redis, for many replicas; one replica on SQLite without it. `REDIS_URL` or `REDISCLOUD_URL`
    pub redis: Option<RedisSettings>,
    /// Where browsers reach this server; without it, answers contain paths instead of full
    /// addresses. `PUBLIC_URL`
    pub public_url: Option<PublicUrl>,
    /// How the live page looks. `PAGE_TITLE` and `PAGE_LOGO_URL`
    pub page: PageSettings,
    /// Who may do what. `API_KEYS`, `ALLOWED_ORIGINS` and others
    pub security: Security,
    /// How much one client may ask for.
    pub rates: RateLimits,
    /// Open streams of this replica. `MAX_STREAMS`
    pub max_streams: usize,
    /// Open streams of one client on this replica. `MAX_STREAMS_PER_IP`
    pub max_streams_per_client: usize,
    /// Time between a stop's `/readyz` 503 and its first stream sent away, in milliseconds. `READY_DELAY_MS`
    pub ready_delay: Duration,
    /// The time over which a stop sends its streams away, in seconds. `DRAIN_SECONDS`
    pub drain: Duration,
    /// A port for `/metrics` and the probes, which asks for no key. `METRICS_PORT`
    pub metrics_port: Option<u16>,
    /// The thresholds of the alerts.
    pub alerts: AlertLimits,
    /// Which log lines are written, in the syntax of `tracing_subscriber::EnvFilter`. `RUST_LOG`
    pub log_filter: String,
    /// How log lines look. `LOG_FORMAT`, by default JSON where `APP_ENV` (or `NODE_ENV`) is `production`
    pub log_format: LogFormat,
    /// Where traces are sent. `OTEL_EXPORTER_OTLP_ENDPOINT`
    pub collector: Option<String>,
    /// Events that a session keeps for returning viewers. `HISTORY_EVENTS`
    pub history_events: u32,
    /// How long a viewer may accept no data before it is disconnected, in seconds. `SLOW_VIEWER_SECONDS`
    pub slow_viewer: Duration,
    /// Sessions with a link task, over all replicas. `MAX_SESSIONS`
    pub max_sessions: u32,
    /// Sessions of one user with a link task. `MAX_SESSIONS_PER_USER`
    pub max_sessions_per_user: u32,
    /// Pause between two rounds of the janitor, in seconds. `CLEANUP_INTERVAL_SECONDS`
    pub cleanup_interval: Duration,
    /// How long a session that no phone has linked is kept, in seconds. `SESSION_TTL_UNLINKED_SECONDS`
    pub unlinked_ttl: Duration,
    /// How long an ended or deleted session can still be read, in seconds. `SESSION_TTL_ENDED_SECONDS`
    pub ended_ttl: Duration,
    /// The name of the device in the phone's list. `WA_DEVICE_NAME`
    pub device_name: String,
    /// The platform that new links claim; devices that are linked already keep theirs. `WA_PLATFORM`
    pub platform: Platform,
    /// The version of WhatsApp Web to claim, `2.3000.N`; looked up once a day without it. `WA_VERSION`
    pub whatsapp_version: Option<(u32, u32, u32)>,
    /// How many sessions may log in again within a second. `WA_LOGINS_PER_SECOND`
    pub logins_per_second: u32,
    /// The proxy to WhatsApp for sessions that have none of their own. `WA_PROXY`
    pub proxy: Option<Proxy>,
    /// Which proxies a request may name for its session; none if it is unset. `PROXY_ALLOWED_HOSTS`
    pub proxy_hosts: Option<ProxyHosts>,
    /// Who is sent events. `WEBHOOK_URLS` and others
    pub webhooks: WebhookSettings,
    /// The address of a simulated WhatsApp. `WHATSAPP_URL`, only in a build with the feature `simulator`
    #[cfg(feature = "simulator")]
    pub whatsapp_url: Option<String>,
    /// How much faster than real the timers of client and link task run. `WHATSAPP_TIME_FACTOR`, only with the feature
    /// `simulator`
    #[cfg(feature = "simulator")]
    pub time_factor: f64,
}

/// The Redis that many replicas share.
#[derive(Clone, Debug)]
pub struct RedisSettings {
    /// `redis://[user:password@]host[:port][/db]`, or `rediss://` for TLS.
    pub url: Secret,
    /// The prefix of all keys of this deployment. `REDIS_PREFIX`
    pub prefix: String,
    /// Whether to run alone on SQLite when Redis cannot be reached at the start. `REDIS_FALLBACK`
    pub fallback: bool,
    /// How long a replica owns a session without renewing it, in milliseconds. `LEASE_TTL_MS`
    pub lease: Duration,
}

/// How much one client may ask for, counted by each replica.
#[derive(Clone, Copy, Debug)]
pub struct RateLimits {
    /// The time over which requests are counted, in seconds. `RATE_LIMIT_WINDOW_SECONDS`
    pub window: Duration,
    /// New sessions of one client in that time. `RATE_LIMIT_INIT`
    pub init: u32,
    /// Other requests of one client for one session in that time. `RATE_LIMIT_READ`
    pub read: u32,
    /// Whether no request is counted. `RATE_LIMIT_DISABLED`
    pub disabled: bool,
}

/// The values above which an alert begins.
#[derive(Clone, Copy, Debug)]
pub struct AlertLimits {
    /// Resident memory, in bytes. `ALERT_MEMORY_MB`
    pub memory: u64,
    /// Active sessions. `ALERT_SESSIONS`
    pub sessions: usize,
    /// Refused keys and tokens in five minutes. `ALERT_AUTH_FAILURES`
    pub auth_failures: usize,
}

/// A text that `Debug` masks, so that it cannot get into a log line.
#[derive(Clone)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// The format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For a person at a terminal.
    Pretty,
    /// One JSON object per line, for programs.
    Json,
}

/// A variable whose value cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mistake {
    /// The value is not allowed.
    #[error("{name}: {found:?} is not allowed; {allowed}")]
    Value {
        /// The name of the variable.
        name: &'static str,
        /// The value; masked if it is a secret.
        found: String,
        /// The values that are allowed, in words.
        allowed: String,
    },
    /// Another setting needs it.
    #[error("{name} is not set; {why}")]
    Missing {
        /// The name of the variable.
        name: &'static str,
        /// What needs it, and what to set.
        why: &'static str,
    },
    /// The server would accept requests without a key from other machines.
    #[error("API_KEYS is not set; set API_KEYS=name:secret, or ALLOW_ANONYMOUS=true for a private network")]
    Open,
}

/// All settings that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct Mistakes(pub Vec<Mistake>);

impl Config {
    /// Reads every setting through `variable`.
    ///
    /// # Errors
    /// Lists every mistake, not only the first.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self, Mistakes> {
        let mut reader = Reader::new(&variable);
        let config = Self {
            host: read_host(&mut reader),
            port: read_port(&mut reader),
            data_dir: reader.text("DATA_DIR").unwrap_or_else(|| "./data".into()).into(),
            redis: redis(&mut reader),
            public_url: reader.optional("PUBLIC_URL", ALLOWED_PUBLIC_URL, PublicUrl::parse),
            page: PageSettings::read(&mut reader),
            security: Security::read(&mut reader),
            rates: RateLimits::read(&mut reader),
            max_streams: reader.number("MAX_STREAMS", 20_000, 1..=1_000_000),
            max_streams_per_client: reader.number("MAX_STREAMS_PER_IP", 100, 1..=1_000_000),
            ready_delay: Duration::from_millis(reader.number("READY_DELAY_MS", 2_000, 0..=60_000)),
            drain: Duration::from_secs(reader.number("DRAIN_SECONDS", 15, 0..=3_600)),
            metrics_port: read_metrics_port(&mut reader),
            alerts: AlertLimits::read(&mut reader),
            log_filter: read_log_filter(&mut reader),
            log_format: log_format(&mut reader),
            collector: reader.optional("OTEL_EXPORTER_OTLP_ENDPOINT", COLLECTOR, collector),
            history_events: reader.number("HISTORY_EVENTS", 200, 10..=10_000),
            slow_viewer: seconds(&mut reader, "SLOW_VIEWER_SECONDS", 30, 3600),
            max_sessions: reader.number("MAX_SESSIONS", 1000, 1..=100_000),
            max_sessions_per_user: reader.number("MAX_SESSIONS_PER_USER", 5, 1..=100_000),
            cleanup_interval: seconds(&mut reader, "CLEANUP_INTERVAL_SECONDS", 300, 86_400),
            unlinked_ttl: seconds(&mut reader, "SESSION_TTL_UNLINKED_SECONDS", 3600, 31_536_000),
            ended_ttl: seconds(&mut reader, "SESSION_TTL_ENDED_SECONDS", 86_400, 31_536_000),
            device_name: reader.parsed("WA_DEVICE_NAME", "qrcast".into(), "1 to 50 characters", device_name),
            platform: read_platform(&mut reader),
            whatsapp_version: reader.optional("WA_VERSION", "2.3000.N", version),
            logins_per_second: reader.number("WA_LOGINS_PER_SECOND", 20, 1..=1000),
            proxy: reader.secret("WA_PROXY", proxy::ALLOWED, |text| text.parse().ok()),
            proxy_hosts: reader
                .optional("PROXY_ALLOWED_HOSTS", proxy::ALLOWED_HOSTS, |text| text.parse().ok()),
            webhooks: WebhookSettings::read(&mut reader),
            #[cfg(feature = "simulator")]
            whatsapp_url: reader.optional("WHATSAPP_URL", "a ws:// URL", |text| {
                text.starts_with("ws://").then(|| text.to_owned())
            }),
            #[cfg(feature = "simulator")]
            time_factor: read_time_factor(&mut reader),
        };
        if config.security.is_open() && !config.security.anonymous && !config.host.is_loopback() {
            reader.open_to_others();
        }
        reader.finish(config)
    }

    /// The address and port to listen on.
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

const ALLOWED_PUBLIC_URL: &str = "an http:// or https:// URL without query and fragment";

fn host(text: &str) -> Option<IpAddr> {
    if text == "localhost" { Some(IpAddr::V4(Ipv4Addr::LOCALHOST)) } else { text.parse().ok() }
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

/// What is allowed where traces are sent.
#[cfg(feature = "otlp")]
const COLLECTOR: &str = "an http:// or https:// URL";
#[cfg(not(feature = "otlp"))]
const COLLECTOR: &str = "nothing: this qrcast was built without the feature otlp";

fn collector(text: &str) -> Option<String> {
    let url = Url::parse(text).ok().filter(|url| ["http", "https"].contains(&url.scheme()));
    url.filter(|_| cfg!(feature = "otlp")).map(|_| text.to_owned())
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

fn read_platform(reader: &mut Reader<'_>) -> Platform {
    reader.parsed("WA_PLATFORM", Platform::default(), &platforms(), |text| text.parse().ok())
}

fn platforms() -> String {
    format!("one of {}", Platform::ALL.map(Platform::as_str).join(", "))
}

fn version(text: &str) -> Option<(u32, u32, u32)> {
    let revision = text.strip_prefix("2.3000.")?;
    let digits = !revision.is_empty() && revision.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| revision.parse().ok()).flatten().map(|revision| (2, 3000, revision))
}

impl RateLimits {
    fn read(reader: &mut Reader<'_>) -> Self {
        Self {
            window: seconds(reader, "RATE_LIMIT_WINDOW_SECONDS", 900, 86_400),
            init: reader.number("RATE_LIMIT_INIT", 100, 1..=1_000_000),
            read: reader.number("RATE_LIMIT_READ", 3000, 1..=1_000_000),
            disabled: reader.flag("RATE_LIMIT_DISABLED"),
        }
    }
}

impl AlertLimits {
    fn read(reader: &mut Reader<'_>) -> Self {
        Self {
            memory: reader.number("ALERT_MEMORY_MB", 512, 1..=1_000_000) * 1024 * 1024,
            sessions: reader.number("ALERT_SESSIONS", 50, 1..=100_000),
            auth_failures: reader.number("ALERT_AUTH_FAILURES", 20, 1..=1_000_000),
        }
    }
}

fn seconds(reader: &mut Reader<'_>, name: &'static str, default: u64, most: u64) -> Duration {
    Duration::from_secs(reader.number(name, default, 1..=most))
}

fn read_host(reader: &mut Reader<'_>) -> IpAddr {
    let allowed = "an IP address to listen on, or localhost";
    reader.parsed("HOST", IpAddr::V4(Ipv4Addr::LOCALHOST), allowed, host)
}

fn read_port(reader: &mut Reader<'_>) -> u16 {
    reader.number("PORT", 3000, 0..=65535)
}

fn read_log_filter(reader: &mut Reader<'_>) -> String {
    let allowed = "directives, for example warn or qrcast=debug,info";
    reader.parsed("RUST_LOG", "qrcast=info,warn".into(), allowed, log_filter)
}

fn read_metrics_port(reader: &mut Reader<'_>) -> Option<u16> {
    let port = |text: &str| text.parse().ok().filter(|port| *port > 0);
    reader.optional("METRICS_PORT", "a TCP port from 1 to 65535", port)
}

#[cfg(feature = "simulator")]
fn read_time_factor(reader: &mut Reader<'_>) -> f64 {
    let factor = |text: &str| text.parse().ok().filter(|factor| (1.0..=100.0).contains(factor));
    reader.parsed("WHATSAPP_TIME_FACTOR", 1.0, "a number from 1 to 100", factor)
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
        let variables = [("HOST", "example"), ("PORT", "http"), ("WA_VERSION", "3.1"), ("LOG_FORMAT", "xml")];
        let said = read(&variables).unwrap_err().to_string();
        for (name, value) in variables {
            assert!(said.contains(&format!("{name}: {value:?} is not allowed")), "{said}");
        }
        assert_eq!(said.lines().count(), variables.len());
    }

    #[test]
    fn a_proxy_is_in_no_words() {
        let config = read(&[("WA_PROXY", "socks5://ada:hunter2@10.0.0.1:1080")]).unwrap();
        assert_eq!(config.proxy.as_ref().unwrap().to_string(), "10.0.0.1:1080");
        let wrong = read(&[("WA_PROXY", "socks4://ada:hunter2@10.0.0.1:1080")]).unwrap_err().to_string();
        assert!(wrong.contains("WA_PROXY: \"***\" is not allowed; http://"), "{wrong}");
        assert!(!wrong.contains("hunter2") && !format!("{config:?}").contains("hunter2"));
    }

    #[test]
    fn an_open_server_listens_to_this_machine_only() {
        let said = read(&[("HOST", "0.0.0.0")]).unwrap_err().to_string();
        let words =
            "API_KEYS is not set; set API_KEYS=name:secret, or ALLOW_ANONYMOUS=true for a private network";
        assert_eq!(said, words);
        for door in [("API_KEYS", "name:secret"), ("ALLOW_ANONYMOUS", "true")] {
            assert!(read(&[("HOST", "::"), door]).is_ok(), "{door:?}");
        }
    }

    #[test]
    fn a_number_out_of_range_is_told_the_range() {
        let said = read(&[("HISTORY_EVENTS", "9")]).unwrap_err().to_string();
        assert_eq!(said, "HISTORY_EVENTS: \"9\" is not allowed; a whole number from 10 to 10000");
    }
}
