//! How much one session may have unwritten: packets in its queue that its connection has not taken yet.
//!
//! The Socket.IO library bounds a queue by packets only, drops packets that do not fit, and ends a session whose queue
//! has no room for a ping. So the credit ends a few packets before the queue does, and counts bytes as well. It is
//! taken before a packet is emitted and given back when the packet is written, so it also paces sockets that catch up.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Packets that the queue keeps free for the library's own: pings, answers to CONNECT, acknowledgements.
const RESERVED_PACKETS: usize = 8;

/// What one session may have unwritten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CreditLimit {
    /// Packets.
    pub(crate) packets: usize,
    /// Bytes of packets, as Engine.IO sends them. A larger packet goes out alone.
    pub(crate) bytes: usize,
}

impl CreditLimit {
    /// The credit of a queue of so many packets and bytes.
    pub(crate) fn of_queue(packets: usize, bytes: usize) -> Self {
        Self { packets: packets.saturating_sub(RESERVED_PACKETS).max(1), bytes }
    }

    fn part(self, share: Share) -> Self {
        match share {
            Share::Whole => self,
            Share::Half => Self { packets: self.packets / 2, bytes: self.bytes / 2 },
        }
    }
}

/// How much of a credit a packet may fill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Share {
    /// All of it: packets that must not be lost.
    Whole,
    /// Half of it: packets that may be left out, so that the others always find room.
    Half,
}

/// A packet does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full;

/// The credit of one session.
pub(crate) struct Credit {
    limit: CreditLimit,
    unwritten: Mutex<Unwritten>,
    freed: Notify,
}

/// What is emitted and not written yet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Unwritten {
    packets: usize,
    bytes: usize,
}

impl Credit {
    /// A credit that is not used yet.
    pub(crate) fn new(limit: CreditLimit) -> Self {
        Self { limit, unwritten: Mutex::default(), freed: Notify::new() }
    }

    /// Takes credit for one packet of so many bytes. The caller gives it back if it does not emit the packet.
    ///
    /// # Errors
    /// The packet does not fit into this share of the credit now.
    pub(crate) fn take(&self, bytes: usize, share: Share) -> Result<(), Full> {
        let limit = self.limit.part(share);
        let mut unwritten = self.unwritten();
        let Unwritten { packets, bytes: before } = *unwritten;
        let fits = packets < limit.packets && (packets == 0 || before + bytes <= limit.bytes);
        if !fits {
            return Err(Full);
        }
        *unwritten = Unwritten { packets: packets + 1, bytes: before + bytes };
        Ok(())
    }

    /// Gives back the credit of packets that are written or were not emitted.
    pub(crate) fn give_back(&self, packets: usize, bytes: usize) {
        let mut unwritten = self.unwritten();
        unwritten.packets = unwritten.packets.saturating_sub(packets);
        // An error in counting bytes ends when the queue is empty.
        unwritten.bytes = if unwritten.packets == 0 { 0 } else { unwritten.bytes.saturating_sub(bytes) };
        drop(unwritten);
        self.freed.notify_waiters();
    }

    /// Returns once half of the credit is free. Callers limit the wait: a client may stop reading.
    pub(crate) async fn half_free(&self) {
        loop {
            let mut freed = std::pin::pin!(self.freed.notified());
            freed.as_mut().enable();
            if self.is_half_free() {
                return;
            }
            freed.await;
        }
    }

    fn is_half_free(&self) -> bool {
        let (half, unwritten) = (self.limit.part(Share::Half), *self.unwritten());
        unwritten.packets == 0 || unwritten.packets <= half.packets && unwritten.bytes <= half.bytes
    }

    fn unwritten(&self) -> MutexGuard<'_, Unwritten> {
        self.unwritten.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credit(packets: usize, bytes: usize) -> Credit {
        Credit::new(CreditLimit { packets, bytes })
    }

    #[test]
    fn packets_and_bytes_are_bounded_and_given_back_when_written() {
        let credit = credit(3, 100);
        assert_eq!([40, 40, 40].map(|bytes| credit.take(bytes, Share::Whole)), [Ok(()), Ok(()), Err(Full)]);
        assert_eq!([10, 1].map(|bytes| credit.take(bytes, Share::Whole)), [Ok(()), Err(Full)]);
        credit.give_back(1, 40);
        assert_eq!(credit.take(50, Share::Whole), Ok(()));
    }

    #[test]
    fn a_packet_larger_than_the_credit_goes_out_alone() {
        let credit = credit(3, 100);
        assert_eq!([500, 1].map(|bytes| credit.take(bytes, Share::Whole)), [Ok(()), Err(Full)]);
        credit.give_back(1, 500);
        assert_eq!([1, 500].map(|bytes| credit.take(bytes, Share::Whole)), [Ok(()), Err(Full)]);
    }

    #[test]
    fn packets_that_may_be_left_out_fill_half_and_leave_the_rest_to_the_others() {
        let credit = credit(4, 1_000);
        let taken = [Share::Half, Share::Half, Share::Half, Share::Whole, Share::Whole, Share::Whole];
        let expected = [Ok(()), Ok(()), Err(Full), Ok(()), Ok(()), Err(Full)];
        assert_eq!(taken.map(|share| credit.take(1, share)), expected);
    }

    #[test]
    fn an_error_in_counting_ends_when_the_queue_is_empty() {
        let credit = credit(2, 10);
        assert_eq!(credit.take(10, Share::Whole), Ok(()));
        credit.give_back(1, 3);
        assert_eq!(*credit.unwritten(), Unwritten::default());
        credit.give_back(1, 3);
        assert_eq!(*credit.unwritten(), Unwritten::default());
    }

    #[test]
    fn the_queue_keeps_room_for_the_librarys_own_packets() {
        assert_eq!(CreditLimit::of_queue(64, 9), CreditLimit { packets: 56, bytes: 9 });
        assert_eq!(CreditLimit::of_queue(4, 9).packets, 1);
    }

    #[tokio::test]
    async fn a_waiting_task_continues_once_half_is_free() {
        let credit = std::sync::Arc::new(credit(4, 1_000));
        (0..4).for_each(|_| credit.take(1, Share::Whole).unwrap());
        let waits = tokio::spawn({
            let credit = credit.clone();
            async move { credit.half_free().await }
        });
        credit.give_back(1, 1);
        tokio::task::yield_now().await;
        assert!(!waits.is_finished());
        credit.give_back(1, 1);
        waits.await.unwrap();
    }
}
