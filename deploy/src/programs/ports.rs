//! Reserved free ports. A lock file besides the bind check keeps stacks from taking each other's ports when they start
//! at the same time or restart a process.

use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::path::PathBuf;

use anyhow::{Context as _, bail};

/// Below the kernel's range for outgoing connections.
const RANGE: std::ops::Range<u16> = 10_000..32_000;
/// How many ports above the preferred one are tried.
const TRIES: u16 = 200;

/// How a stack's ports are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ports {
    /// The documented ones, or the next free one if one is taken.
    Default,
    /// Any free ones, for tests.
    Free,
}

/// A port that is reserved while this is held.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _held: File,
}

impl Port {
    /// The number.
    pub fn number(&self) -> u16 {
        self.number
    }

    /// `preferred`, or the next free port above it, on loopback.
    ///
    /// # Errors
    /// None of the next 200 is free.
    pub fn from(preferred: u16) -> anyhow::Result<Self> {
        Self::at(Ipv4Addr::LOCALHOST.into(), preferred)
    }

    /// `preferred`, or the next port above it that is free at this address.
    ///
    /// # Errors
    /// None of the next 200 is free, or the address is not this machine's.
    pub fn at(address: IpAddr, preferred: u16) -> anyhow::Result<Self> {
        let folder = folder()?;
        let end = preferred.saturating_add(TRIES);
        (preferred..end)
            .find_map(|number| take(&folder, address, number))
            .with_context(|| format!("no port between {preferred} and {end} is free at {address}"))
    }

    /// Any free port outside the range of outgoing connections.
    ///
    /// # Errors
    /// None was found.
    pub fn free() -> anyhow::Result<Self> {
        let folder = folder()?;
        for _ in 0..TRIES {
            let mut random = [0; 2];
            aws_lc_rs::rand::fill(&mut random).context("the machine gives no random numbers")?;
            let number = RANGE.start + u16::from_ne_bytes(random) % (RANGE.end - RANGE.start);
            if let Some(port) = take(&folder, Ipv4Addr::LOCALHOST.into(), number) {
                return Ok(port);
            }
        }
        bail!("found no free port");
    }
}

fn take(folder: &std::path::Path, address: IpAddr, number: u16) -> Option<Port> {
    let held = File::create(folder.join(number.to_string())).ok()?;
    held.try_lock().ok()?;
    TcpListener::bind((address, number)).ok()?;
    Some(Port { number, _held: held })
}

/// The folder of lock files, shared by all stacks and tests of this checkout. Between checkouts only the bind check
/// applies.
fn folder() -> anyhow::Result<PathBuf> {
    let folder = super::tools::project().join("target/ports");
    fs::create_dir_all(&folder).with_context(|| format!("can't make {}", folder.display()))?;
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_held_port_is_not_chosen_again_even_if_nothing_listens_there() {
        let first = Port::free().unwrap();
        let second = Port::from(first.number()).unwrap();
        assert!(second.number() > first.number());
    }

    #[test]
    fn a_port_with_a_listener_is_not_chosen() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let taken = listener.local_addr().unwrap().port();
        assert_ne!(Port::from(taken).unwrap().number(), taken);
        drop(listener);
    }

    #[test]
    fn a_released_port_can_be_chosen_again() {
        let number = Port::free().unwrap().number();
        assert_eq!(Port::from(number).unwrap().number(), number);
    }
}
