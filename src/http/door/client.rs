//! Where a request comes from: the client's address, and the client that limits count it for.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Once};

use axum::extract::{ConnectInfo, Request, State};
use axum::http::{Extensions, HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::caller::Caller;
use crate::config::{Config, TrustedProxies};
use crate::http::error::{ApiError, ErrorCode};

/// The address of the client of a request, as far as it can be believed.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClientAddress(pub(super) IpAddr);

/// The client that limits count a request for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::http) enum Client {
    /// Without limits of its own: an embedder's backend, which acts for all its users.
    Backend,
    /// The name of an API key for some user ids.
    Key(String),
    /// An address; of IPv6 the network, for a client has all of it.
    Address(IpAddr),
}

impl Client {
    /// Of a request, by its caller if that is known, else by its address.
    pub(in crate::http) fn of(caller: Option<&Caller>, extensions: &Extensions) -> Self {
        match caller {
            Some(Caller::Key(key)) if key.prefix.is_none() => Self::Backend,
            Some(Caller::Key(key)) => Self::Key(key.name.clone()),
            _ => Self::Address(network(address_of(extensions))),
        }
    }
}

/// The client's address, where [`locate`] has written it.
pub(in crate::http) fn address_of(extensions: &Extensions) -> IpAddr {
    extensions.get::<ClientAddress>().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |address| address.0)
}

/// What of a text that a client chose is written down, in bytes.
const LONGEST_TEXT: usize = 256;

/// Headers in which proxies name their client.
const FORWARDED: [&str; 6] =
    ["x-forwarded-for", "forwarded", "x-real-ip", "fly-client-ip", "cf-connecting-ip", "true-client-ip"];

/// Writes the client's address into the request.
pub(in crate::http) async fn locate(
    State(config): State<Arc<Config>>,
    mut request: Request,
    next: Next,
) -> Response {
    if let Some(ConnectInfo(peer)) = request.extensions().get::<ConnectInfo<SocketAddr>>() {
        let (peer, proxies) = (peer.ip().to_canonical(), &config.security.proxies);
        warn_of_a_proxy(peer, request.headers(), proxies);
        match believe(peer, request.headers(), proxies) {
            Ok(address) => request.extensions_mut().insert(ClientAddress(address)),
            Err(Unreadable(header)) => {
                return ApiError::not_allowed(
                    ErrorCode::InvalidForwarded,
                    header,
                    "addresses, as the proxy saw them",
                )
                .into_response();
            }
        };
    }
    next.run(request).await
}

/// Says once that a proxy may stand before this server, and that its clients are all one as long as it is not trusted.
fn warn_of_a_proxy(peer: IpAddr, headers: &HeaderMap, proxies: &TrustedProxies) {
    static SAID: Once = Once::new();
    let named = || FORWARDED.into_iter().find(|name| headers.contains_key(*name));
    if !SAID.is_completed()
        && !proxies.trust(peer)
        && let Some(header) = named()
    {
        SAID.call_once(|| {
            tracing::warn!(
                %peer,
                header,
                "a client's address came from a peer that is not in TRUSTED_PROXIES, and was not believed; if that is your \
                 proxy, all its clients share one client's limits until it is"
            );
        });
    }
}

/// A trusted proxy has sent this header with something that is not an address.
#[derive(Debug, PartialEq, Eq)]
struct Unreadable(&'static str);

/// The peer, or the client that it names if it is a trusted proxy. A name that cannot be read is not ignored: a client that
/// has it written there would be taken for the proxy.
fn believe(peer: IpAddr, headers: &HeaderMap, proxies: &TrustedProxies) -> Result<IpAddr, Unreadable> {
    let mut client = peer.to_canonical();
    if !proxies.trust(client) {
        return Ok(client);
    }
    if let Some(name) = proxies.header_of(client) {
        let mut named = headers.get_all(name).iter();
        match (named.next(), named.next()) {
            (None, _) => {}
            (Some(value), None) => return parse(value.as_bytes()).ok_or(Unreadable(name)),
            // One of the two is not the proxy's.
            (Some(_), Some(_)) => return Err(Unreadable(name)),
        }
    }
    let name = "x-forwarded-for";
    let lists = headers.get_all(name).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    // An empty entry is none: RFC 9110, section 5.6.1.
    let entries: Vec<&[u8]> = lists.map(<[u8]>::trim_ascii).filter(|entry| !entry.is_empty()).collect();
    // Each proxy appends the address it saw. Whatever stands left of the first untrusted address, that client may have written.
    for entry in entries.into_iter().rev() {
        client = parse(entry).ok_or(Unreadable(name))?;
        if !proxies.trust(client) {
            break;
        }
    }
    Ok(client)
}

/// An address, perhaps with a port.
fn parse(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?.trim();
    let plain = text.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()));
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    plain.or_else(bracketed).map(|address: IpAddr| address.to_canonical())
}

/// A client with IPv6 is given a whole /64 (RFC 6177): one of its addresses is as good as any.
pub(super) fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
    }
}

