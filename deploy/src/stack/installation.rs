//! What a state folder keeps between starts: secrets, ports and the kind of database.

use std::fs;
use std::path::Path;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::programs::nats;
use crate::programs::private_file::write_private;

/// The stack's database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Database {
    /// A file in the state folder.
    #[default]
    Sqlite,
    /// A private PostgreSQL server.
    Postgres,
}

/// What the state folder keeps.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Installation {
    /// The database with this folder's data.
    pub(super) database: Database,
    /// Ports by name. A missing name gets a port at the next start.
    #[serde(default)]
    pub(super) ports: std::collections::BTreeMap<String, u16>,
    /// The secrets, generated once.
    pub(super) secrets: Secrets,
}

/// The secrets of one stack.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Secrets {
    /// HS256 secret of the front end's tokens.
    pub(super) jwt_secret: String,
    /// The API key that message-api sends to the simulator.
    pub(super) telnyx_api_key: String,
    /// Base64 of the 32-byte seed of the simulator's signing key.
    pub(super) telnyx_seed: String,
    /// The broker's users and their passwords.
    pub(super) nats: std::collections::BTreeMap<String, String>,
    /// PostgreSQL's password.
    pub(super) postgres: String,
    /// What message-api shows to the demo's back end. Folders of earlier versions have none yet.
    #[serde(default = "fresh_password")]
    pub(super) back_end: String,
    /// What the page's address shows to its buttons.
    #[serde(default = "fresh_password")]
    pub(super) page: String,
    /// What the page's address for other devices shows.
    #[serde(default = "fresh_password")]
    pub(super) page_view: String,
}

fn fresh_password() -> String {
    password().unwrap_or_default()
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secrets")
    }
}

impl Installation {
    /// Reads the folder's installation, or creates one.
    ///
    /// # Errors
    /// The file can't be read or written, or the folder has the other database.
    pub(super) fn open(state: &Path, database: Option<Database>) -> anyhow::Result<Self> {
        let file = state.join("installation.json");
        let Ok(text) = fs::read_to_string(&file) else {
            let fresh = Self {
                database: database.unwrap_or_default(),
                ports: std::collections::BTreeMap::new(),
                secrets: Secrets::fresh()?,
            };
            fresh.save(state)?;
            return Ok(fresh);
        };
        let kept: Self = serde_json::from_str(&text)
            .with_context(|| format!("{} is damaged; use another state folder", file.display()))?;
        anyhow::ensure!(
            database.is_none_or(|wished| wished == kept.database),
            "{} has its data in {:?}; leave --database out, or choose another folder by --state",
            state.display(),
            kept.database
        );
        Ok(kept)
    }

    /// Saves it for the next start.
    ///
    /// # Errors
    /// The file can't be written.
    pub(super) fn save(&self, state: &Path) -> anyhow::Result<()> {
        write_private(&state.join("installation.json"), &serde_json::to_vec_pretty(self)?)
    }
}

impl Secrets {
    fn fresh() -> anyhow::Result<Self> {
        let users = nats::USERS.iter();
        let nats = users.map(|user| Ok(((*user).to_owned(), password()?))).collect::<anyhow::Result<_>>()?;
        Ok(Self {
            jwt_secret: password()?,
            telnyx_api_key: format!("KEY{}", password()?),
            telnyx_seed: STANDARD.encode(random()?),
            nats,
            postgres: password()?,
            back_end: password()?,
            page: password()?,
            page_view: password()?,
        })
    }
}

/// A letter and 48 hexadecimal digits. nats-server would read a password of digits only as a number.
fn password() -> anyhow::Result<String> {
    let digits: String = random()?[..24].iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("p{digits}"))
}

fn random() -> anyhow::Result<[u8; 32]> {
    let mut bytes = [0; 32];
    aws_lc_rs::rand::fill(&mut bytes).context("the machine gives no random numbers")?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_state_folder_keeps_its_secrets_and_its_database() {
        let state = tempfile::tempdir().unwrap();
        let first = Installation::open(state.path(), None).unwrap();
        let again = Installation::open(state.path(), Some(Database::Sqlite)).unwrap();
        assert_eq!(first.secrets.jwt_secret, again.secrets.jwt_secret);
        assert!(Installation::open(state.path(), Some(Database::Postgres)).is_err());
        let mode = state.path().join("installation.json").metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn no_password_looks_like_a_number() {
        let secrets = Secrets::fresh().unwrap();
        for password in secrets.nats.values() {
            assert!(password.starts_with('p') && password.len() == 49);
        }
        assert_eq!(secrets.nats.len(), nats::USERS.len());
    }
}
