//! The line between the recipes and the server, which breaks in the middle of an event where a test says so.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// How an event begins, over SSE behind its id, and over WebSocket.
const BEGINNINGS: [&[u8]; 2] = [b"event: ready\n", br#""event":"ready","#];

/// It ends with the test's runtime.
pub(super) struct Line {
    pub(super) base: String,
    breaks: watch::Sender<bool>,
    broken: Arc<AtomicUsize>,
}

impl Line {
    /// To a server on this port, which may come and go.
    pub(super) async fn to(port: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let (breaks, armed) = watch::channel(false);
        let broken = Arc::<AtomicUsize>::default();
        let (address, count) = (format!("127.0.0.1:{port}"), broken.clone());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (address, armed, count) = (address.clone(), armed.clone(), count.clone());
                let may_break = !*armed.borrow();
                tokio::spawn(async move {
                    let Ok(server) = TcpStream::connect(address).await else { return };
                    let (from_client, to_client) = tokio::io::split(client);
                    let (from_server, to_server) = tokio::io::split(server);
                    // Whichever ends first takes the other with it.
                    tokio::select! {
                        () = passes(from_client, to_server) => {}
                        () = passes_until(from_server, to_client, || may_break && *armed.borrow(), &count) => {}
                    }
                });
            }
        });
        Self { base, breaks, broken }
    }

    /// Whether connections are cut in their next `ready`. Those that come meanwhile never are.
    pub(super) fn breaks(&self, breaks: bool) {
        self.breaks.send_replace(breaks);
    }

    /// How many have been cut.
    pub(super) fn broken(&self) -> usize {
        self.broken.load(Ordering::Relaxed)
    }
}

async fn passes(mut from: ReadHalf<TcpStream>, mut to: WriteHalf<TcpStream>) {
    let _ = tokio::io::copy(&mut from, &mut to).await;
}

async fn passes_until(
    mut from: ReadHalf<TcpStream>,
    mut to: WriteHalf<TcpStream>,
    breaks: impl Fn() -> bool,
    broken: &AtomicUsize,
) {
    let mut bytes = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut bytes).await {
        let chunk = &bytes[..count];
        let cut = BEGINNINGS.iter().find_map(|beginning| {
            let at = chunk.windows(beginning.len()).position(|window| window == *beginning)?;
            breaks().then_some(at + beginning.len())
        });
        if to.write_all(&chunk[..cut.unwrap_or(count)]).await.is_err() {
            return;
        }
        if cut.is_some() {
            broken.fetch_add(1, Ordering::Relaxed);
            return;
        }
    }
}
