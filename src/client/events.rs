//! `qrcast events`: one line for each event.

use serde_json::{Value, json};

use super::api::Api;
use super::failure::Failure;
use super::follow::{Follower, Frame, Told};
use super::words::{account, clean, say};

/// What of an event's data a line shows, in this order. A QR and the codes that link a phone are not among it.
const SHOWN: [&str; 13] = [
    "attempt",
    "maxAttempts",
    "method",
    "stage",
    "phoneNumber",
    "expiresAt",
    "reason",
    "willReconnect",
    "retryAfterMs",
    "missing",
    "until",
    "detail",
    "help",
];

/// Follows all sessions, or one, until its end or until nobody reads any more.
pub(super) async fn run(api: &Api, session: Option<&str>, json: bool) -> Result<(), Failure> {
    let mut follower = Follower::new(api, session);
    let mut cut = false;
    loop {
        match follower.next().await? {
            Told::Ended => return Ok(()),
            // Said once, however often it is tried.
            Told::Cut(why) if !cut => {
                let missing = if session.is_none() {
                    "; what happens meanwhile is not shown: `qrcast sessions` says where each stands"
                } else {
                    ""
                };
                eprintln!("qrcast: {}; trying again{missing}", clean(&why));
                cut = true;
            }
            Told::Cut(_) => {}
            Told::Frame(frame) => {
                cut = false;
                let data = frame.json();
                if frame.event == "status" && data["gap"] == true {
                    eprintln!("qrcast: some events are too old to be shown");
                }
                // The feed has the id in its data. What has none is no event.
                let id = frame.id.clone().or_else(|| data["id"].as_str().map(str::to_owned));
                let Some(id) = id else { continue };
                if !say(if json { whole(&id, &frame) } else { line(&frame.event, &data) }) {
                    return Ok(());
                }
            }
        }
    }
}

/// As a WebSocket has it, byte for byte.
fn whole(id: &str, frame: &Frame) -> String {
    format!(r#"{{"id":{},"event":{},"data":{}}}"#, json!(id), json!(frame.event), frame.data)
}

fn line(event: &str, data: &Value) -> String {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let mut line = format!("{}  {}  {event}", text(&data["at"]), text(&data["sessionId"]));
    if data["me"].is_object() {
        line.push_str(&format!("  {}", account(&data["me"])));
    }
    // Of an error `code` is a word; elsewhere it is what a person types on the phone.
    let code = (event == "pairing_error").then_some("code");
    for name in code.into_iter().chain(SHOWN) {
        if !data[name].is_null() {
            line.push_str(&format!("  {name}={}", text(&data[name])));
        }
    }
    clean(&line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_no_credential_and_nothing_that_a_terminal_obeys() {
        let mut data = json!({"at": "2025-11-24T12:00:00.000Z", "sessionId": "session_ada_1", "code": "ABCD-1234",
            "qrString": "2@secret", "qrDataUrl": "data:,", "attempt": 1, "me": {"id": "90555:1@s.whatsapp.net", "pushName": "A\u{1b}[2J\nda"}});
        assert_eq!(
            line("qr", &data),
            "2025-11-24T12:00:00.000Z  session_ada_1  qr  +90555 (A\u{fffd}[2J\u{fffd}da)  attempt=1"
        );
        data["me"] = Value::Null;
        assert!(line("pairing_error", &data).ends_with("  pairing_error  code=ABCD-1234  attempt=1"));
    }
}
