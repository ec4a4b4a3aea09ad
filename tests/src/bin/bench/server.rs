//! A Socket.IO server that is measured: the suite's gateways, or another one.

use std::collections::BTreeMap;

use tests::load::fleet::Login;
use tests::load::usage::{Meter, resident};

use crate::stage::{GATEWAY, Stage};

/// A server and who logs in there.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    /// The beginning of its processes' names.
    pub(crate) name: &'static str,
    /// Names and ids of its processes and of those that are measured with it.
    pub(crate) processes: BTreeMap<String, u32>,
    /// Its clients.
    pub(crate) logins: Vec<Login>,
}

impl Server {
    /// The gateways of a stack.
    pub(crate) fn gateways(stage: &Stage, logins: Vec<Login>) -> Self {
        Self { name: GATEWAY, processes: stage.stack.file().processes.clone(), logins }
    }

    /// Starts measuring the CPU time of all its processes.
    pub(crate) fn meter(&self) -> Meter {
        Meter::start(&self.processes)
    }

    /// Resident memory of the server's own processes, in bytes.
    pub(crate) fn memory(&self) -> u64 {
        let own = self.processes.iter().filter(|(name, _)| name.starts_with(self.name));
        own.map(|(_, id)| resident(*id)).sum()
    }
}
