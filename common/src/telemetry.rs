//! Logs and metrics. Neither ever contains a token, a phone number or a message's text.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::fmt;
use std::hash::Hash;
use std::io::IsTerminal as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Metric, Registry};
use tracing::{Event, Level, Subscriber, error};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::{LevelFilter, filter_fn};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::ConfigError;

/// How logs are written: to standard error, one line per event.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Logs")]
pub struct LogOptions {
    /// What is logged, as `level` or `target=level`, comma separated. Libraries are capped at debug, because at trace
    /// they log the data that they send and receive
    #[arg(long, env = "LOG", default_value = "info")]
    pub log: String,
    /// `text` for people, `json` for machines
    #[arg(long, env = "LOG_FORMAT", default_value = "text")]
    pub log_format: LogFormat,
}

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}

/// The workspace's crates. Only they may log at trace.
const OWN_CRATES: [&str; 8] =
    ["common", "webhook_ingest", "message_api", "realtime_gateway", "deploy", "stack", "ops", "tests"];
/// The broker's client logs each attempt to connect. [`crate::broker`] logs them throttled, with user and address. `LOG`
/// may still turn the client's own lines on by name.
const QUIET: &str = "async_nats=off";

/// Installs the process's logger; each line carries the service's name. A second call does nothing.
///
/// # Errors
/// Says what is wrong with the filter.
pub fn init(service: &'static str, options: &LogOptions) -> Result<(), ConfigError> {
    let wrong = |error: String| ConfigError::new("LOG", format!("{:?}: {error}", options.log));
    check_levels(&options.log).map_err(wrong)?;
    // Parsed alone first, so that the message shows what was written.
    EnvFilter::try_new(&options.log).map_err(|error| wrong(error.to_string()))?;
    let filter =
        EnvFilter::try_new(format!("{QUIET},{}", options.log)).map_err(|error| wrong(error.to_string()))?;
    let cap = filter_fn(|metadata| *metadata.level() <= Level::DEBUG || is_own(metadata.target()));
    let registry = tracing_subscriber::registry().with(filter).with(cap);
    let installed = match options.log_format {
        LogFormat::Text => {
            // No colours in a file.
            let layer = tracing_subscriber::fmt::layer().with_ansi(std::io::stderr().is_terminal());
            let named = layer.map_event_format(|lines| NamedText { service, lines });
            registry.with(named.with_writer(std::io::stderr)).try_init()
        }
        LogFormat::Json => {
            // A line belongs to one span at most.
            let layer = tracing_subscriber::fmt::layer().json().with_span_list(false);
            let named = layer.map_event_format(|lines| NamedJson { service, lines });
            registry.with(named.with_writer(std::io::stderr)).try_init()
        }
    };
    // Fails only in a test that starts several services in one process.
    drop(installed);
    Ok(())
}

/// The filter takes a word that is no level for the name of a target, and then logs nothing.
fn check_levels(filter: &str) -> Result<(), String> {
    // A comma between the fields of a span separates no directives.
    let mut in_fields = false;
    let directives = filter.split(|c| {
        in_fields = (in_fields || c == '{') && c != '}';
        c == ',' && !in_fields
    });
    let words = directives.map(str::trim).filter(|word| !word.is_empty() && !word.contains(['=', '[']));
    for word in words {
        if word.parse::<LevelFilter>().is_err() {
            return Err(format!(
                "{word:?} is no level; write off, error, warn, info, debug or trace, or target=level"
            ));
        }
    }
    Ok(())
}

/// Counts panics, and makes them log lines like all others, with the service's name. A log that shows no errors leaves
/// them as they are.
pub fn log_panics(count: Counter) {
    let unlogged = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        count.inc();
        if !tracing::enabled!(Level::ERROR) {
            return unlogged(panic);
        }
        let message = panic.payload_as_str().unwrap_or("without a message");
        let place = panic.location().map(ToString::to_string);
        let backtrace = Backtrace::capture();
        let backtrace = (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
        error!(place, backtrace, "panicked: {message}");
    }));
}

fn is_own(target: &str) -> bool {
    target.split("::").next().is_some_and(|name| OWN_CRATES.contains(&name))
}

/// Lines for people, with the service's name first.
struct NamedText<F> {
    service: &'static str,
    lines: F,
}

impl<S, N, F> FormatEvent<S, N> for NamedText<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        write!(writer, "{} ", self.service)?;
        self.lines.format_event(context, writer, event)
    }
}

/// Lines for machines, with a field `service` beside `timestamp` and `level`.
struct NamedJson<F> {
    service: &'static str,
    lines: F,
}

impl<S, N, F> FormatEvent<S, N> for NamedJson<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut line = String::with_capacity(256);
        self.lines.format_event(context, Writer::new(&mut line), event)?;
        // The line is one object: the field goes in after its brace.
        write!(writer, "{{\"service\":\"{}\",{}", self.service, line.trim_start_matches('{'))
    }
}

/// The process's metrics, in the format of Prometheus at `GET /metrics`. Every series of ours begins with `church_`.
#[derive(Clone)]
pub struct Metrics(Arc<Mutex<Registries>>);

struct Registries {
    own: Registry,
    /// Series that are named alike in all programs of the world, such as `process_open_fds`.
    general: Registry,
}

