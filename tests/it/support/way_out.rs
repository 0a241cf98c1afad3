//! Proxies between a server and its WhatsApp: HTTP's `CONNECT` and SOCKS5, with one user and one password. Whatever name
//! they are asked for is this machine, so that a name that nobody else can resolve shows who resolved it.

use std::io;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// How a proxy is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Http,
    Socks5,
}

pub(crate) const USER: &str = "ada-at-the-proxy";
pub(crate) const PASSWORD: &str = "a p@ssword:of/the%proxy";

/// `USER:PASSWORD`, as a URL has it.
pub(crate) const WORDS: &str = "ada-at-the-proxy:a%20p%40ssword%3Aof%2Fthe%25proxy";

/// What of the credentials may be in no line, as they are and as HTTP sends them.
pub(crate) fn secrets() -> Vec<String> {
    let basic = BASE64_STANDARD.encode(format!("{USER}:{PASSWORD}"));
    vec![USER.to_owned(), PASSWORD.to_owned(), WORDS.to_owned(), basic, "%40ssword".to_owned()]
}

/// A proxy. It ends with the test's runtime.
pub(crate) struct WayOut {
    kind: Kind,
    pub(crate) port: u16,
    shared: Arc<Shared>,
    running: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    /// What it was asked for, `host:port`.
    asked: Mutex<Vec<String>>,
    /// It takes no password for the right one.
    strict: Mutex<bool>,
    refused: Mutex<usize>,
}

impl WayOut {
    pub(crate) async fn start(kind: Kind) -> Self {
        let mut this = Self { kind, port: 0, shared: Arc::default(), running: None };
        this.revive().await;
        this
    }

    /// With user and password.
    pub(crate) fn url(&self) -> String {
        format!("{}://{WORDS}@127.0.0.1:{}", self.scheme(), self.port)
    }

    /// Without.
    pub(crate) fn nameless_url(&self) -> String {
        format!("{}://127.0.0.1:{}", self.scheme(), self.port)
    }

    fn scheme(&self) -> &'static str {
        match self.kind {
            Kind::Http => "http",
            Kind::Socks5 => "socks5",
        }
    }

    pub(crate) fn asked(&self) -> Vec<String> {
        self.shared.asked.lock().unwrap().clone()
    }

    /// How many it has turned away for their password.
    pub(crate) fn refused(&self) -> usize {
        *self.shared.refused.lock().unwrap()
    }

    /// Whether no password is right from now on.
    pub(crate) fn strict(&self, strict: bool) {
        *self.shared.strict.lock().unwrap() = strict;
    }

    /// Cuts every connection, and takes no other.
    pub(crate) async fn die(&mut self) {
        let running = self.running.take().unwrap();
        running.abort();
        // The socket is closed when the task is gone.
        let _ = running.await;
    }

    /// On the same port as before.
    pub(crate) async fn revive(&mut self) {
        let listener = TcpListener::bind(("127.0.0.1", self.port)).await.unwrap();
        self.port = listener.local_addr().unwrap().port();
        let (kind, shared) = (self.kind, self.shared.clone());
        self.running = Some(tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                let shared = shared.clone();
                connections.spawn(async move {
                    match kind {
                        Kind::Http => http(socket, &shared).await,
                        Kind::Socks5 => socks5(socket, &shared).await,
                    }
                });
            }
        }));
    }
}

impl Shared {
    fn welcomes(&self, user: &str, password: &str) -> bool {
        let welcome = (user, password) == (USER, PASSWORD) && !*self.strict.lock().unwrap();
        *self.refused.lock().unwrap() += usize::from(!welcome);
        welcome
    }

    async fn reach(&self, host: &str, port: u16) -> io::Result<TcpStream> {
        self.asked.lock().unwrap().push(format!("{host}:{port}"));
        TcpStream::connect(("127.0.0.1", port)).await
    }
}

async fn http(mut socket: TcpStream, shared: &Shared) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await?);
    }
    let head = String::from_utf8(head).unwrap();
    let basic = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("proxy-authorization").then_some(value)?.strip_prefix("Basic ")
    });
    let words = basic.map(|basic| String::from_utf8(BASE64_STANDARD.decode(basic).unwrap()).unwrap());
    let (user, password) = words.as_deref().and_then(|words| words.split_once(':')).unwrap_or_default();
    if !shared.welcomes(user, password) {
        let refusal = "HTTP/1.1 407 Proxy Authentication Required\r\nproxy-authenticate: Basic\r\ncontent-length: 0\r\n\r\n";
        return socket.write_all(refusal.as_bytes()).await;
    }
    let target = head.strip_prefix("CONNECT ").unwrap().split(' ').next().unwrap();
    let (host, port) = target.rsplit_once(':').unwrap();
    match shared.reach(host, port.parse().unwrap()).await {
        Ok(mut upstream) => {
            socket.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await?;
            copy_bidirectional(&mut socket, &mut upstream).await.map(drop)
        }
        Err(_) => socket.write_all(b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n").await,
    }
}

async fn socks5(mut socket: TcpStream, shared: &Shared) -> io::Result<()> {
    assert_eq!(socket.read_u8().await?, 5);
    let methods = text(&mut socket).await?.into_bytes();
    if !methods.contains(&2) {
        shared.welcomes("", "");
        return socket.write_all(&[5, 0xff]).await;
    }
    socket.write_all(&[5, 2]).await?;
    assert_eq!(socket.read_u8().await?, 1);
    let (user, password) = (text(&mut socket).await?, text(&mut socket).await?);
    if !shared.welcomes(&user, &password) {
        return socket.write_all(&[1, 1]).await;
    }
    socket.write_all(&[1, 0]).await?;
    let mut request = [0; 4];
    socket.read_exact(&mut request).await?;
    let host = match request {
        [5, 1, 0, 3] => text(&mut socket).await?,
        [5, 1, 0, 1] => std::net::Ipv4Addr::from(socket.read_u32().await?).to_string(),
        other => panic!("an odd request: {other:?}"),
    };
    let port = socket.read_u16().await?;
    match shared.reach(&host, port).await {
        Ok(mut upstream) => {
            socket.write_all(&[5, 0, 0, 1, 127, 0, 0, 1, 0, 0]).await?;
            copy_bidirectional(&mut socket, &mut upstream).await.map(drop)
        }
        // Connection refused.
        Err(_) => socket.write_all(&[5, 5, 0, 1, 0, 0, 0, 0, 0, 0]).await,
    }
}

/// As many bytes as the first one says.
async fn text(socket: &mut TcpStream) -> io::Result<String> {
    let mut bytes = vec![0; socket.read_u8().await?.into()];
    socket.read_exact(&mut bytes).await?;
    Ok(String::from_utf8(bytes).unwrap())
}
