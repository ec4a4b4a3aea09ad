//! The traffic of one session and its limits: no client may hold much memory or keep the gateway busy.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

use crate::connections::credit::{Credit, CreditLimit};
use crate::connections::frames::Written;
use crate::settings::LimitOptions;

/// Messages of the largest size that a client may send at once; then one a second.
const MESSAGES_AT_ONCE: NonZeroU32 = NonZeroU32::MIN.saturating_add(3);
/// Tokens of one session that are checked at once; then one a second.
const TOKENS_AT_ONCE: NonZeroU32 = NonZeroU32::MIN.saturating_add(7);
/// How often a session is told that a namespace does not exist.
const MOST_REFUSALS: u32 = 8;
/// Separates the packets in an answer to a poll.
const SEPARATOR: u8 = 0x1e;

/// The limits of a session's traffic.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TrafficLimits {
    /// What may be unwritten.
    pub(crate) credit: CreditLimit,
    /// Bytes of the largest message that a client may send.
    pub(crate) message: NonZeroU32,
}

impl From<&LimitOptions> for TrafficLimits {
    fn from(options: &LimitOptions) -> Self {
        let (packets, bytes) = (options.socket_buffer as usize, options.socket_bytes as usize);
        let message = NonZeroU32::new(options.max_message).unwrap_or(NonZeroU32::MIN);
        Self { credit: CreditLimit::of_queue(packets, bytes), message }
    }
}

/// The traffic of one session.
pub(crate) struct Traffic {
    /// What is unwritten.
    pub(crate) credit: Arc<Credit>,
    inbound: DefaultDirectRateLimiter,
    tokens: DefaultDirectRateLimiter,
    refusals: AtomicU32,
}

/// A session exceeds a limit that no proper client reaches, and has to be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OverLimit;

impl Traffic {
    /// The traffic of a new session.
    pub(crate) fn new(limits: TrafficLimits) -> Self {
        let at_once = limits.message.saturating_mul(MESSAGES_AT_ONCE);
        Self {
            credit: Arc::new(Credit::new(limits.credit)),
            inbound: RateLimiter::direct(Quota::per_second(limits.message).allow_burst(at_once)),
            tokens: RateLimiter::direct(Quota::per_second(NonZeroU32::MIN).allow_burst(TOKENS_AT_ONCE)),
            refusals: AtomicU32::new(0),
        }
    }

    /// Counts bytes that the client sends.
    ///
    /// # Errors
    /// There are too many.
    pub(crate) fn receive(&self, bytes: usize) -> Result<(), OverLimit> {
        let Ok(bytes) = u32::try_from(bytes) else { return Err(OverLimit) };
        let Some(bytes) = NonZeroU32::new(bytes) else { return Ok(()) };
        let allowed = self.inbound.check_n(bytes);
        allowed.is_ok_and(|now| now.is_ok()).then_some(()).ok_or(OverLimit)
    }

    /// Whether one more token may be checked.
    ///
    /// # Errors
    /// There were too many.
    pub(crate) fn allow_token(&self) -> Result<(), OverLimit> {
        self.tokens.check().map_err(|_| OverLimit)
    }

    /// Notes a written packet.
    ///
    /// # Errors
    /// The session was refused too often.
    pub(crate) fn wrote(&self, packet: Written) -> Result<(), OverLimit> {
        match packet {
            Written::Event(bytes) => {
                self.credit.give_back(1, bytes);
                Ok(())
            }
            Written::Refusal => self.refused(1),
        }
    }

    fn refused(&self, times: u32) -> Result<(), OverLimit> {
        let before = self.refusals.fetch_add(times, Ordering::Relaxed);
        if before.saturating_add(times) > MOST_REFUSALS { Err(OverLimit) } else { Ok(()) }
    }

    /// Notes an answer to a poll. The returned bytes hold the credit of their events until they are written and
    /// dropped.
    ///
    /// # Errors
    /// The session was refused too often.
    pub(crate) fn poll_answer(&self, answer: Bytes) -> Result<Bytes, OverLimit> {
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

/// An answer to a poll that is not written yet.
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
    fn a_client_may_send_a_few_large_messages_at_once_and_no_more() {
        let traffic = traffic();
        assert_eq!(traffic.receive(0), Ok(()));
        for _ in 0..MESSAGES_AT_ONCE.get() {
            assert_eq!(traffic.receive(1_000), Ok(()));
        }
        assert_eq!(traffic.receive(1_000), Err(OverLimit));
        assert_eq!(traffic.receive(usize::MAX), Err(OverLimit));
    }

    #[test]
    fn a_few_tokens_and_a_few_namespaces_are_answered_and_no_more() {
        let traffic = traffic();
        let tokens = (0..20).filter(|_| traffic.allow_token().is_ok()).count();
        assert!(tokens < 10, "{tokens}");
        let refusals = (0..20).filter(|_| traffic.wrote(Written::Refusal).is_ok()).count();
        assert_eq!(refusals, MOST_REFUSALS as usize);
    }

    #[test]
    fn an_answer_to_a_poll_holds_the_credit_of_its_events_until_it_is_written() {
        let traffic = traffic();
        let take = |bytes| traffic.credit.take(bytes, Share::Whole);
        assert_eq!((take(6), take(5), take(1)), (Ok(()), Ok(()), Err(Full)));
        let answer = traffic.poll_answer(Bytes::from("42[\"a\"\x1e2\x1e42[\"b\x1e40{}")).unwrap();
        assert_eq!(take(1), Err(Full));
        drop(answer);
        assert_eq!((take(90), take(10)), (Ok(()), Ok(())));
        let refusals = ["44/x,{}"; MOST_REFUSALS as usize + 1].join("\x1e");
        assert_eq!(traffic.poll_answer(Bytes::from(refusals)), Err(OverLimit));
    }
}
