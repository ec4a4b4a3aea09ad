//! What stack to start.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use super::installation::Database;
use crate::programs::ports::Ports;
use crate::simulator::Pace;

/// What stack to start.
#[derive(Debug, Clone)]
pub struct StackOptions {
    /// The folder of its data, secrets, ports and logs. A second start with the same folder goes on with them.
    pub state: PathBuf,
    /// The database; without it the one that the folder has, else SQLite.
    pub database: Option<Database>,
    /// How many gateways.
    pub gateways: usize,
    /// Where ports come from.
    pub ports: Ports,
    /// Where message-api and the gateways listen; everything else stays on loopback.
    pub listen: IpAddr,
    /// Origins of front ends besides localhost.
    pub cors: Vec<String>,
    /// Settings besides: name of the service (`message-api`, `webhook-ingest`, `realtime-gateway`), variable, value.
    pub environment: Vec<(String, String, String)>,
    /// How long things take at the simulator.
    pub pace: Pace,
}

impl StackOptions {
    /// SQLite and one gateway on the documented ports.
    pub fn new(state: impl Into<PathBuf>) -> Self {
        Self {
            state: state.into(),
            database: None,
            gateways: 1,
            ports: Ports::Default,
            listen: Ipv4Addr::LOCALHOST.into(),
            cors: Vec::new(),
            environment: Vec::new(),
            pace: Pace::default(),
        }
    }
}
