//! The steps of a message's life, in the order of their time.

use std::collections::{BTreeSet, HashMap};

use common::event::timestamp;
use common::store::{EventTrace, KeptBody, KeptWebhook, Message, Pause, RecipientLife};
use serde::Serialize;
use time::OffsetDateTime;
use uuid::Uuid;

use super::events::StoredEvent;
use super::gateways::Emitted;
use super::output::{counted, moment};
use super::pauses::sentence;
use super::reported::reported;

/// One step.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Step {
    #[serde(with = "timestamp")]
    at: OffsetDateTime,
    step: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    recipient_id: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sequence: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gateway: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sockets: Option<u32>,
    /// The step in words.
    says: String,
}

impl Step {
    fn new(at: OffsetDateTime, step: &'static str, says: impl Into<String>) -> Self {
        Self {
            at,
            step,
            recipient_id: None,
            event_id: None,
            sequence: None,
            gateway: None,
            sockets: None,
            says: says.into(),
        }
    }

    fn of(mut self, recipient: Option<Uuid>) -> Self {
        self.recipient_id = recipient;
        self
    }

    fn event(mut self, id: impl ToString, sequence: Option<u64>) -> Self {
        (self.event_id, self.sequence) = (Some(id.to_string()), sequence);
        self
    }

    /// Its place among the others. The times of the stream are finer than those of the rest, so what happened in the same
    /// millisecond stands in the order in which it must have happened.
    fn place(&self) -> (i128, usize, Option<u64>) {
        let order = ORDER.iter().position(|step| *step == self.step).unwrap_or(ORDER.len());
        (self.at.unix_timestamp_nanos() / 1_000_000, order, self.sequence)
    }

    /// The step as a line.
    pub(super) fn row(&self) -> [String; 3] {
        let whose = self.recipient_id.map(|id| format!(" (recipient {id})")).unwrap_or_default();
        [moment(self.at), self.step.into(), format!("{}{whose}", self.says)]
    }
}

/// The steps in the order in which they follow each other.
const ORDER: [&str; 13] = [
    "accepted",
    "due",
    "attempted",
    "delivered",
    "failed",
    "webhook",
    "waits",
    "left out",
    "refused",
    "lost",
    "announced",
    "emitted",
    "next",
];

/// The steps that are known so far, and what could not be found out.
#[derive(Debug, Default)]
pub(super) struct Timeline {
    steps: Vec<Step>,
    notes: Vec<String>,
}

impl Timeline {
    /// The steps of a message and its recipients. A pause holds back those that wait to be sent.
    pub(super) fn of(message: &Message, recipients: &[RecipientLife], pause: Option<&Pause>) -> Self {
        let mut timeline = Self::default();
        timeline.steps.push(Step::new(message.created_at, "accepted", "message-api recorded the message"));
        let held = pause.map(held_back).unwrap_or_default();
        recipients.iter().for_each(|recipient| timeline.add_recipient(recipient, &held));
        timeline
    }

    /// Notes what could not be found out.
    pub(super) fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    fn add_recipient(&mut self, recipient: &RecipientLife, held: &str) {
        let whose = Some(recipient.id);
        let mut add = |at: Option<OffsetDateTime>, step, says: String| {
            self.steps.extend(at.map(|at| Step::new(at, step, says).of(whose)));
        };
        let earlier = match recipient.tried {
            0 => String::new(),
            tried => format!("; not accepted before: {}", counted(tried.into(), "attempt")),
        };
        match recipient.attempted_at {
            Some(at) => add(Some(at), "attempted", format!("{}{earlier}", answer(recipient))),
            None if !recipient.state.is_finished() => {
                add(
                    Some(recipient.due_at),
                    "due",
                    format!("waits to be sent as {}{held}{earlier}", recipient.sender),
                );
            }
            None => {}
        }
        add(recipient.delivered_at, "delivered", "at the time that Telnyx reported".into());
        let why = recipient.failure.as_ref().map(|failure| format!("{}: {}", failure.code, failure.reason));
        add(recipient.failed_at, "failed", why.unwrap_or_default());
        if !recipient.state.is_finished() {
            let before = counted(recipient.asked.into(), "time");
            let asks = format!("will ask Telnyx what became of it; has asked {before}");
            add(recipient.ask_at, "next", asks);
        }
    }

    /// Adds webhooks with what they said of a recipient, and their outcomes.
    pub(super) fn add_webhooks(
        &mut self,
        webhooks: &[(KeptWebhook, KeptBody)],
        recipients: &[RecipientLife],
    ) {
        for (webhook, KeptBody { body, .. }) in webhooks {
            let concerns = |recipient: &&RecipientLife| match webhook.recipient_id {
                Some(id) => recipient.id == id,
                None => recipient.provider_id == webhook.provider_id,
            };
            let recipient = recipients.iter().find(concerns);
            let status = recipient.and_then(|recipient| reported(body, &recipient.phone));
            let status = status.map(|status| format!(" {status}")).unwrap_or_default();
            let KeptWebhook { event_type, outcome, reason, deliveries, .. } = webhook;
            let why = reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
            let again = if *deliveries > 1 { format!(", came {deliveries} times") } else { String::new() };
            let says = format!("{event_type}{status}: {outcome}{why}{again}");
            let step = Step::new(webhook.received_at, "webhook", says).of(webhook.recipient_id);
            self.steps.push(step.event(&webhook.event_id, None));
        }
    }

