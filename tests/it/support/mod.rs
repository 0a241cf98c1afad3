//! What every behaviour needs: a server, a WhatsApp, viewers.

pub(crate) mod axe;
pub(crate) mod browser;
pub(crate) mod clock;
pub(crate) mod lock;
pub(crate) mod passkey;
pub(crate) mod program;
pub(crate) mod proxy;
pub(crate) mod receiver;
pub(crate) mod redis;
pub(crate) mod relay;
pub(crate) mod replicas;
pub(crate) mod server;
mod standstill;
pub(crate) mod terminal;
pub(crate) mod viewer;
pub(crate) mod way_out;
pub(crate) mod witness;

use std::io::Write;
use std::pin::pin;
use std::time::Duration;

use simulator::{Config, Network, Simulator};

pub(crate) use self::server::{Server, Session};
use self::standstill::Patience;
pub(crate) use self::viewer::{Seen, Viewer};

/// Longest wait for anything that must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for what must come.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    let (mut future, mut patience) = (pin!(future), Patience::new(PATIENCE));
    loop {
        match tokio::time::timeout(Patience::LOOK, &mut future).await {
            Ok(value) => return value,
            Err(_) if patience.goes_on() => {}
            Err(_) => panic!("waited {PATIENCE:?} for {what}"),
        }
    }
}

/// Asks again and again until the answer is yes.
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, mut ask: impl FnMut() -> F) {
    soon(what, async {
        while !ask().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

/// Whether a program is there that only some machines have; where it is not, this says that a test was not run.
pub(crate) fn is_installed(program: &str) -> bool {
    let found = std::process::Command::new(program).arg("--version").output().is_ok();
    if !found {
        // Past the test runner, which would keep it to itself.
        std::io::stderr().write_all(format!("skipped: {program} is not installed\n").as_bytes()).unwrap();
    }
    found
}

/// Sends a signal to a process.
pub(crate) fn signal(pid: u32, name: &str) {
    let sent = std::process::Command::new("kill").args([name, &pid.to_string()]).status().unwrap();
    assert!(sent.success());
}

/// A WhatsApp on loopback as it is on an ordinary day: accounts with a history, a network that takes its time, frames that are
/// compressed, joined and cut.
pub(crate) async fn whatsapp() -> Simulator {
    let whatsapp = Simulator::start(Config { contacts: 20, ..Config::default() }).await.unwrap();
    let ordinary =
        Network { delay_ms: Some(25), compress: Some(true), split: Some(true), ..Network::default() };
    whatsapp.network(ordinary).unwrap();
    whatsapp
}

/// A WhatsApp and a server that talks to it, in real time.
pub(crate) async fn world() -> (Simulator, Server) {
    world_at(1.0).await
}

/// The same, with the client's timers made faster.
pub(crate) async fn world_at(factor: f64) -> (Simulator, Server) {
    let whatsapp = whatsapp().await;
    let server =
        Server::builder(&whatsapp.url()).variable("WHATSAPP_TIME_FACTOR", &factor.to_string()).start().await;
    (whatsapp, server)
}
