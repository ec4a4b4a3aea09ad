//! CPU and memory of processes, as the kernel counts them.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

/// The generator's name among the process names.
pub const GENERATOR: &str = "generator";
/// A generator that uses more of a core than this is itself the bottleneck.
pub const GENERATOR_LIMIT: f64 = 0.7;

/// Measures the CPU time of processes between two moments.
#[derive(Debug)]
pub struct Meter {
    ids: BTreeMap<String, u32>,
    before: BTreeMap<String, Duration>,
    started: Instant,
}

/// CPU time that processes used.
#[derive(Debug, Clone)]
pub struct Used {
    /// Time from start to stop.
    pub wall: Duration,
    /// CPU time by process name; [`GENERATOR`] is this process.
    pub cpu: BTreeMap<String, Duration>,
}

impl Meter {
    /// Starts measuring these processes and this one. Leaves out `stack`, which is this process's name in `stack.json`.
    pub fn start(processes: &BTreeMap<String, u32>) -> Self {
        let mut ids = processes.clone();
        ids.remove("stack");
        ids.insert(GENERATOR.into(), std::process::id());
        let before = read(&ids);
        Self { ids, before, started: Instant::now() }
    }

    /// The CPU time since the start.
    pub fn stop(&self) -> Used {
        let wall = self.started.elapsed();
        let since = |(name, now): (String, Duration)| {
            let before = self.before.get(&name).copied().unwrap_or_default();
            (name, now.saturating_sub(before))
        };
        Used { wall, cpu: read(&self.ids).into_iter().map(since).collect() }
    }
}

impl Used {
    /// CPU time of all processes with this name prefix.
    pub fn of(&self, name: &str) -> Duration {
        self.cpu.iter().filter(|(of, _)| of.starts_with(name)).map(|(_, time)| *time).sum()
    }

    /// Cores that the processes with this name prefix kept busy.
    pub fn cores(&self, name: &str) -> f64 {
        self.of(name).as_secs_f64() / self.wall.as_secs_f64().max(1e-9)
    }

    /// Microseconds of CPU per item.
    pub fn micros_per(&self, name: &str, count: u64) -> f64 {
        self.of(name).as_secs_f64() * 1e6 / count.max(1) as f64
    }

    /// Whether the generator itself was nearly the bottleneck.
    pub fn measured_the_generator(&self) -> bool {
        self.cores(GENERATOR) > GENERATOR_LIMIT
    }
}

fn read(ids: &BTreeMap<String, u32>) -> BTreeMap<String, Duration> {
    let own = std::process::id();
    let children = children();
    let sum = |pid: u32| {
        // PostgreSQL works in child processes. The generator's children are the other processes of the list.
        let below = children.get(&pid).filter(|_| pid != own).into_iter().flatten();
        cpu(pid) + below.map(|child| cpu(*child)).sum::<Duration>()
    };
    ids.iter().map(|(name, pid)| (name.clone(), sum(*pid))).collect()
}

/// User and system time of a process; zero if the system does not report it.
pub fn cpu(pid: u32) -> Duration {
    let ticks = stat(pid).and_then(|fields| Some(number(&fields, 11)? + number(&fields, 12)?));
    let each = rustix::param::clock_ticks_per_second().max(1);
    Duration::from_millis(ticks.unwrap_or(0) * 1000 / each)
}

/// Resident memory of a process in bytes; zero if the system does not report it.
pub fn resident(pid: u32) -> u64 {
    memory(pid, "VmRSS:")
}

/// Peak resident memory of a process in bytes; zero if the system does not report it.
pub fn peak(pid: u32) -> u64 {
    memory(pid, "VmHWM:")
}

fn memory(pid: u32, kind: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(kind));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

/// The fields of `/proc/<pid>/stat` after the name, which may contain any character.
fn stat(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(text.rsplit_once(')')?.1.split_whitespace().map(str::to_owned).collect())
}

fn number(fields: &[String], at: usize) -> Option<u64> {
    fields.get(at)?.parse().ok()
}

/// The children of each process.
fn children() -> BTreeMap<u32, Vec<u32>> {
    let mut children = BTreeMap::<u32, Vec<u32>>::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let parent = stat(pid).and_then(|fields| u32::try_from(number(&fields, 1)?).ok());
        if let Some(parent) = parent {
            children.entry(parent).or_default().push(pid);
        }
    }
    children
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn usage_sees_our_own_cpu_time_and_memory() {
        let meter = Meter::start(&BTreeMap::new());
        let mut sum = 0_u64;
        while meter.stop().of(GENERATOR) < Duration::from_millis(30) {
            sum = (0..10_000).fold(sum, u64::wrapping_add);
        }
        assert!(meter.stop().cores(GENERATOR) > 0.0, "{sum}");
        assert!(resident(std::process::id()) > 100_000);
    }
}