    /// Adds events: as the outbox has them, and as the stream has them. Returns their sequences in the stream.
    pub(super) fn add_events(
        &mut self,
        recorded: &[EventTrace],
        stored: anyhow::Result<Vec<StoredEvent>>,
    ) -> Vec<u64> {
        let known = stored.is_ok();
        let stored = stored.unwrap_or_else(|error| {
            self.note(format!("the stream was not searched for the message's events: {error:#}"));
            Vec::new()
        });
        let mut sequences = BTreeSet::new();
        for StoredEvent { sequence, at, event } in &stored {
            let says = format!(
                "{} of version {} is in the stream at {sequence}",
                event.kind.as_str(),
                event.version
            );
            self.steps.push(Step::new(*at, "announced", says).event(event.id, Some(*sequence)));
            sequences.insert(*sequence);
        }
        let found: HashMap<Uuid, u64> = stored.iter().map(|one| (one.event.id, one.sequence)).collect();
        for trace in recorded.iter().filter(|trace| !found.contains_key(&trace.event_id)) {
            self.add_unfound(trace, known);
            sequences.extend(
                trace.stream_seq.filter(|_| !known).and_then(|sequence| u64::try_from(sequence).ok()),
            );
        }
        sequences.into_iter().collect()
    }

    /// An event of the outbox that was not found in the stream, or not looked for.
    fn add_unfound(&mut self, trace: &EventTrace, searched: bool) {
        let version = trace.version;
        let (step, says) = match (trace.stream_seq, trace.superseded_at, &trace.refused) {
            (.., Some(why)) => {
                ("refused", format!("the stream refuses the event of version {version}: {why}"))
            }
            (Some(sequence), ..) if searched => (
                "lost",
                format!(
                    "the event of version {version} was announced at {sequence}, and is not in the stream now"
                ),
            ),
            (Some(sequence), ..) => {
                ("announced", format!("version {version} is in the stream at {sequence}"))
            }
            (None, Some(_), _) => ("left out", format!("a newer event replaced that of version {version}")),
            (None, None, _) => ("waits", format!("the event of version {version} waits to be announced")),
        };
        let at = trace.announced_at.or(trace.superseded_at).unwrap_or(trace.created_at);
        let sequence = trace.stream_seq.and_then(|sequence| u64::try_from(sequence).ok());
        self.steps.push(Step::new(at, step, says).event(trace.event_id, sequence));
    }

    /// Adds what a gateway emitted of these sequences.
    pub(super) fn add_emissions(&mut self, gateway: &str, sequences: &[u64], emitted: &Emitted) {
        for emission in emitted.emissions.iter().filter(|one| sequences.contains(&one.sequence)) {
            let sockets = counted(emission.sockets.into(), "socket");
            let says = format!("{gateway} sent event {} to {sockets}", emission.sequence);
            let mut step = Step::new(emission.at, "emitted", says);
            (step.sequence, step.sockets) = (Some(emission.sequence), Some(emission.sockets));
            step.gateway = Some(gateway.to_owned());
            self.steps.push(step);
        }
        let forgotten = sequences.iter().filter(|sequence| **sequence < emitted.remembered_from).count();
        if forgotten > 0 {
            self.note(format!(
                "not remembered by the gateway {gateway}: {forgotten} of the message's events"
            ));
        }
    }

    /// The steps in the order of their time, and the notes.
    pub(super) fn into_parts(mut self) -> (Vec<Step>, Vec<String>) {
        self.steps.sort_by_key(Step::place);
        (self.steps, self.notes)
    }
}

/// Why a text does not leave.
fn held_back(pause: &Pause) -> String {
    format!("; {}, `{}` ends it", sentence(pause), pause.resume_command())
}

/// How Telnyx answered an attempt, as far as is known.
fn answer(recipient: &RecipientLife) -> String {
    let sender = &recipient.sender;
    match &recipient.provider_id {
        Some(id) => format!("as {sender}; Telnyx accepted it as {id}"),
        None if recipient.state.is_finished() => format!("as {sender}; Telnyx did not accept it"),
        None => format!("as {sender}; it is unknown whether Telnyx accepted it"),
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn steps_of_the_same_millisecond_stand_in_the_order_in_which_they_follow_each_other() {
        let at = datetime!(2026-11-22 20:15:31.123 UTC);
        let (finer, later) =
            (datetime!(2026-11-22 20:15:31.123_456 UTC), datetime!(2026-11-22 20:15:31.124 UTC));
        let event = |at, step, sequence| Step::new(at, step, "").event("", Some(sequence));
        let steps = vec![
            event(at, "emitted", 8),
            event(at, "emitted", 7),
            event(finer, "announced", 8),
            event(finer, "announced", 7),
            Step::new(at, "webhook", ""),
            Step::new(later, "attempted", ""),
            Step::new(at, "accepted", ""),
        ];
        let (steps, _) = Timeline { steps, notes: Vec::new() }.into_parts();
        let order: Vec<_> = steps.iter().map(|step| (step.step, step.sequence)).collect();
        assert_eq!(
            order,
            [
                ("accepted", None),
                ("webhook", None),
                ("announced", Some(7)),
                ("announced", Some(8)),
                ("emitted", Some(7)),
                ("emitted", Some(8)),
                ("attempted", None),
            ]
        );
    }
}
