//! Connections that we open ourselves, as hyper's client takes them. `whatsapp/egress`, `webhooks` and `client` use it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use hyper::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_websockets::{Connector, MaybeTlsStream};
use tower_service::Service;

/// A connection that is ready for HTTP.
pub(crate) type Stream = MaybeTlsStream<TcpStream>;

/// The same, for hyper's client.
pub(crate) struct Wire(TokioIo<Stream>);

impl Wire {
    fn new(stream: Stream) -> Self {
        Self(TokioIo::new(stream))
    }
}

/// Why none was opened.
pub(crate) type OpenError = Box<dyn std::error::Error + Send + Sync>;

type Opening = BoxFuture<'static, Result<Wire, OpenError>>;

/// Opens one to the host of this address by a connector for TCP, with TLS where the address is `https`.
pub(crate) async fn open<C>(mut tcp: C, tls: &Connector, uri: Uri) -> Result<Stream, OpenError>
where
    C: Service<Uri, Response = TokioIo<TcpStream>, Error: Into<OpenError>>,
{
    let host = uri.host().unwrap_or_default().to_owned();
    let secure = uri.scheme_str() == Some("https");
    let socket = tcp.call(uri).await.map_err(Into::into)?.into_inner();
    if !secure {
        return Ok(MaybeTlsStream::Plain(socket));
    }
    Ok(tls.wrap(&host, socket).await?)
}

/// Opens connections for hyper's client.
#[derive(Clone)]
pub(crate) struct Road(Arc<dyn Fn(Uri) -> Opening + Send + Sync>);

impl Road {
    /// `open` opens one, to the host of this address.
    pub(crate) fn new<F>(open: impl Fn(Uri) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Stream, OpenError>> + Send + 'static,
    {
        Self(Arc::new(move |uri| {
            let opening = open(uri);
            Box::pin(async move { Ok(Wire::new(opening.await?)) })
        }))
    }
}

impl Service<Uri> for Road {
    type Response = Wire;
    type Error = OpenError;
    type Future = Opening;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        (self.0)(uri)
    }
}

impl Connection for Wire {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl Write for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
