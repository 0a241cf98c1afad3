//! The binary: config → logging → bind → run → drain → exit code.

mod command_line;

use std::fmt::Display;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser as _;
use qrcast::check_store::Wanted;
use qrcast::config::{ClientSettings, Config, Misspelt, misspelt};
use qrcast::server::check::Findings;
use qrcast::shutdown::{self, Shutdown};
use qrcast::{backup, check_store, client, doctor, migrate, server, telemetry};
use tokio::net::{TcpListener, TcpSocket};

use self::command_line::{Arguments, Command};

/// How long `qrcast health` waits for the server's answer. A container's health check waits no longer than 5 s.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(4);

/// Exit code of `sysexits.h` for a wrong command line or configuration.
const EX_USAGE: u8 = 64;

/// jemalloc returns free memory to the system within about 20 s, so that the figure of `/health` goes down again.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that hands the environment to the configuration"
    )]
    let variable = |name: &str| std::env::var(name).ok();
    // These stand for themselves: a server's settings may be missing or wrong.
    let command = match arguments.command {
        Some(Command::Doctor { json }) => return doctor(variable, json),
        Some(Command::Client(command)) => return client(command, variable),
        Some(Command::Completions { shell }) => return writes(&command_line::completions(shell)),
        Some(Command::Man { command }) => return manual(command.as_deref()),
        command => command,
    };
    let config = match Config::read(variable) {
        Ok(config) => config,
        Err(mistakes) => {
            eprintln!("{mistakes}");
            // What is missing may be there under another name.
            misspelt(&names()).iter().for_each(|misspelt| eprintln!("{misspelt}"));
            return ExitCode::from(EX_USAGE);
        }
    };
    let done = match command {
        Some(Command::CheckConfig) => return check(&config, &misspelt(&names())),
        Some(Command::Backup { file }) => return backup(&config, &file),
        Some(Command::CheckStore { quarantine, accept, json }) => {
            return check_store(&config, Wanted { quarantine, accept }, json);
        }
        Some(Command::Migrate) if config.redis.is_none() => {
            eprintln!("REDIS_URL: not set; it says where to move the sessions to");
            return ExitCode::from(EX_USAGE);
        }
        Some(Command::Migrate) => migrate(&config),
        Some(Command::Health) => health(&config),
        _ => run(config),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("qrcast: {}", with_causes(&error));
            ExitCode::FAILURE
        }
    }
}

/// An error and its causes, each once: some errors already contain the text of their cause.
fn with_causes(error: &anyhow::Error) -> String {
    error.chain().skip(1).map(ToString::to_string).fold(error.to_string(), |said, cause| {
        if said.ends_with(&cause) { said } else { format!("{said}: {cause}") }
    })
}

/// The names of the environment's variables. One that is not UTF-8 is none of ours.
fn names() -> Vec<String> {
    std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()).collect()
}

#[tokio::main]
async fn check(config: &Config, misspelt: &[Misspelt]) -> ExitCode {
    let Findings { wrong, mut unwise } = server::check::check(config).await;
    unwise.extend(misspelt.iter().map(ToString::to_string));
    wrong.iter().for_each(|mistake| eprintln!("{mistake}"));
    unwise.iter().for_each(|warning| eprintln!("{warning} (a warning)"));
    if wrong.is_empty() {
        eprintln!("the configuration is right");
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// How long the exit waits for threads that still compute or read.
const LAST_THREADS: Duration = Duration::from_millis(100);

fn run(config: Config) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(serve(config));
    // Dropping the runtime would wait for its threads without a limit.
    runtime.shutdown_timeout(LAST_THREADS);
    result
}

async fn serve(config: Config) -> anyhow::Result<()> {
    let _telemetry = telemetry::start(&config.log_filter, config.log_format, config.collector.as_deref())?;
    telemetry::metrics::start()?;
    #[cfg(feature = "simulator")]
    tracing::warn!(
        "built with the feature `simulator`: WhatsApp's certificate is NOT checked; never use this in production"
    );
    for Misspelt { name, meant } in misspelt(&names()) {
        tracing::warn!(variable = name, meant, "a variable is set and not read; another one may be meant");
    }
    let address = config.address();
    let listener = listen(address).with_context(|| format!("cannot listen on {address}"))?;
    let stop = Shutdown::new();
    let on_signal = stop.clone();
    stop.spawn(async move {
        if let Err(error) = shutdown::at_signals(&on_signal).await {
            tracing::error!(%error, "signals cannot be heard; stop this process by force");
        }
    });
    server::run(config, listener, stop).await?;
    Ok(())
}

/// How many connections may wait to be accepted, as far as the kernel allows. A client that finds the queue full tries
/// again only after a second, so the queue must hold a burst.
const WAITING: u32 = 4096;

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // As tokio's own `bind` does: a restarted server can listen although old connections still hold the port.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(WAITING)
}

