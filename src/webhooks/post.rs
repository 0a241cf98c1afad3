//! Sends one webhook over HTTP: look-up, check of each address, connection, answer.
//!
//! The addresses of a name are looked up at every connection, each is checked, and the connection goes to one of these and
//! to nothing else: a name that leads elsewhere at the second look-up gains nothing. A redirection is not followed, and
//! `HTTPS_PROXY` in the environment is ignored.

use std::future::{Future, poll_fn};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use hyper::body::{Body as _, Incoming};
use hyper::header::{CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use hyper::{Request, Response, StatusCode, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::timeout;
use tokio_websockets::Connector;
use tower_service::Service;
use whatsapp_rust::transport::default_tls_connector;

use crate::event::Time;
use crate::receiver::{ReceiverUrl, address};
use crate::wire::{self, OpenError, Road, Stream};

/// From the look-up of the name to the end of the answer.
pub(super) const LIMIT: Duration = Duration::from_secs(15);

/// How long TCP may take, over all addresses of a name.
const TCP_LIMIT: Duration = Duration::from_secs(10);

/// How many idle connections are kept for each receiver, and how long.
const IDLE: usize = 2;
const IDLE_FOR: Duration = Duration::from_secs(5);

/// How much of an answer's body is read, so that the connection can be used again; nothing is made of it.
const BODY: usize = 8 * 1024;

/// One webhook.
#[derive(Clone, Debug)]
pub(super) struct Letter {
    pub(super) url: ReceiverUrl,
    /// `webhook-id`
    pub(super) id: String,
    /// `webhook-timestamp`, in Unix seconds.
    pub(super) timestamp: i64,
    /// `webhook-signature`
    pub(super) signature: String,
    /// A secret may be in it: an event that holds a credential of its session.
    pub(super) body: String,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// 2xx.
    Taken,
    /// 410: nothing more is wanted.
    Gone,
    /// Another status. It may be about this event alone, unless the receiver says that it has too much to do.
    Refused {
        status: u16,
        /// For how long it wants to be left alone.
        wait: Option<Duration>,
    },
    /// Nobody took it, and nobody would take another; why.
    Unreachable(String),
}

/// Whoever sends.
#[async_trait]
pub(super) trait Post: Send + Sync {
    /// Sends it once, and waits for the answer, [`LIMIT`] at most.
    async fn post(&self, letter: Letter) -> Answer;
}

/// Which addresses a receiver may have.
type Allowed = fn(IpAddr) -> bool;

/// Looks names up: the system, or a test.
type LookUp =
    Arc<dyn Fn(String) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>> + Send + Sync>;

/// Sends over HTTP/1.1.
pub(super) struct HttpPost {
    client: Client<Road, String>,
}

impl HttpPost {
    pub(super) fn new(allow_private: bool) -> Self {
        let allowed: Allowed = if allow_private { |_| true } else { address::is_public };
        Self::with(allowed, Arc::new(|name| Box::pin(look_up(name))))
    }

    fn with(allowed: Allowed, look_up: LookUp) -> Self {
        Self::with_tls(allowed, look_up, default_tls_connector())
    }

    fn with_tls(allowed: Allowed, look_up: LookUp, tls: Connector) -> Self {
        let mut tcp = HttpConnector::new_with_resolver(Checked { allowed, look_up });
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(TCP_LIMIT));
        tcp.set_nodelay(true);
        let way = Way { tcp, tls: Arc::new(tls), allowed };
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_FOR)
            .pool_max_idle_per_host(IDLE)
            .build(Road::new(move |uri| way.clone().open(uri)));
        Self { client }
    }

    async fn send(&self, letter: Letter) -> Answer {
        let request = Request::post(letter.url.as_str())
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, concat!("qrcast/", env!("CARGO_PKG_VERSION")))
            .header("webhook-id", letter.id)
            .header("webhook-timestamp", letter.timestamp)
            .header("webhook-signature", letter.signature)
            .body(letter.body);
        let response = match request {
            Ok(request) => self.client.request(request).await,
            Err(error) => return Answer::Unreachable(error.to_string()),
        };
        match response {
            Ok(response) => {
                let answer = answer_of(&response);
                read(response.into_body()).await;
                answer
            }
            Err(error) => Answer::Unreachable(words(&error)),
        }
    }
}

#[async_trait]
impl Post for HttpPost {
    async fn post(&self, letter: Letter) -> Answer {
        let late = |_| Answer::Unreachable(format!("no answer within {} s", LIMIT.as_secs()));
        timeout(LIMIT, self.send(letter)).await.unwrap_or_else(late)
    }
}

fn answer_of(response: &Response<Incoming>) -> Answer {
    let status = response.status();
    if status.is_success() {
        return Answer::Taken;
    }
    if status == StatusCode::GONE {
        return Answer::Gone;
    }
    let wait = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()).and_then(wait_of);
    let asks = matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
    Answer::Refused { status: status.as_u16(), wait: wait.filter(|_| asks) }
}

