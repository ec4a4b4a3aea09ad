//! A message of the stream: its subject, a newline, its payload.

use common::event::{ChurchEvent, MAX_CHANGED};
use common::inbound::InboundEvent;
use common::revocation::Revocation;
use common::subject;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// What can be read can be written and read again, and what a gateway reads, it can send.
pub(super) fn read(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (subject, payload) = text.split_once('\n').unwrap_or(("church.grace.status", &text));
    if let Some((church, topic)) = subject::parse(subject) {
        let spellings = [subject::church(&church, topic), subject::live(&church, topic)];
        assert!(spellings.iter().any(|spelling| spelling == subject), "a subject of another form: {subject}");
    }
    assert_ne!(realtime_gateway::encodes(subject, payload.as_bytes()), Some(false), "it can't be encoded");
    if let Some(mut event) = stays::<ChurchEvent>(payload) {
        let older = event.clone();
        event.absorb(older);
        assert!(event.changed.len() <= MAX_CHANGED, "it names too many recipients");
        event.reduce();
        assert!(event.changed.is_empty() && event.changed_more);
    }
    stays::<InboundEvent>(payload);
    stays::<Revocation>(payload);
}

fn stays<T: DeserializeOwned + Serialize>(payload: &str) -> Option<T> {
    let event: T = serde_json::from_str(payload).ok()?;
    let written = serde_json::to_string(&event).expect("what was read can be written");
    let again: T = serde_json::from_str(&written).expect("what was written can be read");
    assert_eq!(serde_json::to_string(&again).ok(), Some(written), "it changes on its way");
    Some(event)
}
