//! The binary: `simulator --listen 127.0.0.1:8090 [--refs 6] [--contacts 0]`. One line says where it listens; Ctrl-C ends it.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::process::ExitCode;

use clap::Parser;
use simulator::{Config, Simulator};
use tracing_subscriber::EnvFilter;

/// Plays WhatsApp's server and any number of phones on loopback.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Loopback address for clients (ws://ADDRESS/ws/chat) and tests (http://ADDRESS/control/...); port 0 picks a free one.
    #[arg(long, default_value = "127.0.0.1:8090")]
    listen: SocketAddr,
    /// QR references per pairing.
    #[arg(long, default_value_t = Config::default().refs)]
    refs: usize,
    /// Contacts of every account, which then has a history: its app state comes as blobs of the simulator's own media host.
    #[arg(long, default_value_t = Config::default().contacts)]
    contacts: usize,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn,simulator=info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).init();
    match run(arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "the simulator cannot run");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> io::Result<()> {
    let simulator = Simulator::start(Config {
        listen: arguments.listen,
        refs: arguments.refs,
        contacts: arguments.contacts,
    })
    .await?;
    writeln!(io::stdout(), "listening on {} (clients: {})", simulator.addr(), simulator.url())?;
    io::stdout().flush()?;
    tokio::signal::ctrl_c().await?;
    simulator.shutdown().await;
    Ok(())
}
