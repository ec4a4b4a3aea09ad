//! The machine that a figure was measured on.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::Context as _;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::report::{IS_RELEASE, Latencies};

/// Number of flushes that are measured.
const FLUSHES: usize = 200;
/// Bytes per flush: about a page, as a commit writes.
const BLOCK: usize = 4096;

/// Files that a process has open in addition to connections: logs, databases, the broker, its own listeners.
const OTHER_FILES: usize = 256;

/// Highest load of a machine before a measurement.
const RESTING_LOAD: f64 = 0.5;

/// A warning, if the machine is busy.
pub fn warning() -> Option<String> {
    let load = first_words("/proc/loadavg", 1);
    let is_busy = load.parse::<f64>().is_ok_and(|load| load > RESTING_LOAD);
    is_busy.then(|| {
        format!(
            "WARNING: the machine does something else (load {load}); wait until it is below {RESTING_LOAD}"
        )
    })
}

/// Describes the machine in a few lines. `folder` contains the databases.
///
/// # Errors
/// If the folder is not writable.
pub fn describe(folder: &Path) -> anyhow::Result<String> {
    let flushes = flush_times(folder)?;
    let build = if IS_RELEASE { "release" } else { "DEBUG" };
    Ok(format!(
        "CPU      {}, {} cores, load {} before the start\n\
         memory   {}\n\
         kernel   {}\n\
         disk     {} a flush of {BLOCK} bytes (fdatasync): p50 {} ms, p99 {} ms\n\
         build    {build}, commit {}",
        field("/proc/cpuinfo", "model name"),
        std::thread::available_parallelism().map_or(1, usize::from),
        first_words("/proc/loadavg", 1),
        field("/proc/meminfo", "MemTotal"),
        first_words("/proc/sys/kernel/osrelease", 1),
        folder.display(),
        flushes.at(0.5),
        flushes.at(0.99),
        commit(),
    ))
}

/// Time that the disk takes to flush a block, which bounds every durable figure.
fn flush_times(folder: &Path) -> anyhow::Result<Latencies> {
    let path = folder.join("flush-probe");
    let mut file = File::create(&path).with_context(|| format!("can't write into {}", folder.display()))?;
    let block = [7; BLOCK];
    let mut times = Latencies::default();
    for _ in 0..FLUSHES {
        let begun = Instant::now();
        file.write_all(&block)?;
        file.sync_data()?;
        times.record(begun.elapsed());
    }
    fs::remove_file(&path)?;
    Ok(times)
}

fn field(file: &str, name: &str) -> String {
    let text = fs::read_to_string(file).unwrap_or_default();
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.split_once(':'));
    value.map_or_else(|| "unknown".into(), |(_, value)| value.trim().to_owned())
}

fn first_words(file: &str, count: usize) -> String {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.split_whitespace().take(count).collect::<Vec<_>>().join(" ")
}

fn commit() -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").arg("-C").arg(deploy::tools::project()).args(arguments).output();
        let output = output.ok().filter(|output| output.status.success())?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "--short=12", "HEAD"]) else { return "unknown".into() };
    let changed = git(&["status", "--porcelain", "--untracked-files=no"]).is_none_or(|text| !text.is_empty());
    if changed { format!("{commit} with changes that are not committed") } else { commit }
}

/// How many of the wanted connections the generator and this many servers can hold with this limit of open files.
pub fn affordable(wanted: usize, servers: usize, open_files: u64) -> usize {
    let each = usize::try_from(open_files).unwrap_or(usize::MAX).saturating_sub(OTHER_FILES);
    wanted.min(each).min(each.saturating_mul(servers))
}

/// Raises the limit of open files as far as permitted, for this process and its children. Returns the limit.
pub fn raise_open_files() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    // If it can't be raised, the old limit stays, and measurements that need more report it.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_connection_count_respects_the_limits_on_open_files() {
        assert_eq!(affordable(18_000, 2, 20_000), 18_000);
        assert_eq!(affordable(30_000, 2, 20_000), 20_000 - OTHER_FILES);
        assert_eq!(affordable(5_000, 1, 1_024), 1_024 - OTHER_FILES);
        assert_eq!(affordable(5_000, 1, u64::MAX), 5_000);
    }
}
