//! Stops what we started when we are gone, even if we are killed.
//!
//! A second process, `stack reap`, reads a pipe on which we name the processes that run. The pipe closes when we end,
//! in whatever way. Then the reaper stops the processes that still run.

use std::collections::HashMap;
use std::io::{BufRead as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process, kill_process_group, test_kill_process};

/// How long orphans may take to stop before they are killed.
const GRACE: Duration = Duration::from_secs(5);

/// Our end of the pipe.
#[derive(Debug)]
pub(super) struct Reaper {
    process: Child,
    pipe: Option<ChildStdin>,
}

impl Reaper {
    /// Starts the reaper process.
    ///
    /// # Errors
    /// The program `stack` is not beside the running one.
    pub(super) fn start() -> anyhow::Result<Self> {
        let program = super::services::binary("stack")?;
        let mut process = Command::new(&program)
            .arg("reap")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .process_group(0)
            .spawn()
            .with_context(|| format!("can't run {}", program.display()))?;
        let pipe = process.stdin.take();
        Ok(Self { process, pipe })
    }

    /// Adds a process, which must lead a process group: it is stopped when we are gone. With `interrupt` it is sent
    /// SIGINT instead of SIGTERM.
    ///
    /// # Errors
    /// The reaper process is gone.
    pub(super) fn add(&mut self, pid: u32, interrupt: bool) -> anyhow::Result<()> {
        let mark = if interrupt { '!' } else { '+' };
        self.write(&format!("{mark}{pid}\n"))
    }

    /// Removes a process that has ended.
    pub(super) fn remove(&mut self, pid: u32) {
        // If the reaper is gone, there is nothing to remove.
        let _ = self.write(&format!("-{pid}\n"));
    }

    /// Removes the folder once we are gone and nothing runs any more.
    ///
    /// # Errors
    /// The reaper process is gone, or the folder's name is not text.
    pub(super) fn remove_at_exit(&mut self, folder: &Path) -> anyhow::Result<()> {
        let name =
            folder.to_str().filter(|name| !name.contains('\n')).context("the folder's name is not text")?;
        self.write(&format!("x{name}\n"))
    }

    fn write(&mut self, line: &str) -> anyhow::Result<()> {
        let pipe = self.pipe.as_mut().context("the reaper process is gone")?;
        pipe.write_all(line.as_bytes()).context("the reaper process is gone")
    }
}

impl Drop for Reaper {
    fn drop(&mut self) {
        drop(self.pipe.take());
        let _ = self.process.wait();
    }
}

/// The reaper process: reads standard input to its end, then stops what still runs.
pub(crate) fn run() {
    let (mut running, mut disposable) = (HashMap::new(), Vec::new());
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        match line.split_at_checked(1) {
            Some(("x", folder)) => disposable.push(PathBuf::from(folder)),
            Some((mark, pid)) => apply(&mut running, mark, pid),
            None => {}
        }
    }
    stop(&running);
    for folder in disposable {
        // It may have been removed already.
        let _ = std::fs::remove_dir_all(folder);
    }
}

fn apply(running: &mut HashMap<Pid, Signal>, mark: &str, pid: &str) {
    let Some(pid) = parse(pid) else { return };
    match mark {
        "+" => running.insert(pid, Signal::TERM),
        "!" => running.insert(pid, Signal::INT),
        _ => running.remove(&pid),
    };
}

fn stop(running: &HashMap<Pid, Signal>) {
    for (pid, signal) in running {
        // It may have ended meanwhile.
        let _ = kill_process(*pid, *signal);
    }
    let deadline = Instant::now() + GRACE;
    while Instant::now() < deadline && running.keys().any(|pid| test_kill_process(*pid).is_ok()) {
        std::thread::sleep(Duration::from_millis(20));
    }
    for pid in running.keys() {
        let _ = kill_process_group(*pid, Signal::KILL);
    }
}

fn parse(pid: &str) -> Option<Pid> {
    Pid::from_raw(pid.parse().ok()?)
}
