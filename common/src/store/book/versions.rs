//! When a message gets a new version.

use time::OffsetDateTime;

use super::saving::Changed;
use crate::event::{ChangedRecipient, ChurchEvent, EventType};
use crate::store::records::Failure;
use crate::store::rows::MessageRow;

/// Gives a message a new version if its status or counters change. Returns the event, and whether it is progress only.
pub(super) fn advance(
    message: &mut MessageRow,
    changed: &[Changed<'_>],
    (now, occurred_at): (OffsetDateTime, Option<OffsetDateTime>),
) -> Option<(ChurchEvent, bool)> {
    let (status, tally) = (message.status, message.tally);
    let mut named = Vec::new();
    let mut failures: Vec<(OffsetDateTime, &Failure)> = Vec::new();
    for Changed { before: old, now: row } in changed {
        message.tally.moved(old.state, row.state);
        message.tally.cancelled += i32::from(row.is_cancelled()) - i32::from(old.is_cancelled());
        let old = old.state;
        if old.status() != row.state.status() {
            named.push(ChangedRecipient { recipient_id: row.id, status: row.state.status() });
        }
        failures.extend(row.failed_at.zip(row.failure.as_ref()));
    }
    if message.tally == tally {
        return None;
    }
    message.status = message.tally.status();
    message.version += 1;
    message.updated_at = now.max(message.updated_at);
    if let Some((_, failure)) = failures.into_iter().max_by_key(|(at, _)| *at) {
        message.failure_reason = Some(failure.reason.clone());
    }
    if message.tally.failed == 0 {
        message.failure_reason = None;
    }
    let kind = EventType::of_change(status, &message.tally);
    // Who asks for changes since a moment finds the message by its event.
    let mut event = message.event(kind, message.updated_at);
    event.set_changed(named);
    event.occurred_at = occurred_at;
    Some((event, status == message.status))
}