/// With what somebody asks, for the log.
pub(in crate::http) fn user_agent(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()).map(shortened)
}

/// As much of a text that a client chose as is written down.
pub(in crate::http) fn shortened(text: &str) -> &str {
    let end = (0..=LONGEST_TEXT.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(peer: &str, proxies: &str, headers: &[(&'static str, &str)]) -> String {
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
        match found(peer, proxies, &headers) {
            Ok(address) => address.to_string(),
            Err(Unreadable(header)) => format!("unreadable {header}"),
        }
    }

    fn found(peer: &str, proxies: &str, headers: &[(&'static str, &[u8])]) -> Result<IpAddr, Unreadable> {
        let proxies = [("TRUSTED_PROXIES", proxies)];
        let variable = |name: &str| {
            proxies.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        let proxies = crate::config::Config::read(variable).unwrap().security.proxies;
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, axum::http::HeaderValue::from_bytes(value).unwrap());
        }
        believe(peer.parse().unwrap(), &map, &proxies)
    }

    #[test]
    fn a_strangers_word_is_not_taken() {
        let lies = [("x-forwarded-for", "192.0.2.1"), ("fly-client-ip", "192.0.2.2")];
        assert_eq!(seen("198.51.100.7", "", &lies), "198.51.100.7");
        assert_eq!(seen("198.51.100.7", "10.0.0.0/8", &lies), "198.51.100.7");
        assert_eq!(seen("198.51.100.7", "fly", &lies), "198.51.100.7");
    }

    #[test]
    fn a_proxy_speaks_for_the_rightmost_stranger() {
        let chain = [("x-forwarded-for", "203.0.113.9, 192.0.2.1"), ("x-forwarded-for", "10.0.0.3")];
        assert_eq!(seen("10.0.0.2", "10.0.0.0/8", &chain), "192.0.2.1");
        assert_eq!(seen("::ffff:10.0.0.2", "10.0.0.0/8", &chain), "192.0.2.1");
        for (entry, address) in
            [("[2001:db8::1]:4711", "2001:db8::1"), ("192.0.2.5:80", "192.0.2.5"), ("", "10.0.0.2")]
        {
            assert_eq!(seen("10.0.0.2", "10.0.0.0/8", &[("x-forwarded-for", entry)]), address);
        }
        // Fly's own header counts where Fly is.
        let fly = [("fly-client-ip", "192.0.2.2"), ("x-forwarded-for", "192.0.2.1")];
        assert_eq!(seen("172.16.0.2", "fly", &fly), "192.0.2.2");
        assert_eq!(seen("10.0.0.2", "fly,10.0.0.0/8", &fly), "192.0.2.1");
    }

    #[test]
    fn what_cannot_be_read_is_no_absence() {
        let net = "10.0.0.0/8";
        // A client's own nonsense, and behind it whom nginx saw.
        for nonsense in
            [b"\xff, 192.0.2.1".as_slice(), b"\xff\x80,192.0.2.1", b"unknown, 192.0.2.1", b",, 192.0.2.1 ,"]
        {
            let address = found("10.0.0.2", net, &[("x-forwarded-for", nonsense)]);
            assert_eq!(address.unwrap().to_string(), "192.0.2.1", "{nonsense:?}");
        }
        let lines: [(&str, &[u8]); 2] = [("x-forwarded-for", b"\xff"), ("x-forwarded-for", b"192.0.2.1")];
        assert_eq!(found("10.0.0.2", net, &lines).unwrap().to_string(), "192.0.2.1");
        for unread in [
            b"\xff".as_slice(),
            b"192.0.2.1, \xff",
            b"nonsense, 10.0.0.3",
            b"unknown",
            b"192.0.2.1 192.0.2.2",
        ] {
            let refused = found("10.0.0.2", net, &[("x-forwarded-for", unread)]);
            assert_eq!(refused, Err(Unreadable("x-forwarded-for")), "{unread:?}");
        }
        assert_eq!(
            found("172.16.0.2", "fly", &[("fly-client-ip", b"\xff")]),
            Err(Unreadable("fly-client-ip"))
        );
        let twice: [(&str, &[u8]); 2] = [("x-real-ip", b"192.0.2.1"), ("x-real-ip", b"192.0.2.2")];
        assert_eq!(found("100.64.0.2", "railway", &twice), Err(Unreadable("x-real-ip")));
        // A stranger may write what it likes.
        assert!(found("198.51.100.7", net, &[("x-forwarded-for", b"\xff")]).is_ok());
    }

    #[test]
    fn a_client_has_a_whole_network_of_ipv6() {
        assert_eq!(network("2001:db8:1:2:3::4".parse().unwrap()).to_string(), "2001:db8:1:2::");
    }

    #[test]
    fn a_long_text_is_cut_between_two_characters() {
        assert_eq!(shortened("short"), "short");
        assert_eq!(shortened(&"ü".repeat(200)), "ü".repeat(128));
        assert_eq!(shortened(&format!("x{}", "ü".repeat(200))).len(), 255);
    }
}
