//! What a figure was measured on.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::Context as _;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::report::{IS_RELEASE, Latencies};

/// How often the disk is asked to keep something.
const FLUSHES: usize = 200;
/// What it is asked to keep: about a page, as a commit writes.
const BLOCK: usize = 4096;

/// Files besides connections that a process has open: logs, databases, the broker, its own listeners.
const OTHER_FILES: usize = 256;

/// A machine that does more than this besides is not one to measure on.
const RESTING_LOAD: f64 = 0.5;

/// What is wrong with measuring now, if something is.
pub fn warning() -> Option<String> {
    let load = first_words("/proc/loadavg", 1);
    let is_busy = load.parse::<f64>().is_ok_and(|load| load > RESTING_LOAD);
    is_busy.then(|| {
        format!(
            "WARNING: the machine does something else (load {load}); wait until it is below {RESTING_LOAD}"
        )
    })
}

/// The machine in a few lines. `folder` is where the databases stand.
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

/// How long the disk takes to keep a block: every durable figure stands on this one.
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

/// How many connections each of so many servers and this generator may hold with this limit of open files, if so many
/// are wanted altogether.
pub fn affordable(wanted: usize, servers: usize, open_files: u64) -> usize {
    let each = usize::try_from(open_files).unwrap_or(usize::MAX).saturating_sub(OTHER_FILES);
    wanted.min(each).min(each.saturating_mul(servers))
}

/// Raises the limit of open files as far as we may, for us and what we start; gives the limit.
pub fn raise_open_files() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    // What we may not raise stays as it is, and whoever needs more says so.
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
