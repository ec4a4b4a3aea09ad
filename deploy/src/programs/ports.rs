//! Free ports that stay ours. A port is taken by a lock file besides the bind check, so that stacks which start at
//! the same moment, or restart a process on its port, don't take each other's.

use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::path::PathBuf;

use anyhow::{Context as _, bail};

/// Below the range from which the kernel gives out the local ends of connections.
const RANGE: std::ops::Range<u16> = 10_000..32_000;
/// How many ports above a wished one are tried.
const TRIES: u16 = 200;

/// Where a stack's ports come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ports {
    /// The documented ones, each the next free where it is taken.
    Default,
    /// Any free ones: for tests.
    Free,
}

/// A port that nobody else takes while this is held.
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

    /// `wished`, or the next free one above it, on loopback.
    ///
    /// # Errors
    /// None of the next 200 is free.
    pub fn from(wished: u16) -> anyhow::Result<Self> {
        Self::at(Ipv4Addr::LOCALHOST.into(), wished)
    }

    /// `wished`, or the next one above it that is free at this address.
    ///
    /// # Errors
    /// None of the next 200 is free, or the address is not this machine's.
    pub fn at(address: IpAddr, wished: u16) -> anyhow::Result<Self> {
        let folder = folder()?;
        let end = wished.saturating_add(TRIES);
        (wished..end)
            .find_map(|number| take(&folder, address, number))
            .with_context(|| format!("no port between {wished} and {end} is free at {address}"))
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

/// In the project's folder, shared by all its stacks and tests. Between two checkouts the bind check has to do.
fn folder() -> anyhow::Result<PathBuf> {
    let folder = super::tools::project().join("target/ports");
    fs::create_dir_all(&folder).with_context(|| format!("can't make {}", folder.display()))?;
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_held_port_is_not_given_out_again_although_nobody_listens_there() {
        let first = Port::free().unwrap();
        let second = Port::from(first.number()).unwrap();
        assert!(second.number() > first.number());
    }

    #[test]
    fn a_port_where_somebody_listens_is_left_to_him() {
        let free = Port::free().unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, free.number())).unwrap();
        let taken = free.number();
        drop(free);
        assert_ne!(Port::from(taken).unwrap().number(), taken);
        drop(listener);
    }

    #[test]
    fn a_port_that_was_let_go_can_be_taken_again() {
        let number = Port::free().unwrap().number();
        assert_eq!(Port::from(number).unwrap().number(), number);
    }
}
