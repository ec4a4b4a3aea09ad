//! How many may come in. A client that may not is told so at the earliest moment, and to try again.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::http::HeaderMap;
use common::service::ConfigError;
use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter, Quota, RateLimiter};
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
    /// Too many came at once from one address.
    #[error("too many new connections at once from this address")]
    AddressRate,
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
            Self::AddressRate => "address_rate",
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
    address_rate: Option<AddressRate>,
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
            address_rate: NonZeroU32::new(options.address_connects_per_second).map(AddressRate::new),
            proxies: options
                .trusted_proxies
                .iter()
                .map(|text| Network::parse(text))
                .collect::<Result<_, _>>()?,
        })
    }

    /// Whether one more session may be opened from an address while so many connections are open, this one included.
    /// The address is asked first, so that one of them can't use up what all share.
    ///
    /// # Errors
    /// Which limit is reached.
    pub(crate) fn check(&self, open: usize, address: IpAddr) -> Result<(), Refusal> {
        if open > self.connections {
            return Err(Refusal::Connections);
        }
        if self.address_rate.as_ref().is_some_and(|rate| !rate.allows(address)) {
            return Err(Refusal::AddressRate);
        }
        match &self.rate {
            Some(rate) if rate.check().is_err() => Err(Refusal::Rate),
            _ => Ok(()),
        }
    }

    /// What sockets are counted by: the browser's address, or of IPv6 its /64, which one household has whole. It is the
    /// peer's, or what trusted proxies say of whom they speak for.
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
        of_one_household(address)
    }
}

/// Bits of an IPv6 address that one household can choose.
const OWN_BITS: u32 = 64;

fn of_one_household(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> OWN_BITS << OWN_BITS).into(),
    }
}

/// How many sessions each address may open a second.
struct AddressRate {
    limiter: DefaultKeyedRateLimiter<IpAddr>,
    /// Addresses at which those that are not needed any more are forgotten.
    crowded: AtomicUsize,
}

/// Addresses that are remembered in any case.
const FEW_ADDRESSES: usize = 1_024;

impl AddressRate {
    fn new(rate: NonZeroU32) -> Self {
        let limiter = RateLimiter::keyed(Quota::per_second(rate));
        Self { limiter, crowded: AtomicUsize::new(FEW_ADDRESSES) }
    }

    fn allows(&self, address: IpAddr) -> bool {
        let allows = self.limiter.check_key(&address).is_ok();
        if self.limiter.len() > self.crowded.load(Ordering::Relaxed) {
            self.limiter.retain_recent();
            self.crowded.store(FEW_ADDRESSES.max(2 * self.limiter.len()), Ordering::Relaxed);
        }
        allows
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
        Admission { connections: 2, rate: None, address_rate: None, proxies }
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
        assert_eq!(address(&["10.0.0.1"], "::ffff:10.0.0.1", &["2001:db8::1"]), "2001:db8::");
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
        let (admission, address) = (admission(&[]), IpAddr::from([192, 0, 2, 1]));
        assert_eq!(admission.check(2, address), Ok(()));
        assert_eq!(admission.check(3, address), Err(Refusal::Connections));
    }

    #[test]
    fn one_household_is_one_address() {
        let of = |peer: &str| address(&[], peer, &[]);
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), of("2001:db8:1:2:ffff::1"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }

    #[test]
    fn one_address_can_not_use_up_what_all_share() {
        let (own, all) = (NonZeroU32::new(5).unwrap(), NonZeroU32::new(100).unwrap());
        let admission = Admission {
            address_rate: Some(AddressRate::new(own)),
            rate: Some(RateLimiter::direct(Quota::per_second(all))),
            ..admission(&[])
        };
        let tries =
            |address: IpAddr, times| (0..times).map(|_| admission.check(1, address)).collect::<Vec<_>>();
        let one = tries(IpAddr::from([192, 0, 2, 1]), 10_000);
        assert!(one.contains(&Err(Refusal::AddressRate)) && !one.contains(&Err(Refusal::Rate)));
        assert_eq!(tries(IpAddr::from([192, 0, 2, 2]), 1), [Ok(())]);
    }

    #[test]
    fn addresses_that_are_gone_are_forgotten() {
        // At a million a second nothing has to be remembered for long.
        let rate = AddressRate::new(NonZeroU32::new(1_000_000).unwrap());
        for number in 0..100_000 {
            assert!(rate.allows(Ipv6Addr::from_bits(number << OWN_BITS).into()));
        }
        assert!(rate.limiter.len() < 50_000, "{}", rate.limiter.len());
    }
}
