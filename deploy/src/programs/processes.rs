//! Child processes: each with its own environment and log file, stopped in order.

use std::fs::{self, File};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::time::Duration;

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use super::program::Program;
use super::reaper::Reaper;

/// How long a process may take to stop. Services give their requests ten seconds of it.
const STOP_GRACE: Duration = Duration::from_secs(15);
/// How often to check whether a process has ended.
const TICK: Duration = Duration::from_millis(10);
#[derive(Debug)]
struct Running {
    program: Program,
    child: Child,
}

/// Processes in the order of their start.
#[derive(Debug)]
pub struct Processes {
    logs: PathBuf,
    running: Vec<Running>,
    reaper: Reaper,
}

impl Processes {
    /// Starts without processes. Their logs go into the folder.
    ///
    /// # Errors
    /// The folder can't be made, or the reaper can't be started.
    pub fn new(logs: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(logs).with_context(|| format!("can't make {}", logs.display()))?;
        Ok(Self { logs: logs.to_owned(), running: Vec::new(), reaper: Reaper::start()? })
    }

    /// Starts a program. Its output is appended to `<name>.log`.
    ///
    /// # Errors
    /// It runs already, or can't be started.
    pub fn start(&mut self, program: Program) -> anyhow::Result<()> {
        if self.is_running(&program.name) {
            bail!("{} runs already", program.name);
        }
        self.running.retain(|it| it.program.name != program.name);
        let log = self.log(&program.name);
        let out = File::options().create(true).append(true).open(&log)?;
        // A process group of its own: Ctrl-C at the terminal reaches only us, and we stop the others in order.
        let mut child = program
            .command()
            .process_group(0)
            .stdout(out.try_clone()?)
            .stderr(out)
            .spawn()
            .with_context(|| format!("can't run {}", program.file.display()))?;
        if let Err(error) = self.reaper.add(child.id(), program.stops_on_interrupt) {
            child.kill()?;
            return Err(error);
        }
        self.running.push(Running { program, child });
        Ok(())
    }

    /// Names and ids of the running processes.
    pub fn ids(&mut self) -> Vec<(String, u32)> {
        let ids = self.running.iter_mut().filter_map(|it| {
            it.child.try_wait().ok()?.is_none().then(|| (it.program.name.clone(), it.child.id()))
        });
        ids.collect()
    }

    /// Whether the process runs.
    pub fn is_running(&mut self, name: &str) -> bool {
        let Some(it) = self.running.iter_mut().find(|it| it.program.name == name) else { return false };
        let runs = matches!(it.child.try_wait(), Ok(None));
        if !runs {
            self.reaper.remove(it.child.id());
        }
        runs
    }

    /// # Errors
    /// The process has ended; the error says how, with the end of its log.
    pub fn check(&mut self, name: &str) -> anyhow::Result<()> {
        let Some(it) = self.find(name) else { bail!("{name} was not started") };
        let Some(status) = it.child.try_wait()? else { return Ok(()) };
        bail!("{name} ended with {}\n{}", describe(status), self.log_tail(name))
    }

    /// Removes the folder once we have ended, in whatever way, and nothing runs any more.
    ///
    /// # Errors
    /// The reaper is gone.
    pub fn remove_at_exit(&mut self, folder: &Path) -> anyhow::Result<()> {
        self.reaper.remove_at_exit(folder)
    }

    /// The log file of a process.
    pub fn log(&self, name: &str) -> PathBuf {
        self.logs.join(format!("{name}.log"))
    }

    /// Kills a process (SIGKILL) and those that it started.
    ///
    /// # Errors
    /// It does not run.
    pub async fn kill(&mut self, name: &str) -> anyhow::Result<()> {
        let started = self.find(name).map(|it| started_by(it.child.id())).unwrap_or_default();
        self.signal(name, Signal::KILL)?;
        for id in &started {
            // It may have ended already.
            let _ = pid_of(*id).and_then(|pid| Ok(kill_process(pid, Signal::KILL)?));
        }
        self.wait(name, STOP_GRACE).await?;
        let gone = async {
            while started.iter().any(|id| is_alive(*id)) {
                tokio::time::sleep(TICK).await;
            }
        };
        tokio::time::timeout(STOP_GRACE, gone)
            .await
            .with_context(|| format!("the children of {name} do not end"))
    }

    /// Asks a process to stop and waits for its end. Kills it after 15 seconds.
    ///
    /// # Errors
    /// It does not run.
    pub async fn terminate(&mut self, name: &str) -> anyhow::Result<ExitStatus> {
        let interrupt = self.find(name).is_some_and(|it| it.program.stops_on_interrupt);
        self.signal(name, if interrupt { Signal::INT } else { Signal::TERM })?;
        if let Ok(status) = self.wait(name, STOP_GRACE).await {
            return Ok(status);
        }
        self.signal(name, Signal::KILL)?;
        self.wait(name, STOP_GRACE).await
    }

    /// Starts a process that has ended again, with the same arguments and environment.
    ///
    /// # Errors
    /// It never ran, runs already, or can't be started.
    pub fn restart(&mut self, name: &str) -> anyhow::Result<()> {
        let program = self.find(name).map(|it| it.program.clone());
        self.start(program.with_context(|| format!("{name} was never started"))?)
    }

