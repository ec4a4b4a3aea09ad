//! How many may come in. Whoever may not is told so at the earliest moment, and to try again.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;

use axum::http::HeaderMap;
use common::service::ConfigError;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use tracing::{info, warn};

use crate::settings::LimitOptions;

/// Files that are not connections of browsers: the broker, the operators, listeners, and room to say no.
const RESERVED_FILES: usize = 128;

/// The bounds of seats; 0 is no bound.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SeatLimits {
    /// Sockets of one church.
    pub(crate) church: usize,
    /// Sockets of one user.
    pub(crate) user: usize,
    /// Sockets of one address.
    pub(crate) address: usize,
}

/// Why a session can't be opened or seated now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// The gateway is about to end.
    #[error("the gateway is stopping")]
    Stopping,
    /// It can't say yet what it missed.
    #[error("the gateway has no place in the stream yet")]
    NoPlace,
    /// All connections are taken.
    #[error("too many connections")]
    Connections,
    /// Too many came at once.
    #[error("too many new connections at once")]
    Rate,
    /// The church has all its sockets.
    #[error("too many sockets of one church")]
    Church,
    /// The user has all its sockets.
    #[error("too many sockets of one user")]
    User,
    /// The address has all its sockets.
    #[error("too many sockets of one address")]
    Address,
}

impl Refusal {
    /// As the metrics call it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Stopping => "stopping",
            Self::NoPlace => "no_place",
            Self::Connections => "connections",
            Self::Rate => "rate",
            Self::Church => "church",
            Self::User => "user",
            Self::Address => "address",
        }
    }
}

/// What is decided before a session exists.
pub(crate) struct Admission {
    /// Connections that may be open at once.
    pub(crate) connections: usize,
    rate: Option<DefaultDirectRateLimiter>,
    proxies: Vec<Network>,
}

impl Admission {
    /// Reads the limits, and raises the process's own limit of open files as far as it may.
    ///
    /// # Errors
    /// An address of a proxy is none.
    pub(crate) fn new(options: &LimitOptions) -> Result<Self, ConfigError> {
        let wanted = Some(options.max_connections).filter(|n| *n > 0);
        let possible = raise_file_limit().map(|files| files.saturating_sub(RESERVED_FILES).max(1));
        if let (Some(wanted), Some(possible)) = (wanted, possible)
            && wanted > possible
        {
            warn!(wanted, possible, "GATEWAY_MAX_CONNECTIONS is above what the limit of open files allows");
        }
        let connections = [wanted, possible].into_iter().flatten().min().unwrap_or(usize::MAX);
        info!(connections, "connections that may be open at once");
        Ok(Self {
            connections,
            rate: NonZeroU32::new(options.connects_per_second)
                .map(|n| RateLimiter::direct(Quota::per_second(n))),
            proxies: options
                .trusted_proxies
                .iter()
                .map(|text| Network::parse(text))
                .collect::<Result<_, _>>()?,
        })
    }

    /// Whether one more session may be opened while so many connections are open, this one included.
    ///
    /// # Errors
    /// Which limit is reached.
    pub(crate) fn check(&self, open: usize) -> Result<(), Refusal> {
        if open > self.connections {
            return Err(Refusal::Connections);
        }
        match &self.rate {
            Some(rate) if rate.check().is_err() => Err(Refusal::Rate),
            _ => Ok(()),
        }
    }

    /// The browser's address: the peer, or what trusted proxies say of whom they speak for.
    pub(crate) fn address(&self, peer: SocketAddr, headers: &HeaderMap) -> IpAddr {
        let mut address = peer.ip().to_canonical();
        let forwarded = headers.get_all("x-forwarded-for").iter().filter_map(|value| value.to_str().ok());
        let hops: Vec<&str> = forwarded.flat_map(|value| value.split(',')).map(str::trim).collect();
        for hop in hops.into_iter().rev() {
            match hop.parse::<IpAddr>() {
                Ok(before) if self.proxies.iter().any(|proxy| proxy.contains(address)) => {
                    address = before.to_canonical();
                }
                _ => break,
            }
        }
        address
    }
}

/// An address, or a block of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    fn parse(text: &str) -> Result<Self, ConfigError> {
        let wrong = || {
            ConfigError::new(
                "TRUSTED_PROXIES",
                format!("{text:?} is no address and no block such as 10.0.0.0/8"),
            )
        };
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.trim().parse().map_err(|_| wrong())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.map_or(Ok(most), |prefix| prefix.trim().parse()).map_err(|_| wrong())?;
        if prefix > most { Err(wrong()) } else { Ok(Self { address, prefix }) }
    }

    fn contains(&self, other: IpAddr) -> bool {
        let differs = match (self.address, other) {
            (IpAddr::V4(a), IpAddr::V4(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
            (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
            _ => return false,
        };
        differs >= u32::from(self.prefix)
    }
}

/// Raises the soft limit of open files to the hard one and says what it is.
#[cfg(unix)]
fn raise_file_limit() -> Option<usize> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum && setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).is_err() {
        warn!("the limit of open files can't be raised");
    }
    getrlimit(Resource::Nofile).current.and_then(|files| usize::try_from(files).ok())
}

/// There is no such limit here.
#[cfg(not(unix))]
fn raise_file_limit() -> Option<usize> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(proxies: &[&str]) -> Admission {
        let proxies = proxies.iter().map(|text| Network::parse(text).unwrap()).collect();
        Admission { connections: 2, rate: None, proxies }
    }

    fn address(proxies: &[&str], peer: &str, forwarded: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append("x-forwarded-for", value.parse().unwrap());
        }
        admission(proxies).address(SocketAddr::new(peer.parse().unwrap(), 1), &headers).to_string()
    }

    #[test]
    fn a_proxy_is_believed_only_if_it_is_trusted() {
        assert_eq!(address(&[], "10.0.0.1", &["1.2.3.4"]), "10.0.0.1");
        assert_eq!(address(&["10.0.0.0/8"], "10.0.0.1", &["1.2.3.4"]), "1.2.3.4");
        assert_eq!(address(&["10.0.0.0/8"], "11.0.0.1", &["1.2.3.4"]), "11.0.0.1");
        assert_eq!(address(&["10.0.0.1"], "::ffff:10.0.0.1", &["2001:db8::1"]), "2001:db8::1");
    }

    #[test]
    fn what_a_browser_claims_of_itself_is_not_believed() {
        let trusted = ["10.0.0.0/8"];
        assert_eq!(address(&trusted, "10.0.0.1", &["6.6.6.6, 1.2.3.4"]), "1.2.3.4");
        assert_eq!(address(&trusted, "10.0.0.1", &["6.6.6.6", "1.2.3.4, 10.0.0.2"]), "1.2.3.4");
        assert_eq!(address(&trusted, "10.0.0.1", &["nonsense"]), "10.0.0.1");
        assert_eq!(address(&trusted, "10.0.0.1", &["1.2.3.4, nonsense, 10.0.0.2"]), "10.0.0.2");
    }

    #[test]
    fn what_is_no_block_of_addresses_is_a_wrong_setting() {
        for text in ["", "10.0.0", "10.0.0.0/33", "10.0.0.0/x", "::/129", "proxy"] {
            assert!(Network::parse(text).unwrap_err().to_string().contains("TRUSTED_PROXIES"), "{text}");
        }
    }

    #[test]
    fn one_connection_too_many_is_refused() {
        assert_eq!(admission(&[]).check(2), Ok(()));
        assert_eq!(admission(&[]).check(3), Err(Refusal::Connections));
    }
}
