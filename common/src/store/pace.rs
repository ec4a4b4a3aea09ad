//! How fast each sender, and everybody together, may go: a token bucket, and a wait that grows with each setback.
//! Pure; the rows are locked, read and saved by the claim's transaction and by the one that records answers.

use time::{Duration, OffsetDateTime};

use super::Setback;
use crate::event::timestamp::millis;

/// The row of everybody together.
pub(super) const EVERYBODY: &str = "*";
/// A full bucket holds a tenth of a second's messages.
const BURST: f64 = 0.1;
/// While a message is out to try whether a sender's trouble is over, the next one waits so long for its answer.
const TRYING: Duration = Duration::seconds(30);
/// Clocks of two machines differ by less.
const CLOCK_DIFFERENCE: Duration = Duration::minutes(1);

/// The pace of one sender.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Pace {
    pub(super) sender: String,
    /// Messages a second at most; as fast as everybody together if there is none.
    pub(super) rate: Option<i64>,
    pub(super) tokens: f64,
    pub(super) refilled_at: OffsetDateTime,
    pub(super) held_until: Option<OffsetDateTime>,
    pub(super) reason: Option<String>,
    pub(super) setbacks: i32,
    pub(super) noted_at: Option<OffsetDateTime>,
    pub(super) served_at: Option<OffsetDateTime>,
}

impl Pace {
    /// How many may be taken now, at most `most`. Refills the bucket.
    pub(super) fn allowance(&mut self, most: u32, now: OffsetDateTime) -> u32 {
        self.refill(now);
        let most = if self.setbacks > 0 { most.min(1) } else { most };
        if self.held_until.is_some_and(|until| until > now) {
            return 0;
        }
        // Whole tokens, never below zero and never above `most`.
        if self.rate.is_some() { (self.tokens.max(0.0) as u32).min(most) } else { most }
    }

    fn refill(&mut self, now: OffsetDateTime) {
        let Some(rate) = self.rate else { return };
        let rate = rate.max(1) as f64;
        // As the row keeps it, else each claim would gain a part of a millisecond.
        let now = millis(now);
        let passed = now - self.refilled_at;
        if passed.is_negative() && passed > -CLOCK_DIFFERENCE {
            return;
        }
        let gained = passed.max(Duration::ZERO).as_seconds_f64() * rate;
        self.tokens = (self.tokens + gained).min((rate * BURST).max(1.0));
        self.refilled_at = now;
    }

    /// Takes what [`Pace::allowance`] allowed.
    pub(super) fn take(&mut self, count: u32, now: OffsetDateTime) {
        if self.rate.is_some() {
            self.tokens -= f64::from(count);
        }
        if count > 0 && self.setbacks > 0 {
            self.held_until = self.held_until.max(Some(now + TRYING));
        }
    }

    /// When something may be taken at the earliest, as far as the pace decides.
    pub(super) fn ready_at(&self) -> OffsetDateTime {
        let refilled = match self.rate.map(|rate| rate.max(1) as f64) {
            // Half a bucket, so that a claim is worth its transaction.
            Some(rate) => {
                let missing = (rate * BURST / 2.0).max(1.0) - self.tokens;
                self.refilled_at + Duration::seconds_f64(missing.max(0.0) / rate)
            }
            None => OffsetDateTime::UNIX_EPOCH,
        };
        self.held_until.map_or(refilled, |until| until.max(refilled))
    }

    /// Telnyx answered a message that was attempted at `attempted_at` properly.
    pub(super) fn served(&mut self, attempted_at: OffsetDateTime, now: OffsetDateTime) {
        self.served_at = self.served_at.max(Some(now));
        // What was on its way before the setback tells nothing of the time after it.
        if self.noted_at.is_none_or(|noted_at| attempted_at >= noted_at) {
            (self.setbacks, self.held_until, self.reason, self.noted_at) = (0, None, None, None);
        }
    }

    /// The answer to a message that was attempted at `attempted_at` says nothing of the sender: if it was the one that
    /// tried, the next one may.
    pub(super) fn tried(&mut self, attempted_at: OffsetDateTime, now: OffsetDateTime) {
        if self.noted_at.is_some_and(|noted_at| attempted_at >= noted_at) {
            self.held_until = self.held_until.min(Some(now));
        }
    }

    /// Telnyx did not accept a message that was attempted at `attempted_at`, for a reason that holds for the sender.
    pub(super) fn set_back(&mut self, setback: &Setback, attempted_at: OffsetDateTime, now: OffsetDateTime) {
        // Messages that were on their way together are one setback.
        let is_news = self.noted_at.is_none_or(|noted_at| attempted_at >= noted_at);
        let asked = setback.until.unwrap_or(now);
        if is_news {
            let doublings = u32::try_from(self.setbacks).unwrap_or(0).min(16);
            let wait = (setback.first * (1_i32 << doublings)).min(setback.longest);
            self.setbacks = self.setbacks.saturating_add(1);
            self.noted_at = Some(now);
            // It takes the place of the time for which the message that tried held the others back.
            self.held_until = Some((now + wait).max(asked));
        } else {
            self.held_until = self.held_until.max(Some(asked));
        }
        self.reason = Some(setback.reason.clone());
    }

