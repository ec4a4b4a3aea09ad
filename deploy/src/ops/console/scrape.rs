//! Reads what a service exports as metrics.

use std::collections::BTreeMap;

/// Series by name, each with its labels as they are written.
#[derive(Debug, Clone, Default)]
pub(super) struct Scrape(Vec<(String, String, f64)>);

impl Scrape {
    /// Reads the text format.
    pub(super) fn read(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        Self(lines.filter_map(series).collect())
    }

    /// The sum of a name over all labels.
    pub(super) fn sum(&self, name: &str) -> f64 {
        self.of(name).map(|(_, value)| value).sum()
    }

    /// The values of a name by its one label.
    pub(super) fn by_label(&self, name: &str) -> BTreeMap<String, f64> {
        let value_of = |labels: &str| labels.split('"').nth(1).unwrap_or_default().to_owned();
        self.of(name).map(|(labels, value)| (value_of(labels), value)).collect()
    }

    /// The buckets of a histogram: upper bounds with their counts so far.
    pub(super) fn buckets(&self, name: &str) -> Buckets {
        let bucket = format!("{name}_bucket");
        let bound = |labels: &str| -> Option<f64> {
            let text = labels.split("le=\"").nth(1)?.split('"').next()?;
            if text == "+Inf" { Some(f64::INFINITY) } else { text.parse().ok() }
        };
        Buckets(self.of(&bucket).filter_map(|(labels, count)| Some((bound(labels)?, count))).collect())
    }

    fn of<'s>(&'s self, name: &'s str) -> impl Iterator<Item = (&'s str, f64)> {
        self.0.iter().filter(move |(of, ..)| of == name).map(|(_, labels, value)| (labels.as_str(), *value))
    }
}

fn series(line: &str) -> Option<(String, String, f64)> {
    let (series, value) = line.rsplit_once(' ')?;
    let (name, labels) = series.split_once('{').map_or((series, ""), |(name, labels)| (name, labels));
    Some((name.to_owned(), labels.to_owned(), value.parse().ok()?))
}

/// Upper bounds, and how many observations are at most as large.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Buckets(Vec<(f64, f64)>);

impl Buckets {
    /// What came since an earlier reading. A process that was started again counts from zero.
    pub(super) fn since(&self, before: &Self) -> Self {
        let restarted = self.total() < before.total() || self.0.len() != before.0.len();
        if restarted {
            return self.clone();
        }
        Self(self.0.iter().zip(&before.0).map(|((bound, now), (_, then))| (*bound, now - then)).collect())
    }

    /// Adds the observations of another process or time.
    pub(super) fn add(&mut self, other: &Self) {
        if self.0.is_empty() {
            self.0.clone_from(&other.0);
            return;
        }
        for ((_, sum), (_, count)) in self.0.iter_mut().zip(&other.0) {
            *sum += count;
        }
    }

    /// The value that a share of the observations do not exceed, between the bounds of its bucket; `None` if nothing was
    /// observed. Beyond the last bound it is that bound.
    pub(super) fn quantile(&self, share: f64) -> Option<f64> {
        let wanted = share * self.total();
        if wanted <= 0.0 {
            return None;
        }
        let (mut low, mut below) = (0.0, 0.0);
        for (bound, count) in &self.0 {
            if *count >= wanted {
                let part = (wanted - below) / (count - below).max(f64::MIN_POSITIVE);
                return Some(if bound.is_finite() { low + (bound - low) * part } else { low });
            }
            (low, below) = (*bound, *count);
        }
        Some(low)
    }

    fn total(&self) -> f64 {
        self.0.last().map_or(0.0, |(_, count)| *count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# TYPE church_ingest_webhooks counter
church_ingest_webhooks_total{outcome=\"applied\"} 7
church_ingest_webhooks_total{outcome=\"stale\"} 2
church_gateway_sockets 3
church_x_seconds_bucket{le=\"0.1\"} 50
church_x_seconds_bucket{le=\"0.2\"} 90
church_x_seconds_bucket{le=\"+Inf\"} 100
# EOF
";

    #[test]
    fn counters_are_summed_and_told_apart_by_their_label() {
        let scrape = Scrape::read(TEXT);
        assert_eq!(
            (scrape.sum("church_ingest_webhooks_total"), scrape.sum("church_gateway_sockets")),
            (9.0, 3.0)
        );
        let by_label = scrape.by_label("church_ingest_webhooks_total");
        assert_eq!(
            by_label.into_iter().collect::<Vec<_>>(),
            [("applied".into(), 7.0), ("stale".into(), 2.0)]
        );
        assert_eq!(scrape.sum("church_unknown"), 0.0);
    }

    #[test]
    fn a_quantile_lies_inside_of_its_bucket_and_is_unknown_without_observations() {
        let buckets = Scrape::read(TEXT).buckets("church_x_seconds");
        assert_eq!(buckets.quantile(0.25), Some(0.05));
        assert!((buckets.quantile(0.7).unwrap() - 0.15).abs() < 1e-9);
        assert_eq!(buckets.quantile(0.99), Some(0.2));
        assert_eq!(buckets.since(&buckets).quantile(0.99), None);
        assert_eq!(Buckets::default().since(&buckets), Buckets::default());
        // After a restart everything is new.
        let mut more = buckets.clone();
        more.add(&buckets);
        assert_eq!(buckets.since(&more), buckets);
    }
}