impl Default for Metrics {
    fn default() -> Self {
        let (own, general) = (Registry::with_prefix("church"), Registry::default());
        Self(Arc::new(Mutex::new(Registries { own, general })))
    }
}

impl Metrics {
    /// Registers a metric of any kind under a name without prefix and suffix, and gives it back.
    pub fn register<M: Metric + Clone>(&self, name: &str, help: &str, metric: M) -> M {
        self.registries().own.register(name, help, metric.clone());
        metric
    }

    /// Registers what is measured anew at each look, under names without prefix.
    pub fn collect(&self, collector: impl Collector) {
        self.registries().own.register_collector(Box::new(collector));
    }

    /// The same under names that get no prefix.
    pub fn collect_general(&self, collector: impl Collector) {
        self.registries().general.register_collector(Box::new(collector));
    }

    /// A counter (`church_<name>_total`).
    pub fn counter(&self, name: &str, help: &str) -> Counter {
        self.register(name, help, Counter::default())
    }

    /// A gauge.
    pub fn gauge(&self, name: &str, help: &str) -> Gauge {
        self.register(name, help, Gauge::default())
    }

    /// Gauges told apart by labels.
    pub fn gauges<L: Labels>(
        &self,
        name: &str,
        help: &str,
        known: impl IntoIterator<Item = L>,
    ) -> Family<L, Gauge> {
        self.register(name, help, at_zero(known))
    }

    /// Counters told apart by labels. The known label sets are exported from the start, so that the first count shows as
    /// a rise.
    pub fn counters<L: Labels>(
        &self,
        name: &str,
        help: &str,
        known: impl IntoIterator<Item = L>,
    ) -> Family<L, Counter> {
        self.register(name, help, at_zero(known))
    }

    /// A histogram of the seconds that our own work takes, from a quarter of a millisecond to about eight seconds.
    pub fn seconds(&self, name: &str, help: &str) -> Histogram {
        self.register(name, help, durations())
    }

    /// The same, told apart by labels.
    pub fn seconds_by<L: Labels>(
        &self,
        name: &str,
        help: &str,
        known: impl IntoIterator<Item = L>,
    ) -> Family<L, Histogram> {
        let family = Family::new_with_constructor(durations as fn() -> Histogram);
        for labels in known {
            drop(family.get_or_create(&labels));
        }
        self.register(name, help, family)
    }

    /// A histogram of seconds since something happened elsewhere, from a millisecond to about nine minutes, because an
    /// outage lasts for minutes.
    pub fn ages(&self, name: &str, help: &str) -> Histogram {
        self.register(name, help, Histogram::new(exponential_buckets(0.001, 2.0, 20)))
    }

    /// All metrics as text.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        let registries = self.registries();
        let encoded = encode_registry(&mut text, &registries.own)
            .and_then(|()| encode_registry(&mut text, &registries.general))
            .and_then(|()| encode_eof(&mut text));
        if encoded.is_ok() { text } else { String::new() }
    }

    fn registries(&self) -> MutexGuard<'_, Registries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn durations() -> Histogram {
    Histogram::new(exponential_buckets(0.000_25, 2.0, 16))
}

/// What a family of metrics requires of its labels.
pub trait Labels: Clone + Hash + Eq + EncodeLabelSet + fmt::Debug + Send + Sync + 'static {}

impl<L: Clone + Hash + Eq + EncodeLabelSet + fmt::Debug + Send + Sync + 'static> Labels for L {}

fn at_zero<L: Labels, M: Default>(known: impl IntoIterator<Item = L>) -> Family<L, M> {
    let family = Family::default();
    for labels in known {
        drop(family.get_or_create(&labels));
    }
    family
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[ignore = "panics, in a process of its own"]
    fn panics() {
        let options = LogOptions { log: "info".into(), log_format: LogFormat::Json };
        init("clock", &options).unwrap();
        log_panics(Counter::default());
        panic!("the spring broke");
    }

    #[test]
    fn a_panic_is_one_log_line_with_the_services_name() {
        let mut test = std::process::Command::new(std::env::current_exe().unwrap());
        test.args(["telemetry::tests::panics", "--exact", "--ignored", "--nocapture"]);
        let said = test.env("RUST_BACKTRACE", "0").output().unwrap().stderr;
        let said = String::from_utf8(said).unwrap();
        let told: Vec<_> = said.lines().filter(|line| line.contains("the spring broke")).collect();
        assert_eq!(told.len(), 1, "{said}");
        let line: serde_json::Value = serde_json::from_str(told[0]).unwrap();
        assert_eq!((&line["service"], &line["level"]), (&"clock".into(), &"ERROR".into()));
        assert_eq!(line["fields"]["message"], "panicked: the spring broke");
        assert!(line["fields"]["place"].as_str().unwrap().contains("telemetry.rs:"), "{line}");
    }

    #[test]
    fn a_word_that_is_no_level_is_refused() {
        for filter in [
            "info,[send{church,message,recipient}]=debug",
            "",
            "info",
            "WARN",
            "off",
            "warn,common=debug",
            " info , async_nats=info",
            "0",
        ] {
            assert_eq!(check_levels(filter), Ok(()), "{filter}");
        }
        for filter in ["inof", "common", "warn,verbose"] {
            assert!(check_levels(filter).unwrap_err().contains("is no level"), "{filter}");
        }
    }
}
