//! Where and on what to measure, and the measurements' findings.

use std::path::PathBuf;

use deploy::stack::Database;
use tests::load::machine;
use tests::load::report::say;

/// Where and on what to measure.
#[derive(Debug, Clone)]
pub(crate) struct Environment {
    /// Folder of the databases.
    pub(crate) state: PathBuf,
    /// The databases to measure.
    pub(crate) databases: Vec<Database>,
    /// Keep the stacks' folders.
    pub(crate) keep: bool,
    /// Limit of open files of this process and of each process that it starts.
    pub(crate) open_files: u64,
}

impl Environment {
    /// The database of a measurement for which it hardly matters.
    pub(crate) fn any_database(&self) -> Database {
        self.databases.first().copied().unwrap_or_default()
    }

    /// As many of these connections as the limit of open files allows. Warns if these are fewer.
    pub(crate) fn affordable(&self, wanted: usize, gateways: usize) -> usize {
        let possible = machine::affordable(wanted, gateways, self.open_files);
        if possible < wanted {
            say(format_args!(
                "WARNING: {possible} connections instead of {wanted}: a process may have {} files open here. Raise \
                 the hard limit (`ulimit -Hn`; LimitNOFILE= of a systemd unit, nofile in /etc/security/limits.conf)",
                self.open_files
            ));
        }
        possible
    }
}

/// What a measurement found wrong, one sentence each; empty if nothing.
pub(crate) type Complaints = Vec<String>;
