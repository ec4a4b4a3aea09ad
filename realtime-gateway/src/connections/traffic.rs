//! What one session says and is sent, and where that ends: a stranger, or a member that has gone wrong, must not be
//! able to hold much memory or to keep the gateway busy.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

use crate::connections::credit::{Credit, CreditLimit};
use crate::connections::frames::Written;

/// So many of its largest messages a client may send at once; then one a second.
const MESSAGES_AT_ONCE: NonZeroU32 = NonZeroU32::MIN.saturating_add(3);
/// So many tokens of one session are looked at at once; then one a second.
const TOKENS_AT_ONCE: NonZeroU32 = NonZeroU32::MIN.saturating_add(7);
/// So often a session is told that a namespace does not exist.
const MOST_REFUSALS: u32 = 8;
/// What stands between the packets of an answer to a poll.
const SEPARATOR: u8 = 0x1e;

/// The bounds of a session's traffic.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TrafficLimits {
    /// What may be out.
    pub(crate) credit: CreditLimit,
    /// Bytes of the largest message that a client may send.
    pub(crate) message: NonZeroU32,
}

/// The traffic of one session.
pub(crate) struct Traffic {
    /// What is out.
    pub(crate) credit: Arc<Credit>,
    said: DefaultDirectRateLimiter,
    tokens: DefaultDirectRateLimiter,
    refusals: AtomicU32,
}

/// A session goes beyond what any client has reason to do, and is to be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooMuch;

impl Traffic {
    /// The traffic of a new session.
    pub(crate) fn new(limits: TrafficLimits) -> Self {
        let at_once = limits.message.saturating_mul(MESSAGES_AT_ONCE);
        Self {
            credit: Arc::new(Credit::new(limits.credit)),
            said: RateLimiter::direct(Quota::per_second(limits.message).allow_burst(at_once)),
            tokens: RateLimiter::direct(Quota::per_second(NonZeroU32::MIN).allow_burst(TOKENS_AT_ONCE)),
            refusals: AtomicU32::new(0),
        }
    }

    /// Counts bytes that the client sends.
    ///
    /// # Errors
    /// They are too many.
    pub(crate) fn hear(&self, bytes: usize) -> Result<(), TooMuch> {
        let Ok(bytes) = u32::try_from(bytes) else { return Err(TooMuch) };
        let Some(bytes) = NonZeroU32::new(bytes) else { return Ok(()) };
        let allowed = self.said.check_n(bytes);
        allowed.is_ok_and(|now| now.is_ok()).then_some(()).ok_or(TooMuch)
    }

    /// Whether one more token may be looked at.
    ///
    /// # Errors
    /// There were too many.
    pub(crate) fn check_token(&self) -> Result<(), TooMuch> {
        self.tokens.check().map_err(|_| TooMuch)
    }

    /// Notes a packet that is written.
    ///
    /// # Errors
    /// The session was refused too often.
    pub(crate) fn wrote(&self, packet: Written) -> Result<(), TooMuch> {
        match packet {
            Written::Event(bytes) => {
                self.credit.give_back(1, bytes);
                Ok(())
            }
            Written::Refusal => self.refused(1),
        }
    }

    fn refused(&self, times: u32) -> Result<(), TooMuch> {
        let before = self.refusals.fetch_add(times, Ordering::Relaxed);
        if before.saturating_add(times) > MOST_REFUSALS { Err(TooMuch) } else { Ok(()) }
    }

    /// Notes an answer to a poll. What comes back holds its events' credit until its bytes are written.
    ///
    /// # Errors
    /// The session was refused too often.
    pub(crate) fn answer(&self, answer: Bytes) -> Result<Bytes, TooMuch> {
        let (mut packets, mut bytes, mut refusals) = (0, 0, 0);
        for packet in answer.split(|byte| *byte == SEPARATOR) {
            match Written::of(packet, packet.len()) {
                Some(Written::Event(size)) => (packets, bytes) = (packets + 1, bytes + size),
                Some(Written::Refusal) => refusals += 1,
                None => {}
            }
        }
        let answer = Answer { answer, credit: self.credit.clone(), packets, bytes };
        self.refused(refusals)?;
        Ok(Bytes::from_owner(answer))
    }
}

/// An answer to a poll on its way out.
struct Answer {
    answer: Bytes,
    credit: Arc<Credit>,
    packets: usize,
    bytes: usize,
}

impl AsRef<[u8]> for Answer {
    fn as_ref(&self) -> &[u8] {
        &self.answer
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.credit.give_back(self.packets, self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connections::credit::{Full, Share};

    fn traffic() -> Traffic {
        let message = NonZeroU32::new(1_000).unwrap();
        Traffic::new(TrafficLimits { credit: CreditLimit { packets: 2, bytes: 100 }, message })
    }

    #[test]
    fn a_client_may_say_a_few_large_messages_at_once_and_not_more() {
        let traffic = traffic();
        assert_eq!(traffic.hear(0), Ok(()));
        for _ in 0..MESSAGES_AT_ONCE.get() {
            assert_eq!(traffic.hear(1_000), Ok(()));
        }
        assert_eq!(traffic.hear(1_000), Err(TooMuch));
        assert_eq!(traffic.hear(usize::MAX), Err(TooMuch));
    }

    #[test]
    fn a_few_tokens_and_a_few_namespaces_are_answered_and_not_more() {
        let traffic = traffic();
        let tokens = (0..20).filter(|_| traffic.check_token().is_ok()).count();
        assert!(tokens < 10, "{tokens}");
        let refusals = (0..20).filter(|_| traffic.wrote(Written::Refusal).is_ok()).count();
        assert_eq!(refusals, MOST_REFUSALS as usize);
    }

    #[test]
    fn an_answer_to_a_poll_holds_the_credit_of_its_events_until_it_is_written() {
        let traffic = traffic();
        let take = |bytes| traffic.credit.take(bytes, Share::Whole);
        assert_eq!((take(6), take(5), take(1)), (Ok(()), Ok(()), Err(Full)));
        let answer = traffic.answer(Bytes::from("42[\"a\"\x1e2\x1e42[\"b\x1e40{}")).unwrap();
        assert_eq!(take(1), Err(Full));
        drop(answer);
        assert_eq!((take(90), take(10)), (Ok(()), Ok(())));
        let refusals = ["44/x,{}"; MOST_REFUSALS as usize + 1].join("\x1e");
        assert_eq!(traffic.answer(Bytes::from(refusals)), Err(TooMuch));
    }
}
