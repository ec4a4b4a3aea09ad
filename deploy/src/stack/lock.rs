//! The lock of a state folder: one stack at a time uses it, and `stack down` finds that stack's process.

use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};

use super::arguments::command;

/// Locks the folder until the file is dropped, and writes our process id into it for `stack down`.
pub(super) fn acquire(state: &Path) -> anyhow::Result<File> {
    let mut file = open(state)?;
    if file.try_lock().is_err() {
        bail!("a stack already runs in {}; stop it with: {}", state.display(), command("down", state));
    }
    file.set_len(0)?;
    write!(file, "{}", std::process::id())?;
    Ok(file)
}

/// Whether a stack runs in a state folder.
pub(super) fn is_held(state: &Path) -> bool {
    state.join("lock").is_file() && open(state).is_ok_and(|file| file.try_lock().is_err())
}

fn open(state: &Path) -> anyhow::Result<File> {
    let file = state.join("lock");
    File::options()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(&file)
        .with_context(|| format!("can't open {}", file.display()))
}

/// Stops the stack of a state folder and waits for its end. Returns whether one was running.
///
/// # Errors
/// It does not stop within a minute.
pub async fn stop_running(state: &Path) -> anyhow::Result<bool> {
    if !state.join("lock").is_file() {
        return Ok(false);
    }
    let mut file = open(state)?;
    if file.try_lock().is_ok() {
        return Ok(false);
    }
    let mut pid = String::new();
    file.rewind()?;
    file.read_to_string(&mut pid)?;
    let pid = pid.parse().ok().and_then(rustix::process::Pid::from_raw);
    let pid = pid.context("the stack is just starting; try again")?;
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).context("can't stop the stack")?;
    for _ in 0..600 {
        if file.try_lock().is_ok() {
            return Ok(true);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    bail!("the stack (process {}) does not stop", pid.as_raw_nonzero())
}
