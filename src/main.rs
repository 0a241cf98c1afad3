//! The binary: config → logging → bind → run → drain → exit code.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use qrcast::config::{Config, SETTINGS};
use qrcast::shutdown::{self, Shutdown};
use qrcast::{migrate, server, telemetry};
use tokio::net::TcpListener;

/// Links WhatsApp accounts and pushes each link's life to browsers. Without a command it serves.
#[derive(Parser)]
#[command(version, after_help = variables())]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Says whether the environment is right, and exits.
    CheckConfig,
    /// Moves every session and linked device from DATA_DIR to REDIS_URL, and exits. No server may run on DATA_DIR.
    Migrate,
}

/// `sysexits.h`: the command or the configuration was used wrongly.
const EX_USAGE: u8 = 64;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that hands the environment to the configuration"
    )]
    let config = match Config::read(|name| std::env::var(name).ok()) {
        Ok(config) => config,
        Err(mistakes) => {
            eprintln!("{mistakes}");
            return ExitCode::from(EX_USAGE);
        }
    };
    let done = match arguments.command {
        Some(Command::CheckConfig) => {
            eprintln!("the configuration is right");
            return ExitCode::SUCCESS;
        }
        Some(Command::Migrate) if config.redis.is_none() => {
            eprintln!("REDIS_URL: not set; it says where to move the sessions to");
            return ExitCode::from(EX_USAGE);
        }
        Some(Command::Migrate) => migrate(&config),
        None => run(config),
    };
    match done {
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

#[tokio::main]
async fn migrate(config: &Config) -> anyhow::Result<()> {
    telemetry::start(&config.log_filter, config.log_format)?;
    let redis = config.redis.as_ref().context("REDIS_URL is not set")?;
    eprintln!("{}", migrate::run(config, redis).await?);
    Ok(())
}

/// The table of variables, for `--help`.
fn variables() -> String {
    let line = |setting: &qrcast::config::Setting| {
        let default =
            if setting.default.is_empty() { String::new() } else { format!(" [{}]", setting.default) };
        format!("  {}{default}\n      {}\n", setting.name, setting.meaning.replace('`', ""))
    };
    format!("Variables [and their defaults]:\n{}", SETTINGS.iter().map(line).collect::<String>())
}
