//! How many connections and sockets there may be, and how fast new sessions may come. A client beyond a limit is told
//! so at the earliest moment, and to try again.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicUsize, Ordering};

use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter, Quota, RateLimiter};
use tracing::{info, warn};

use crate::settings::LimitOptions;

/// Files that are not connections of browsers: the broker, the operators, listeners, and connections that get a 503.
const RESERVED_FILES: usize = 128;

/// Limits of sockets; 0 is no limit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SocketLimits {
    /// Sockets of one church.
    pub(crate) church: usize,
    /// Sockets of one user.
    pub(crate) user: usize,
    /// Sockets of one address.
    pub(crate) address: usize,
}

impl From<&LimitOptions> for SocketLimits {
    fn from(options: &LimitOptions) -> Self {
        Self {
            church: options.max_church_sockets,
            user: options.max_user_sockets,
            address: options.max_address_sockets,
        }
    }
}

/// Why a session or a socket is refused for now. Its name in snake case is the label in metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error, strum::IntoStaticStr, strum::VariantNames)]
#[strum(serialize_all = "snake_case")]
pub(crate) enum Refusal {
    /// The gateway is stopping.
    #[error("the gateway is stopping")]
    Stopping,
    /// The gateway has no position in the stream yet, so it could not say what a client missed.
    #[error("the gateway has no position in the stream yet")]
    NoPosition,
    /// All connections are taken.
    #[error("too many connections")]
    Connections,
    /// Too many sessions came at once.
    #[error("too many new connections at once")]
    Rate,
    /// Too many sessions came at once from one address.
    #[error("too many new connections at once from this address")]
    AddressRate,
    /// The church is at its limit.
    #[error("too many sockets of one church")]
    Church,
    /// The user is at its limit.
    #[error("too many sockets of one user")]
    User,
    /// The address is at its limit.
    #[error("too many sockets of one address")]
    Address,
}

/// Limits that are checked before a session exists.
pub(crate) struct ConnectionLimits {
    /// Connections that may be open at once.
    pub(crate) connections: usize,
    rate: Option<DefaultDirectRateLimiter>,
    address_rate: Option<AddressRate>,
}

impl ConnectionLimits {
    /// Reads the limits, and raises the process's own limit of open files as far as it may.
    pub(crate) fn new(options: &LimitOptions) -> Self {
        let wanted = Some(options.max_connections).filter(|n| *n > 0);
        let possible = raise_file_limit().map(|files| files.saturating_sub(RESERVED_FILES).max(1));
        if let (Some(wanted), Some(possible)) = (wanted, possible)
            && wanted > possible
        {
            warn!(wanted, possible, "GATEWAY_MAX_CONNECTIONS exceeds what the limit of open files allows");
        }
        let connections = [wanted, possible].into_iter().flatten().min().unwrap_or(usize::MAX);
        info!(connections, "limit of open connections");
        Self {
            connections,
            rate: NonZeroU32::new(options.connects_per_second)
                .map(|n| RateLimiter::direct(Quota::per_second(n))),
            address_rate: NonZeroU32::new(options.address_connects_per_second).map(AddressRate::new),
        }
    }

    /// Whether one more session may be opened from an address while so many connections are open, this one included.
    /// The address's rate is checked first, so that one address can't use up the rate of all.
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
}

/// How many sessions each address may open a second.
struct AddressRate {
    limiter: DefaultKeyedRateLimiter<IpAddr>,
    /// Number of addresses at which those without recent sessions are forgotten.
    crowded: AtomicUsize,
}

/// Addresses that are always remembered.
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

/// Raises the soft limit of open files to the hard one. Returns the limit.
#[cfg(unix)]
fn raise_file_limit() -> Option<usize> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum && setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).is_err() {
        warn!("the limit of open files can't be raised");
    }
    getrlimit(Resource::Nofile).current.and_then(|files| usize::try_from(files).ok())
}

/// This system has no such limit.
#[cfg(not(unix))]
fn raise_file_limit() -> Option<usize> {
    None
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;

    fn limits() -> ConnectionLimits {
        ConnectionLimits { connections: 2, rate: None, address_rate: None }
    }

    #[test]
    fn one_connection_too_many_is_refused() {
        let (limits, address) = (limits(), IpAddr::from([192, 0, 2, 1]));
        assert_eq!(limits.check(2, address), Ok(()));
        assert_eq!(limits.check(3, address), Err(Refusal::Connections));
    }

    #[test]
    fn one_address_can_not_use_up_the_rate_of_all() {
        let (own, all) = (NonZeroU32::new(5).unwrap(), NonZeroU32::new(100).unwrap());
        let limits = ConnectionLimits {
            address_rate: Some(AddressRate::new(own)),
            rate: Some(RateLimiter::direct(Quota::per_second(all))),
            ..limits()
        };
        let tries = |address: IpAddr, times| (0..times).map(|_| limits.check(1, address)).collect::<Vec<_>>();
        let one = tries(IpAddr::from([192, 0, 2, 1]), 10_000);
        assert!(one.contains(&Err(Refusal::AddressRate)) && !one.contains(&Err(Refusal::Rate)));
        assert_eq!(tries(IpAddr::from([192, 0, 2, 2]), 1), [Ok(())]);
    }

    #[test]
    fn addresses_without_recent_sessions_are_forgotten() {
        // At a million a second an address is recent for a microsecond.
        let rate = AddressRate::new(NonZeroU32::new(1_000_000).unwrap());
        for number in 0..100_000 {
            assert!(rate.allows(Ipv6Addr::from_bits(number << 64).into()));
        }
        assert!(rate.limiter.len() < 50_000, "{}", rate.limiter.len());
    }
}
