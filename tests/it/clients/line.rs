//! The line between the recipes and the server, which breaks in the middle of an event, or carries nothing more, where a test
//! says so.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// How an event begins, over SSE behind its id, and over WebSocket.
const BEGINNINGS: [&[u8]; 2] = [b"event: ready\n", br#""event":"ready","#];

/// What becomes of the connections that there are. Those that come later are well.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Fate {
    Well,
    /// Each is cut in its next `ready`.
    Breaks,
    /// Nothing comes any more, and neither end is told.
    Silent,
}

/// It ends with the test's runtime.
pub(super) struct Line {
    pub(super) base: String,
    fate: watch::Sender<Fate>,
    broken: Arc<AtomicUsize>,
}

impl Line {
    /// To a server on this port, which may come and go.
    pub(super) async fn to(port: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let (fate, told) = watch::channel(Fate::Well);
        let broken = Arc::<AtomicUsize>::default();
        let (address, count) = (format!("127.0.0.1:{port}"), broken.clone());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (address, told, count) = (address.clone(), told.clone(), count.clone());
                let is_safe = *told.borrow() != Fate::Well;
                tokio::spawn(async move {
                    let Ok(server) = TcpStream::connect(address).await else { return };
                    let (from_client, to_client) = tokio::io::split(client);
                    let (from_server, to_server) = tokio::io::split(server);
                    let fate = || if is_safe { Fate::Well } else { *told.borrow() };
                    // Whichever ends first takes the other with it.
                    tokio::select! {
                        () = passes(from_client, to_server) => {}
                        () = passes_until(from_server, to_client, fate, &count) => {}
                    }
                });
            }
        });
        Self { base, fate, broken }
    }

    pub(super) fn is(&self, fate: Fate) {
        self.fate.send_replace(fate);
    }

    /// How many were cut.
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
    fate: impl Fn() -> Fate,
    broken: &AtomicUsize,
) {
    let mut bytes = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut bytes).await {
        if fate() == Fate::Silent {
            continue;
        }
        let chunk = &bytes[..count];
        let cut = BEGINNINGS.iter().find_map(|beginning| {
            let at = chunk.windows(beginning.len()).position(|window| window == *beginning)?;
            (fate() == Fate::Breaks).then_some(at + beginning.len())
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
