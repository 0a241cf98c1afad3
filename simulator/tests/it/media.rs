//! An HTTP client for the simulator's media host, as whoever uses the real client has to bring one: the library's URLs are
//! `https`, and those of a loopback host are asked for in plain HTTP.

use std::time::Duration;

use async_trait::async_trait;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use wacore::net::{HttpClient, HttpRequest, HttpResponse};
use whatsapp_rust::anyhow::{self, Context as _};

/// How long a file may take. Short, for the hosts that never answer; a slow one needs more.
#[derive(Clone, Copy)]
pub(crate) struct Loopback(pub(crate) Duration);

#[async_trait]
impl HttpClient for Loopback {
    async fn execute(&self, request: HttpRequest) -> anyhow::Result<HttpResponse> {
        timeout(self.0, get(&request.url)).await.context("the media host is silent")?
    }
}

async fn get(url: &str) -> anyhow::Result<HttpResponse> {
    let rest = url.strip_prefix("https://").context("not https")?;
    let (host, path) = rest.split_once('/').context("no path")?;
    let mut stream = TcpStream::connect(host).await?;
    let request = format!("GET /{path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").context("no head")?;
    let head = std::str::from_utf8(&answer[..end])?;
    let status_code = head.split_whitespace().nth(1).context("no status")?.parse()?;
    Ok(HttpResponse { status_code, body: answer[end + 4..].to_vec() })
}
