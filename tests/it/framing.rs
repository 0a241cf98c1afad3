//! Requests that two readers could read in two ways: none of them is answered as two, and none hides another.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{Server, soon, whatsapp};

/// What a smuggled request would ask for: nothing else here answers `ok`.
const SMUGGLED: &str = "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// After so long without a word the server has no more to say, and leaves the connection open. Long for a busy machine,
/// and shorter than the server's own patience with a connection.
const SILENCE: Duration = Duration::from_secs(5);

async fn server() -> Server {
    Server::builder(&whatsapp().await.url()).start().await
}

/// Sends bytes and reads until the server closes, or has nothing more to say for a while; whether it closed.
async fn sends(server: &Server, bytes: &[u8]) -> (String, bool) {
    let mut socket = TcpStream::connect(server.base.trim_start_matches("http://")).await.unwrap();
    // It may close before it has read all.
    let _ = socket.write_all(bytes).await;
    let mut answer = Vec::new();
    let mut part = [0; 4096];
    let closed = loop {
        match tokio::time::timeout(SILENCE, socket.read(&mut part)).await {
            Ok(Ok(0) | Err(_)) => break true,
            Ok(Ok(count)) => answer.extend_from_slice(&part[..count]),
            Err(_) => break false,
        }
    };
    (String::from_utf8_lossy(&answer).into_owned(), closed)
}

/// The status of each answer.
fn statuses(answer: &str) -> Vec<&str> {
    answer.split("HTTP/1.1 ").skip(1).map(|rest| &rest[..3]).collect()
}

#[tokio::test]
async fn a_hidden_second_request_is_never_answered() {
    let server = server().await;
    let chunked = "0\r\n\r\n";
    let length = chunked.len() + SMUGGLED.len();
    for head in [
        // Both lengths, in either order: the chunks count, and the connection closes.
        format!("Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n\r\n{chunked}"),
        format!("Transfer-Encoding: chunked\r\nContent-Length: {length}\r\n\r\n{chunked}"),
        format!("Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n{chunked}"),
        // Two lengths.
        format!("Content-Length: 0\r\nContent-Length: {}\r\n\r\n", SMUGGLED.len()),
        format!("Content-Length: 0, {}\r\n\r\n", SMUGGLED.len()),
        // No lengths at all.
        "Content-Length: +0\r\n\r\n".into(),
        "Content-Length: -1\r\n\r\n".into(),
        "Content-Length: 0x0\r\n\r\n".into(),
        "Content-Length: \r\n\r\n".into(),
        "Content-Length: 99999999999999999999\r\n\r\n".into(),
        // An encoding that hides that it is one, or is not the last.
        format!("Transfer-Encoding: xchunked\r\n\r\n{chunked}"),
        format!("Transfer-Encoding: chunked, identity\r\n\r\n{chunked}"),
        format!("Transfer-Encoding: \x0bchunked\r\n\r\n{chunked}"),
        format!("Transfer-Encoding : chunked\r\n\r\n{chunked}"),
        format!(" Transfer-Encoding: chunked\r\n\r\n{chunked}"),
        // A folded line, a null byte, a bare CR, no colon.
        format!("X-Folded: a\r\n Transfer-Encoding: chunked\r\n\r\n{chunked}"),
        "X-Null: a\0b\r\n\r\n".into(),
        "X-Return: a\rb\r\n\r\n".into(),
        "X-Nothing\r\n\r\n".into(),
        "X Space: a\r\n\r\n".into(),
        // Chunks of no size, or with more after them than they say.
        "Transfer-Encoding: chunked\r\n\r\nx\r\n\r\n".into(),
        "Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n".into(),
        "Transfer-Encoding: chunked\r\n\r\n0\n\r\n".into(),
        "Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n".into(),
        "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n\r\n".into(),
    ] {
        let request = format!(
            "POST /api/init-session HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{head}{SMUGGLED}"
        );
        let (answer, closed) = sends(&server, request.as_bytes()).await;
        assert!(!answer.contains("\r\n\r\nok"), "{request}\n{answer}");
        let statuses = statuses(&answer);
        assert!(statuses.len() <= 1 && statuses.iter().all(|status| *status == "400"), "{request}\n{answer}");
        assert!(closed, "still open: {request}\n{answer}");
    }
    // The same road without tricks: two requests, two answers.
    let (answer, _) = sends(&server, format!("{SMUGGLED}{SMUGGLED}").as_bytes()).await;
    assert_eq!(statuses(&answer), ["200", "200"], "{answer}");
}

