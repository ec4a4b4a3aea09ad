//! Estimates when the last recipient of a message will be sent.

use time::OffsetDateTime;

use super::pace::{ALL_SENDERS, Pace};
use super::paces::read_paces;
use crate::store::columns::{Columns, Read};
use crate::store::failures::StoreError;
use crate::store::records::NewMessage;
use crate::store::session::{Session, only};
use crate::store::sql::{Sql, sql};

/// Recipients that are due now, counted up to a hundred thousand.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Queue {
    /// Of all senders.
    all: i64,
    /// Of the church.
    of_church: i64,
    /// Of the sender.
    of_sender: i64,
    /// Churches with waiting recipients.
    churches: i64,
}

impl Read for Queue {
    fn read(row: &impl Columns) -> Result<Self, StoreError> {
        Ok(Self {
            all: row.number("of_all")?,
            of_church: row.number("of_church")?,
            of_sender: row.number("of_sender")?,
            churches: row.number("churches")?,
        })
    }
}

pub(in crate::store) const QUEUE: Sql = sql!(
    "select count(*) as of_all, count(*) filter (where church_id = $1) as of_church,
            count(*) filter (where sender = $2) as of_sender, count(distinct church_id) as churches
     from (select church_id, sender from recipients where " [unsent] " and sender >= ''
           and due_at <= $3 limit 100000) r"
);

/// Returns the seconds from now; `None` before any process has published its rate.
pub(in crate::store) async fn seconds<S: Session>(
    tx: &mut S,
    message: &NewMessage,
) -> Result<Option<i64>, StoreError> {
    let (sender, now) = (message.sender(), message.created_at);
    let paces = read_paces(tx, &[ALL_SENDERS, sender]).await?;
    let pace = |name: &str| paces.iter().find(|pace| pace.sender == name);
    let Some(rate) = pace(ALL_SENDERS).and_then(|pace| pace.rate) else { return Ok(None) };
    let queue = only(tx.fetch(QUEUE.bind(message.church_id.as_str()).bind(sender).bind(now)).await?)?;
    let own = i64::try_from(message.recipients.len()).unwrap_or(i64::MAX);
    let later = message.send_at.map_or(0.0, |at| (at - now).as_seconds_f64());
    let held = pace(sender).map_or(0.0, |pace| held(pace, now));
    Ok(Some((later.max(held).max(0.0) + in_turn(queue, own, rate, pace(sender))).ceil() as i64))
}

fn held(pace: &Pace, now: OffsetDateTime) -> f64 {
    pace.held_until.map_or(0.0, |until| (until - now).as_seconds_f64())
}

/// How long the turns take: of all churches at the rate of all, of the sender at its own rate.
fn in_turn(queue: Queue, own: i64, rate: i64, sender: Option<&Pace>) -> f64 {
    let of_church = queue.of_church.saturating_add(own);
    let other_churches = queue.churches - i64::from(queue.of_church > 0);
    // In fair turns, every other church gets as many turns before our last one as we do.
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
    fn a_small_church_waits_only_for_its_own_turns() {
        let queue = Queue { all: 10_000, of_church: 0, of_sender: 0, churches: 1 };
        assert_eq!(in_turn(queue, 10, 50, None), 0.4);
        assert_eq!(in_turn(Queue { all: 0, churches: 0, ..queue }, 100, 50, None), 2.0);
        assert_eq!(in_turn(Queue { all: 50, of_church: 50, ..queue }, 100, 50, None), 3.0);
    }
}
