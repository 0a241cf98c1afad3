//! The HTTP client against servers on loopback. The rule for hosts is its own test's; here it lets the simulator through.

// Elsewhere no rule lets a server on loopback through.
#![cfg(feature = "simulator")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_websockets::MaybeTlsStream;
use whatsapp_rust::http::{HttpClient as _, HttpRequest, HttpResponse};

use super::dialler::{Dialler, Way};
use super::fetch::{Bounds, Fetcher};
use super::hosts::Hosts;
use super::{Egresses, Watch};
use crate::proxy::ProxyUrl;
use crate::shutdown::Shutdown;
use crate::wire::Stream;

const SMALL: Bounds =
    Bounds { body: 1000, whole: Duration::from_secs(30), silence: Duration::from_millis(300) };

/// Answers each connection once a request has come, and closes it unless told to keep it.
struct Server {
    fetcher: Fetcher,
    port: u16,
    asked: Arc<std::sync::Mutex<Vec<String>>>,
    /// The most connections that waited for an answer at a time.
    most: Arc<AtomicUsize>,
}

impl Server {
    /// `answer` is given the request's first line.
    async fn start(
        answer: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static,
        pause: Duration,
        keep: bool,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let authority = format!("127.0.0.1:{port}").parse().unwrap();
        let fetcher = Fetcher::new(
            Dialler::new(Way::Direct),
            Hosts::simulated(Some(authority)),
            Arc::new(Semaphore::new(2)),
        );
        let asked = Arc::new(std::sync::Mutex::new(Vec::new()));
        let (open, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let server = Self { fetcher: fetcher.within(SMALL), port, asked: asked.clone(), most: most.clone() };
        let answer = Arc::new(answer);
        let tasks = Shutdown::new();
        tasks.clone().spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let (answer, asked, open, most) = (answer.clone(), asked.clone(), open.clone(), most.clone());
                tasks.spawn(async move {
                    most.fetch_max(open.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    let head = head(&mut socket).await;
                    tokio::time::sleep(pause).await;
                    let said = answer(head.lines().next().unwrap());
                    asked.lock().unwrap().push(head);
                    open.fetch_sub(1, Ordering::SeqCst);
                    let _ = socket.write_all(&said).await;
                    if keep {
                        std::future::pending::<()>().await;
                    }
                });
            }
        });
        server
    }

    async fn says(answer: impl Into<Vec<u8>>) -> Self {
        let answer = answer.into();
        Self::start(move |_| answer.clone(), Duration::ZERO, false).await
    }

    async fn get(&self) -> Result<HttpResponse, String> {
        let request = HttpRequest::get(format!("https://127.0.0.1:{}/blob?auth=secret", self.port))
            .with_header("sec-fetch-site", "none");
        self.fetcher.execute(request).await.map_err(|error| error.to_string())
    }
}

async fn head(socket: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

/// It says that it closes: a client that kept the connection might ask on it in that very moment.
fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

#[tokio::test]
async fn a_request_carries_its_headers_and_brings_the_body() {
    let server = Server::says(ok("blob")).await;
    let answer = server.get().await.unwrap();
    assert_eq!((answer.status_code, answer.body.as_slice()), (200, &b"blob"[..]));
    let asked = server.asked.lock().unwrap()[0].clone();
    assert!(asked.starts_with("GET /blob?auth=secret HTTP/1.1\r\n"), "{asked}");
    assert!(asked.contains("sec-fetch-site: none\r\n") && asked.contains("host: 127.0.0.1:"), "{asked}");
}

#[tokio::test]
async fn a_refusal_of_the_server_is_an_answer() {
    let server = Server::says("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n").await;
    assert_eq!(server.get().await.unwrap().status_code, 404);
}

#[tokio::test]
async fn a_body_is_capped_by_what_is_read() {
    let endless = format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(1001));
    let promised = "HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\nx".to_owned();
    let chunks = format!(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{}0\r\n\r\n",
        format!("1f4\r\n{}\r\n", "x".repeat(500)).repeat(3)
    );
    for long in [endless, promised, chunks] {
        let said = Server::says(long).await.get().await.unwrap_err();
        assert!(said.contains("127.0.0.1 sends more than 1000 bytes"), "{said}");
    }
    let whole = "x".repeat(1000);
    assert_eq!(Server::says(ok(&whole)).await.get().await.unwrap().body.len(), 1000);
}

