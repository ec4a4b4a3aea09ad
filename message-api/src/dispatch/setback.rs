//! How long a sender waits that Telnyx does not accept from. The others go on at full rate.

use std::time::Duration as StdDuration;

use common::store::Setback;
use time::{Duration, OffsetDateTime};

use crate::telnyx::Hindrance;

/// What a hindrance means for its sender; `None` for what holds for every sender.
pub(super) fn of(
    hindrance: Hindrance,
    retry_after: Option<StdDuration>,
    now: OffsetDateTime,
) -> Option<Setback> {
    let (first, longest) = match hindrance {
        Hindrance::Throttled => (Duration::milliseconds(250), Duration::seconds(30)),
        Hindrance::QueueFull => (Duration::seconds(30), Duration::minutes(15)),
        // Telnyx says: it may take a quarter of an hour.
        Hindrance::NumberUnusable => (Duration::minutes(1), Duration::minutes(15)),
        Hindrance::SpendLimit => (Duration::minutes(1), Duration::minutes(15)),
        // Somebody has to change something.
        Hindrance::SenderRefused => (Duration::seconds(30), Duration::minutes(30)),
        Hindrance::Unreachable | Hindrance::KeyRefused => return None,
    };
    let midnight = (hindrance == Hindrance::SpendLimit).then(|| midnight_after(now));
    let asked = retry_after.map(|wait| now + wait);
    Some(Setback { reason: hindrance.word().into(), first, longest, until: midnight.max(asked) })
}

/// The next midnight in UTC: then Telnyx counts a new day.
fn midnight_after(now: OffsetDateTime) -> OffsetDateTime {
    let today = now.to_offset(time::UtcOffset::UTC).date().midnight().assume_utc();
    today + Duration::DAY
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn a_spent_limit_holds_until_midnight_utc_wherever_we_are() {
        let now = datetime!(2026-11-22 23:30 -5);
        let setback = of(Hindrance::SpendLimit, None, now).unwrap();
        assert_eq!(setback.until, Some(datetime!(2026-11-24 00:00 UTC)));
    }

    #[test]
    fn the_wait_that_telnyx_asks_for_is_the_least() {
        let now = datetime!(2026-11-22 10:00 UTC);
        let wait = StdDuration::from_secs(90);
        assert_eq!(
            of(Hindrance::Throttled, Some(wait), now).unwrap().until,
            Some(datetime!(2026-11-22 10:01:30 UTC))
        );
        assert_eq!(of(Hindrance::Throttled, None, now).unwrap().until, None);
    }

    #[test]
    fn what_holds_for_everybody_holds_no_sender_back() {
        let now = datetime!(2026-11-22 10:00 UTC);
        assert_eq!(of(Hindrance::KeyRefused, None, now), None);
        assert_eq!(of(Hindrance::Unreachable, None, now), None);
    }
}