    /// Nothing of it was answered properly since `before`: what waits longer than that is held back and not waiting
    /// for its turn.
    pub(super) fn is_stuck_since(&self, before: OffsetDateTime) -> bool {
        self.served_at.is_none_or(|served_at| served_at < before)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const START: OffsetDateTime = time::macros::datetime!(2026-11-22 10:00 UTC);

    fn pace(rate: Option<i64>) -> Pace {
        Pace {
            sender: "+15550000000".into(),
            rate,
            tokens: 0.0,
            refilled_at: OffsetDateTime::UNIX_EPOCH,
            held_until: None,
            reason: None,
            setbacks: 0,
            noted_at: None,
            served_at: None,
        }
    }

    fn setback(first: Duration, until: Option<OffsetDateTime>) -> Setback {
        Setback { reason: "throttled".into(), first, longest: Duration::minutes(15), until }
    }

    proptest! {
        #[test]
        fn no_sender_exceeds_its_rate_however_it_is_asked(
            rate in 1..200i64,
            steps in prop::collection::vec((0..400i64, 1..50u32), 1..60),
        ) {
            let (mut pace, mut now, mut taken) = (pace(Some(rate)), START, 0);
            for (pause, most) in steps {
                now += Duration::milliseconds(pause);
                let count = pace.allowance(most, now);
                pace.take(count, now);
                taken += i64::from(count);
                let burst = (rate as f64 * BURST).max(1.0);
                let most = burst + (now - START).as_seconds_f64() * rate as f64;
                prop_assert!(taken as f64 <= most + 1e-6, "{taken} of {most}");
                if count == 0 {
                    prop_assert!(pace.ready_at() > now);
                }
            }
        }
    }

    #[test]
    fn a_sender_without_a_rate_takes_what_there_is() {
        assert_eq!(pace(None).allowance(16, START), 16);
    }

    #[test]
    fn waits_grow_with_each_setback_to_their_longest() {
        let (mut pace, minute) = (pace(None), Duration::minutes(1));
        let mut now = START;
        for wait in [1, 2, 4, 8, 15, 15] {
            pace.set_back(&setback(minute, None), now, now);
            assert_eq!(pace.held_until, Some(now + minute * wait));
            assert_eq!(pace.allowance(16, now), 0);
            now += minute * wait;
            assert_eq!(pace.allowance(16, now), 1, "one message tries");
        }
    }

    #[test]
    fn messages_that_were_on_their_way_together_are_one_setback() {
        let (mut pace, later) = (pace(None), START + Duration::SECOND);
        pace.set_back(&setback(Duration::minutes(1), None), START, later);
        pace.set_back(&setback(Duration::minutes(1), None), START, later);
        assert_eq!((pace.setbacks, pace.held_until), (1, Some(later + Duration::minutes(1))));
        // Nor does the success of one of them end it.
        pace.served(START, later);
        assert_eq!(pace.setbacks, 1);
        pace.served(later + Duration::minutes(1), later + Duration::minutes(1));
        assert_eq!((pace.setbacks, pace.held_until, pace.reason.as_deref()), (0, None, None));
    }

    #[test]
    fn while_one_message_tries_the_next_waits_for_its_answer() {
        let mut pace = pace(None);
        pace.set_back(&setback(Duration::SECOND, None), START, START);
        let now = START + Duration::SECOND;
        let count = pace.allowance(16, now);
        pace.take(count, now);
        assert_eq!((count, pace.allowance(16, now)), (1, 0));
        // Its answer says nothing of the sender: the next one tries.
        pace.tried(now, now);
        assert_eq!(pace.allowance(16, now), 1);
        // Its own setback counts from now, not from the longest time that its answer might have taken.
        pace.set_back(&setback(Duration::SECOND, None), now, now);
        assert_eq!(pace.held_until, Some(now + Duration::seconds(2)));
    }

    #[test]
    fn the_moment_that_telnyx_names_is_kept() {
        let (mut pace, midnight) = (pace(None), START + Duration::hours(14));
        pace.set_back(&setback(Duration::minutes(1), Some(midnight)), START, START);
        assert_eq!(pace.held_until, Some(midnight));
    }

    #[test]
    fn a_clock_that_lags_behind_gains_nothing_and_one_that_is_wrong_stops_nobody() {
        let mut pace = pace(Some(100));
        pace.refilled_at = START;
        assert_eq!(pace.allowance(5, START - Duration::seconds(10)), 0);
        assert_eq!(pace.refilled_at, START);
        pace.refilled_at = START + Duration::days(400);
        assert_eq!(pace.allowance(5, START), 0);
        assert_eq!(pace.allowance(5, START + Duration::SECOND), 5);
    }
}
