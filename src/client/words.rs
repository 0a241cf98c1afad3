//! What the commands write to the terminal, and how they write what others have said.

use std::fmt::Display;
use std::io::Write as _;

use serde_json::Value;

/// Where on the phone a device is linked.
pub(super) const WHERE: &str = "WhatsApp > Linked devices > Link a device";

/// Writes a line; whether somebody still reads.
pub(super) fn say(line: impl Display) -> bool {
    writeln!(std::io::stdout(), "{line}").is_ok()
}

/// A text of somebody else's, such as the name of an account, without what a terminal would obey.
pub(super) fn clean(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { '\u{fffd}' } else { char }).collect()
}

/// A path's part.
pub(super) fn escaped(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>().replace('+', "%20")
}

/// The account of a `me`: its number, and its name where it is known.
pub(super) fn account(me: &Value) -> String {
    let number = me["id"].as_str().unwrap_or_default();
    let number = number.split([':', '@']).next().unwrap_or_default();
    let name = me["pushName"].as_str().map(|name| format!(" ({name})")).unwrap_or_default();
    if number.is_empty() { String::new() } else { clean(&format!("+{number}{name}")) }
}
