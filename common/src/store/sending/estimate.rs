//! When the last recipient of a message is expected to have its turn.

use time::OffsetDateTime;

use super::claims::{Claims, Queue};
use super::pace::{EVERYBODY, Pace};
use crate::store::{NewMessage, StoreError, messages};

/// In how many seconds from now; unknown before any process said how fast it sends.
pub(in crate::store) async fn seconds<L: Claims>(
    ledger: &mut L,
    message: &NewMessage,
) -> Result<Option<i64>, StoreError> {
    let (sender, now) = (messages::sender(message), message.created_at);
    let paces = ledger.read_paces(&[EVERYBODY, sender]).await?;
    let pace = |name: &str| paces.iter().find(|pace| pace.sender == name);
    let Some(rate) = pace(EVERYBODY).and_then(|pace| pace.rate) else { return Ok(None) };
    let queue = ledger.queue(&message.church_id, sender, now).await?;
    let own = i64::try_from(message.recipients.len()).unwrap_or(i64::MAX);
    let later = message.send_at.map_or(0.0, |at| (at - now).as_seconds_f64());
    let held = pace(sender).map_or(0.0, |pace| held(pace, now));
    Ok(Some((later.max(held).max(0.0) + in_turn(queue, own, rate, pace(sender))).ceil() as i64))
}

fn held(pace: &Pace, now: OffsetDateTime) -> f64 {
    pace.held_until.map_or(0.0, |until| (until - now).as_seconds_f64())
}

/// How long the turns take: those of all churches at the rate of all, the sender's at its own.
fn in_turn(queue: Queue, own: i64, rate: i64, sender: Option<&Pace>) -> f64 {
    let of_church = queue.of_church.saturating_add(own);
    let other_churches = queue.churches - i64::from(queue.of_church > 0);
    // In fair turns, every other church gets as many before our last one as we do.
    let others = (queue.all - queue.of_church).min(of_church.saturating_mul(other_churches));
    let by_all = of_church.saturating_add(others) as f64 / rate.max(1) as f64;
    let own_rate = sender.and_then(|pace| pace.rate);
    let by_sender =
        own_rate.map_or(0.0, |rate| queue.of_sender.saturating_add(own) as f64 / rate.max(1) as f64);
    by_all.max(by_sender)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_church_waits_for_its_own_turns_and_not_for_a_large_ones_end() {
        let queue = Queue { all: 10_000, of_church: 0, of_sender: 0, churches: 1 };
        assert_eq!(in_turn(queue, 10, 50, None), 0.4);
        assert_eq!(in_turn(Queue { all: 0, churches: 0, ..queue }, 100, 50, None), 2.0);
        assert_eq!(in_turn(Queue { all: 50, of_church: 50, ..queue }, 100, 50, None), 3.0);
    }
}
