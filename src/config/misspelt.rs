//! Variables whose names look like misspelt settings. Only names are compared; no value is read.

use std::fmt;

use super::SETTINGS;

/// Variables that are read although the table does not list them.
#[cfg(not(feature = "simulator"))]
const ALSO_OURS: [&str; 2] = ["REDISCLOUD_URL", "NODE_ENV"];
#[cfg(feature = "simulator")]
const ALSO_OURS: [&str; 4] = ["REDISCLOUD_URL", "NODE_ENV", "WHATSAPP_URL", "WHATSAPP_TIME_FACTOR"];

/// One mistake is allowed for this many letters of a name. Short names may have none, because other programs use
/// similar ones.
const LETTERS_A_MISTAKE: usize = 5;

/// A variable that is set and not read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Misspelt {
    /// Its name.
    pub name: String,
    /// The setting that may be meant.
    pub meant: &'static str,
}

impl fmt::Display for Misspelt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is set and not read; {} may be meant", self.name, self.meant)
    }
}

/// Those among the names of an environment, in order.
pub fn misspelt(names: &[String]) -> Vec<Misspelt> {
    let found = names.iter().filter_map(|name| Some(Misspelt { name: name.clone(), meant: meant(name)? }));
    let mut found: Vec<_> = found.collect();
    found.sort();
    found
}

/// The setting with the most similar name, if it is similar enough.
fn meant(name: &str) -> Option<&'static str> {
    let ours = || SETTINGS.iter().map(|setting| setting.name).chain(ALSO_OURS);
    if ours().any(|our| our == name) {
        return None;
    }
    let upper = name.to_ascii_uppercase();
    let near = ours().filter_map(|our| {
        let most = our.len() / LETTERS_A_MISTAKE;
        // An environment may hold thousands of names, and most of them are not similar: skip those early.
        if our.len().abs_diff(upper.len()) > most {
            return None;
        }
        Some((mistakes(upper.as_bytes(), our.as_bytes()), our)).filter(|(mistakes, _)| *mistakes <= most)
    });
    near.min().map(|(_, our)| our)
}

/// The number of letters that are missing, added, wrong or swapped with their neighbour.
fn mistakes(found: &[u8], meant: &[u8]) -> usize {
    let mut before_last = Vec::new();
    let mut last: Vec<usize> = (0..=meant.len()).collect();
    for (i, letter) in found.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, wanted) in meant.iter().enumerate() {
            let replaced = last[j] + usize::from(letter != wanted);
            let mut least = replaced.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *letter == meant[j - 1] && found[i - 1] == *wanted {
                let swapped: usize = before_last[j - 1];
                least = least.min(swapped + 1);
            }
            row.push(least);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_nearly_ours_is_found() {
        for (wrong, right) in [
            ("MAX_STRAMS", "MAX_STREAMS"),
            ("API_KEY", "API_KEYS"),
            ("REDIS_URI", "REDIS_URL"),
            ("max_streams", "MAX_STREAMS"),
            ("WA_PORXY", "WA_PROXY"),
            ("ALLOWED_ORIGIN", "ALLOWED_ORIGINS"),
            ("RATE_LIMIT_WINDOW_SECOND", "RATE_LIMIT_WINDOW_SECONDS"),
            ("port", "PORT"),
        ] {
            assert_eq!(meant(wrong), Some(right), "{wrong}");
        }
    }

    #[test]
    fn ours_and_others_are_left_alone() {
        let ours = SETTINGS.iter().map(|setting| setting.name).chain(ALSO_OURS);
        let others = [
            "PATH",
            "HOME",
            "HOSTNAME",
            "USER",
            "POST",
            "LANG",
            "TERM",
            "PWD",
            "SHELL",
            "LC_ALL",
            "RUST_BACKTRACE",
            "HTTP_PROXY",
            "HTTPS_PROXY",
            "NO_PROXY",
            "ALL_PROXY",
            "REDIS_PORT",
            "REDIS_HOST",
            "REDIS_TLS_URL",
            "REDIS_PASSWORD",
            "DATABASE_URL",
            "LOG_LEVEL",
            "PUBLIC_IP",
            "QRCAST_PORT",
            "FLY_REGION",
            "KUBERNETES_SERVICE_HOST",
            "RAILWAY_ENVIRONMENT",
            "TMPDIR",
            "",
        ];
        for name in ours.chain(others) {
            assert_eq!(meant(name), None, "{name}");
        }
    }

    #[test]
    fn letters_are_counted() {
        let count = |found: &str, meant: &str| mistakes(found.as_bytes(), meant.as_bytes());
        assert_eq!([count("", ""), count("", "AB"), count("AB", ""), count("AB", "AB")], [0, 2, 2, 0]);
        assert_eq!([count("ABC", "ACB"), count("ABC", "AXC"), count("ABC", "CBA")], [1, 1, 2]);
    }
}
