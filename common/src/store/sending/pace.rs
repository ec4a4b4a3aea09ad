//! How fast each sender, and all together, may send: a token bucket, and a wait that grows with each setback.
//!
//! Pure functions: the transactions of claims and answers lock, read and save the rows.

use time::{Duration, OffsetDateTime};

use crate::event::timestamp::millis;
use crate::store::records::Setback;

/// The row of everybody together.
pub(in crate::store) const ALL_SENDERS: &str = "*";
/// A full bucket holds a tenth of a second's messages.
const BURST: f64 = 0.1;
/// After a setback one message tries whether the sender works again. The others wait this long for its answer.
const TRYING: Duration = Duration::seconds(30);
/// Largest difference between the clocks of two machines.
const CLOCK_DIFFERENCE: Duration = Duration::minutes(1);

/// The pace of one sender.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::store) struct Pace {
    pub(in crate::store) sender: String,
    /// Messages a second at most; `None` means as fast as all senders together.
    pub(in crate::store) rate: Option<i64>,
    pub(in crate::store) tokens: f64,
    pub(in crate::store) refilled_at: OffsetDateTime,
    pub(in crate::store) held_until: Option<OffsetDateTime>,
    pub(in crate::store) reason: Option<String>,
    pub(in crate::store) setbacks: i32,
    pub(in crate::store) noted_at: Option<OffsetDateTime>,
    pub(in crate::store) served_at: Option<OffsetDateTime>,
}

