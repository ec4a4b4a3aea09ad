//! The readiness condition `sending`, and the gauge of senders that are held back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use common::event::timestamp;
use common::service::Condition;
use common::store::{HeldSender, Pause, Store};
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use super::breaker::CircuitBreaker;
use crate::metrics::{ApiMetrics, HeldLabels, PauseLabels};
use crate::telnyx::RetryReason;

/// How often both are updated.
const TICK: Duration = Duration::from_secs(1);
/// Setbacks in a row from which a throttled sender is reported: a single one is normal.
const REPORTED_SETBACKS: i32 = 5;

/// Updates the condition and the gauge until shutdown.
pub(super) async fn watch(
    store: Store,
    breaker: Arc<CircuitBreaker>,
    metrics: ApiMetrics,
    condition: Condition,
    shutdown: CancellationToken,
) {
    let (mut held, mut pauses) = (Vec::new(), Vec::new());
    while !shutdown.is_cancelled() {
        // While the database is away, the last answer stands; another condition reports the database.
        held = store.held_senders(OffsetDateTime::now_utc()).await.unwrap_or(held);
        pauses = store.pauses().await.unwrap_or(pauses);
        for reason in RetryReason::OF_A_SENDER.map(<&str>::from) {
            let count = held.iter().filter(|sender| sender.reason == reason).count();
            metrics.held.get_or_create(&HeldLabels { reason }).set(count as i64);
        }
        let of_all = pauses.iter().filter(|pause| pause.church_id.is_none()).count();
        for (scope, count) in [("all", of_all), ("church", pauses.len() - of_all)] {
            metrics.pauses.get_or_create(&PauseLabels { scope }).set(count as i64);
        }
        let cause = breaker.cause().map(|cause| cause.text().to_owned());
        match cause.or_else(|| paused(&pauses)).or_else(|| held_senders(&held)) {
            Some(reason) => condition.unmet(reason),
            None => condition.met(),
        }
        shutdown.run_until_cancelled(tokio::time::sleep(TICK)).await;
    }
}

/// `paused by operators for 2 churches; …`. The pause of everybody comes first.
fn paused(pauses: &[Pause]) -> Option<String> {
    let advice = match pauses {
        [] => return None,
        [pause] | [pause @ Pause { church_id: None, .. }, ..] => {
            format!("{}; `{}` ends it", pause.whose(), pause.resume_command())
        }
        churches => format!("{} churches; `ops doctor` names them", churches.len()),
    };
    Some(format!("paused by operators for {advice}"))
}

/// `senders: 2 held back by spend_limit until 2026-11-23T00:00:00.000Z`; names no number.
fn held_senders(held: &[HeldSender]) -> Option<String> {
    let is_reported = |sender: &&HeldSender| {
        sender.reason != <&str>::from(RetryReason::Throttled) || sender.setbacks >= REPORTED_SETBACKS
    };
    let mut by_reason: BTreeMap<&str, (usize, OffsetDateTime)> = BTreeMap::new();
    for sender in held.iter().filter(is_reported) {
        let (count, until) = by_reason.entry(&sender.reason).or_insert((0, sender.until));
        *count += 1;
        *until = (*until).max(sender.until);
    }
    let describe = |(reason, (count, until)): (&str, (usize, OffsetDateTime))| {
        format!("{count} held back by {reason} until {}", timestamp::to_text(until))
    };
    let all: Vec<_> = by_reason.into_iter().map(describe).collect();
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
    fn a_pause_names_the_command_that_ends_it() {
        let pause = |church: Option<&str>| Pause {
            church_id: church.map(|church| church.parse().unwrap()),
            by: "operator:anna".into(),
            since: datetime!(2026-11-22 10:00 UTC),
        };
        assert_eq!(paused(&[]), None);
        for (pauses, advice) in [
            (vec![pause(Some("hope"))], "hope; `ops resume sending --church hope` ends it"),
            (vec![pause(None), pause(Some("hope"))], "everybody; `ops resume sending` ends it"),
            (vec![pause(Some("grace")), pause(Some("hope"))], "2 churches; `ops doctor` names them"),
        ] {
            assert_eq!(paused(&pauses).unwrap(), format!("paused by operators for {advice}"));
        }
    }

    #[test]
    fn held_senders_are_counted_by_reason_without_their_numbers() {
        assert_eq!(held_senders(&[]), None);
        assert_eq!(held_senders(&[sender("throttled", 1, 0)]), None);
        let held = [sender("spend_limit", 1, 5), sender("throttled", 9, 1), sender("spend_limit", 1, 3)];
        assert_eq!(
            held_senders(&held).unwrap(),
            "senders: 2 held back by spend_limit until 2026-11-22T10:05:00.000Z, \
             1 held back by throttled until 2026-11-22T10:01:00.000Z"
        );
    }
}
