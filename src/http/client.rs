//! Where a request comes from: the client's address, and whom limits count.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use axum::extract::{ConnectInfo, Request, State};
use axum::http::{Extensions, HeaderMap};
use axum::middleware::Next;
use axum::response::Response;

use super::App;
use super::caller::Caller;
use crate::config::TrustedProxies;

/// The address of the client of a request, as far as it can be believed.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClientAddress(pub(super) IpAddr);

/// Whom limits count.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Client {
    /// Without limits of its own: an embedder's backend, which acts for all its users.
    Backend,
    /// The name of an API key for some user ids.
    Key(String),
    /// An address; of IPv6 the network, for a client has all of it.
    Address(IpAddr),
}

impl Client {
    /// Of a request, and of whoever sent it, where that is known.
    pub(super) fn of(caller: Option<&Caller>, extensions: &Extensions) -> Self {
        match caller {
            Some(Caller::Key(key)) if key.prefix.is_none() => Self::Backend,
            Some(Caller::Key(key)) => Self::Key(key.name.clone()),
            _ => Self::Address(network(address_of(extensions))),
        }
    }
}

/// The client's address, where [`locate`] has written it.
pub(super) fn address_of(extensions: &Extensions) -> IpAddr {
    extensions.get::<ClientAddress>().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |address| address.0)
}

/// Writes the client's address into the request.
pub(super) async fn locate(State(app): State<App>, mut request: Request, next: Next) -> Response {
    if let Some(ConnectInfo(peer)) = request.extensions().get::<ConnectInfo<SocketAddr>>() {
        let address = believe(peer.ip(), request.headers(), &app.inner.config.doors.proxies);
        request.extensions_mut().insert(ClientAddress(address));
    }
    next.run(request).await
}

/// The peer, or whom it speaks for where it is a proxy that is trusted.
fn believe(peer: IpAddr, headers: &HeaderMap, proxies: &TrustedProxies) -> IpAddr {
    let mut client = peer.to_canonical();
    if !proxies.trust(client) {
        return client;
    }
    if let Some(named) = proxies.header_of(client).and_then(|name| headers.get(name))
        && let Some(address) = named.to_str().ok().and_then(parse)
    {
        return address;
    }
    let forwarded = headers.get_all("x-forwarded-for").iter().filter_map(|value| value.to_str().ok());
    let entries: Vec<&str> = forwarded.flat_map(|list| list.split(',')).collect();
    // Each proxy appends whom it saw; what stands further left than the first stranger, that stranger may have written.
    for entry in entries.into_iter().rev() {
        let Some(address) = parse(entry) else { break };
        client = address;
        if !proxies.trust(client) {
            break;
        }
    }
    client
}

/// An address, perhaps with a port.
fn parse(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let plain = text.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()));
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    plain.or_else(bracketed).map(|address: IpAddr| address.to_canonical())
}

/// A client with IPv6 is given a whole /64 (RFC 6177): one of its addresses is as good as any.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(peer: &str, proxies: &str, headers: &[(&'static str, &str)]) -> String {
        let proxies = [("TRUSTED_PROXIES", proxies)];
        let variable = |name: &str| {
            proxies.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        let proxies = crate::config::Config::read(variable).unwrap().doors.proxies;
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        believe(peer.parse().unwrap(), &map, &proxies).to_string()
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
            [("[2001:db8::1]:4711", "2001:db8::1"), ("192.0.2.5:80", "192.0.2.5"), ("nonsense", "10.0.0.2")]
        {
            assert_eq!(seen("10.0.0.2", "10.0.0.0/8", &[("x-forwarded-for", entry)]), address);
        }
        // Fly's own header counts where Fly is.
        let fly = [("fly-client-ip", "192.0.2.2"), ("x-forwarded-for", "192.0.2.1")];
        assert_eq!(seen("172.16.0.2", "fly", &fly), "192.0.2.2");
        assert_eq!(seen("10.0.0.2", "fly,10.0.0.0/8", &fly), "192.0.2.1");
    }

    #[test]
    fn a_client_has_a_whole_network_of_ipv6() {
        assert_eq!(network("2001:db8:1:2:3::4".parse().unwrap()).to_string(), "2001:db8:1:2::");
    }
}