    /// Changes a variable of a process, for its next start.
    ///
    /// # Errors
    /// It never ran.
    pub fn set(&mut self, name: &str, variable: &str, value: &str) -> anyhow::Result<()> {
        let it = self.find(name).with_context(|| format!("{name} was never started"))?;
        it.program.environment.push((variable.into(), value.into()));
        Ok(())
    }

    /// Stops all processes, the last started first.
    pub async fn stop_all(&mut self) {
        let names: Vec<_> = self.running.iter().rev().map(|it| it.program.name.clone()).collect();
        for name in names {
            if self.is_running(&name) {
                // It may have ended meanwhile.
                let _ = self.terminate(&name).await;
            }
        }
        self.running.clear();
    }

    fn signal(&mut self, name: &str, signal: Signal) -> anyhow::Result<()> {
        let it = self.find(name).with_context(|| format!("{name} was not started"))?;
        if it.child.try_wait()?.is_some() {
            bail!("{name} does not run");
        }
        let pid = pid_of(it.child.id())?;
        if signal == Signal::KILL {
            kill_process_group(pid, signal)?
        } else {
            kill_process(pid, signal)?
        }
        Ok(())
    }

    async fn wait(&mut self, name: &str, limit: Duration) -> anyhow::Result<ExitStatus> {
        let ended = async {
            loop {
                let it = self.find(name).with_context(|| format!("{name} was not started"))?;
                if let Some(status) = it.child.try_wait()? {
                    let id = it.child.id();
                    self.reaper.remove(id);
                    return Ok(status);
                }
                tokio::time::sleep(TICK).await;
            }
        };
        tokio::time::timeout(limit, ended).await.with_context(|| format!("{name} does not stop"))?
    }

    fn find(&mut self, name: &str) -> Option<&mut Running> {
        self.running.iter_mut().find(|it| it.program.name == name)
    }

    /// The last lines of a process's log.
    fn log_tail(&self, name: &str) -> String {
        let log = self.log(name);
        let text = fs::read(&log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<_> = text.lines().collect();
        let tail = lines[lines.len().saturating_sub(8)..].join("\n");
        format!("{tail}\n(from {})", log.display())
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        for it in self.running.iter_mut().rev() {
            if matches!(it.child.try_wait(), Ok(None))
                && let Ok(pid) = pid_of(it.child.id())
            {
                // It may have ended meanwhile.
                let _ = kill_process_group(pid, Signal::KILL);
                let _ = it.child.wait();
            }
            self.reaper.remove(it.child.id());
        }
    }
}

fn pid_of(id: u32) -> anyhow::Result<Pid> {
    i32::try_from(id).ok().and_then(Pid::from_raw).context("not a process id")
}

/// The running children of a process. PostgreSQL's leave its process group, and would keep a killed server's successor
/// from starting. Empty if the system has no `/proc`.
fn started_by(id: u32) -> Vec<u32> {
    let listed = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
    listed.split_whitespace().filter_map(|id| id.parse().ok()).collect()
}

/// Whether a process runs. A zombie has no command line.
fn is_alive(id: u32) -> bool {
    fs::read(format!("/proc/{id}/cmdline")).is_ok_and(|command| !command.is_empty())
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => status.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper() -> Program {
        Program { arguments: vec!["600".into()], ..Program::new("sleeper", "sleep".into()) }
    }

    #[tokio::test]
    async fn a_process_can_be_killed_and_started_again() {
        let state = tempfile::tempdir().unwrap();
        let mut processes = Processes::new(state.path()).unwrap();
        processes.start(sleeper()).unwrap();
        assert!(processes.start(sleeper()).is_err());
        processes.kill("sleeper").await.unwrap();
        assert!(processes.check("sleeper").unwrap_err().to_string().contains("signal 9"));
        processes.restart("sleeper").unwrap();
        let status = processes.terminate("sleeper").await.unwrap();
        assert_eq!(status.signal(), Some(15));
    }

    #[tokio::test]
    async fn a_process_that_ends_at_once_is_reported_with_its_log() {
        let state = tempfile::tempdir().unwrap();
        let mut processes = Processes::new(state.path()).unwrap();
        let arguments = vec!["-c".into(), "echo no such port >&2; exit 3".into()];
        processes.start(Program { arguments, ..Program::new("brief", "sh".into()) }).unwrap();
        let status = processes.wait("brief", STOP_GRACE).await.unwrap();
        assert_eq!(status.code(), Some(3));
        let error = processes.check("brief").unwrap_err().to_string();
        assert!(error.contains("exit code 3") && error.contains("no such port"), "{error}");
    }

    #[test]
    fn dropping_processes_kills_them() {
        let state = tempfile::tempdir().unwrap();
        let mut processes = Processes::new(state.path()).unwrap();
        processes.start(sleeper()).unwrap();
        let pid = Pid::from_raw(processes.ids()[0].1 as i32).unwrap();
        drop(processes);
        assert!(rustix::process::test_kill_process(pid).is_err());
    }
}
