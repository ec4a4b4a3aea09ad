//! Failed calls of a store, counted by kind.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use super::failures::StoreError;
use super::wait::Wait;
use crate::telemetry::Metrics;

/// Counts failed calls; all handles on one database share it.
#[derive(Clone, Debug, Default)]
pub(super) struct ErrorCounts {
    counts: Family<Kind, Counter>,
    /// Whether the schema is up to date. Before that, calls fail for want of tables, as a service starts.
    counting: Arc<AtomicBool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}

/// All kinds.
const KINDS: [&str; 10] = [
    "no_connection",
    "write_lock",
    "row_locks",
    "no_answer",
    "slow_commit",
    "unavailable",
    "outcome_unknown",
    "refused",
    "migration",
    "unreadable",
];

impl ErrorCounts {
    /// Counts from now on.
    pub(super) fn begin(&self) {
        self.counting.store(true, Ordering::Relaxed);
    }

    /// Shows the counts among these metrics, every kind at zero.
    pub(super) fn show(&self, metrics: &Metrics) {
        for kind in KINDS {
            drop(self.counts.get_or_create(&Kind { kind }));
        }
        metrics.register("database_errors", "Calls of the database that failed", self.counts.clone());
    }

    /// Counts the error of a call.
    pub(super) fn note(&self, error: &StoreError) {
        if let Some(kind) = kind(error).filter(|_| self.counting.load(Ordering::Relaxed)) {
            self.counts.get_or_create(&Kind { kind }).inc();
        }
    }
}

/// The label of an error. A lost lease is no trouble of the database.
fn kind(error: &StoreError) -> Option<&'static str> {
    Some(match error {
        StoreError::TimedOut { waited_for, .. } => match waited_for {
            Wait::Connection => "no_connection",
            Wait::WriteLock => "write_lock",
            Wait::RowLocks => "row_locks",
            Wait::Answer => "no_answer",
            Wait::Commit => "slow_commit",
        },
        StoreError::Unavailable(_) => "unavailable",
        StoreError::OutcomeUnknown(_) => "outcome_unknown",
        StoreError::Refused(_) => "refused",
        StoreError::Migration(_) => "migration",
        StoreError::Unreadable(_) => "unreadable",
        StoreError::LeaseLost => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::store::{Store, StoreOptions};

    #[tokio::test]
    async fn from_the_first_migration_on_a_failed_call_is_counted_by_what_it_waited_for() {
        let options = StoreOptions { database_url: "sqlite:none.db".into(), database_connections: 1 };
        let metrics = Metrics::default();
        let store = Store::new(&options).unwrap().showing_errors(&metrics);
        let shows = |kind: &str, count: u64| {
            let (line, text) =
                (format!("church_database_errors_total{{kind=\"{kind}\"}} {count}"), metrics.encode());
            assert!(text.lines().any(|shown| shown == line), "{line}\n{text}");
        };
        KINDS.iter().for_each(|kind| shows(kind, 0));
        let time_out = async || {
            let endless = std::future::pending::<Result<(), StoreError>>();
            store.within(Duration::ZERO).bounded(endless).await.unwrap_err()
        };
        time_out().await;
        shows("no_connection", 0);
        store.errors.begin();
        time_out().await;
        store.bounded(async { Err::<(), _>(StoreError::LeaseLost) }).await.unwrap_err();
        shows("no_connection", 1);
        KINDS[1..].iter().for_each(|kind| shows(kind, 0));
    }
}
