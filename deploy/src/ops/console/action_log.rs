//! The log of what operators changed: a line of JSON each, in a file that only its owner can read.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::Context as _;
use common::config::ConfigError;
use common::event::timestamp;
use serde::Serialize;
use serde_json::Value;
use time::OffsetDateTime;

/// The newest part of the file that is shown.
const SHOWN: u64 = 32 << 10;

/// The open log.
pub(super) struct ActionLog {
    path: PathBuf,
    file: Mutex<File>,
}

/// What an operator did.
#[derive(Serialize)]
pub(super) struct Action<'a> {
    #[serde(with = "timestamp")]
    pub(super) at: OffsetDateTime,
    pub(super) operator: &'a str,
    /// The command that does the same.
    pub(super) command: &'a str,
    /// `started`, `done` or `failed`.
    pub(super) state: &'static str,
    /// What it came to.
    pub(super) says: &'a str,
}

impl ActionLog {
    /// Opens the log at a path, else at the usual one.
    ///
    /// # Errors
    /// It can't be written. The error names the setting.
    pub(super) fn open(path: Option<&Path>) -> Result<Self, ConfigError> {
        let wrong = |why: String| ConfigError::new("OPS_ACTION_LOG", why);
        let usual = || usual_path().ok_or_else(|| wrong("set it; there is no HOME".into()));
        let path = path.map_or_else(usual, |path| Ok(path.to_owned()))?;
        let file = open(&path).map_err(|error| wrong(format!("{}: {error}", path.display())))?;
        Ok(Self { path, file: Mutex::new(file) })
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Appends an action.
    ///
    /// # Errors
    /// It can't be written.
    pub(super) fn add(&self, action: &Action<'_>) -> anyhow::Result<()> {
        let line = format!("{}\n", serde_json::to_string(action)?);
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_all(line.as_bytes()).context("the action log can't be written")
    }

    /// The newest actions, the newest last.
    pub(super) fn newest(&self) -> anyhow::Result<Vec<Value>> {
        let mut file = File::open(&self.path)?;
        let begin = file.metadata()?.len().saturating_sub(SHOWN);
        file.seek(SeekFrom::Start(begin))?;
        let mut bytes = Vec::new();
        file.take(SHOWN).read_to_end(&mut bytes)?;
        // The first line may be cut.
        let lines = bytes.split(|byte| *byte == b'\n');
        Ok(lines.filter_map(|line| serde_json::from_slice(line).ok()).collect())
    }
}

fn usual_path() -> Option<PathBuf> {
    let folder = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let state = folder("XDG_STATE_HOME").or_else(|| folder("HOME").map(|home| home.join(".local/state")))?;
    Some(state.join("church-live/actions.jsonl"))
}

fn open(path: &Path) -> std::io::Result<File> {
    if let Some(folder) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_are_appended_for_the_owner_alone_and_survive_a_restart() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state/actions.jsonl");
        for says in ["one", "two"] {
            let log = ActionLog::open(Some(&path)).unwrap();
            let at = OffsetDateTime::UNIX_EPOCH;
            log.add(&Action { at, operator: "operator:anna", command: "ops audit", state: "done", says })
                .unwrap();
        }
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let newest = ActionLog::open(Some(&path)).unwrap().newest().unwrap();
        assert_eq!((newest.len(), &newest[1]["says"]), (2, &"two".into()));
        let error = ActionLog::open(Some(folder.path())).err().unwrap().to_string();
        assert!(error.starts_with("OPS_ACTION_LOG"), "{error}");
    }
}
