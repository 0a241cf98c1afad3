//! The names of all metrics, and the recorder that keeps them for `GET /metrics`.
//!
//! Dashboards rely on these names, and `docs/metrics.md` lists them. Code counts where something happens, with
//! `metrics::counter!` and similar macros and a name from here. Without the recorder nothing is counted.

use std::sync::OnceLock;

use metrics::{Label, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use metrics_process::Collector;
use metrics_util::layers::{FilterLayer, Layer as _};

use super::alerts::AlertName;

/// Always 1, with the `version`.
pub(crate) const BUILD_INFO: &str = "qrcast_build_info";
/// Sessions by `status`.
pub(crate) const SESSIONS: &str = "qrcast_sessions";
/// Sessions that have been `authenticated` for more than two minutes.
pub(crate) const SESSIONS_STUCK: &str = "qrcast_sessions_stuck";
/// Sessions that need a link task and have had none for half a minute.
pub(crate) const SESSIONS_UNATTENDED: &str = "qrcast_sessions_unattended";
/// Open streams by `transport`.
pub(crate) const STREAMS: &str = "qrcast_streams";
/// Streams opened, by `transport`.
pub(crate) const STREAMS_OPENED: &str = "qrcast_streams_opened_total";
/// Streams closed, by `transport` and `reason`.
pub(crate) const STREAMS_CLOSED: &str = "qrcast_streams_closed_total";
/// Events written, by `event`.
pub(crate) const EVENTS: &str = "qrcast_events_total";
/// Streams resumed with a cursor.
pub(crate) const REPLAYS: &str = "qrcast_replays_total";
/// Streams with a cursor that is too old or unknown.
pub(crate) const GAPS: &str = "qrcast_gaps_total";
/// Viewers that fell behind and were served from the history.
pub(crate) const VIEWER_LAGS: &str = "qrcast_viewer_lags_total";
/// Seconds to draw a QR as PNG.
pub(crate) const QR_RENDER_SECONDS: &str = "qrcast_qr_render_seconds";
/// Seconds to store an event.
pub(crate) const APPEND_SECONDS: &str = "qrcast_append_seconds";
/// Sessions taken over.
pub(crate) const TAKEOVERS: &str = "qrcast_takeovers_total";
/// Seconds from the claim of a linked session to its first `ready`.
pub(crate) const TAKEOVER_SECONDS: &str = "qrcast_takeover_seconds";
/// Renewals of leases, by `result`.
pub(crate) const LEASE_RENEWALS: &str = "qrcast_lease_renewals_total";
/// Whether Redis answers.
pub(crate) const REDIS_UP: &str = "qrcast_redis_up";
/// Seconds of a call to Redis that was answered.
pub(crate) const REDIS_CALL_SECONDS: &str = "qrcast_redis_call_seconds";
/// Calls to Redis that were not answered.
pub(crate) const REDIS_FAILURES: &str = "qrcast_redis_failures_total";
/// Tries to reach WhatsApp, by `result`.
pub(crate) const WHATSAPP_CONNECTS: &str = "qrcast_whatsapp_connects_total";
/// Ways out through which WhatsApp is known to be unreachable.
pub(crate) const WHATSAPP_WAYS_DEAD: &str = "qrcast_whatsapp_ways_dead";
/// Probes of such ways, by `result`.
pub(crate) const WHATSAPP_PROBES: &str = "qrcast_whatsapp_probes_total";
/// Sessions that wait for their turn to log in.
pub(crate) const WHATSAPP_LOGINS_WAITING: &str = "qrcast_whatsapp_logins_waiting";
/// Events that the client's queue dropped.
pub(crate) const WHATSAPP_EVENTS_DROPPED: &str = "qrcast_whatsapp_events_dropped_total";
/// The version of WhatsApp Web that new clients claim: N of `2.3000.N`.
pub(crate) const WHATSAPP_VERSION: &str = "qrcast_whatsapp_version";
/// Look-ups of the version of WhatsApp Web, by `result`.
pub(crate) const WHATSAPP_VERSION_LOOKUPS: &str = "qrcast_whatsapp_version_lookups_total";
/// Requests by `method`, `route` and `status`.
pub(crate) const HTTP_REQUESTS: &str = "qrcast_http_requests_total";
/// Seconds until the head of an answer, by `route`.
pub(crate) const HTTP_REQUEST_SECONDS: &str = "qrcast_http_request_seconds";
/// Requests over a limit, by `limit`.
pub(crate) const REQUESTS_LIMITED: &str = "qrcast_requests_limited_total";
/// Requests that were refused as unauthorized, by `reason`.
pub(crate) const AUTH_FAILURES: &str = "qrcast_auth_failures_total";
/// Webhooks by what became of them, `outcome`.
pub(crate) const WEBHOOKS: &str = "qrcast_webhooks_total";
/// Sessions whose webhooks are being sent, or wait for their turn.
pub(crate) const WEBHOOKS_WAITING: &str = "qrcast_webhooks_waiting";
/// Seconds until a receiver answered or was given up on, by `outcome`.
pub(crate) const WEBHOOK_SECONDS: &str = "qrcast_webhook_seconds";
/// Stored records that cannot be read and were skipped.
pub(crate) const DAMAGED_RECORDS: &str = "qrcast_damaged_records";
/// Whether an alert holds, by `name`.
pub(crate) const ALERT: &str = "qrcast_alert";

/// What the names of the WhatsApp client's own metrics begin with (`wacore::telemetry`).
const CLIENTS_OWN: &str = "wa_";

const TRANSPORTS: (&str, &[&str]) = ("transport", &["sse", "websocket"]);

/// A counter: its name, its help text, and its labels with all their values; `None` if the values are not known in
/// advance.
struct Counter(&'static str, &'static str, Option<&'static [(&'static str, &'static [&'static str])]>);

