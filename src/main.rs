//! The binary: config → logging → bind → run → drain → exit code.

use std::process::ExitCode;

use anyhow::Context as _;
use qrcast::config::Config;
use qrcast::shutdown::{self, Shutdown};
use qrcast::{server, telemetry};
use tokio::net::TcpListener;

fn main() -> ExitCode {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that hands the environment to the configuration"
    )]
    let config = match Config::read(|name| std::env::var(name).ok()) {
        Ok(config) => config,
        Err(mistakes) => {
            eprintln!("{mistakes}");
            return ExitCode::from(64);
        }
    };
    match run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("qrcast: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run(config: Config) -> anyhow::Result<()> {
    telemetry::start(&config.log_filter, config.log_format)?;
    #[cfg(feature = "simulator")]
    tracing::warn!(
        "built with the feature `simulator`: WhatsApp's certificate is NOT checked; never use this in production"
    );
    let address = config.address();
    let listener = TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
    tracing::info!(address = %listener.local_addr()?, version = env!("CARGO_PKG_VERSION"), "listening");
    let stop = Shutdown::new();
    let on_signal = stop.clone();
    stop.spawn(async move {
        match shutdown::signal().await {
            Ok(()) => on_signal.begin(),
            Err(error) => tracing::error!(%error, "signals cannot be heard; stop this process by force"),
        }
    });
    server::run(config, listener, stop).await?;
    Ok(())
}