#[tokio::test]
async fn a_body_that_breaks_off_is_no_answer() {
    let said =
        Server::says("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf").await.get().await.unwrap_err();
    assert!(said.contains("127.0.0.1 breaks off"), "{said}");
}

#[tokio::test]
async fn a_server_that_says_nothing_is_not_waited_for() {
    let silent = Server::start(|_| Vec::new(), Duration::ZERO, true).await;
    let said = silent.get().await.unwrap_err();
    assert!(said.contains("127.0.0.1 says nothing") && !said.contains("secret"), "{said}");
    let half = ok("0123456789").replace("0123456789", "01234").into_bytes();
    let stuck = Server::start(move |_| half.clone(), Duration::ZERO, true).await;
    let said = stuck.get().await.unwrap_err();
    assert!(said.contains("127.0.0.1 stops in the middle"), "{said}");
}

#[tokio::test]
async fn one_redirection_is_followed_to_a_host_of_whatsapp_alone() {
    let to = |target: &str| format!("HTTP/1.1 302 Found\r\nlocation: {target}\r\ncontent-length: 0\r\n\r\n");
    for (target, asked) in [("/there", "GET /there "), ("https://127.0.0.1/there?x=1", "GET /there?x=1 ")] {
        let (away, arrived) = (to(target), ok("there"));
        let answer = move |line: &str| {
            if line.contains("/there") { arrived.clone() } else { away.clone() }.into_bytes()
        };
        let server = Server::start(answer, Duration::ZERO, false).await;
        assert_eq!(server.get().await.unwrap().body, b"there", "{target}");
        assert!(server.asked.lock().unwrap()[1].starts_with(asked), "{target}");
    }
    for (target, words) in [
        ("https://example.com/x?auth=secret", "127.0.0.1 redirects: example.com is not asked"),
        ("http://mmg.whatsapp.net/x", "only https"),
        ("//example.com/x", "is not valid"),
        ("/again", "127.0.0.1 redirects again and again"),
    ] {
        let said = Server::says(to(target)).await.get().await.unwrap_err();
        assert!(said.contains(words) && !said.contains("secret"), "{target}: {said}");
    }
    // A redirection without a target is treated as an ordinary answer.
    let nowhere = Server::says("HTTP/1.1 304 Not Modified\r\n\r\n").await;
    assert_eq!(nowhere.get().await.unwrap().status_code, 304);
}