const COUNTERS: &[Counter] = &[
    Counter(STREAMS_OPENED, "Streams opened", Some(&[TRANSPORTS])),
    Counter(
        STREAMS_CLOSED,
        "Streams closed; gone: the viewer left",
        Some(&[
            TRANSPORTS,
            (
                "reason",
                &[
                    "ended",
                    "draining",
                    "too_slow",
                    "missed",
                    "too_big",
                    "broken",
                    "no_text",
                    "store_away",
                    "overloaded",
                    "token_expired",
                    "gone",
                ],
            ),
        ]),
    ),
    Counter(
        EVENTS,
        "Events that link tasks of this replica wrote",
        Some(&[(
            "event",
            &["qr", "code", "pairing_error", "passkey", "authenticated", "ready", "disconnected"],
        )]),
    ),
    Counter(REPLAYS, "Streams that were resumed with a cursor", Some(&[])),
    Counter(GAPS, "Streams whose cursor was too old or unknown", Some(&[])),
    Counter(VIEWER_LAGS, "Viewers that fell behind and were served from the history", Some(&[])),
    Counter(TAKEOVERS, "Sessions taken over from another replica, or from nobody", Some(&[])),
    Counter(LEASE_RENEWALS, "Renewals of leases", Some(&[("result", &["kept", "lost", "missing", "away"])])),
    Counter(REDIS_FAILURES, "Calls to Redis that were not answered", Some(&[])),
    Counter(WHATSAPP_CONNECTS, "Tries to reach WhatsApp", Some(&[("result", &["ok", "failed", "held"])])),
    Counter(
        WHATSAPP_PROBES,
        "Probes of ways out by which WhatsApp could not be reached",
        Some(&[("result", &["ok", "failed"])]),
    ),
    Counter(
        WHATSAPP_EVENTS_DROPPED,
        "Events that the WhatsApp client's queue for callbacks dropped; there is none, so 0",
        Some(&[]),
    ),
    Counter(
        WHATSAPP_VERSION_LOOKUPS,
        "Look-ups of the version of WhatsApp Web",
        Some(&[("result", &["ok", "failed"])]),
    ),
    Counter(HTTP_REQUESTS, "Requests answered", None),
    Counter(
        REQUESTS_LIMITED,
        "Requests refused by a limit",
        Some(&[(
            "limit",
            &[
                "codes",
                "init",
                "read",
                "streams",
                "streams_per_client",
                "connections",
                "connections_per_client",
            ],
        )]),
    ),
    Counter(
        WEBHOOKS,
        "Webhooks that were delivered or failed once, and events that a receiver never gets",
        Some(&[("outcome", &["delivered", "failed", "given_up", "expired", "lost"])]),
    ),
    Counter(
        AUTH_FAILURES,
        "Requests refused because the caller may not make them",
        Some(&[("reason", &["missing", "invalid", "expired", "forbidden"])]),
    ),
];

const GAUGES: &[(&str, &str)] = &[
    (BUILD_INFO, "Always 1"),
    (SESSIONS, "Sessions that this replica owns"),
    (SESSIONS_STUCK, "Sessions that have been authenticated for more than two minutes"),
    (SESSIONS_UNATTENDED, "Sessions that need a link task and have had none for half a minute"),
    (STREAMS, "Streams open now"),
    (REDIS_UP, "1 while Redis answers and takes writes"),
    (WHATSAPP_WAYS_DEAD, "Ways out by which WhatsApp is known to be out of reach"),
    (WHATSAPP_LOGINS_WAITING, "Sessions that wait for their turn to log in"),
    (WHATSAPP_VERSION, "Version of WhatsApp Web that new clients claim: N of 2.3000.N"),
    (
        WEBHOOKS_WAITING,
        "Sessions whose webhooks are being sent or wait for their turn, each receiver counted",
    ),
    (DAMAGED_RECORDS, "Stored records that cannot be read and were skipped"),
    (ALERT, "1 while the alert holds"),
];

