//! `stack.json`: the addresses and secrets of a running stack, for programs that use it. Only its owner can read it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::arguments::command;
use crate::programs::private_file::write_private;

/// The content of `stack.json`.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StackFile {
    /// message-api's base URL.
    pub api: String,
    /// webhook-ingest's base URL.
    pub ingest: String,
    /// The gateways' base URLs.
    pub gateways: Vec<String>,
    /// The base URL of the demo's back end.
    pub back_end: String,
    /// The address of the page to try it on, with its secret. `stack up` serves it.
    #[serde(default)]
    pub page: String,
    /// The same without buttons, for other devices.
    #[serde(default)]
    pub page_view: String,
    /// The Telnyx simulator's base URL.
    pub telnyx: String,
    /// The operators' listeners.
    pub ops: OpsUrls,
    /// The broker.
    pub nats: NatsAccess,
    /// `DATABASE_URL`.
    pub database: String,
    /// HS256 secret of the front end's tokens.
    pub jwt_secret: String,
    /// The key that signs webhooks.
    pub telnyx_key: TelnyxKey,
    /// Process ids by name. `stack` is the program that started the others and contains the simulator.
    pub processes: BTreeMap<String, u32>,
    /// Ports that differ from the documented ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub moved_ports: Vec<MovedPort>,
}

/// A port that differs from the documented one, because that was taken now or when the stack first started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MovedPort {
    /// The part that listens on it.
    pub name: String,
    /// The port.
    pub port: u16,
    /// The documented port.
    pub instead_of: u16,
}

/// Base URLs of the operators' listeners.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OpsUrls {
    /// message-api's.
    pub api: String,
    /// webhook-ingest's.
    pub ingest: String,
    /// The gateways'.
    pub gateways: Vec<String>,
}

/// How the broker is reached.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NatsAccess {
    /// `NATS_URL`.
    pub url: String,
    /// `NATS_CA_FILE`, if the broker speaks TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// The monitor's base URL.
    pub monitor: String,
    /// Users and their passwords.
    pub users: BTreeMap<String, String>,
}

/// The simulator's key pair.
#[derive(Clone, Serialize, Deserialize)]
pub struct TelnyxKey {
    /// Base64 of the 32-byte seed.
    pub private: String,
    /// Base64 of the 32-byte public key.
    pub public: String,
}

impl StackFile {
    /// Its path in a state folder.
    pub fn path(state: &Path) -> PathBuf {
        state.join("stack.json")
    }

    /// Reads it.
    ///
    /// # Errors
    /// There is none, because no stack runs in the folder.
    pub fn read(state: &Path) -> anyhow::Result<Self> {
        let file = Self::path(state);
        let text = std::fs::read(&file).with_context(|| {
            format!("no stack runs in {}; start one with: {}", state.display(), command("up", state))
        })?;
        serde_json::from_slice(&text).with_context(|| format!("{} is damaged", file.display()))
    }

    /// Writes it, readable only by its owner.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn write(&self, state: &Path) -> anyhow::Result<()> {
        write_private(&Self::path(state), &serde_json::to_vec_pretty(self)?)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use serde_json::json;

    use super::*;

    #[test]
    fn the_file_has_the_documented_shape_and_is_private() {
        let shape = json!({
            "api": "http://127.0.0.1:8080", "ingest": "i", "gateways": ["g"], "backEnd": "b", "page": "p", "pageView": "v", "telnyx": "t",
            "ops": {"api": "a", "ingest": "i", "gateways": ["g"]},
            "nats": {"url": "nats://127.0.0.1:4222", "monitor": "m", "users": {"ops": "p"}},
            "database": "sqlite:x", "jwtSecret": "s", "telnyxKey": {"private": "a", "public": "b"},
            "processes": {"message-api": 123},
        });
        let file: StackFile = serde_json::from_value(shape.clone()).unwrap();
        let state = tempfile::tempdir().unwrap();
        file.write(state.path()).unwrap();
        let mode = StackFile::path(state.path()).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(serde_json::to_value(StackFile::read(state.path()).unwrap()).unwrap(), shape);
    }
}