#[tokio::test]
async fn the_host_is_named_once_and_the_target_is_a_path() {
    let server = server().await;
    for (request, status) in [
        ("GET /livez HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "400"),
        ("GET /livez HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", "400"),
        ("GET /livez HTTP/1.1\r\n\r\n", "400"),
        ("GET /livez HTTP/1.1\r\nHost: a b\r\n\r\n", "400"),
        ("GET /livez HTTP/1.1\r\nHost: user@a\r\n\r\n", "400"),
        ("GET http://b/livez HTTP/1.1\r\nHost: a\r\n\r\n", "400"),
        ("GET http://localhost/livez HTTP/1.1\r\nHost: localhost\r\n\r\n", "200"),
        ("GET livez HTTP/1.1\r\nHost: localhost\r\n\r\n", "400"),
        ("CONNECT localhost:80 HTTP/1.1\r\nHost: localhost\r\n\r\n", "400"),
        ("OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n", "400"),
        ("GET /livez\0 HTTP/1.1\r\nHost: localhost\r\n\r\n", "400"),
        ("GET /livez HTTP/1.1\r\nHost: localhost\0\r\n\r\n", "400"),
        ("GET /livez HTTP/1.2\r\nHost: localhost\r\n\r\n", "400"),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "400"),
    ] {
        let (answer, _) = sends(&server, request.as_bytes()).await;
        let statuses = statuses(&answer);
        // hyper says nothing to another version of HTTP.
        assert!(statuses == [status] || answer.is_empty() && status == "400", "{request}\n{answer}");
    }
    let (answer, _) = sends(&server, b"GET /livez HTTP/1.0\r\n\r\n").await;
    // Understood, but nobody knows whether it was meant for this open server.
    assert!(answer.contains(" 421 "), "{answer}");
}

#[tokio::test]
async fn a_head_is_bounded() {
    let server = server().await;
    let line = format!("X-Long: {}\r\n", "x".repeat(64 * 1024));
    let many = "X-Many: x\r\n".repeat(101);
    for (head, expected) in [(line, "431"), (many, "431"), ("X-Some: x\r\n".repeat(90), "200")] {
        let request = format!("GET /livez HTTP/1.1\r\nHost: localhost\r\n{head}\r\n");
        assert_eq!(statuses(&sends(&server, request.as_bytes()).await.0), [expected]);
    }
    let path = format!("GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n", "x".repeat(64 * 1024));
    assert_eq!(statuses(&sends(&server, path.as_bytes()).await.0), ["431"]);
}

/// Each of them has ten seconds.
#[tokio::test]
async fn a_slow_head_and_a_slow_body_are_given_up() {
    let server = server().await;
    let head = "POST /api/init-session HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
    let idle = slowly(&server, String::new());
    let slow_head = slowly(&server, "GET /livez HTTP/1.1\r\nX-Slow: ".into());
    let slow_body = slowly(&server, format!("{head}Content-Length: 1000\r\n\r\n{{"));
    let slow_chunks = slowly(&server, format!("{head}Transfer-Encoding: chunked\r\n\r\n1\r\n{{\r\nf"));
    let kept = is_kept(&server);
    let second_head = slowly(&server, format!("{SMUGGLED}GET /livez HTTP/1.1\r\nX-Slow: "));
    let (idle, slow_head, slow_body, slow_chunks, second_head, ()) =
        tokio::join!(idle, slow_head, slow_body, slow_chunks, second_head, kept);
    assert_eq!(statuses(&second_head), ["200"]);
    assert_eq!((idle.as_str(), slow_head.as_str()), ("", ""));
    for answer in [slow_body, slow_chunks] {
        assert!(answer.contains(" 408 ") && answer.contains("REQUEST_TIMEOUT"), "{answer}");
    }
}

/// A connection that waits for its next request has longer than a head.
async fn is_kept(server: &Server) {
    let mut socket = TcpStream::connect(server.base.trim_start_matches("http://")).await.unwrap();
    let mut answer = [0; 1024];
    for pause in [0, 12] {
        tokio::time::sleep(Duration::from_secs(pause)).await;
        socket.write_all(SMUGGLED.as_bytes()).await.unwrap();
        let count = soon("an answer", socket.read(&mut answer)).await.unwrap();
        assert!(answer[..count].starts_with(b"HTTP/1.1 200"), "after {pause} s");
    }
}

/// Sends the beginning, then a byte now and then where there was one; what is answered, after about ten seconds.
async fn slowly(server: &Server, beginning: String) -> String {
    let socket = TcpStream::connect(server.base.trim_start_matches("http://")).await.unwrap();
    let begun = Instant::now();
    let (mut reading, mut writing) = socket.into_split();
    writing.write_all(beginning.as_bytes()).await.unwrap();
    let drip = async {
        while !beginning.is_empty() && writing.write_all(b" ").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        std::future::pending::<()>().await;
    };
    let mut answer = Vec::new();
    tokio::select! {
        _ = soon("the server to give up", reading.read_to_end(&mut answer)) => {}
        () = drip => {}
    }
    let took = begun.elapsed();
    assert!((Duration::from_secs(9)..Duration::from_secs(20)).contains(&took), "{beginning:?}: {took:?}");
    String::from_utf8(answer).unwrap()
}
