//! When a message is retrieved: in multiples of the first wait, 15 minutes by default.

use std::time::Duration;

use common::store::Ask;
use time::OffsetDateTime;

/// After 15 minutes, one hour and six hours; then daily.
const STEPS: [u32; 3] = [1, 4, 24];
const DAILY: u32 = 96;
/// Telnyx keeps a message for ten days.
const KEPT: u32 = 960;

/// When to retrieve.
#[derive(Debug, Clone, Copy)]
pub(super) struct Schedule {
    /// From the attempt to the first time.
    pub(super) first: Duration,
    /// From the attempt to the moment from which a message that Telnyx does not know is given up.
    pub(super) unknown_after: Duration,
}

impl Schedule {
    /// The next time for a message that Telnyx has; `None` if Telnyx will have deleted it by then.
    pub(super) fn next(&self, ask: &Ask, now: OffsetDateTime) -> Option<OffsetDateTime> {
        let asked = usize::try_from(ask.asked).unwrap_or(0) + 1;
        let days = u32::try_from(asked + 1 - STEPS.len().min(asked + 1)).unwrap_or(KEPT);
        let step = STEPS.get(asked).copied().unwrap_or(DAILY.saturating_mul(days));
        let planned = ask.attempted_at + self.first.saturating_mul(step);
        // After an outage, missed steps are not made up for in a row.
        let next = planned.max(now + self.first);
        (next <= self.end(ask)).then_some(next)
    }

    /// The next time for a message that Telnyx does not know: it may appear a little later.
    pub(super) fn next_of_unknown(&self, ask: &Ask, now: OffsetDateTime) -> Option<OffsetDateTime> {
        self.next(ask, now).filter(|_| now < ask.attempted_at + self.unknown_after)
    }

    /// Whether Telnyx has deleted the message.
    pub(super) fn is_over(&self, ask: &Ask, now: OffsetDateTime) -> bool {
        now > self.end(ask)
    }

    fn end(&self, ask: &Ask) -> OffsetDateTime {
        ask.attempted_at + self.first.saturating_mul(KEPT)
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;
    use uuid::Uuid;

    use super::*;

    const START: OffsetDateTime = datetime!(2026-11-22 10:00 UTC);

    fn ask(asked: i32) -> Ask {
        let (recipient_id, phone) = (Uuid::nil(), "+15551230101".into());
        Ask { recipient_id, provider_id: "p".into(), phone, attempted_at: START, asked }
    }

    fn schedule() -> Schedule {
        Schedule { first: Duration::from_secs(900), unknown_after: Duration::from_secs(72 * 3_600) }
    }

    #[test]
    fn messages_are_retrieved_in_growing_steps_then_daily_for_ten_days() {
        let (mut hours, mut now, mut asked) = (Vec::new(), START + Duration::from_secs(900), 0);
        while let Some(next) = schedule().next(&ask(asked), now) {
            hours.push((next - START).whole_hours());
            (now, asked) = (next, asked + 1);
        }
        assert_eq!(hours, [1, 6, 24, 48, 72, 96, 120, 144, 168, 192, 216, 240]);
        assert!(schedule().is_over(&ask(asked), now + Duration::from_secs(1)));
    }

    #[test]
    fn an_unknown_message_is_retrieved_until_the_time_limit() {
        let after = |hours: i64| {
            let now = START + time::Duration::hours(hours);
            schedule().next_of_unknown(&ask(1), now).is_some()
        };
        assert!(after(1) && after(71) && !after(72));
    }

    #[test]
    fn missed_steps_are_not_made_up_for_in_a_row() {
        let now = START + time::Duration::days(3);
        assert_eq!(schedule().next(&ask(0), now), Some(now + Duration::from_secs(900)));
    }
}