/// Of `Retry-After`, seconds or a date.
fn wait_of(value: &str) -> Option<Duration> {
    if let Ok(seconds) = value.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(Time::from(date).remaining(Time::now()))
}

/// Reads a short body to its end; the connection of a longer one is closed.
async fn read(mut body: Incoming) {
    let mut read = 0;
    while read <= BODY
        && let Some(Ok(frame)) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await
    {
        read += frame.data_ref().map_or(0, bytes::Bytes::len);
    }
}

/// The innermost reason: what hyper says around it names the URL's parts or nothing.
fn words(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    format!("it cannot be reached: {innermost}")
}

/// No address of a receiver is public, or not each of them.
#[derive(Debug, thiserror::Error)]
#[error("its address is not a public one")]
struct NotPublic;

async fn look_up(name: String) -> io::Result<Vec<IpAddr>> {
    Ok(tokio::net::lookup_host((name, 0)).await?.map(|address| address.ip()).collect())
}

/// Looks a name up, and takes no answer with an address that is not allowed.
#[derive(Clone)]
struct Checked {
    allowed: Allowed,
    look_up: LookUp,
}

impl Service<Name> for Checked {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = Box<dyn std::error::Error + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let (allowed, found) = (self.allowed, (self.look_up)(name.as_str().to_owned()));
        Box::pin(async move {
            let found = found.await?;
            if !found.iter().copied().all(allowed) {
                return Err(NotPublic.into());
            }
            // The connector sets the port.
            Ok(found.into_iter().map(|ip| SocketAddr::new(ip, 0)).collect::<Vec<_>>().into_iter())
        })
    }
}

/// How a connection to a receiver is opened.
#[derive(Clone)]
struct Way {
    tcp: HttpConnector<Checked>,
    /// With the roots of the WhatsApp client.
    tls: Arc<Connector>,
    allowed: Allowed,
}

impl Way {
    async fn open(self, uri: Uri) -> Result<Stream, OpenError> {
        let host = uri.host().unwrap_or_default();
        let literal = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        // The connector looks up names alone.
        if literal.is_ok_and(|address| !(self.allowed)(address)) {
            return Err(NotPublic.into());
        }
        wire::open(self.tcp, &self.tls, uri).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;
    use tokio_rustls::rustls::crypto::ring;
    use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};

    use super::*;

    fn letter(url: &str) -> Letter {
        let url = ReceiverUrl::parse(url, true).unwrap();
        let (id, signature) = ("s:7-1".into(), "v1,x".into());
        Letter { url, id, timestamp: 1, signature, body: "{}".into() }
    }

    const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

