//! A receiver of webhooks on loopback, which answers as a test wants and keeps what it was sent.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::Value;
use sha2::Sha256;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::eventually;

/// What it does with a request.
#[derive(Clone, Debug)]
pub(crate) enum Conduct {
    /// Takes it.
    Takes,
    /// Takes it, after a while.
    TakesAfter(Duration),
    /// Answers with this status and these headers.
    Says(u16, &'static str),
    /// Closes the connection without a word.
    Closes,
    /// Never answers.
    Hangs,
}

/// A request that came, whatever became of it.
#[derive(Clone, Debug)]
pub(crate) struct Letter {
    pub(crate) id: String,
    pub(crate) timestamp: String,
    pub(crate) signature: String,
    pub(crate) body: String,
    /// Whether it was taken.
    pub(crate) taken: bool,
}

impl Letter {
    pub(crate) fn event(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    pub(crate) fn session(&self) -> &str {
        self.id.rsplit_once(':').unwrap().0
    }

    /// Whether it was signed with this secret, `whsec_…`.
    pub(crate) fn is_signed_with(&self, secret: &str) -> bool {
        let key = BASE64_STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
        mac.update(format!("{}.{}.{}", self.id, self.timestamp, self.body).as_bytes());
        let expected = format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes()));
        self.signature.split(' ').any(|signature| signature == expected)
    }
}

/// A receiver. It ends with the test.
#[derive(Clone)]
pub(crate) struct Receiver {
    pub(crate) url: String,
    letters: Arc<Mutex<Vec<Letter>>>,
    /// What it does next, and from then on.
    conduct: Arc<Mutex<(VecDeque<Conduct>, Conduct)>>,
}

impl Receiver {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook?token=hunter2", listener.local_addr().unwrap());
        let conduct = Arc::new(Mutex::new((VecDeque::new(), Conduct::Takes)));
        let this = Self { url, letters: Arc::default(), conduct };
        let receiver = this.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let receiver = receiver.clone();
                tokio::spawn(async move { receiver.serve(socket).await });
            }
        });
        this
    }

    /// From now on.
    pub(crate) fn behaves(&self, conduct: Conduct) {
        *self.conduct.lock().unwrap() = (VecDeque::new(), conduct);
    }

    /// These, one after the other; then it takes all.
    pub(crate) fn behaves_once(&self, conducts: impl IntoIterator<Item = Conduct>) {
        *self.conduct.lock().unwrap() = (conducts.into_iter().collect(), Conduct::Takes);
    }

    /// Every request so far.
    pub(crate) fn letters(&self) -> Vec<Letter> {
        self.letters.lock().unwrap().clone()
    }

    /// Those of a session that it took.
    pub(crate) fn taken(&self, session: &str) -> Vec<Letter> {
        let mut letters = self.letters();
        letters.retain(|letter| letter.taken && letter.session() == session);
        letters
    }

    /// The names of the events of a session that it took.
    pub(crate) fn events(&self, session: &str) -> Vec<String> {
        let name = |letter: &Letter| letter.event()["event"].as_str().unwrap().to_owned();
        self.taken(session).iter().map(name).collect()
    }

    /// Waits until it has taken this event of a session.
    pub(crate) async fn awaits(&self, session: &str, event: &str) {
        eventually(&format!("a webhook with {event}"), || async {
            self.events(session).iter().any(|name| name == event)
        })
        .await;
    }

    /// Waits until so many requests have come.
    pub(crate) async fn has_letters(&self, count: usize) {
        eventually(&format!("{count} webhooks"), || async { self.letters().len() >= count }).await;
    }

    async fn serve(&self, mut socket: TcpStream) {
        let mut read = Vec::new();
        while let Some(letter) = request(&mut socket, &mut read).await {
            let conduct = {
                let mut conduct = self.conduct.lock().unwrap();
                conduct.0.pop_front().unwrap_or_else(|| conduct.1.clone())
            };
            let taken = matches!(conduct, Conduct::Takes | Conduct::TakesAfter(_));
            let keep = || self.letters.lock().unwrap().push(Letter { taken, ..letter });
            let (status, headers) = match conduct {
                Conduct::Takes => (204, ""),
                Conduct::TakesAfter(pause) => {
                    tokio::time::sleep(pause).await;
                    (204, "")
                }
                Conduct::Says(status, headers) => (status, headers),
                Conduct::Closes => {
                    keep();
                    return;
                }
                Conduct::Hangs => {
                    keep();
                    // Until the sender has gone.
                    let _ = socket.read(&mut [0; 16]).await;
                    return;
                }
            };
            keep();
            let length = if status == 204 { "" } else { "content-length: 0\r\n" };
            let answer = format!("HTTP/1.1 {status} x\r\n{headers}{length}\r\n");
            if socket.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
    }
}

/// The next request of a connection; `None` when it ends.
async fn request(socket: &mut TcpStream, read: &mut Vec<u8>) -> Option<Letter> {
    let end = loop {
        if let Some(at) = read.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        more(socket, read).await?;
    };
    let head = String::from_utf8(read.drain(..end).collect()).unwrap();
    assert!(head.starts_with("POST /hook?token=hunter2 HTTP/1.1\r\n"), "{head}");
    let header = |name: &str| {
        let lines = head.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned()).next()
    };
    let length: usize = header("content-length").unwrap().parse().unwrap();
    assert_eq!(header("content-type").unwrap(), "application/json");
    while read.len() < length {
        more(socket, read).await?;
    }
    Some(Letter {
        id: header("webhook-id").unwrap(),
        timestamp: header("webhook-timestamp").unwrap(),
        signature: header("webhook-signature").unwrap(),
        body: String::from_utf8(read.drain(..length).collect()).unwrap(),
        taken: false,
    })
}

async fn more(socket: &mut TcpStream, read: &mut Vec<u8>) -> Option<()> {
    let mut buffer = [0; 4096];
    let count = socket.read(&mut buffer).await.ok().filter(|count| *count > 0)?;
    read.extend_from_slice(&buffer[..count]);
    Some(())
}
