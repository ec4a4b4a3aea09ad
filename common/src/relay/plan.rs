//! Decides which rows are announced now, left out, or put off. A pure function.

use std::collections::BTreeMap;
use std::time::Duration;

use tracing::error;
use uuid::Uuid;

use crate::event::ChurchEvent;
use crate::store::{OutboxRow, Superseded};

/// What to do with the waiting rows.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// To be announced now, in order.
    pub(super) publish: Vec<OutboxRow>,
    /// Left out for good.
    pub(super) superseded: Vec<Superseded>,
    /// The shortest wait until progress that was put off may be announced.
    pub(super) put_off: Option<Duration>,
}

/// Plans rows that are in the order of their positions.
///
/// Progress is left out if a newer row of its message waits, and put off for as long as `wait` says about its message.
/// A row that the stream may have stored already is never left out or put off.
pub(super) fn plan(
    rows: Vec<OutboxRow>,
    may_be_stored: impl Fn(&OutboxRow) -> bool,
    wait: impl Fn(&Uuid) -> Option<Duration>,
) -> Plan {
    let newest: BTreeMap<Uuid, i64> = rows.iter().map(|row| (row.message_id, row.position)).collect();
    let mut plan = Plan::default();
    // Left-out progress by message, oldest first, until its heir comes.
    let mut left_out: BTreeMap<Uuid, Vec<OutboxRow>> = BTreeMap::new();
    for mut row in rows {
        let must_go = !row.progress || may_be_stored(&row);
        let is_newest = newest.get(&row.message_id) == Some(&row.position);
        if !must_go && !is_newest {
            left_out.entry(row.message_id).or_default().push(row);
            continue;
        }
        if let Some(older) = left_out.remove(&row.message_id) {
            plan.superseded.push(inherit(&mut row, older));
        }
        match wait(&row.message_id).filter(|wait| !must_go && !wait.is_zero()) {
            Some(wait) => plan.put_off = Some(plan.put_off.map_or(wait, |other| other.min(wait))),
            None => plan.publish.push(row),
        }
    }
    plan
}

/// Gives a row the recipients of the older rows that are left out.
fn inherit(heir: &mut OutboxRow, older: Vec<OutboxRow>) -> Superseded {
    let positions = older.iter().map(|row| row.position).collect();
    if let Err(error) = absorb(heir, older) {
        error!(%error, position = heir.position, "can't read an event in the outbox; its successor names fewer recipients");
    }
    Superseded { positions, heir: heir.position, payload: heir.payload.clone() }
}

fn absorb(heir: &mut OutboxRow, older: Vec<OutboxRow>) -> serde_json::Result<()> {
    let mut event: ChurchEvent = serde_json::from_str(&heir.payload)?;
    for row in older.iter().rev() {
        event.absorb(serde_json::from_str(&row.payload)?);
    }
    heir.payload = serde_json::to_string(&event)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use time::OffsetDateTime;

    use super::*;
    use crate::event::{ChangedRecipient, EventType, FORMAT};
    use crate::status::MessageStatus;

    fn row(position: i64, message: u128, progress: bool) -> OutboxRow {
        let event = ChurchEvent {
            v: FORMAT,
            id: Uuid::from_u128(position as u128),
            kind: if progress { EventType::StatusUpdate } else { EventType::Delivered },
            church_id: "c".parse().unwrap(),
            message_id: Uuid::from_u128(message),
            conversation_id: None,
            status: MessageStatus::Pending,
            version: position,
            recipient_count: 3,
            delivered_count: 0,
            failed_count: 0,
            cancelled_count: 0,
            unconfirmed_count: 0,
            read_count: 0,
            failure_reason: None,
            changed: vec![ChangedRecipient {
                recipient_id: Uuid::from_u128(1_000 + position as u128),
                status: MessageStatus::Delivered,
            }],
            changed_more: false,
            user_id: None,
            timestamp: OffsetDateTime::UNIX_EPOCH,
            occurred_at: None,
        };
        OutboxRow {
            position,
            event_id: event.id,
            message_id: event.message_id,
            progress,
            subject: event.subject(),
            payload: serde_json::to_string(&event).unwrap(),
            trace_parent: None,
        }
    }

    fn positions(rows: &[OutboxRow]) -> Vec<i64> {
        rows.iter().map(|row| row.position).collect()
    }

    fn changed(row: &OutboxRow) -> Vec<u128> {
        let event: ChurchEvent = serde_json::from_str(&row.payload).unwrap();
        event.changed.iter().map(|c| c.recipient_id.as_u128() - 1_000).collect()
    }

    #[test]
    fn progress_is_left_out_if_a_newer_row_waits_which_takes_over_its_recipients() {
        let rows =
            vec![row(1, 7, true), row(2, 8, true), row(3, 7, true), row(4, 7, false), row(5, 8, false)];
        let plan = plan(rows, |_| false, |_| None);
        assert_eq!(positions(&plan.publish), [4, 5]);
        assert_eq!(plan.superseded[0].positions, [1, 3]);
        assert_eq!(plan.superseded[1].positions, [2]);
        assert_eq!(changed(&plan.publish[0]), [4, 3, 1]);
        assert_eq!(plan.superseded[0].payload, plan.publish[0].payload);
    }

    #[test]
    fn a_finishing_change_is_never_left_out_nor_put_off() {
        let plan =
            plan(vec![row(1, 7, false), row(2, 7, false)], |_| false, |_| Some(Duration::from_secs(1)));
        assert_eq!(positions(&plan.publish), [1, 2]);
        assert!(plan.superseded.is_empty());
    }

    #[test]
    fn progress_that_is_put_off_does_not_hold_up_other_messages() {
        let waits = |message: &Uuid| (message.as_u128() == 7).then_some(Duration::from_millis(80));
        let plan = plan(vec![row(1, 7, true), row(2, 8, true)], |_| false, waits);
        assert_eq!(positions(&plan.publish), [2]);
        assert_eq!(plan.put_off, Some(Duration::from_millis(80)));
    }

    #[test]
    fn a_row_that_may_be_stored_is_announced_again_unchanged() {
        let plan = plan(vec![row(1, 7, true), row(2, 7, false)], |row| row.position == 1, |_| None);
        assert_eq!(positions(&plan.publish), [1, 2]);
        assert!(plan.superseded.is_empty());
    }
}