#[tokio::main]
async fn migrate(config: &Config) -> anyhow::Result<()> {
    let _telemetry = telemetry::start(&config.log_filter, config.log_format, None)?;
    let redis = config.redis.as_ref().context("REDIS_URL is not set")?;
    eprintln!("{}", migrate::run(config, redis).await?);
    Ok(())
}

/// For a container without curl or another HTTP client.
fn health(config: &Config) -> anyhow::Result<()> {
    let client = ureq::Agent::config_builder().timeout_global(Some(HEALTH_TIMEOUT)).proxy(None).build();
    let client = ureq::Agent::from(client);
    // `::` takes IPv4 too, and containers often have no IPv6 of their own.
    let hosts: &[IpAddr] = match config.host {
        IpAddr::V4(host) if host.is_unspecified() => &[IpAddr::V4(Ipv4Addr::LOCALHOST)],
        IpAddr::V6(host) if host.is_unspecified() => {
            &[IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)]
        }
        _ => &[config.host],
    };
    let url = |host: &IpAddr| format!("http://{}/health", SocketAddr::new(*host, config.port));
    let ask = |host: &IpAddr| client.get(url(host)).call();
    let mut answer = ask(&hosts[0]);
    for host in &hosts[1..] {
        if matches!(answer, Err(ureq::Error::Io(_) | ureq::Error::ConnectionFailed)) {
            answer = ask(host);
        }
    }
    let asked = hosts.iter().map(url).collect::<Vec<_>>().join(" and ");
    let mut answer = match answer {
        Ok(answer) => answer,
        Err(ureq::Error::StatusCode(status)) => {
            anyhow::bail!("{asked} answers {status}: the server is unhealthy")
        }
        Err(error) => anyhow::bail!(
            "{asked} does not answer ({error}): start the server, or give this command the HOST and PORT that it has"
        ),
    };
    eprintln!("{}", answer.body_mut().read_to_string()?);
    Ok(())
}

/// Writes what a command has found. If the reader has closed the pipe, the exit code still says the result.
fn says(found: impl Display) {
    let _ = writeln!(std::io::stdout(), "{found}");
}

/// The same of something that is whole already.
fn writes(text: &[u8]) -> ExitCode {
    let _ = std::io::stdout().write_all(text);
    ExitCode::SUCCESS
}

fn manual(command: Option<&str>) -> ExitCode {
    match command_line::manual(command) {
        Ok(Some(page)) => writes(&page),
        Ok(None) => {
            eprintln!("qrcast: there is no such command; `qrcast --help` lists those that are there");
            ExitCode::from(EX_USAGE)
        }
        Err(error) => {
            eprintln!("qrcast: {error}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn client(command: client::Command, variable: impl Fn(&str) -> Option<String>) -> ExitCode {
    let settings = match ClientSettings::read(variable, command.server()) {
        Ok(settings) => settings,
        Err(mistakes) => {
            eprintln!("{mistakes}");
            return ExitCode::from(EX_USAGE);
        }
    };
    match client::run(command, settings).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("qrcast: {failure}");
            ExitCode::from(failure.exit)
        }
    }
}

#[tokio::main]
async fn backup(config: &Config, file: &Path) -> ExitCode {
    match backup::run(config, file).await {
        Ok(report) => {
            says(format_args!(
                "{report}\ncopied to {}; whoever has it has the linked accounts",
                file.display()
            ));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("qrcast: {}", with_causes(&error.into()));
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn check_store(config: &Config, wanted: Wanted, json: bool) -> ExitCode {
    let report = match check_store::run(config, wanted).await {
        Ok(report) => report,
        Err(error) => {
            eprintln!("qrcast: {}", with_causes(&error.into()));
            return ExitCode::FAILURE;
        }
    };
    let said = if json { serde_json::json!(report).to_string() } else { report.to_string() };
    says(said);
    if report.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn doctor(variable: impl Fn(&str) -> Option<String>, json: bool) -> ExitCode {
    let names = names();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("qrcast: {error}");
            return ExitCode::FAILURE;
        }
    };
    let report = runtime.block_on(doctor::run(variable, &names));
    // A name look-up that timed out still holds its thread.
    runtime.shutdown_background();
    let said = if json { serde_json::json!(report).to_string() } else { report.to_string() };
    says(said);
    ExitCode::from(report.failures())
}
