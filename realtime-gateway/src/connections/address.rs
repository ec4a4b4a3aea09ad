//! The address that sockets are counted by.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use axum::http::HeaderMap;
use common::config::ConfigError;
use ipnet::IpNet;

/// Bits of an IPv6 address that one household may choose.
const HOUSEHOLD_BITS: u32 = 64;

/// Proxies whose X-Forwarded-For is believed.
pub(crate) struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// Reads addresses and networks.
    ///
    /// # Errors
    /// One of them is neither.
    pub(crate) fn parse(texts: &[String]) -> Result<Self, ConfigError> {
        texts.iter().map(|text| network(text.trim())).collect::<Result<_, _>>().map(Self)
    }

    /// The browser's address: the peer's, or the one that trusted proxies forward. All addresses of an IPv6 /64 count
    /// as one, because one household has all of them.
    pub(crate) fn client_address(&self, peer: SocketAddr, headers: &HeaderMap) -> IpAddr {
        let mut address = peer.ip().to_canonical();
        let forwarded = headers.get_all("x-forwarded-for").iter().filter_map(|value| value.to_str().ok());
        let hops: Vec<&str> = forwarded.flat_map(|value| value.split(',')).map(str::trim).collect();
        for hop in hops.into_iter().rev() {
            match hop.parse::<IpAddr>() {
                Ok(before) if self.0.iter().any(|proxy| proxy.contains(&address)) => {
                    address = before.to_canonical();
                }
                _ => break,
            }
        }
        household(address)
    }
}

fn network(text: &str) -> Result<IpNet, ConfigError> {
    // IpNet's own parser takes 010.0.0.0 for 10.0.0.0.
    let (address, prefix) =
        text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
    let network = address.trim().parse::<IpAddr>().ok().and_then(|address| match prefix {
        None => Some(IpNet::from(address)),
        Some(bits) => IpNet::new(address, bits.trim().parse().ok()?).ok(),
    });
    network.ok_or_else(|| {
        let problem = format!("{text:?} is neither an address nor a network such as 10.0.0.0/8");
        ConfigError::new("TRUSTED_PROXIES", problem)
    })
}

fn household(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> HOUSEHOLD_BITS << HOUSEHOLD_BITS).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(proxies: &[&str], peer: &str, forwarded: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append("x-forwarded-for", value.parse().unwrap());
        }
        let proxies: Vec<String> = proxies.iter().map(ToString::to_string).collect();
        let proxies = TrustedProxies::parse(&proxies).unwrap();
        proxies.client_address(SocketAddr::new(peer.parse().unwrap(), 1), &headers).to_string()
    }

    #[test]
    fn a_proxy_is_believed_only_if_it_is_trusted() {
        assert_eq!(address(&[], "10.0.0.1", &["1.2.3.4"]), "10.0.0.1");
        assert_eq!(address(&["10.0.0.0/8"], "10.0.0.1", &["1.2.3.4"]), "1.2.3.4");
        assert_eq!(address(&["10.0.0.0/8"], "11.0.0.1", &["1.2.3.4"]), "11.0.0.1");
        assert_eq!(address(&["10.0.0.0 / 8"], "10.0.0.1", &["1.2.3.4"]), "1.2.3.4");
        assert_eq!(address(&["10.0.0.1"], "::ffff:10.0.0.1", &["2001:db8::1"]), "2001:db8::");
    }

    #[test]
    fn an_address_that_a_browser_claims_is_not_believed() {
        let trusted = ["10.0.0.0/8"];
        assert_eq!(address(&trusted, "10.0.0.1", &["6.6.6.6, 1.2.3.4"]), "1.2.3.4");
        assert_eq!(address(&trusted, "10.0.0.1", &["6.6.6.6", "1.2.3.4, 10.0.0.2"]), "1.2.3.4");
        assert_eq!(address(&trusted, "10.0.0.1", &["nonsense"]), "10.0.0.1");
        assert_eq!(address(&trusted, "10.0.0.1", &["1.2.3.4, nonsense, 10.0.0.2"]), "10.0.0.2");
    }

    #[test]
    fn a_proxy_that_is_no_network_is_a_wrong_setting() {
        for text in ["", "10.0.0", "010.0.0.0/8", "10.0.0.0/33", "10.0.0.0/x", "::/129", "proxy"] {
            assert!(network(text).unwrap_err().to_string().contains("TRUSTED_PROXIES"), "{text}");
        }
    }

    #[test]
    fn one_ipv6_household_is_one_address() {
        let of = |peer: &str| address(&[], peer, &[]);
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), of("2001:db8:1:2:ffff::1"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }
}