impl Pace {
    /// Refills the bucket. Returns how many messages may be taken now, at most `most`.
    pub(in crate::store) fn allowance(&mut self, most: u32, now: OffsetDateTime) -> u32 {
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
    pub(in crate::store) fn take(&mut self, count: u32, now: OffsetDateTime) {
        if self.rate.is_some() {
            self.tokens -= f64::from(count);
        }
        if count > 0 && self.setbacks > 0 {
            self.held_until = self.held_until.max(Some(now + TRYING));
        }
    }

    /// Returns the earliest time at which the pace lets a message be taken.
    pub(in crate::store) fn ready_at(&self) -> OffsetDateTime {
        let refilled = match self.rate.map(|rate| rate.max(1) as f64) {
            // Half a bucket, so that a claim is worth its transaction.
            Some(rate) => {
                let missing = (rate * BURST / 2.0).max(1.0) - self.tokens;
                // Rounded up: tokens come with whole milliseconds, see `refill`.
                self.refilled_at + Duration::milliseconds((missing.max(0.0) / rate * 1000.0).ceil() as i64)
            }
            None => OffsetDateTime::UNIX_EPOCH,
        };
        self.held_until.map_or(refilled, |until| until.max(refilled))
    }

    /// Notes that Telnyx accepted or refused a message for reasons of its own; `attempted_at` is when it was sent.
    pub(in crate::store) fn served(&mut self, attempted_at: OffsetDateTime, now: OffsetDateTime) {
        self.served_at = self.served_at.max(Some(now));
        // A message sent before the setback says nothing about the time after it.
        if self.noted_at.is_none_or(|noted_at| attempted_at >= noted_at) {
            (self.setbacks, self.held_until, self.reason, self.noted_at) = (0, None, None, None);
        }
    }

    /// Notes an answer that says nothing about the sender. If it belongs to the message that tried, the next one may
    /// try.
    pub(in crate::store) fn tried(&mut self, attempted_at: OffsetDateTime, now: OffsetDateTime) {
        if self.noted_at.is_some_and(|noted_at| attempted_at >= noted_at) {
            self.held_until = self.held_until.min(Some(now));
        }
    }

    /// Notes that Telnyx did not accept a message for a reason that holds for the whole sender.
    pub(in crate::store) fn set_back(
        &mut self,
        setback: &Setback,
        attempted_at: OffsetDateTime,
        now: OffsetDateTime,
    ) {
        // Several messages sent before the setback count as one setback.
        let is_news = self.noted_at.is_none_or(|noted_at| attempted_at >= noted_at);
        let asked = setback.until.unwrap_or(now);
        if is_news {
            let doublings = u32::try_from(self.setbacks).unwrap_or(0).min(16);
            let wait = (setback.first * (1_i32 << doublings)).min(setback.longest);
            self.setbacks = self.setbacks.saturating_add(1);
            self.noted_at = Some(now);
            // Replaces the wait for the answer of the message that tried.
            self.held_until = Some((now + wait).max(asked));
        } else {
            self.held_until = self.held_until.max(Some(asked));
        }
        self.reason = Some(setback.reason.clone());
    }

    /// Whether Telnyx has served no message of the sender since `before`. A recipient that has waited for longer is
    /// held back; it does not merely wait for its turn.
    pub(in crate::store) fn is_stuck_since(&self, before: OffsetDateTime) -> bool {
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
        fn no_sender_exceeds_its_rate(
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
    fn a_bucket_that_lacks_a_rounding_error_is_ready_a_millisecond_later() {
        let (mut pace, mut now) = (pace(Some(20)), START);
        for (pause, most, allowed) in [(0, 2, 2), (96, 1, 1), (4, 1, 0)] {
            now += Duration::milliseconds(pause);
            let count = pace.allowance(most, now);
            pace.take(count, now);
            assert_eq!(count, allowed, "after {pause} ms more");
        }
        assert_eq!(pace.ready_at(), now + Duration::MILLISECOND);
        assert_eq!(pace.allowance(1, pace.ready_at()), 1);
    }

    #[test]
    fn a_sender_without_a_rate_takes_all_that_is_allowed() {
        assert_eq!(pace(None).allowance(16, START), 16);
    }

    #[test]
    fn the_wait_doubles_with_each_setback_up_to_its_limit() {
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
    fn messages_in_flight_together_count_as_one_setback() {
        let (mut pace, later) = (pace(None), START + Duration::SECOND);
        pace.set_back(&setback(Duration::minutes(1), None), START, later);
        pace.set_back(&setback(Duration::minutes(1), None), START, later);
        assert_eq!((pace.setbacks, pace.held_until), (1, Some(later + Duration::minutes(1))));
        // The success of one of them does not end the setback.
        pace.served(START, later);
        assert_eq!(pace.setbacks, 1);
        pace.served(later + Duration::minutes(1), later + Duration::minutes(1));
        assert_eq!((pace.setbacks, pace.held_until, pace.reason.as_deref()), (0, None, None));
    }

    #[test]
    fn after_a_setback_one_message_tries_and_the_others_wait() {
        let mut pace = pace(None);
        pace.set_back(&setback(Duration::SECOND, None), START, START);
        let now = START + Duration::SECOND;
        let count = pace.allowance(16, now);
        pace.take(count, now);
        assert_eq!((count, pace.allowance(16, now)), (1, 0));
        // Its answer says nothing about the sender: the next one tries.
        pace.tried(now, now);
        assert_eq!(pace.allowance(16, now), 1);
        // The wait after its own setback counts from now, not from the end of the wait for its answer.
        pace.set_back(&setback(Duration::SECOND, None), now, now);
        assert_eq!(pace.held_until, Some(now + Duration::seconds(2)));
    }

    #[test]
    fn the_time_that_telnyx_names_is_kept() {
        let (mut pace, midnight) = (pace(None), START + Duration::hours(14));
        pace.set_back(&setback(Duration::minutes(1), Some(midnight)), START, START);
        assert_eq!(pace.held_until, Some(midnight));
    }

    #[test]
    fn a_slow_clock_gains_no_tokens_and_a_wrong_clock_stops_no_sender() {
        let mut pace = pace(Some(100));
        pace.refilled_at = START;
        assert_eq!(pace.allowance(5, START - Duration::seconds(10)), 0);
        assert_eq!(pace.refilled_at, START);
        pace.refilled_at = START + Duration::days(400);
        assert_eq!(pace.allowance(5, START), 0);
        assert_eq!(pace.allowance(5, START + Duration::SECOND), 5);
    }
}
