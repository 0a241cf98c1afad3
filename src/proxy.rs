//! A proxy between this process and WhatsApp, as the settings and requests name it. Nothing is opened here:
//! `whatsapp/egress` does that. Its URL is a secret.

use std::fmt;
use std::str::FromStr;

/// The forms that a proxy's URL may have, for error messages.
pub(crate) const ALLOWED: &str = "http://[user:password@]host:port or socks5://[user:password@]host:port, \
    user name and password of at most 255 bytes each, percent-encoded";

/// The forms that [`ProxyHosts`] may have, for error messages.
pub(crate) const ALLOWED_HOSTS: &str = "a comma list of host, host:port, *.example.com or *.example.com:port";

/// Longest user name and password: what SOCKS5 can carry.
const LONGEST_WORD: usize = 255;

/// Longest name of a host.
const LONGEST_HOST: usize = 253;

/// The protocol of a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// HTTP, by `CONNECT`.
    Http,
    /// SOCKS5. Names are resolved by the proxy.
    Socks5,
}

/// The address of a proxy, with the user name and password for it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Proxy {
    kind: Kind,
    host: String,
    port: u16,
    credentials: Option<(String, String)>,
}

/// The text is not a proxy's URL. The error does not repeat it, because it may contain a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("allowed is {ALLOWED}")]
pub struct BadProxy;

impl Proxy {
    /// Its protocol.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Its name or address; IPv6 in brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// User name and password. They are never logged and never part of an answer.
    pub fn credentials(&self) -> Option<(&str, &str)> {
        self.credentials.as_ref().map(|(user, password)| (user.as_str(), password.as_str()))
    }
}

/// Host and port alone, for people.
impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {self}", self.kind)
    }
}

impl FromStr for Proxy {
    type Err = BadProxy;

    fn from_str(text: &str) -> Result<Self, BadProxy> {
        let (scheme, rest) = text.trim().split_once("://").ok_or(BadProxy)?;
        let kind = match scheme.to_ascii_lowercase().as_str() {
            "http" => Kind::Http,
            // Both mean the same here: names are always resolved by the proxy.
            "socks5" | "socks5h" => Kind::Socks5,
            _ => return Err(BadProxy),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (credentials, address) = match rest.rsplit_once('@') {
            Some((credentials, address)) => (Some(credentials), address),
            None => (None, rest),
        };
        let credentials = credentials.map(|text| words(text, kind)).transpose()?;
        let (host, port) = split(address).ok_or(BadProxy)?;
        Ok(Self { kind, host, port: port.ok_or(BadProxy)?, credentials })
    }
}

/// `user:password`, each of them percent-encoded.
fn words(text: &str, kind: Kind) -> Result<(String, String), BadProxy> {
    let (user, password) = text.split_once(':').ok_or(BadProxy)?;
    let word = |text| {
        let word = decoded(text).ok_or(BadProxy)?;
        let good = word.len() <= LONGEST_WORD && !word.chars().any(char::is_control);
        if good { Ok(word) } else { Err(BadProxy) }
    };
    let (user, password) = (word(user)?, word(password)?);
    let good = !user.is_empty()
        && match kind {
            // The Basic scheme ends the user name at the first colon.
            Kind::Http => !user.contains(':'),
            Kind::Socks5 => !password.is_empty(),
        };
    if good { Ok((user, password)) } else { Err(BadProxy) }
}

fn decoded(text: &str) -> Option<String> {
    if text.contains(['/', '?', '#', ' ']) {
        return None;
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut parts = text.split('%');
    bytes.extend_from_slice(parts.next()?.as_bytes());
    for part in parts {
        let digits = part.get(..2).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend_from_slice(&part.as_bytes()[2..]);
    }
    String::from_utf8(bytes).ok()
}

/// `host` or `host:port`.
fn split(text: &str) -> Option<(String, Option<u16>)> {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    };
    let port = match port {
        None => None,
        Some(port) => Some(port.parse().ok().filter(|port| *port > 0 && text.is_ascii())?),
    };
    let is_address = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .is_some_and(|address| address.parse::<std::net::Ipv6Addr>().is_ok());
    let is_name = (1..=LONGEST_HOST).contains(&host.len())
        && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'));
    (is_address || is_name).then(|| (host.to_ascii_lowercase(), port))
}

/// A proxy's URL as a session's record holds it. Another version of this server may read it again.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ProxyUrl(String);

impl ProxyUrl {
    /// Takes a URL as it came in a request, or as it was stored.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The whole URL with its password. For the store only.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Parses the URL.
    ///
    /// # Errors
    /// See [`BadProxy`].
    pub fn parse(&self) -> Result<Proxy, BadProxy> {
        self.0.parse()
    }
}

impl fmt::Debug for ProxyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Which proxies a request may name. Without this list a client that may create sessions could make the server connect
/// to any address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyHosts(Vec<HostRule>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct HostRule {
    host: String,
    /// Matches every name below the host, but not the host itself.
    below: bool,
    port: Option<u16>,
}

