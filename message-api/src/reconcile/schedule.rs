//! When Telnyx is asked for a message: in multiples of the first wait, a quarter of an hour by default.

use std::time::Duration;

use common::store::Ask;
use time::OffsetDateTime;

/// After a quarter of an hour, an hour, six hours; then daily.
const STEPS: [u32; 3] = [1, 4, 24];
const DAILY: u32 = 96;
/// Telnyx keeps a message for ten days.
const KEPT: u32 = 960;

/// When Telnyx is asked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Schedule {
    /// The first time so long after the attempt.
    pub(super) first: Duration,
    /// What Telnyx does not know so long after the attempt, it will never know.
    pub(super) unknown_after: Duration,
}

impl Schedule {
    /// When to ask again for a message that Telnyx knows; `None` if it will not know it then.
    pub(super) fn next(&self, ask: &Ask, now: OffsetDateTime) -> Option<OffsetDateTime> {
        let asked = usize::try_from(ask.asked).unwrap_or(0) + 1;
        let days = u32::try_from(asked + 1 - STEPS.len().min(asked + 1)).unwrap_or(KEPT);
        let step = STEPS.get(asked).copied().unwrap_or(DAILY.saturating_mul(days));
        let planned = ask.attempted_at + self.first.saturating_mul(step);
        // Where we come too late for a step, the next one is not asked at once.
        let next = planned.max(now + self.first);
        (next <= self.end(ask)).then_some(next)
    }

    /// The same for a message that Telnyx does not know: it may know it a little later, but not much.
    pub(super) fn next_of_unknown(&self, ask: &Ask, now: OffsetDateTime) -> Option<OffsetDateTime> {
        self.next(ask, now).filter(|_| now < ask.attempted_at + self.unknown_after)
    }

    /// Telnyx has forgotten it.
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
    fn it_is_asked_after_a_quarter_of_an_hour_one_hour_six_hours_a_day_and_then_daily_for_ten_days() {
        let (mut hours, mut now, mut asked) = (Vec::new(), START + Duration::from_secs(900), 0);
        while let Some(next) = schedule().next(&ask(asked), now) {
            hours.push((next - START).whole_hours());
            (now, asked) = (next, asked + 1);
        }
        assert_eq!(hours, [1, 6, 24, 48, 72, 96, 120, 144, 168, 192, 216, 240]);
        assert!(schedule().is_over(&ask(asked), now + Duration::from_secs(1)));
    }

    #[test]
    fn what_telnyx_does_not_know_is_asked_for_until_it_is_old() {
        let after = |hours: i64| {
            let now = START + time::Duration::hours(hours);
            schedule().next_of_unknown(&ask(1), now).is_some()
        };
        assert!(after(1) && after(71) && !after(72));
    }

    #[test]
    fn after_a_long_outage_the_steps_that_were_missed_are_not_asked_in_a_row() {
        let now = START + time::Duration::days(3);
        assert_eq!(schedule().next(&ask(0), now), Some(now + Duration::from_secs(900)));
    }
}
