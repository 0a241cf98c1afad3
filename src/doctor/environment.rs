//! Warns of variables whose names look like misspelt settings.

use super::Check;
use crate::config::misspelt;

const NAME: &str = "environment";

/// One warning for each variable that is probably a misspelt setting.
pub(super) fn check(names: &[String]) -> Vec<Check> {
    let found = misspelt(names);
    if found.is_empty() {
        return vec![Check::ok(NAME, "no variable looks like a misspelt one")];
    }
    let warning = |name, meant| {
        Check::warn(NAME, format!("{name} is set and not read"), format!("{meant} may be meant"))
    };
    found.into_iter().map(|found| warning(found.name, found.meant)).collect()
}

/// The name of a proxy variable that other programs read and qrcast ignores.
pub(super) fn other_proxy(names: &[String]) -> Option<&str> {
    let others = ["HTTPS_PROXY", "ALL_PROXY", "HTTP_PROXY"];
    names.iter().map(String::as_str).find(|name| others.iter().any(|other| name.eq_ignore_ascii_case(other)))
}
