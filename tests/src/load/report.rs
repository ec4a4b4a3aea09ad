//! The output: plain tables, with warnings about doubtful figures.

use std::fmt;
use std::io::Write as _;
use std::time::Duration;

use hdrhistogram::Histogram;

use super::usage::{GENERATOR, GENERATOR_LIMIT, Used};

/// Whether this is a release build. Figures of other builds are meaningless.
pub const IS_RELEASE: bool = !cfg!(debug_assertions);

/// Writes a line of the report.
pub fn say(line: impl fmt::Display) {
    // A closed output is no error.
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// A table with a title.
#[derive(Debug, Clone)]
pub struct Table {
    title: String,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with a title and column heads.
    pub fn new(title: impl Into<String>, heads: &[&str]) -> Self {
        Self { title: title.into(), rows: vec![heads.iter().map(|head| (*head).to_owned()).collect()] }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// Prints the table, with a warning for each run in which the generator was the bottleneck.
    pub fn print(&self, runs: &[&Used]) {
        say(format_args!("\n{self}"));
        for used in runs.iter().filter(|used| used.measured_the_generator()) {
            let cores = used.cores(GENERATOR);
            say(format_args!(
                "WARNING: the generator used {cores:.2} of a core (limit {GENERATOR_LIMIT}): \
                 this measures the generator as much as the suite"
            ));
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unpublishable = if IS_RELEASE { "" } else { "  (DEBUG BUILD: not a result)" };
        writeln!(f, "{}{unpublishable}", self.title)?;
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for (number, row) in self.rows.iter().enumerate() {
            for (cell, width) in row.iter().zip(&widths) {
                write!(f, "| {cell:>width$} ")?;
            }
            writeln!(f, "|")?;
            if number == 0 {
                widths.iter().try_for_each(|width| write!(f, "|{}:", "-".repeat(width + 1)))?;
                writeln!(f, "|")?;
            }
        }
        Ok(())
    }
}

/// Latencies in microseconds.
#[derive(Debug, Clone)]
pub struct Latencies(Histogram<u64>);

impl Default for Latencies {
    fn default() -> Self {
        // Three digits of precision and an unlimited range.
        Self(Histogram::new(3).unwrap_or_else(|_| unreachable!("three digits are allowed")))
    }
}

impl Latencies {
    /// Adds a latency.
    pub fn record(&mut self, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        // The histogram grows with its values, so recording can't fail in practice.
        let _ = self.0.record(micros.max(1));
    }

    /// Adds all latencies of another histogram.
    pub fn add(&mut self, other: &Self) {
        // Only a histogram with a fixed range can refuse.
        let _ = self.0.add(&other.0);
    }

    /// The number of latencies.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// A quantile in milliseconds.
    pub fn at(&self, quantile: f64) -> String {
        millis(self.0.value_at_quantile(quantile))
    }

    /// The longest, in milliseconds.
    pub fn max(&self) -> String {
        millis(self.0.max())
    }
}

impl<'d> FromIterator<&'d Duration> for Latencies {
    fn from_iter<I: IntoIterator<Item = &'d Duration>>(durations: I) -> Self {
        let mut latencies = Self::default();
        durations.into_iter().for_each(|latency| latencies.record(*latency));
        latencies
    }
}

fn millis(micros: u64) -> String {
    if micros < 1_000 { format!("{:.2}", micros as f64 / 1e3) } else { format!("{:.1}", micros as f64 / 1e3) }
}

/// A number of things a second.
pub fn rate(count: u64, wall: Duration) -> String {
    format!("{:.0}", count as f64 / wall.as_secs_f64().max(1e-9))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new("title", &["a", "long head"]);
        table.row(["wide cell".to_owned(), "1".to_owned()]);
        let text = table.to_string();
        let widths: Vec<_> = text.lines().skip(1).map(str::len).collect();
        assert!(widths.iter().all(|width| *width == widths[0]), "{text}");
    }
}
