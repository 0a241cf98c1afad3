//! Logging: `tracing` to standard error, and the library's `log` lines with it. Beside it the metrics.

pub mod metrics;

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::LogFormat;

/// Starts logging for this process.
///
/// # Errors
/// When a subscriber is already set.
pub fn start(filter: &str, format: LogFormat) -> anyhow::Result<()> {
    // Checked by the configuration before.
    let filter = EnvFilter::try_new(filter)?;
    // Colours are for a terminal, not for a file.
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let registry = tracing_subscriber::registry().with(filter);
    match format {
        LogFormat::Pretty => registry.with(lines).try_init()?,
        LogFormat::Json => registry.with(lines.json().flatten_event(true)).try_init()?,
    }
    Ok(())
}
