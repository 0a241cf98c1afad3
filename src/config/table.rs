//! The table of variables, as `docs/configuration.md`, `.env.example` and `--help` show it.

/// One line of the table of variables.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// The name of the variable.
    pub name: &'static str,
    /// Its default, as a person would write it.
    pub default: &'static str,
    /// What it does, and which values are allowed.
    pub meaning: &'static str,
}

const fn setting(name: &'static str, default: &'static str, meaning: &'static str) -> Setting {
    Setting { name, default, meaning }
}

/// Every variable of an ordinary build. `docs/configuration.md` says the same; a test compares them.
pub const SETTINGS: &[Setting] = &[
    setting(
        "HOST",
        "127.0.0.1",
        "address to listen on, for example `0.0.0.0` or `::`; loopback only while `API_KEYS` is unset",
    ),
    setting("PORT", "3000", "TCP port; 0 takes a free one"),
    setting("DATA_DIR", "./data", "folder of the database, created if missing; one process at a time"),
    setting(
        "REDIS_URL",
        "",
        "`redis://` or `rediss://` URL; makes many replicas one server; `REDISCLOUD_URL` is read where it is unset",
    ),
    setting(
        "REDIS_PREFIX",
        "qrcast:",
        "what all keys begin with; must differ between deployments on the same Redis",
    ),
    setting(
        "REDIS_FALLBACK",
        "",
        "`local`: run alone on SQLite when Redis cannot be reached at the start; for one replica only",
    ),
    setting(
        "LEASE_TTL_MS",
        "10000",
        "milliseconds until another replica takes over a dead replica's sessions, 3000 to 600000",
    ),
    setting(
        "PUBLIC_URL",
        "",
        "where browsers reach this server, `https://…`; without it, answers contain paths instead of full addresses",
    ),
    setting(
        "RUST_LOG",
        "qrcast=info,warn",
        "which log lines are written, for example `warn` or `qrcast=debug,info`",
    ),
    setting("LOG_FORMAT", "pretty", "`pretty` or `json`; `json` by default where `APP_ENV` is `production`"),
    setting(
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "",
        "where traces are sent by OTLP over HTTP, for example `http://localhost:4318`; in builds with the feature `otlp`, as the image and the releases have it",
    ),
    setting("APP_ENV", "", "`production` makes `LOG_FORMAT` `json`; `NODE_ENV` is read where it is unset"),
    setting("HISTORY_EVENTS", "200", "events a session keeps for returning viewers, 10 to 10000"),
    setting(
        "SLOW_VIEWER_SECONDS",
        "30",
        "seconds that a viewer may accept no data before it is disconnected, 1 to 3600",
    ),
    setting(
        "MAX_SESSIONS",
        "1000",
        "sessions that are linked or being linked, over all replicas, 1 to 100000",
    ),
    setting(
        "MAX_SESSIONS_PER_USER",
        "5",
        "sessions of one user that are linked or being linked, 1 to 100000",
    ),
    setting("CLEANUP_INTERVAL_SECONDS", "300", "seconds between two clean-ups of old sessions, 1 to 86400"),
    setting(
        "SESSION_TTL_UNLINKED_SECONDS",
        "3600",
        "seconds until a session that no phone has linked is deleted, 1 to 31536000",
    ),
    setting(
        "SESSION_TTL_ENDED_SECONDS",
        "86400",
        "seconds that an ended or deleted session can still be read, 1 to 31536000",
    ),
    setting(
        "API_KEYS",
        "",
        "comma list of `name:secret` or `name:secret:userIdPrefix`; without it the server is open, to this machine only",
    ),
    setting(
        "ALLOW_ANONYMOUS",
        "false",
        "`true`: open without `API_KEYS` on any address and to any `Host`; for a private network only",
    ),
    setting(
        "TOKEN_SECRET",
        "",
        "signs stream tokens, at least 32 bytes; without it one is made and kept in `DATA_DIR` or Redis",
    ),
    setting("TOKEN_TTL_SECONDS", "600", "seconds that a stream token is valid, 1 to 86400"),
    setting(
        "TOKEN_MAX_AGE_SECONDS",
        "86400",
        "seconds after the first token at which the last renewed one expires, 1 to 31536000",
    ),
    setting(
        "ALLOWED_ORIGINS",
        "",
        "comma list of the pages that may use and embed this server: `https://app.example.com`, `https://*.example.com`, or, only with `API_KEYS`, `*`; same origin only without it",
    ),
    setting(
        "TRUSTED_PROXIES",
        "",
        "comma list of CIDR ranges, or the words `fly`, `railway`: the proxies that are believed about a client's address",
    ),
    setting("MAX_STREAMS", "20000", "open streams of this replica, 1 to 1000000"),
    setting(
        "MAX_STREAMS_PER_IP",
        "100",
        "open streams of one client on this replica, 1 to 1000000; it may have twice as many connections",
    ),
    setting("RATE_LIMIT_WINDOW_SECONDS", "900", "seconds over which requests are counted, 1 to 86400"),
    setting("RATE_LIMIT_INIT", "100", "new sessions of one client in that time, per replica, 1 to 1000000"),
    setting(
        "RATE_LIMIT_READ",
        "3000",
        "other requests of one client in that time: as many for each session, and as many that are refused or find nothing; per replica, 1 to 1000000",
    ),
    setting("RATE_LIMIT_DISABLED", "false", "`true`: no request is counted; for load tests"),
    setting(
        "READY_DELAY_MS",
        "2000",
        "milliseconds after SIGTERM during which `/readyz` is 503 and streams stay, 0 to 60000",
    ),
    setting("DRAIN_SECONDS", "15", "seconds after that over which streams are sent away, 0 to 3600"),
    setting(
        "METRICS_PORT",
        "",
        "`/metrics`, `/livez` and `/readyz` on a port of its own, without a key; 1 to 65535",
    ),
    setting(
        "ALERT_MEMORY_MB",
        "512",
        "resident memory in MiB above which the alert `memory` starts, 1 to 1000000",
    ),
    setting("ALERT_SESSIONS", "50", "active sessions above which the alert `sessions` starts, 1 to 100000"),
    setting(
        "ALERT_AUTH_FAILURES",
        "20",
        "requests without a valid key or token within 5 minutes above which the alert `auth_failures` starts, 1 to 1000000",
    ),
    setting(
        "PAGE_TITLE",
        "",
        "what the live page is called, 1 to 60 characters; without it, its own name in the reader's language",
    ),
    setting(
        "PAGE_LOGO_URL",
        "",
        "`https://` or `http://` URL of a picture that stands on the live page instead of qrcast's; browsers fetch it from there",
    ),
    setting("WA_DEVICE_NAME", "qrcast", "name of the device in the phone's list, 1 to 50 characters"),
    setting(
        "WA_PLATFORM",
        "chrome",
        "what new links claim to be, for the icon on the phone: `chrome`, `edge`, `firefox`, `ie`, `opera`, `safari`, `desktop`, `uwp`",
    ),
    setting(
        "WA_VERSION",
        "",
        "version of WhatsApp Web to claim, `2.3000.N`; without it, the version is looked up once a day",
    ),
    setting(
        "WA_LOGINS_PER_SECOND",
        "20",
        "sessions that log in again within a second after an outage or at a start, 1 to 1000; a person who links an account does not wait",
    ),
    setting(
        "WA_PROXY",
        "",
        "proxy between this server and WhatsApp: `http://user:password@host:port` or `socks5://…`; `HTTPS_PROXY` in the environment is ignored",
    ),
    setting(
        "PROXY_ALLOWED_HOSTS",
        "",
        "comma list of `host`, `host:port`, `*.example.com`: the proxies that `proxy` in `init-session` may name; without it, none",
    ),
    setting(
        "WEBHOOK_URLS",
        "",
        "comma list of `https://` URLs that every session's events are sent to; needs `WEBHOOK_SECRET`",
    ),
    setting(
        "WEBHOOK_SECRET",
        "",
        "signs what is sent to `WEBHOOK_URLS`: `whsec_` and 24 to 64 bytes in base64; a comma list of two while it is replaced",
    ),
    setting(
        "WEBHOOK_EVENTS",
        "",
        "comma list of the events that receivers are sent, for example `ready,disconnected`; without it, all",
    ),
    setting(
        "WEBHOOK_ALLOW_PRIVATE",
        "false",
        "`true`: receivers may be at private addresses, and may be asked by `http://`; for a private network only",
    ),
    setting(
        "QRCAST_API_KEY",
        "",
        "the secret that `qrcast sessions`, `link`, `logout` and `events` show to the server; without it, the first of `API_KEYS`, but never with `--server`",
    ),
];
