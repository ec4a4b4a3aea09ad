//! Certificates of an authority of the test's own, made by the commands of docs/runbook.md.

use std::path::{Path, PathBuf};
use std::process::Command;

use deploy::scratch::Scratch;

use crate::databases;
use crate::frontend::{Block, document};

/// An authority with its folder, which is removed when this is dropped.
pub struct Authority {
    folder: Scratch,
}

/// A certificate and its key, as files.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// The certificate in PEM.
    pub certificate: PathBuf,
    /// Its key in PEM, readable by its owner alone.
    pub key: PathBuf,
}

impl Authority {
    /// A new authority.
    ///
    /// # Panics
    /// If `openssl` is missing or fails.
    pub fn new() -> Self {
        let authority = Self { folder: databases::folder() };
        run("certificate-authority", authority.folder.path(), &[]);
        authority
    }

    /// The file for `NATS_CA_FILE` and `sslrootcert`.
    pub fn ca_file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// A certificate for these addresses, such as `IP:127.0.0.1,DNS:localhost`.
    ///
    /// # Panics
    /// If `openssl` fails.
    pub fn certificate(&self, name: &str, addresses: &str) -> Certificate {
        let folder = self.folder.path();
        run("certificate", folder, &[("name", name), ("addresses", addresses)]);
        Certificate {
            certificate: folder.join(format!("{name}.pem")),
            key: folder.join(format!("{name}.key")),
        }
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

/// Runs a block of the document in a folder.
fn run(block: &str, folder: &Path, values: &[(&str, &str)]) {
    let commands = commands(block);
    let mut shell = Command::new("bash");
    shell.args(["-euo", "pipefail", "-c", &commands]).envs(values.iter().copied()).current_dir(folder);
    let output = shell.output().expect("bash runs");
    assert!(output.status.success(), "{commands}\n{}", String::from_utf8_lossy(&output.stderr));
}

/// The commands of a block of docs/runbook.md with this name.
///
/// # Panics
/// If there is none.
pub fn commands(block: &str) -> String {
    let blocks = Block::all(&document("runbook.md"));
    let found = blocks.into_iter().find(|it| it.file == block);
    found.unwrap_or_else(|| panic!("docs/runbook.md has no block {block}")).text
}
