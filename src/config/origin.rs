//! Addresses of pages: an origin as browsers send it, the rules of `ALLOWED_ORIGINS`, and `PUBLIC_URL`.
//!
//! They are parsed here, once; `http/door/origins.rs` compares them.

use std::fmt;

use url::{Host, Url};

/// Scheme, host and port of a page. Case and a default port make no difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    scheme: String,
    host: Host,
    port: u16,
}

/// The pages that may use this server besides its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins {
    /// Whether any page may. `*`
    pub any: bool,
    /// The origins whose pages may, besides the server's own.
    pub rules: Vec<OriginRule>,
}

/// One entry of `ALLOWED_ORIGINS`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OriginRule {
    /// `https://app.example.com`
    Exact(Origin),
    /// `https://*.example.com`: any name below the domain, not the domain itself.
    Below(Origin),
}

/// `PUBLIC_URL`: where browsers reach this server.
#[derive(Clone, Debug)]
pub struct PublicUrl {
    /// Its origin.
    pub origin: Origin,
    /// The URL without a slash at the end.
    pub http: String,
    /// The same for WebSockets: `wss://` for `https://`, `ws://` for `http://`.
    pub websocket: String,
}

impl Origin {
    /// An `http://` or `https://` origin, as a browser writes it.
    pub fn parse(text: &str) -> Option<Self> {
        let url = Url::parse(text).ok()?;
        (url.path() == "/").then(|| Self::of(&url)).flatten()
    }

    /// The origin of a request that was sent to this host with this scheme.
    pub fn of_host(scheme: &str, host: &str) -> Option<Self> {
        Self::parse(&format!("{scheme}://{host}"))
    }

    fn of(url: &Url) -> Option<Self> {
        let plain = url.username().is_empty() && url.password().is_none();
        let bare = url.query().is_none() && url.fragment().is_none();
        let host = url.host()?.to_owned();
        // The parser takes more than names that can be looked up.
        let is_name = match &host {
            Host::Domain(name) => name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b)),
            Host::Ipv4(_) | Host::Ipv6(_) => true,
        };
        let port = url.port_or_known_default().filter(|port| *port > 0)?;
        let is_page = matches!(url.scheme(), "http" | "https");
        (plain && bare && is_name && is_page).then(|| Self { scheme: url.scheme().to_owned(), host, port })
    }

    /// `http` or `https`.
    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    /// Whether it is served over TLS.
    pub fn is_secure(&self) -> bool {
        self.scheme == "https"
    }

    /// Whether it names this machine in a way that no other machine can have: as `localhost`, or by an address of it.
    pub fn is_local(&self) -> bool {
        match &self.host {
            Host::Domain(name) => name == "localhost",
            Host::Ipv4(address) => *address == std::net::Ipv4Addr::LOCALHOST,
            Host::Ipv6(address) => *address == std::net::Ipv6Addr::LOCALHOST,
        }
    }

    /// Host and port, without the default port.
    pub fn authority(&self) -> String {
        let default = if self.is_secure() { 443 } else { 80 };
        if self.port == default { self.host.to_string() } else { format!("{}:{}", self.host, self.port) }
    }

    fn is_below(&self, other: &Self) -> bool {
        let (Host::Domain(name), Host::Domain(domain)) = (&self.host, &other.host) else { return false };
        let below = name.strip_suffix(domain.as_str()).and_then(|rest| rest.strip_suffix('.'));
        (self.scheme == other.scheme && self.port == other.port) && below.is_some_and(|name| !name.is_empty())
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.authority())
    }
}

impl Origins {
    /// The entries of `ALLOWED_ORIGINS`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut origins = Self::default();
        for entry in text.split(',').map(str::trim) {
            if entry == "*" {
                origins.any = true;
            } else {
                origins.rules.push(OriginRule::parse(entry)?);
            }
        }
        Some(origins)
    }

    /// Whether pages of this origin may use this server. An opaque origin (`null`) never may.
    pub fn allow(&self, origin: &str) -> bool {
        let allows = |origin: Origin| self.rules.iter().any(|rule| rule.allows(&origin));
        !origin.eq_ignore_ascii_case("null") && (self.any || Origin::parse(origin).is_some_and(allows))
    }
}

impl OriginRule {
    fn parse(entry: &str) -> Option<Self> {
        // People add a slash at the end.
        let entry = entry.trim_end_matches('/');
        match entry.split_once("://*.") {
            Some((scheme, domain)) => Origin::of_host(scheme, domain).map(Self::Below),
            None => Origin::parse(entry).map(Self::Exact),
        }
    }

    fn allows(&self, origin: &Origin) -> bool {
        match self {
            Self::Exact(exact) => origin == exact,
            Self::Below(domain) => origin.is_below(domain),
        }
    }
}

impl fmt::Display for OriginRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(origin) => origin.fmt(f),
            Self::Below(domain) => write!(f, "{}://*.{}", domain.scheme, domain.authority()),
        }
    }
}

impl PublicUrl {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let url = Url::parse(text).ok()?;
        let origin = Origin::of(&url)?;
        let mut websocket = url.clone();
        websocket.set_scheme(if origin.is_secure() { "wss" } else { "ws" }).ok()?;
        let [http, websocket] = [url, websocket].map(|url| url.as_str().trim_end_matches('/').to_owned());
        Some(Self { origin, http, websocket })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_matched_whole() {
        let allowed =
            Origins::parse("https://app.example.com, https://*.example.org:8443,http://localhost:5173/")
                .unwrap();
        for good in [
            "https://app.example.com",
            "https://APP.example.com",
            "https://a.b.example.org:8443",
            "http://localhost:5173",
        ] {
            assert!(allowed.allow(good), "{good}");
        }
        for bad in [
            "null",
            "http://app.example.com",
            "https://app.example.com:444",
            "https://app.example.com.evil.com",
            "https://example.org:8443",
            "https://evil.com/.example.org:8443",
            "https://evil.com#.example.org:8443",
            "https://evilexample.org:8443",
            "https://x.example.org",
            "",
        ] {
            assert!(!allowed.allow(bad), "{bad}");
        }
        for wrong in
            ["app.example.com", "https://", "https://*", "https://a b", "ftp://a", "https://a/b", "a,,b"]
        {
            assert!(Origins::parse(wrong).is_none(), "{wrong:?}");
        }
        let any = Origins::parse("*").unwrap();
        assert!(any.allow("https://evil.com") && !any.allow("null"));
    }

    #[test]
    fn a_public_url_has_a_base_for_each_protocol() {
        for (text, http, websocket) in [
            ("https://link.example.com/", "https://link.example.com", "wss://link.example.com"),
            ("http://localhost:3000/wa/", "http://localhost:3000/wa", "ws://localhost:3000/wa"),
        ] {
            let url = PublicUrl::parse(text).unwrap();
            assert_eq!((url.http.as_str(), url.websocket.as_str()), (http, websocket), "{text}");
        }
        for wrong in ["link.example.com", "ftp://a", "https://", "https://a?b", "https://a#b", "https://a@b"]
        {
            assert!(PublicUrl::parse(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn names_of_this_machine() {
        let is_local = |host: &str| Origin::of_host("http", host).is_some_and(|origin| origin.is_local());
        for good in ["localhost", "LOCALHOST:3000", "127.0.0.1:80", "[::1]", "[::1]:3000"] {
            assert!(is_local(good), "{good}");
        }
        for bad in
            ["", "localhost.evil.com", "127.0.0.1.evil.com", "localhost:x", "evil.com", "127.0.0.2", "::1"]
        {
            assert!(!is_local(bad), "{bad}");
        }
    }
}
