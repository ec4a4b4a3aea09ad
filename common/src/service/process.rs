//! What the system says of this process, under the names that all Prometheus clients use. Only Linux tells more than the
//! start.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

/// This process, from the moment of its making.
#[derive(Debug)]
pub(super) struct Process {
    started: f64,
}

impl Default for Process {
    fn default() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { started: since_epoch.as_secs_f64() }
    }
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let help = "When the process began, in seconds since 1970";
        gauge(&mut encoder, ("process_start_time", help, Some(&Unit::Seconds)), self.started)?;
        #[cfg(target_os = "linux")]
        linux::encode(&mut encoder)?;
        Ok(())
    }
}

/// A gauge: name, help and unit.
fn gauge(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help, unit): (&str, &str, Option<&Unit>),
    value: f64,
) -> fmt::Result {
    ConstGauge::new(value).encode(encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?)
}

#[cfg(target_os = "linux")]
mod linux {
    use std::fmt;
    use std::fs;

    use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
    use prometheus_client::metrics::MetricType;
    use prometheus_client::metrics::counter::ConstCounter;
    use prometheus_client::registry::Unit;
    use rustix::param::{clock_ticks_per_second, page_size};
    use rustix::process::{Resource, getrlimit};

    use super::gauge;

    pub(super) fn encode(encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        // A system that hides /proc leaves these out.
        if let Some(status) = Status::read() {
            let help = "Time on a processor, for the program and for the system on its behalf";
            let cpu =
                encoder.encode_descriptor("process_cpu", help, Some(&Unit::Seconds), MetricType::Counter)?;
            ConstCounter::new(status.cpu_seconds).encode(cpu)?;
            let memory = ("process_resident_memory", "Memory in use", Some(&Unit::Bytes));
            gauge(encoder, memory, status.resident_bytes)?;
            gauge(encoder, ("process_threads", "Threads", None), status.threads)?;
        }
        if let Ok(files) = fs::read_dir("/proc/self/fd") {
            // The folder itself is open, too.
            let open = files.count().saturating_sub(1) as f64;
            gauge(encoder, ("process_open_fds", "Open files and connections", None), open)?;
        }
        let most = getrlimit(Resource::Nofile).current.map_or(f64::INFINITY, |files| files as f64);
        gauge(encoder, ("process_max_fds", "The limit of open files and connections", None), most)
    }

    struct Status {
        cpu_seconds: f64,
        resident_bytes: f64,
        threads: f64,
    }

    impl Status {
        fn read() -> Option<Self> {
            Self::parse(&fs::read_to_string("/proc/self/stat").ok()?)
        }

        /// Reads the fields of proc(5). The second one, a name in brackets, may contain anything.
        fn parse(stat: &str) -> Option<Self> {
            let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
            // The third field comes first here.
            let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
            let (user, system, threads, pages) = (field(14)?, field(15)?, field(20)?, field(24)?);
            Some(Self {
                cpu_seconds: (user + system) / clock_ticks_per_second() as f64,
                resident_bytes: pages * page_size() as f64,
                threads,
            })
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn the_fields_are_found_behind_any_name() {
            let stat = "77 (a ) b) S 1 1 1 0 -1 4194304 900 0 0 0 150 50 0 0 20 0 9 0 12345 1000000 512 999";
            let status = Status::parse(stat).unwrap();
            assert_eq!(status.cpu_seconds, 200.0 / clock_ticks_per_second() as f64);
            assert_eq!((status.resident_bytes, status.threads), (512.0 * page_size() as f64, 9.0));
        }

        #[test]
        fn this_process_is_seen() {
            let status = Status::read().unwrap();
            assert!(status.resident_bytes > 0.0 && status.threads > 0.0);
        }
    }
}
