//! Logging: `tracing` to standard error, together with the `log` lines of the libraries. The metrics are in a module
//! beside it.

pub mod alerts;
mod lines;
pub mod metrics;
pub(crate) mod traces;

use std::io::IsTerminal as _;

use tracing::{Level, Metadata, error};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

use self::lines::Lines;
use crate::config::LogFormat;

/// The modules that log credentials, and the level from which on they do: these lines are never written, whatever
/// `RUST_LOG` says. A QR
/// string or a pairing code links somebody's account, and logs are read by more people than may do that.
const SECRETIVE: &[(&str, Level)] = &[
    // The library's pairing codes, with the phone number.
    ("Client/PairCode", Level::WARN),
    ("Bot/PairCode", Level::WARN),
    // Every stanza as text: references of QRs, names, senders and recipients.
    ("Client/Recv", Level::WARN),
    ("Client/Send", Level::WARN),
    // Complete stanzas that were not expected.
    ("whatsapp_rust::handlers::iq", Level::ERROR),
    // The URL of a download that failed, with the token that lets anybody download it.
    ("whatsapp_rust::download", Level::ERROR),
    // Every WebSocket frame, of streams and of the client, byte by byte.
    ("tungstenite", Level::DEBUG),
];

/// What goes on beside the log until it is dropped, at the end of the process: traces are sent.
#[must_use]
pub struct Telemetry {
    #[cfg(feature = "otlp")]
    _exporter: Option<traces::export::Exporter>,
}

/// Starts logging for this process, and traces where `collector` says where they go.
///
/// # Errors
/// When a subscriber is already set, or traces cannot be sent to such an address.
pub fn start(filter: &str, format: LogFormat, collector: Option<&str>) -> anyhow::Result<Telemetry> {
    // The configuration has checked the directives already.
    let mut filter = EnvFilter::try_new(filter)?;
    if collector.is_some() {
        filter = filter.add_directive(format!("{}=trace", traces::TARGET).parse()?);
    }
    #[cfg(feature = "otlp")]
    let (traces, exporter) = collector.map(traces::export::start).transpose()?.unzip();
    #[cfg(not(feature = "otlp"))]
    let traces = None::<tracing_subscriber::layer::Identity>;
    // Colours are for a terminal, not for a file.
    let has_colours = std::io::stderr().is_terminal();
    let lines = tracing_subscriber::fmt::layer().with_writer(Lines { has_colours }).with_ansi(has_colours);
    let no_traces = collector.map(|_| filter_fn(|metadata| metadata.target() != traces::TARGET));
    let registry = tracing_subscriber::registry().with(traces).with(filter).with(filter_fn(may_be_written));
    match format {
        LogFormat::Pretty => registry.with(lines.with_filter(no_traces)).try_init()?,
        // The list of spans holds the current one as well.
        LogFormat::Json => {
            let lines = lines.json().flatten_event(true).with_current_span(false);
            registry.with(lines.with_filter(no_traces)).try_init()?;
        }
    }
    log_panics();
    Ok(Telemetry {
        #[cfg(feature = "otlp")]
        _exporter: exporter,
    })
}

/// A panic is logged with its place in the code, but without its message, which may contain the text that was being
/// handled.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let location = panic.location().map(ToString::to_string);
        error!(location, "panic");
    }));
}

fn may_be_written(line: &Metadata<'_>) -> bool {
    let secretive = SECRETIVE.iter().find(|(target, _)| is_within(line.target(), target));
    // In `tracing`, a less severe level is greater.
    secretive.is_none_or(|(_, least)| line.level() <= least)
}

/// Whether a line comes from this module or one below it.
fn is_within(target: &str, module: &str) -> bool {
    target.strip_prefix(module).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_is_itself_and_what_is_below() {
        assert!(is_within("tungstenite::protocol::frame", "tungstenite"));
        assert!(is_within("Client/Recv", "Client/Recv"));
        assert!(!is_within("tungstenite_fork", "tungstenite"));
    }
}