/// Buckets from half a millisecond on, for work on this machine or in the same data centre.
const FAST: &[f64] = &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0];

/// Buckets up to the 20 s that a pairing code may take.
const REQUEST: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0];

/// Buckets for a login that may wait for others.
const TAKEOVER: &[f64] = &[0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0];

/// All histograms are in seconds. Those of the requests and of the webhooks have a label.
const HISTOGRAMS: &[(&str, &str, &[f64])] = &[
    (QR_RENDER_SECONDS, "Drawing one QR as PNG", FAST),
    (APPEND_SECONDS, "Storing one event", FAST),
    (TAKEOVER_SECONDS, "From the claim of a linked session to its first ready", TAKEOVER),
    (REDIS_CALL_SECONDS, "One call to Redis that was answered", FAST),
    (HTTP_REQUEST_SECONDS, "Until the head of the answer", REQUEST),
    (WEBHOOK_SECONDS, "Until a receiver of webhooks answered, or was waited for no longer", REQUEST),
];

/// The recorder of this process.
static RECORDER: OnceLock<PrometheusHandle> = OnceLock::new();

/// Starts counting for this process.
///
/// # Errors
/// When something counts already.
pub fn start() -> anyhow::Result<()> {
    let mut builder = PrometheusBuilder::new();
    for (name, _, buckets) in HISTOGRAMS {
        builder = builder.set_buckets_for_metric(Matcher::Full((*name).into()), buckets)?;
    }
    builder = builder.set_buckets_for_metric(Matcher::Prefix(CLIENTS_OWN.into()), REQUEST)?;
    let recorder = builder.build_recorder();
    let handle = recorder.handle();
    // This metric says whether the client that spoke last is connected, which means nothing with many clients.
    let recorder = FilterLayer::from_patterns(["wa_connected"]).layer(recorder);
    metrics::set_global_recorder(recorder).map_err(|error| anyhow::anyhow!("{error}"))?;
    describe();
    wacore::telemetry::describe();
    begin_at_zero();
    // The recorder was installed just now, so this cell is still empty.
    let _ = RECORDER.set(handle);
    Ok(())
}

/// Everything that was counted, as Prometheus reads it; empty where nothing counts.
pub fn scrape() -> String {
    let Some(recorder) = RECORDER.get() else { return String::new() };
    Collector::default().collect();
    recorder.render()
}

/// Empties the buffers of the histograms. Call it every few seconds: they grow until the next scrape, and without a
/// limit if nobody scrapes.
pub fn upkeep() {
    if let Some(recorder) = RECORDER.get() {
        recorder.run_upkeep();
    }
}

fn describe() {
    for Counter(name, help, _) in COUNTERS {
        describe_counter!(*name, *help);
    }
    for (name, help) in GAUGES {
        describe_gauge!(*name, *help);
    }
    for (name, help, _) in HISTOGRAMS {
        describe_histogram!(*name, *help);
    }
    Collector::default().describe();
}

/// A rate can be computed from the first event on only if the counter was 0 before it.
fn begin_at_zero() {
    gauge!(BUILD_INFO, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    gauge!(DAMAGED_RECORDS).set(0.0);
    for alert in AlertName::ALL {
        gauge!(ALERT, "name" => alert.as_str()).set(0.0);
    }
    for transport in TRANSPORTS.1 {
        gauge!(STREAMS, TRANSPORTS.0 => *transport).set(0.0);
    }
    for Counter(name, _, labels) in COUNTERS {
        for labels in labels.iter().flat_map(|labels| combinations(labels)) {
            counter!(*name, labels).absolute(0);
        }
    }
    let labelled = [HTTP_REQUEST_SECONDS, WEBHOOK_SECONDS];
    for (name, ..) in HISTOGRAMS.iter().filter(|(name, ..)| !labelled.contains(name)) {
        drop(histogram!(*name));
    }
    for outcome in ["delivered", "failed"] {
        drop(histogram!(WEBHOOK_SECONDS, "outcome" => outcome));
    }
    gauge!(WEBHOOKS_WAITING).set(0.0);
}

/// Every combination of the labels' values.
fn combinations(labels: &[(&'static str, &'static [&'static str])]) -> Vec<Vec<Label>> {
    labels.iter().fold(vec![Vec::new()], |known, (label, values)| {
        let with = |before: &Vec<Label>, value| [&before[..], &[Label::new(*label, value)]].concat();
        known.iter().flat_map(|before| values.iter().map(move |value| with(before, *value))).collect()
    })
}