    /// Answers each connection's first request with this, and counts them.
    async fn receiver(address: &str, answer: &'static str) -> (u16, Arc<AtomicUsize>) {
        let listener = TcpListener::bind(address).await.unwrap();
        let (port, asked) = (listener.local_addr().unwrap().port(), Arc::<AtomicUsize>::default());
        let count = asked.clone();
        crate::shutdown::Shutdown::new().spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::Relaxed);
                let _ = socket.read(&mut [0; 4096]).await;
                let _ = socket.write_all(answer.as_bytes()).await;
            }
        });
        (port, asked)
    }

    async fn here(answer: &'static str) -> (u16, Arc<AtomicUsize>) {
        receiver("127.0.0.1:0", answer).await
    }

    #[tokio::test]
    async fn a_name_that_leads_elsewhere_at_the_second_look_up_gains_nothing() {
        // 127.0.0.2 stands for a public address.
        let (port, public) = receiver("127.0.0.2:0", OK).await;
        let (_, private) = receiver(&format!("127.0.0.1:{port}"), OK).await;
        let looked_up = Arc::new(AtomicUsize::new(0));
        let count = looked_up.clone();
        let rebinding: LookUp = Arc::new(move |_| {
            let address = if count.fetch_add(1, Ordering::Relaxed) == 0 { "127.0.0.2" } else { "127.0.0.1" };
            Box::pin(async move { Ok(vec![address.parse().unwrap()]) })
        });
        let post = HttpPost::with(|address| address == IpAddr::from([127, 0, 0, 2]), rebinding);
        let url = format!("http://rebinding.example:{port}/hook");
        assert_eq!(post.post(letter(&url)).await, Answer::Taken);
        for _ in 0..3 {
            let Answer::Unreachable(why) = post.post(letter(&url)).await else { panic!("it was sent") };
            assert_eq!(why, "it cannot be reached: its address is not a public one");
        }
        assert_eq!(looked_up.load(Ordering::Relaxed), 4, "each connection looks it up");
        assert_eq!((public.load(Ordering::Relaxed), private.load(Ordering::Relaxed)), (1, 0));
    }

    #[tokio::test]
    async fn one_private_address_among_public_ones_is_enough() {
        let mixed: LookUp = Arc::new(|_| {
            Box::pin(async { Ok(["8.8.8.8", "10.0.0.1"].map(|address| address.parse().unwrap()).to_vec()) })
        });
        let answer = HttpPost::with(address::is_public, mixed).post(letter("http://name.example/")).await;
        assert!(matches!(answer, Answer::Unreachable(_)), "{answer:?}");
    }

    #[tokio::test]
    async fn an_address_is_checked_as_a_name_is() {
        let (port, asked) = here(OK).await;
        let local: LookUp = Arc::new(|_| Box::pin(async { Ok(vec!["127.0.0.1".parse().unwrap()]) }));
        for host in ["127.0.0.1", "[::ffff:127.0.0.1]", "localhost", "name.example"] {
            let url = format!("http://{host}:{port}/");
            let refused = HttpPost::with(address::is_public, local.clone()).post(letter(&url)).await;
            assert!(matches!(refused, Answer::Unreachable(_)), "{host}: {refused:?}");
        }
        assert_eq!(asked.load(Ordering::Relaxed), 0);
        let taken =
            HttpPost::with(|_| true, local).post(letter(&format!("http://name.example:{port}/"))).await;
        assert_eq!((taken, asked.load(Ordering::Relaxed)), (Answer::Taken, 1));
    }

    /// A receiver that speaks TLS, for `localhost`; its port, and its certificate.
    async fn secure_receiver() -> (u16, CertificateDer<'static>) {
        let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let certificate = own.cert.der().clone();
        let key = PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap();
        let server = ServerConfig::builder_with_provider(ring::default_provider().into());
        let server = server.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        let server = server.with_single_cert(vec![certificate.clone()], key).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(server));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        crate::shutdown::Shutdown::new().spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                // A sender that does not trust it has gone.
                let Ok(mut socket) = acceptor.accept(socket).await else { continue };
                let _ = socket.read(&mut [0; 4096]).await;
                let _ = socket.write_all(OK.as_bytes()).await;
                let _ = socket.shutdown().await;
            }
        });
        (port, certificate)
    }

    #[tokio::test]
    async fn over_tls_it_goes_to_the_host_of_a_trusted_certificate_alone() {
        let (port, certificate) = secure_receiver().await;
        let mut roots = RootCertStore::empty();
        roots.add(certificate).unwrap();
        let client = ClientConfig::builder_with_provider(ring::default_provider().into());
        let client = client.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots);
        let trusting = Connector::Rustls(Arc::new(client.with_no_client_auth()).into());
        let local: LookUp = Arc::new(|_| Box::pin(async { Ok(vec!["127.0.0.1".parse().unwrap()]) }));
        let trusting = HttpPost::with_tls(|_| true, local.clone(), trusting);
        let url = format!("https://localhost:{port}/hook");
        assert_eq!(trusting.post(letter(&url)).await, Answer::Taken);
        let other = trusting.post(letter(&format!("https://name.example:{port}/hook"))).await;
        let unknown = HttpPost::with(|_| true, local).post(letter(&url)).await;
        for (answer, why) in [(other, "not valid for name"), (unknown, "UnknownIssuer")] {
            assert!(matches!(&answer, Answer::Unreachable(said) if said.contains(why)), "{answer:?}");
        }
    }

    #[tokio::test]
    async fn each_answer_is_what_it_says() {
        let refused =
            |status, seconds: Option<u64>| Answer::Refused { status, wait: seconds.map(Duration::from_secs) };
        for (head, expected) in [
            ("204 No Content\r\n", Answer::Taken),
            ("301 Moved\r\nlocation: http://169.254.169.254/\r\n", refused(301, None)),
            ("410 Gone\r\n", Answer::Gone),
            ("429 Slow\r\nretry-after: 7\r\n", refused(429, Some(7))),
            ("503 Busy\r\nretry-after: Thu, 01 Jan 1970 00:00:00 GMT\r\n", refused(503, Some(0))),
            ("500 No\r\nretry-after: 7\r\n", refused(500, None)),
        ] {
            let answer = format!("HTTP/1.1 {head}content-length: 0\r\n\r\n").leak();
            let (port, _) = here(answer).await;
            let answer = HttpPost::new(true).post(letter(&format!("http://127.0.0.1:{port}/"))).await;
            assert_eq!(answer, expected, "{head}");
        }
        let (closes, _) = here("HTTP/1.1 2").await;
        let answer = HttpPost::new(true).post(letter(&format!("http://127.0.0.1:{closes}/"))).await;
        assert!(matches!(answer, Answer::Unreachable(_)), "{answer:?}");
    }

    #[tokio::test]
    async fn a_body_without_an_end_is_not_read_to_its_end() {
        let body =
            format!("HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n{}", "x".repeat(100_000)).leak();
        let (port, _) = here(body).await;
        assert_eq!(
            HttpPost::new(true).post(letter(&format!("http://127.0.0.1:{port}/"))).await,
            Answer::Taken
        );
    }
}
