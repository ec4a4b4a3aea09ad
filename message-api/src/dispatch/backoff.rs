//! The back-off of one sender whose messages Telnyx does not accept. The other senders go on at full rate.

use std::time::Duration as StdDuration;

use common::store::Setback;
use time::{Duration, OffsetDateTime};

use crate::telnyx::RetryReason;

/// The back-off that a reason asks of its sender; `None` for a reason that concerns all senders.
pub(super) fn of_sender(
    reason: RetryReason,
    retry_after: Option<StdDuration>,
    now: OffsetDateTime,
) -> Option<Setback> {
    let (first, longest) = match reason {
        RetryReason::Throttled => (Duration::milliseconds(250), Duration::seconds(30)),
        RetryReason::QueueFull => (Duration::seconds(30), Duration::minutes(15)),
        // Telnyx documents up to 15 minutes.
        RetryReason::NumberUnusable => (Duration::minutes(1), Duration::minutes(15)),
        RetryReason::SpendLimit => (Duration::minutes(1), Duration::minutes(15)),
        // Lasts until an operator changes something.
        RetryReason::SenderRefused => (Duration::seconds(30), Duration::minutes(30)),
        RetryReason::Unreachable | RetryReason::KeyRefused => return None,
    };
    let midnight = (reason == RetryReason::SpendLimit).then(|| midnight_after(now));
    let asked_for = retry_after.map(|wait| now + wait);
    Some(Setback { reason: <&str>::from(reason).into(), first, longest, until: midnight.max(asked_for) })
}

/// The next midnight in UTC, when Telnyx resets its daily limits.
fn midnight_after(now: OffsetDateTime) -> OffsetDateTime {
    let today = now.to_offset(time::UtcOffset::UTC).date().midnight().assume_utc();
    today + Duration::DAY
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn a_spend_limit_lasts_until_midnight_utc_in_every_time_zone() {
        let now = datetime!(2026-11-22 23:30 -5);
        let setback = of_sender(RetryReason::SpendLimit, None, now).unwrap();
        assert_eq!(setback.until, Some(datetime!(2026-11-24 00:00 UTC)));
    }

    #[test]
    fn the_wait_that_telnyx_asks_for_is_kept() {
        let now = datetime!(2026-11-22 10:00 UTC);
        let wait = StdDuration::from_secs(90);
        assert_eq!(
            of_sender(RetryReason::Throttled, Some(wait), now).unwrap().until,
            Some(datetime!(2026-11-22 10:01:30 UTC))
        );
        assert_eq!(of_sender(RetryReason::Throttled, None, now).unwrap().until, None);
    }

    #[test]
    fn a_reason_that_concerns_all_delays_no_single_sender() {
        let now = datetime!(2026-11-22 10:00 UTC);
        assert_eq!(of_sender(RetryReason::KeyRefused, None, now), None);
        assert_eq!(of_sender(RetryReason::Unreachable, None, now), None);
    }
}
