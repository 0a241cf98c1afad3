//! The rule for URLs that may be requested: https, on WhatsApp's own hosts. The library takes URLs from WhatsApp's
//! messages. Without this rule, an attacker who could forge those could send our requests to a host of their own, or
//! into our own network.

use hyper::Uri;
#[cfg(feature = "simulator")]
use hyper::http::uri::{Authority, Parts};

/// WhatsApp's domains. Names below them are allowed as well.
const OWN: [&str; 2] = ["whatsapp.net", "whatsapp.com"];

/// Why a URL is not requested. The messages contain only its host, because the rest may hold a token.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("the URL cannot be requested: it is not valid")]
    NoUrl,
    #[error("{0} is not asked: only https is used")]
    NotHttps(String),
    #[error("{0} is not asked: a URL of WhatsApp names neither a user nor another port")]
    Odd(String),
    #[error("{0} is not asked: it is not a host of WhatsApp")]
    Foreign(String),
}

/// The rule for URLs.
#[derive(Clone)]
pub(super) struct Hosts {
    /// The address of a simulated WhatsApp, if there is one.
    #[cfg(feature = "simulator")]
    simulator: Option<Authority>,
}

impl Hosts {
    pub(super) fn whatsapp() -> Self {
        Self {
            #[cfg(feature = "simulator")]
            simulator: None,
        }
    }

    #[cfg(feature = "simulator")]
    pub(super) fn simulated(simulator: Option<Authority>) -> Self {
        Self { simulator }
    }

    /// The URL to request, if the rule allows it. The connection is opened to the same parsed URL, so that no second
    /// parser can understand the text differently.
    pub(super) fn check(&self, url: &str) -> Result<Uri, Refusal> {
        let uri: Uri = url.parse().map_err(|_| Refusal::NoUrl)?;
        let host = uri.host().ok_or(Refusal::NoUrl)?.to_ascii_lowercase();
        #[cfg(feature = "simulator")]
        if let Some(uri) = self.simulated_uri(&uri, &host) {
            return Ok(uri);
        }
        if uri.scheme_str() != Some("https") {
            return Err(Refusal::NotHttps(host));
        }
        let plain = uri.authority().is_some_and(|authority| !authority.as_str().contains('@'));
        if !plain || uri.port_u16().unwrap_or(443) != 443 {
            return Err(Refusal::Odd(host));
        }
        let below =
            |own: &str| host.strip_suffix(own).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
        if OWN.into_iter().any(below) { Ok(uri) } else { Err(Refusal::Foreign(host)) }
    }

    /// The library's URLs are always https; the simulator has no certificate.
    #[cfg(feature = "simulator")]
    fn simulated_uri(&self, uri: &Uri, host: &str) -> Option<Uri> {
        let simulator = self.simulator.clone()?;
        let loopback = matches!(host, "localhost" | "127.0.0.1" | "[::1]");
        if !loopback && (host, uri.path()) != ("web.whatsapp.com", "/sw.js") {
            return None;
        }
        let mut parts = Parts::default();
        parts.scheme = Some(hyper::http::uri::Scheme::HTTP);
        parts.authority = Some(simulator);
        parts.path_and_query = uri.path_and_query().cloned();
        Uri::from_parts(parts).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatsapps_own_hosts_are_asked() {
        for good in [
            "https://web.whatsapp.com/sw.js",
            "https://whatsapp.com",
            "https://mmg.whatsapp.net/v/t62?auth=a&token=b",
            "https://media-fra3-1.cdn.whatsapp.net:443/x",
            "https://MMG.WhatsApp.NET/x",
        ] {
            assert!(Hosts::whatsapp().check(good).is_ok(), "{good}");
        }
    }

    #[test]
    fn no_other_host_is_asked_whatever_it_looks_like() {
        for bad in [
            "https://example.com/x",
            "https://evilwhatsapp.net/x",
            "https://whatsapp.net.evil.com/x",
            "https://evil.com/?.whatsapp.net",
            "https://evil.com#.whatsapp.net",
            "https://web.whatsapp.com./x",
            "https://127.0.0.1/x",
            "https://[::1]/x",
            "https://169.254.169.254/latest",
            "https://xn--whatsapp-hack.com/x",
        ] {
            assert!(matches!(Hosts::whatsapp().check(bad), Err(Refusal::Foreign(_))), "{bad}");
        }
        for odd in [
            "https://mmg.whatsapp.net@evil.com/x",
            "https://u:p@mmg.whatsapp.net/",
            "https://a.whatsapp.net:80/",
        ] {
            assert!(matches!(Hosts::whatsapp().check(odd), Err(Refusal::Odd(_))), "{odd}");
        }
        for plain in ["http://mmg.whatsapp.net/x", "ftp://mmg.whatsapp.net/x", "ws://web.whatsapp.com/"] {
            assert!(matches!(Hosts::whatsapp().check(plain), Err(Refusal::NotHttps(_))), "{plain}");
        }
        for wrong in [
            "",
            "/x",
            "mmg.whatsapp.net/x",
            "https://",
            "https://a b/",
            "https://mmg.whatsapp.net\\@evil.com/",
        ] {
            assert_eq!(Hosts::whatsapp().check(wrong), Err(Refusal::NoUrl), "{wrong}");
        }
    }

    #[test]
    fn a_refusal_names_the_host_and_nothing_else() {
        let said =
            Hosts::whatsapp().check("https://u:secret@evil.com/x?auth=secret").unwrap_err().to_string();
        assert!(said.contains("evil.com") && !said.contains("secret"), "{said}");
    }

    #[cfg(feature = "simulator")]
    #[test]
    fn the_simulator_stands_in_for_loopback_and_the_version_alone() {
        let hosts = Hosts::simulated(Some(Authority::from_static("127.0.0.1:8090")));
        let check = |url| hosts.check(url).map(|uri| uri.to_string());
        let asked = |url: &str| Ok(url.to_owned());
        assert_eq!(check("https://127.0.0.1:1/blob?auth=a"), asked("http://127.0.0.1:8090/blob?auth=a"));
        assert_eq!(check("https://localhost/blob"), asked("http://127.0.0.1:8090/blob"));
        assert_eq!(check("https://web.whatsapp.com/sw.js"), asked("http://127.0.0.1:8090/sw.js"));
        assert_eq!(check("https://web.whatsapp.com/other"), asked("https://web.whatsapp.com/other"));
        assert!(check("https://example.com/sw.js").is_err());
    }
}
