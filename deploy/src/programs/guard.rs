//! Nothing is left running, even when the program that started it all is killed.
//!
//! A second process, `stack guard`, holds the other end of a pipe and is told which processes run. The pipe's end
//! means that the starter is gone, in whatever way; then the guard stops what still runs.

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

/// The starter's end.
#[derive(Debug)]
pub struct Guard {
    process: Child,
    pipe: Option<ChildStdin>,
}

impl Guard {
    /// Starts the guard process.
    ///
    /// # Errors
    /// The program `stack` is not beside the running one.
    pub fn start() -> anyhow::Result<Self> {
        let program = super::services::binary("stack")?;
        let mut process = Command::new(&program)
            .arg("guard")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .process_group(0)
            .spawn()
            .with_context(|| format!("can't run {}", program.display()))?;
        let pipe = process.stdin.take();
        Ok(Self { process, pipe })
    }

    /// From now on the process, the leader of a group of its own, is stopped if we are gone. `interrupt` says that
    /// it stops quickly on SIGINT rather than on SIGTERM.
    ///
    /// # Errors
    /// The guard is gone.
    pub fn watch(&mut self, pid: u32, interrupt: bool) -> anyhow::Result<()> {
        let mark = if interrupt { '!' } else { '+' };
        self.tell(&format!("{mark}{pid}\n"))
    }

    /// The process has ended.
    pub fn forget(&mut self, pid: u32) {
        // A guard that is gone has nothing to forget.
        let _ = self.tell(&format!("-{pid}\n"));
    }

    /// Once we are gone and nothing runs any more, the folder is removed.
    ///
    /// # Errors
    /// The guard is gone, or the folder's name is not text.
    pub fn remove_at_end(&mut self, folder: &Path) -> anyhow::Result<()> {
        let name =
            folder.to_str().filter(|name| !name.contains('\n')).context("the folder's name is not text")?;
        self.tell(&format!("x{name}\n"))
    }

    fn tell(&mut self, line: &str) -> anyhow::Result<()> {
        let pipe = self.pipe.as_mut().context("the guard is gone")?;
        pipe.write_all(line.as_bytes()).context("the guard is gone")
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.pipe.take());
        let _ = self.process.wait();
    }
}

/// The guard's end: listens until standard input ends, then stops what still runs.
pub fn run() {
    let (mut running, mut disposable) = (HashMap::new(), Vec::new());
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        match line.split_at_checked(1) {
            Some(("x", folder)) => disposable.push(PathBuf::from(folder)),
            Some((mark, pid)) => note(&mut running, mark, pid),
            None => {}
        }
    }
    stop(&running);
    for folder in disposable {
        // It may have been removed already.
        let _ = std::fs::remove_dir_all(folder);
    }
}

fn note(running: &mut HashMap<Pid, Signal>, mark: &str, pid: &str) {
    let Some(pid) = parse(pid) else { return };
    match mark {
        "+" => running.insert(pid, Signal::TERM),
        "!" => running.insert(pid, Signal::INT),
        _ => running.remove(&pid),
    };
}

fn stop(running: &HashMap<Pid, Signal>) {
    for (pid, signal) in running {
        // One that has ended meanwhile can't be stopped, and needs not be.
        let _ = kill_process(*pid, *signal);
    }
    let patience = Instant::now() + GRACE;
    while Instant::now() < patience && running.keys().any(|pid| test_kill_process(*pid).is_ok()) {
        std::thread::sleep(Duration::from_millis(20));
    }
    for pid in running.keys() {
        let _ = kill_process_group(*pid, Signal::KILL);
    }
}

fn parse(pid: &str) -> Option<Pid> {
    Pid::from_raw(pid.parse().ok()?)
}