#[tokio::test]
async fn only_so_many_run_at_once() {
    let answer = ok("x").into_bytes();
    let server = Server::start(move |_| answer.clone(), Duration::from_millis(50), false).await;
    let all = futures::future::join_all((0..8).map(|_| server.get())).await;
    assert!(all.iter().all(Result::is_ok), "{all:?}");
    assert_eq!(server.most.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn nothing_is_uploaded() {
    let server = Server::says(ok("")).await;
    let request = HttpRequest::post(format!("https://127.0.0.1:{}/", server.port));
    let said = server.fetcher.execute(request).await.unwrap_err().to_string();
    assert!(said.contains("only GET") && server.asked.lock().unwrap().is_empty(), "{said}");
}

#[tokio::test]
async fn an_error_names_the_host_that_cannot_be_reached() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let authority = free.to_string().parse().unwrap();
    let fetcher = Fetcher::new(
        Dialler::new(Way::Direct),
        Hosts::simulated(Some(authority)),
        Arc::new(Semaphore::new(1)),
    );
    let said =
        fetcher.execute(HttpRequest::get("https://localhost/x?auth=secret")).await.unwrap_err().to_string();
    assert!(said.contains("127.0.0.1 cannot be reached") && !said.contains("secret"), "{said}");
}

fn watch() -> Watch {
    Watch { factor: 1.0, tasks: Shutdown::new() }
}

#[tokio::test]
async fn there_is_one_way_out_a_proxy_for_as_long_as_somebody_has_it() {
    let egresses = Egresses::new("http://127.0.0.1:1".parse().ok(), watch());
    let usual = egresses.of(None);
    assert_eq!(usual.proxy().unwrap().to_string(), "127.0.0.1:1");
    let url = |text: &str| ProxyUrl::new(text);
    let first = egresses.of(Some(&url("http://a:b@127.0.0.1:2")));
    assert!(Arc::ptr_eq(&first, &egresses.of(Some(&url("HTTP://a:b@127.0.0.1:2/")))));
    // With another password a proxy may lead to another country, so it is another way out.
    assert!(!Arc::ptr_eq(&first, &egresses.of(Some(&url("http://a:c@127.0.0.1:2")))));
    drop(first);
    let _new = egresses.of(Some(&url("http://127.0.0.1:3")));
    assert_eq!(egresses.others.lock().len(), 1, "the others are gone");
}

#[tokio::test]
async fn a_proxy_that_cannot_be_read_leads_nowhere() {
    let egress = Egresses::new(None, watch()).of(Some(&ProxyUrl::new("carrier-pigeon://secret")));
    let said = format!("{:#}", egress.probe().await.unwrap_err());
    assert_eq!(said, "the proxy of this session cannot be read");
    let said = egress.http().execute(HttpRequest::get("https://web.whatsapp.com/sw.js")).await.unwrap_err();
    assert!(said.to_string().contains("the proxy of this session cannot be read"), "{said}");
}

#[tokio::test]
async fn what_is_sent_goes_out_at_once_whatever_the_way() {
    let uri = "ws://127.0.0.1:1/ws/chat".parse().unwrap();
    let http = one_connection(async |mut socket| {
        head(&mut socket).await;
        socket.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        socket
    });
    // The words of RFC 1928: no password is asked for, and IPv4 is connected to.
    let socks = one_connection(async |mut socket| {
        socket.read_exact(&mut [0; 3]).await.unwrap();
        socket.write_all(&[5, 0]).await.unwrap();
        socket.read_exact(&mut [0; 10]).await.unwrap();
        socket.write_all(&[5, 0, 0, 1, 127, 0, 0, 1, 0, 1]).await.unwrap();
        socket
    });
    let ways = [("http", http.await), ("socks5", socks.await)];
    for (scheme, port) in ways {
        let proxy = format!("{scheme}://127.0.0.1:{port}").parse().unwrap();
        let stream = Dialler::new(Way::Through(proxy)).connect(&uri).await.unwrap();
        assert!(goes_out_at_once(&stream), "{scheme}");
    }
    let port = one_connection(async |socket| socket).await;
    let uri = format!("ws://127.0.0.1:{port}/ws/chat").parse().unwrap();
    assert!(goes_out_at_once(&Dialler::new(Way::Direct).connect(&uri).await.unwrap()));
}

fn goes_out_at_once(stream: &Stream) -> bool {
    let MaybeTlsStream::Plain(socket) = stream else { panic!("no TLS was asked for") };
    socket.nodelay().unwrap()
}

/// The port of a server that has one connection, and keeps it after these words.
async fn one_connection<F>(words: impl FnOnce(TcpStream) -> F + Send + 'static) -> u16
where
    F: Future<Output = TcpStream> + Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    Shutdown::new().spawn(async move {
        let _socket = words(listener.accept().await.unwrap().0).await;
        std::future::pending::<()>().await;
    });
    port
}
