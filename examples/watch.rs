//! Follows one session over WebSocket from Rust, for as long as the session lives: reconnects with its cursor, stays away
//! as long as it is asked to, and stops when told that nothing more will come.
//!
//! `cargo run --example watch -- http://127.0.0.1:3000 SESSION_ID [TOKEN]`

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use anyhow::{Context as _, bail};
use futures::StreamExt as _;
use serde_json::Value;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::Request;
use tokio_tungstenite::tungstenite::{Error, Message};

const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// The server says something at least every 25 s; a line that is silent for longer is dead.
const SILENCE: Duration = Duration::from_secs(45);

#[tokio::main]
#[expect(clippy::print_stdout, reason = "it says what it hears")]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(base), Some(session)) = (arguments.next(), arguments.next()) else {
        bail!("usage: watch BASE_URL SESSION_ID [TOKEN]");
    };
    let token = arguments.next();
    follow(&base, &session, token.as_deref(), |frame| println!("{frame}")).await
}

/// Hands over every event once, in order, until the session has ended.
///
/// # Errors
/// When the server refuses for good: an unknown session, a token that is not taken.
pub(crate) async fn follow(
    base: &str,
    session: &str,
    token: Option<&str>,
    mut hear: impl FnMut(&Value),
) -> anyhow::Result<()> {
    let mut cursor: Option<String> = None;
    let mut pause = FIRST_PAUSE;
    loop {
        let mut asked = None;
        match connect_async(request(base, session, token, cursor.as_deref())?).await {
            Ok((mut socket, _)) => {
                let close = loop {
                    let Ok(heard) = tokio::time::timeout(SILENCE, socket.next()).await else { break None };
                    match heard {
                        Some(Ok(Message::Text(text))) => {
                            let frame: Value = serde_json::from_str(&text)?;
                            pause = FIRST_PAUSE;
                            match frame["id"].as_str() {
                                Some(id) => {
                                    cursor = Some(id.to_owned());
                                    hear(&frame);
                                }
                                // A control frame: `status` opens every stream, `drain` comes before a break, `heartbeat` says
                                // that the line lives.
                                None => asked = frame["data"]["retryAfterMs"].as_u64().or(asked),
                            }
                        }
                        Some(Ok(Message::Close(frame))) => break frame.map(|frame| u16::from(frame.code)),
                        Some(Ok(_)) => {}
                        Some(Err(_)) | None => break None,
                    }
                };
                match close {
                    // The session has ended.
                    Some(1000) => return Ok(()),
                    Some(1009) => bail!("the server finds this client too talkative"),
                    Some(4401) => bail!("the token has expired"),
                    // Everything else passes: 1012 and 1013 after what `drain` asked for, a broken line at once.
                    _ => {}
                }
            }
            // Unlike a browser's, this client sees why an upgrade was refused.
            Err(Error::Http(answer)) if answer.status().is_client_error() => {
                bail!("refused: {}", answer.status())
            }
            Err(error) => eprintln!("{error}"),
        }
        tokio::time::sleep(asked.map_or_else(|| jittered(pause), Duration::from_millis)).await;
        pause = LONGEST_PAUSE.min(pause * 2);
    }
}

fn request(
    base: &str,
    session: &str,
    token: Option<&str>,
    cursor: Option<&str>,
) -> anyhow::Result<Request<()>> {
    let base = base.trim_end_matches('/').replacen("http", "ws", 1);
    let session = session.replace('+', "%2B");
    let cursor = cursor.map(|cursor| format!("?lastEventId={cursor}")).unwrap_or_default();
    let mut request = format!("{base}/api/sessions/{session}/ws{cursor}").into_client_request()?;
    if let Some(token) = token {
        let value = format!("Bearer {token}").parse().context("the token is no header value")?;
        request.headers_mut().insert("Authorization", value);
    }
    Ok(request)
}

/// Half to all of it, so that viewers who lost the server together do not return together.
fn jittered(pause: Duration) -> Duration {
    // The standard library's only source of randomness.
    let random = RandomState::new().hash_one(()) % 1000;
    pause.mul_f64(0.5 + f64::from(u16::try_from(random).unwrap_or(0)) / 2000.0)
}
