//! Asks a proxy to open a connection to a host. Host names are passed to the proxy, which resolves them.

use std::convert::Infallible;
use std::fmt;
use std::future::{Ready, poll_fn, ready};
use std::task::{Context, Poll};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hyper::client::conn::http1::handshake;
use hyper::header::{HOST, HeaderValue, PROXY_AUTHORIZATION};
use hyper::{Request, StatusCode, Uri};
use hyper_util::client::legacy::connect::proxy::SocksV5;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower_service::Service;
use whatsapp_rust::anyhow::{self, Context as _, anyhow, bail, ensure};

use crate::proxy::{Kind, Proxy};

/// A failure of the proxy itself, or of its login, as opposed to a failure behind it.
#[derive(Debug, thiserror::Error)]
#[error("the proxy {proxy} {what}")]
pub struct ProxyFault {
    proxy: Proxy,
    what: &'static str,
}

impl ProxyFault {
    pub(super) fn new(proxy: &Proxy, what: &'static str) -> Self {
        Self { proxy: proxy.clone(), what }
    }
}

/// Opens the tunnel over a fresh connection to the proxy, which then leads to the host.
pub(super) async fn through(
    proxy: &Proxy,
    socket: TcpStream,
    host: &str,
    port: u16,
) -> anyhow::Result<TcpStream> {
    match proxy.kind() {
        Kind::Http => connect(proxy, socket, host, port).await,
        Kind::Socks5 => socks(proxy, socket, host, port).await,
    }
}

async fn connect(proxy: &Proxy, socket: TcpStream, host: &str, port: u16) -> anyhow::Result<TcpStream> {
    let broken = || ProxyFault::new(proxy, "broke off");
    let (mut sender, mut connection) = handshake(TokioIo::new(socket)).await.with_context(broken)?;
    let answer = sender.send_request(connect_request(proxy, host, port)?);
    tokio::pin!(answer);
    let mut driven = false;
    let answer = loop {
        tokio::select! {
            answer = &mut answer => break answer.with_context(broken)?,
            // Ends when the proxy has accepted; then hyper has released the connection.
            end = poll_fn(|cx| connection.poll_without_shutdown(cx)), if !driven => {
                end.with_context(broken)?;
                driven = true;
            }
        }
    };
    match answer.status() {
        status if status.is_success() => {}
        StatusCode::PROXY_AUTHENTICATION_REQUIRED => return Err(unwelcome(proxy)),
        status => bail!("the proxy {proxy} does not connect to {host}: HTTP {}", status.as_u16()),
    }
    if !driven {
        poll_fn(|cx| connection.poll_without_shutdown(cx)).await.with_context(broken)?;
    }
    let parts = connection.into_parts();
    // The host does not send anything before we do.
    ensure!(parts.read_buf.is_empty(), "the proxy {proxy} said more than it was asked");
    Ok(parts.io.into_inner())
}

fn connect_request(proxy: &Proxy, host: &str, port: u16) -> anyhow::Result<Request<String>> {
    let address = format!("{host}:{port}");
    let mut request = Request::connect(&address).header(HOST, &address).body(String::new())?;
    if let Some((user, password)) = proxy.credentials() {
        let basic = format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}")));
        let mut basic = HeaderValue::try_from(basic)?;
        basic.set_sensitive(true);
        request.headers_mut().insert(PROXY_AUTHORIZATION, basic);
    }
    Ok(request)
}

async fn socks(proxy: &Proxy, socket: TcpStream, host: &str, port: u16) -> anyhow::Result<TcpStream> {
    let target =
        Uri::builder().scheme("tcp").authority(format!("{host}:{port}")).path_and_query("/").build()?;
    // The connection to the proxy already exists.
    let mut socks = SocksV5::new(Uri::default(), Opened(Some(TokioIo::new(socket))));
    if let Some((user, password)) = proxy.credentials() {
        socks = socks.with_auth(user.to_owned(), password.to_owned());
    }
    socks.call(target).await.map(TokioIo::into_inner).map_err(|error| refusal(proxy, host, &error))
}

/// hyper-util's errors have no kinds, only texts. Tests check these two.
fn refusal(proxy: &Proxy, host: &str, error: &dyn fmt::Display) -> anyhow::Error {
    let words = error.to_string();
    let words = words.strip_prefix("SOCKS error: ").unwrap_or(&words);
    match words {
        "credentials not accepted" | "server does not support user/pass authentication" => unwelcome(proxy),
        _ => anyhow!("the proxy {proxy} does not connect to {host}: {words}"),
    }
}

fn unwelcome(proxy: &Proxy) -> anyhow::Error {
    let what = match proxy.credentials() {
        Some(_) => "refused the user name or the password",
        None => "asks for a user name and a password",
    };
    ProxyFault::new(proxy, what).into()
}

/// A connector that has connected.
struct Opened(Option<TokioIo<TcpStream>>);

impl Service<Uri> for Opened {
    type Response = TokioIo<TcpStream>;
    type Error = Infallible;
    type Future = Ready<Result<TokioIo<TcpStream>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        ready(Ok(self.0.take().unwrap_or_else(|| unreachable!("called once"))))
    }
}