impl ProxyHosts {
    /// Whether a request may name this proxy. Names are compared as text and not resolved.
    pub fn allow(&self, proxy: &Proxy) -> bool {
        self.0.iter().any(|rule| {
            let host = match proxy.host.strip_suffix(rule.host.as_str()) {
                Some(rest) if rule.below => rest.len() > 1 && rest.ends_with('.'),
                Some(rest) => rest.is_empty(),
                None => false,
            };
            host && rule.port.is_none_or(|port| port == proxy.port)
        })
    }
}

impl FromStr for ProxyHosts {
    type Err = BadProxy;

    fn from_str(text: &str) -> Result<Self, BadProxy> {
        let rule = |text: &str| {
            let (below, text) = text.strip_prefix("*.").map_or((false, text), |text| (true, text));
            let (host, port) = split(text)?;
            Some(HostRule { host, below, port })
        };
        text.split(',').map(|text| rule(text.trim())).collect::<Option<_>>().map(Self).ok_or(BadProxy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy(text: &str) -> Proxy {
        text.parse().unwrap()
    }

    #[test]
    fn a_url_says_how_where_and_who() {
        let http = proxy("http://ada:p%40ss%3A%2F@Proxy.Example.com:3128/");
        assert_eq!((http.kind(), http.host(), http.port()), (Kind::Http, "proxy.example.com", 3128));
        assert_eq!(http.credentials(), Some(("ada", "p@ss:/")));
        for text in ["socks5://10.0.0.1:1080", "SOCKS5H://10.0.0.1:1080"] {
            assert_eq!(proxy(text).kind(), Kind::Socks5);
            assert_eq!(
                (proxy(text).to_string().as_str(), proxy(text).credentials()),
                ("10.0.0.1:1080", None)
            );
        }
        assert_eq!(proxy("http://[::1]:8080").host(), "[::1]");
        // The last @ ends the credentials.
        assert_eq!(proxy("http://a:b@c@d:1").credentials(), Some(("a", "b@c")));
    }

    #[test]
    fn what_is_no_proxy_is_refused_without_a_word_of_it() {
        let long = format!("socks5://{}:x@h:1", "u".repeat(256));
        for wrong in [
            "",
            "h:1",
            "https://h:1",
            "socks4://h:1",
            "http://h",
            "http://h:0",
            "http://h:65536",
            "http://h:+1x",
            "http://:1",
            "http://user@h:1",
            "socks5://secret:@h:1",
            "http://:secret@h:1",
            "http://a%3Ab:secret@h:1",
            "http://a:secret%@h:1",
            "http://a:secret%+f@h:1",
            "http://a:secret%ff@h:1",
            "http://a:secret%0A@h:1",
            "http://a:b/secret@h:1",
            "http://h:1/path",
            "http://h:1?query",
            "http://h h:1",
            "http://::1:1",
            "http://[secret]:1",
            "http://höst:1",
            &long,
        ] {
            let said = wrong.parse::<Proxy>().unwrap_err().to_string();
            assert!(!said.contains("secret"), "{wrong}: {said}");
        }
    }

    #[test]
    fn nothing_prints_the_credentials() {
        let url = ProxyUrl::new("http://ada:secret@h:1");
        let proxy = url.parse().unwrap();
        for said in [format!("{url:?}"), format!("{proxy:?}"), format!("{proxy}")] {
            assert!(!said.contains("secret") && !said.contains("ada"), "{said}");
        }
    }

    #[test]
    fn hosts_are_matched_whole() {
        let hosts: ProxyHosts = "proxy.example.org, 10.0.0.1:1080,*.Example.com,[::1]:8080".parse().unwrap();
        for good in [
            "http://proxy.example.org:1",
            "http://PROXY.example.org:2",
            "socks5://u:p@10.0.0.1:1080",
            "http://a.example.com:1",
            "http://a.b.example.com:1",
            "http://[::1]:8080",
        ] {
            assert!(hosts.allow(&proxy(good)), "{good}");
        }
        for bad in [
            "http://evil.org:1",
            "http://xproxy.example.org:1",
            "http://proxy.example.org.evil.org:1",
            "http://10.0.0.1:1081",
            "http://example.com:1",
            "http://.example.com:1",
            "http://evilexample.com:1",
            "http://[::1]:1",
        ] {
            assert!(!hosts.allow(&proxy(bad)), "{bad}");
        }
        for wrong in ["", "a,", "*", "http://a:1", "a:0", "a b", "*.*.example.com", "a@b"] {
            assert!(wrong.parse::<ProxyHosts>().is_err(), "{wrong:?}");
        }
    }
}
