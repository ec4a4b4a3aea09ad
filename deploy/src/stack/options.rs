//! The options of a stack.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use super::installation::Database;
use super::stack_file::NatsAccess;
use crate::programs::ports::Ports;
use crate::simulator::Pace;

/// The options of a stack.
#[derive(Debug, Clone)]
pub struct StackOptions {
    /// The folder of its data, secrets, ports and logs. A later start with the same folder continues with them.
    pub state: PathBuf,
    /// The database; by default the folder's, else SQLite.
    pub database: Option<Database>,
    /// Number of gateways.
    pub gateways: usize,
    /// A broker that runs elsewhere and has its stream already; by default the stack runs its own.
    pub broker: Option<NatsAccess>,
    /// How ports are chosen.
    pub ports: Ports,
    /// Listen address of message-api and the gateways. The others stay on loopback.
    pub listen: IpAddr,
    /// Origins of front ends besides localhost.
    pub cors: Vec<String>,
    /// Further settings: service (`message-api`, `webhook-ingest`, `realtime-gateway`), variable, value.
    pub environment: Vec<(String, String, String)>,
    /// The simulator's timing.
    pub pace: Pace,
}

impl StackOptions {
    /// SQLite and one gateway on the documented ports.
    pub fn new(state: impl Into<PathBuf>) -> Self {
        Self {
            state: state.into(),
            database: None,
            gateways: 1,
            broker: None,
            ports: Ports::Default,
            listen: Ipv4Addr::LOCALHOST.into(),
            cors: Vec::new(),
            environment: Vec::new(),
            pace: Pace::default(),
        }
    }
}
