//! Polling at full speed: a few connections that ask again as soon as they are answered. Says how many answers a second
//! of the server's processor gives.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use super::proc;
use super::report::{Section, Spread, row};
use super::servers::{Contender, Kind, Script};
use super::wire::Wire;

/// Connections that ask at the same time.
const CLIENTS: usize = 16;

/// Before the figure is taken.
const WARM_UP: Duration = Duration::from_secs(1);

struct Client {
    socket: TcpStream,
    answer: Vec<u8>,
}

/// The calls that clients poll, at the servers that have them: taking turns in each round.
pub(crate) fn measure(
    who: &[Kind],
    script: &Script,
    long: Duration,
    rounds: usize,
) -> anyhow::Result<Section> {
    let columns =
        ["", "answers for each second of the server's processor, median (least to most)", "µs each"];
    let mut section = Section::new("Polling at full speed", &columns);
    let mut servers = Vec::new();
    for kind in who.iter().copied().filter(|kind| matches!(kind, Kind::Ours | Kind::Express)) {
        servers.push((kind, Contender { kind, wire: Wire::WebSocket }.start(script)?));
    }
    for call in ["session-status", "qr-code"] {
        let mut figures = vec![Vec::new(); servers.len()];
        for _ in 0..rounds {
            for (figures, (_, server)) in figures.iter_mut().zip(&servers) {
                let path = format!("/api/{call}/{}", server.sessions[0]);
                figures.push(run(server.address, &server.pids, &path, long)?);
            }
        }
        for (figures, (kind, _)) in figures.iter().zip(&servers) {
            let name = if *kind == Kind::Ours { "**qrcast**" } else { "express" };
            let figures = Spread::of(figures.iter().copied());
            section.add(row![format!("{name}, `{call}`"), figures, format!("{:.1}", 1e6 / figures.median())]);
        }
    }
    Ok(section)
}

/// Asks for this path for so long. Answers for each second of the processor.
fn run(address: SocketAddr, pids: &[u32], path: &str, long: Duration) -> anyhow::Result<f64> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n");
    let mut poll = Poll::new()?;
    let mut clients = Vec::with_capacity(CLIENTS);
    for number in 0..CLIENTS {
        let socket = std::net::TcpStream::connect(address)?;
        socket.set_nodelay(true)?;
        socket.set_nonblocking(true)?;
        let mut socket = TcpStream::from_std(socket);
        poll.registry().register(&mut socket, Token(number), Interest::READABLE)?;
        socket.write_all(request.as_bytes())?;
        clients.push(Client { socket, answer: Vec::with_capacity(64 * 1024) });
    }
    ask(&mut poll, &mut clients, &request, WARM_UP)?;
    let before = proc::cpu(pids);
    let answers = ask(&mut poll, &mut clients, &request, long)?;
    Ok(answers as f64 / (proc::cpu(pids) - before))
}

fn ask(poll: &mut Poll, clients: &mut [Client], request: &str, long: Duration) -> anyhow::Result<u64> {
    let mut events = Events::with_capacity(CLIENTS);
    let (begin, mut answers) = (Instant::now(), 0);
    while begin.elapsed() < long {
        poll.poll(&mut events, Some(long))?;
        for event in &events {
            if clients[event.token().0].hears()? {
                answers += 1;
                clients[event.token().0].socket.write_all(request.as_bytes())?;
            }
        }
    }
    ensure!(answers > 0, "nothing was answered");
    Ok(answers)
}

impl Client {
    /// Whether the answer is whole.
    fn hears(&mut self) -> anyhow::Result<bool> {
        let mut buffer = [0; 16 * 1024];
        loop {
            match self.socket.read(&mut buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Ok(0) => bail!("the server closes a connection that asks"),
                read => self.answer.extend_from_slice(&buffer[..read?]),
            }
        }
        let Some(end) = self.answer.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(false) };
        let head = String::from_utf8_lossy(&self.answer[..end]);
        ensure!(head.starts_with("HTTP/1.1 200"), "{head}");
        let mut lines = head.lines().filter_map(|line| line.split_once(": "));
        let length = lines.find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
        let length: usize = length.context("an answer without a length")?.1.parse()?;
        let whole = self.answer.len() >= end + 4 + length;
        if whole {
            self.answer.clear();
        }
        Ok(whole)
    }
}
