//! `qrcast sessions` and `qrcast logout`.

use std::io::{IsTerminal as _, Write as _};

use serde_json::{Value, json};

use super::api::Api;
use super::failure::Failure;
use super::words::{account, clean, escaped, say};

/// The most that the server gives at once.
const PAGE: usize = 200;

/// All sessions under the key.
pub(super) async fn list(api: &Api, json: bool) -> Result<(), Failure> {
    let (mut sessions, mut cursor) = (Vec::new(), Value::Null);
    loop {
        let after = cursor.as_str().map(|cursor| format!("&cursor={}", escaped(cursor))).unwrap_or_default();
        let mut page = api.get(&format!("/api/sessions?limit={PAGE}{after}")).await?;
        sessions.extend(page["sessions"].as_array_mut().map(std::mem::take).unwrap_or_default());
        cursor = page["nextCursor"].take();
        if cursor.is_null() {
            break;
        }
    }
    if json {
        say(json!({ "sessions": sessions }));
    } else if sessions.is_empty() {
        say("no sessions yet; `qrcast link` links the first account");
    } else {
        say(table(&sessions));
    }
    Ok(())
}

/// Who is linked stands last: how wide a name is, only the terminal knows.
fn table(sessions: &[Value]) -> String {
    let head = ["SESSION", "STATUS", "SINCE (UTC)", "VIEWERS", "LINKED"].map(str::to_owned);
    let row = |session: &Value| {
        let text = |name: &str| clean(session[name].as_str().unwrap_or("-"));
        let why = session["reason"].as_str().filter(|_| session["status"] != "connected");
        let why = why.map(|why| format!(" ({})", clean(why))).unwrap_or_default();
        let linked = Some(account(&session["me"])).filter(|me| !me.is_empty()).unwrap_or_else(|| "-".into());
        let status = format!("{}{why}", text("status"));
        // To the second.
        let since = text("since").split('.').next().unwrap_or_default().replace('T', " ");
        [text("sessionId"), status, since, session["viewers"].to_string(), linked]
    };
    let rows: Vec<_> = std::iter::once(head).chain(sessions.iter().map(row)).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths = [0, 1, 2, 3, 4].map(width);
    let line = |row: &[String; 5]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Deletes a session, when the person means it.
pub(super) async fn log_out(api: &Api, session: &str, yes: bool) -> Result<(), Failure> {
    // The server says 204 of an unknown id, too. A person who has mistyped one wants to know.
    let standing = api.get(&format!("/api/session-status/{}", escaped(session))).await?;
    let linked = account(&standing["me"]);
    let whom = if linked.is_empty() { "which is not linked".to_owned() } else { format!("of {linked}") };
    if !yes {
        if !std::io::stdin().is_terminal() {
            return Err(Failure::new(
                Failure::USAGE,
                "there is no terminal to ask whether it is meant; add --yes",
            ));
        }
        eprint!(
            "Log out {}, {whom}? The phone loses this device, and its keys are forgotten. [y/N] ",
            clean(session)
        );
        let mut answer = String::new();
        let _ = std::io::stderr().flush();
        let _ = std::io::stdin().read_line(&mut answer);
        if !["y", "yes"].contains(&answer.trim().to_lowercase().as_str()) {
            return Err(Failure::new(Failure::REFUSED, "nothing was done"));
        }
    }
    api.delete(&format!("/api/sessions/{}", escaped(session))).await?;
    say(format_args!("logged out {}, {whom}", clean(session)));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_they_must_be() {
        let sessions = [
            json!({"sessionId": "session_ada_1", "status": "connected", "since": "2025-11-24T12:00:00.000Z", "viewers": 1,
                "me": {"id": "90555:1@s.whatsapp.net", "pushName": "Ada"}, "reason": "connection_lost"}),
            json!({"sessionId": "session_b_2", "status": "failed", "since": "2025-11-24T12:00:00.000Z", "viewers": 0,
                "me": null, "reason": "banned"}),
        ];
        let table = table(&sessions);
        let lines: Vec<_> = table.lines().collect();
        assert_eq!(lines[0], "SESSION        STATUS           SINCE (UTC)          VIEWERS  LINKED");
        assert_eq!(lines[1], "session_ada_1  connected        2025-11-24 12:00:00  1        +90555 (Ada)");
        assert_eq!(lines[2], "session_b_2    failed (banned)  2025-11-24 12:00:00  0        -");
    }
}
