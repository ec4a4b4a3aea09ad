//! Tells operators whether sending goes on: the readiness condition `sending`, and the senders that are held back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use common::event::timestamp;
use common::service::Condition;
use common::store::{HeldSender, Store};
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use super::pause::Pause;
use crate::metrics::{ApiMetrics, HeldLabels};
use crate::telnyx::Hindrance;

/// Looks so often.
const TICK: Duration = Duration::from_secs(1);
/// Setbacks in a row before readiness tells of a throttled sender: a single one is everyday life.
const WORTH_TELLING: i32 = 5;

/// Keeps the condition and the gauges true until shutdown.
pub(super) async fn watch(
    store: Store,
    pause: Arc<Pause>,
    metrics: ApiMetrics,
    condition: Condition,
    shutdown: CancellationToken,
) {
    let mut held = Vec::new();
    while !shutdown.is_cancelled() {
        // With the database away nothing new is known, and readiness says so itself.
        held = store.held_senders(OffsetDateTime::now_utc()).await.unwrap_or(held);
        for word in Hindrance::WORDS_OF_SENDERS {
            let count = held.iter().filter(|sender| sender.reason == word).count();
            metrics.held.get_or_create(&HeldLabels { reason: word }).set(count as i64);
        }
        let senders = || senders(&held);
        match pause.cause().map(|cause| cause.text().to_owned()).or_else(senders) {
            Some(reason) => condition.unmet(reason),
            None => condition.met(),
        }
        shutdown.run_until_cancelled(tokio::time::sleep(TICK)).await;
    }
}

/// `2 senders wait (spend_limit until 2026-11-23T00:00:00.000Z)`; no number is told.
fn senders(held: &[HeldSender]) -> Option<String> {
    let is_worth = |sender: &&HeldSender| {
        sender.reason != Hindrance::Throttled.word() || sender.setbacks >= WORTH_TELLING
    };
    let mut by_reason: BTreeMap<&str, (usize, OffsetDateTime)> = BTreeMap::new();
    for sender in held.iter().filter(is_worth) {
        let (count, until) = by_reason.entry(&sender.reason).or_insert((0, sender.until));
        *count += 1;
        *until = (*until).max(sender.until);
    }
    let told = |(reason, (count, until)): (&str, (usize, OffsetDateTime))| {
        format!("{count} held back by {reason} until {}", timestamp::to_text(until))
    };
    let all: Vec<_> = by_reason.into_iter().map(told).collect();
    (!all.is_empty()).then(|| format!("senders: {}", all.join(", ")))
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    fn sender(reason: &str, setbacks: i32, minute: u8) -> HeldSender {
        let until = datetime!(2026-11-22 10:00 UTC).replace_minute(minute).unwrap();
        HeldSender { reason: reason.into(), until, setbacks }
    }

    #[test]
    fn senders_that_are_held_back_are_told_by_reason_and_none_by_its_number() {
        assert_eq!(senders(&[]), None);
        assert_eq!(senders(&[sender("throttled", 1, 0)]), None);
        let held = [sender("spend_limit", 1, 5), sender("throttled", 9, 1), sender("spend_limit", 1, 3)];
        assert_eq!(
            senders(&held).unwrap(),
            "senders: 2 held back by spend_limit until 2026-11-22T10:05:00.000Z, \
             1 held back by throttled until 2026-11-22T10:01:00.000Z"
        );
    }
}
