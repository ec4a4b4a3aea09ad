//! The last five minutes of the numbers that the services export and the database holds.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use common::event::timestamp;
use serde::Serialize;
use time::OffsetDateTime;

use super::scrape::{Buckets, Scrape};

/// Samples that are kept: five minutes.
const KEPT: usize = 150;
/// Samples over which a percentile is taken: one minute.
const OBSERVED: usize = 30;

/// A process that answers operators.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Process {
    pub(super) service: &'static str,
    pub(super) url: String,
    /// `ready`, `degraded`, `not ready` or `away`.
    pub(super) state: &'static str,
    /// The failing conditions with their reasons, or why it does not answer.
    pub(super) says: Vec<String>,
    pub(super) version: Option<String>,
    pub(super) started_at: Option<String>,
}

/// What was read at one moment.
#[derive(Default)]
pub(super) struct Reading {
    pub(super) processes: Vec<Process>,
    /// By address.
    pub(super) scrapes: HashMap<String, Scrape>,
    /// What the database holds, by the name of the number.
    pub(super) held: Vec<(&'static str, f64)>,
    /// Why the database could not be read.
    pub(super) database: Option<String>,
    pub(super) pauses: serde_json::Value,
}

/// The kept samples.
#[derive(Default)]
pub(super) struct Samples(Mutex<State>);

#[derive(Default)]
struct State {
    at: Option<OffsetDateTime>,
    last: Reading,
    /// What came in each of the last samples, by histogram.
    observed: BTreeMap<&'static str, VecDeque<Buckets>>,
    series: BTreeMap<&'static str, VecDeque<Option<f64>>>,
}

/// Counters as rates: the number's name, and the counter that is summed over all processes.
const RATES: [(&str, &str); 4] = [
    ("webhooks", "church_ingest_webhooks_total"),
    ("refusals", "church_ingest_refusals_total"),
    ("sends", "church_api_sends_total"),
    ("announced", "church_outbox_announced_total"),
];
/// The number's name, and the histogram whose 99th percentile it is.
const PERCENTILES: [(&str, &str); 2] =
    [("answerSeconds", "church_ingest_request_seconds"), ("emitSeconds", "church_gateway_event_age_seconds")];
/// Gauges that are summed.
const GAUGES: [(&str, &str); 1] = [("sockets", "church_gateway_sockets")];

/// The numbers that the database holds.
pub(super) const HELD: [&str; 6] =
    ["outboxWaiting", "outboxSeconds", "refused", "due", "unanswered", "parked"];

/// The samples as the page shows them.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Shown {
    at: Option<String>,
    processes: Vec<Process>,
    /// The newest last; null where nothing is known.
    series: BTreeMap<&'static str, VecDeque<Option<f64>>>,
    database: Option<String>,
    pauses: serde_json::Value,
    /// Refused requests of webhooks since each process started, by reason.
    refusals: BTreeMap<String, f64>,
}

impl Samples {
    /// Adds what was read.
    pub(super) fn add(&self, reading: Reading, at: OffsetDateTime) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.add(reading, at);
    }

    /// The samples now.
    pub(super) fn shown(&self) -> Shown {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut refusals = BTreeMap::new();
        for (reason, count) in
            state.last.scrapes.values().flat_map(|scrape| scrape.by_label("church_ingest_refusals_total"))
        {
            *refusals.entry(reason).or_insert(0.0) += count;
        }
        refusals.retain(|_, count| *count > 0.0);
        Shown {
            at: state.at.map(timestamp::to_text),
            processes: state.last.processes.clone(),
            series: state.series.clone(),
            database: state.last.database.clone(),
            pauses: state.last.pauses.clone(),
            refusals,
        }
    }
}

impl State {
    fn add(&mut self, reading: Reading, at: OffsetDateTime) {
        let seconds = self.at.map(|before| (at - before).as_seconds_f64());
        for (number, counter) in RATES {
            let rate = seconds.and_then(|seconds| self.rise(&reading, counter).map(|rise| rise / seconds));
            self.push(number, rate);
        }
        for (number, histogram) in PERCENTILES {
            let mut came = Buckets::default();
            for (url, scrape) in &reading.scrapes {
                if let Some(before) = self.last.scrapes.get(url) {
                    came.add(&scrape.buckets(histogram).since(&before.buckets(histogram)));
                }
            }
            let percentile = self.observe(histogram, came);
            self.push(number, percentile);
        }
        for (number, gauge) in GAUGES {
            let known = reading.scrapes.values().any(|scrape| !scrape.by_label(gauge).is_empty());
            let sum = reading.scrapes.values().map(|scrape| scrape.sum(gauge)).sum();
            self.push(number, known.then_some(sum));
        }
        for number in HELD {
            let held = reading.held.iter().find(|(name, _)| *name == number).map(|(_, value)| *value);
            self.push(number, held);
        }
        (self.at, self.last) = (Some(at), reading);
    }

    /// How much a counter rose over all processes; `None` if none was read twice.
    fn rise(&self, reading: &Reading, counter: &str) -> Option<f64> {
        let rises = reading.scrapes.iter().filter_map(|(url, scrape)| {
            let (now, before) = (scrape.sum(counter), self.last.scrapes.get(url)?.sum(counter));
            // A process that was started again counts from zero.
            Some(if now < before { now } else { now - before })
        });
        rises.fold(None, |sum, rise| Some(sum.unwrap_or(0.0) + rise))
    }

    fn observe(&mut self, histogram: &'static str, came: Buckets) -> Option<f64> {
        let observed = self.observed.entry(histogram).or_default();
        observed.push_back(came);
        if observed.len() > OBSERVED {
            observed.pop_front();
        }
        let mut all = Buckets::default();
        observed.iter().for_each(|part| all.add(part));
        all.quantile(0.99)
    }

    fn push(&mut self, number: &'static str, value: Option<f64>) {
        let series = self.series.entry(number).or_default();
        series.push_back(value);
        if series.len() > KEPT {
            series.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(webhooks: u32) -> Reading {
        let text = format!(
            "church_ingest_webhooks_total{{outcome=\"applied\"}} {webhooks}\nchurch_gateway_sockets 2\n"
        );
        Reading { scrapes: HashMap::from([("http://a".into(), Scrape::read(&text))]), ..Reading::default() }
    }

    #[test]
    fn a_counter_becomes_a_rate_also_over_a_restart_and_only_five_minutes_are_kept() {
        let samples = Samples::default();
        let at = |second| OffsetDateTime::UNIX_EPOCH + time::Duration::seconds(second);
        for (second, webhooks) in [(0, 10), (2, 14), (4, 6)] {
            samples.add(reading(webhooks), at(second));
        }
        let shown = samples.shown();
        assert_eq!(shown.series["webhooks"], [None, Some(2.0), Some(3.0)]);
        assert_eq!(shown.series["sockets"], [Some(2.0); 3]);
        assert_eq!(shown.series["answerSeconds"], [None; 3]);
        (0..200).for_each(|number| samples.add(reading(6), at(6 + 2 * number)));
        assert_eq!(samples.shown().series["webhooks"].len(), KEPT);
    }
}
