//! nginx with nchan, one worker, and whoever publishes to it. `main.rs` runs it as a process of its own, which speaks as
//! `examples/scripted.rs` does.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use super::{Played, say};

/// How long nginx may take to start.
const TO_START: Duration = Duration::from_secs(10);

/// Serves until its standard input ends.
pub(crate) fn run(&Played { sessions, per_second, len }: &Played) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    // Free a moment ago; nginx takes no port of the kernel's choice.
    let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let mut nginx = Nginx(start(folder.path(), address)?);
    let mut publisher = connect(&mut nginx.0, address)?;
    say(&format!("listening {address}"));
    pids(&nginx.0)?.iter().for_each(|pid| say(&format!("pid {pid}")));
    (0..sessions).for_each(|session| say(&format!("session {session}")));
    say("ready");
    let mut sent = 0;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let count: usize = line.strip_prefix("go ").context("not `go COUNT`")?.parse()?;
        let begin = Instant::now();
        for number in 0..count {
            let due = begin + Duration::from_secs_f64(number as f64 / per_second);
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            publish(&mut publisher, sent % sessions, &event(sent / sessions + 1, len))?;
            sent += 1;
        }
        say(&format!("done {count}"));
    }
    Ok(())
}

/// Ends with whoever holds it.
struct Nginx(Child);

impl Drop for Nginx {
    fn drop(&mut self) {
        // SIGTERM, so that the master ends its worker.
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}

fn start(folder: &Path, address: SocketAddr) -> anyhow::Result<Child> {
    let user = if Path::new("/root").metadata().is_ok() { "user root;" } else { "" };
    let path = folder.display();
    let config = format!(
        "load_module /usr/lib/nginx/modules/ngx_nchan_module.so;
        daemon off; worker_processes 1; worker_rlimit_nofile 20000; {user} pid {path}/pid; error_log {path}/error.log;
        events {{ worker_connections 19000; }}
        http {{
            access_log off; nchan_shared_memory_size 128M; client_body_temp_path {path}/body;
            proxy_temp_path {path}/proxy; fastcgi_temp_path {path}/fastcgi; uwsgi_temp_path {path}/uwsgi; scgi_temp_path {path}/scgi;
            server {{
                listen {address} backlog=4096; keepalive_requests 1000000; keepalive_timeout 1h;
                location ~ /pub/(\\d+)$ {{ nchan_publisher; nchan_channel_id $1; client_body_buffer_size 64k; }}
                location ~ /sub/(\\d+)$ {{ nchan_subscriber; nchan_channel_id $1; nchan_subscriber_first_message newest; }}
            }}
        }}"
    );
    let file = folder.join("nginx.conf");
    std::fs::write(&file, config)?;
    let nginx = if Path::new("/usr/sbin/nginx").exists() { "/usr/sbin/nginx" } else { "nginx" };
    Command::new(nginx).arg("-c").arg(&file).spawn().context("nginx, of Debian's `nginx`")
}

fn connect(nginx: &mut Child, address: SocketAddr) -> anyhow::Result<BufReader<TcpStream>> {
    let begin = Instant::now();
    loop {
        match TcpStream::connect(address) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(BufReader::new(stream));
            }
            Err(error) if begin.elapsed() > TO_START => bail!("nginx does not listen: {error}"),
            Err(_) => {}
        }
        if let Some(status) = nginx.try_wait()? {
            bail!("nginx has ended: {status}; is Debian's libnginx-mod-nchan installed?");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The master and its worker, once it has one.
fn pids(nginx: &Child) -> anyhow::Result<Vec<u32>> {
    let (master, begin) = (nginx.id(), Instant::now());
    while begin.elapsed() < TO_START {
        let workers = std::fs::read_to_string(format!("/proc/{master}/task/{master}/children"))?;
        let workers: Vec<u32> = workers.split_whitespace().filter_map(|pid| pid.parse().ok()).collect();
        if !workers.is_empty() {
            return Ok([vec![master], workers].concat());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    bail!("nginx has no worker")
}

fn publish(publisher: &mut BufReader<TcpStream>, channel: usize, event: &str) -> anyhow::Result<()> {
    let head = format!("POST /pub/{channel} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", event.len());
    publisher.get_mut().write_all(format!("{head}{event}").as_bytes())?;
    let mut length = 0;
    loop {
        let mut line = String::new();
        if publisher.read_line(&mut line)? == 0 {
            bail!("nginx closes the publisher's connection");
        }
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse()?;
        }
        if line == "\r\n" {
            break;
        }
    }
    let mut body = vec![0; length];
    Ok(publisher.read_exact(&mut body)?)
}

/// As long as the event that it is compared with.
fn event(seq: usize, len: usize) -> String {
    let (before, after) = (format!(r#"{{"id":"1-{seq}","event":"qr","data":""#), "\"}");
    let padding = len.saturating_sub(before.len() + after.len());
    format!("{before}{}{after}", "x".repeat(padding))
}
