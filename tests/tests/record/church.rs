//! Builders of rows for these tests.

use bytes::Bytes;
use common::event::timestamp;
use common::status::{Rank, RecipientState};
use common::store::{
    Answer, Attempt, CancelOrder, DeliveryReport, Failure, NewMessage, NewRecipient, PhoneReport,
    RecipientQuery, Recorded, Store, StoreError, Webhook, WebhookContent,
};
use common::subject::ChurchId;
use time::OffsetDateTime;
use uuid::Uuid;

/// A church id.
pub(crate) fn church(id: &str) -> ChurchId {
    id.parse().unwrap()
}

/// The current time in milliseconds, the precision of the store.
pub(crate) fn now() -> OffsetDateTime {
    timestamp::millis(OffsetDateTime::now_utc())
}

/// The phone of the recipient with this number.
pub(crate) fn phone(number: usize) -> String {
    format!("+1555{number:07}")
}

/// A message to this many recipients.
pub(crate) fn message(church_id: &str, recipients: usize) -> NewMessage {
    let recipient = |number| NewRecipient {
        id: Uuid::now_v7(),
        phone: phone(number),
        member_id: None,
        first_name: Some("Ann".into()),
        last_name: None,
    };
    NewMessage {
        id: Uuid::now_v7(),
        church_id: church(church_id),
        author_id: "author".into(),
        conversation_id: None,
        content: "Service at ten".into(),
        target_type: "individual".into(),
        media_urls: vec![],
        from_number: Some("+15550000000".into()),
        messaging_profile_id: None,
        send_at: None,
        recipients: (0..recipients).map(recipient).collect(),
        created_at: now(),
        trace_parent: None,
    }
}

/// Records a message.
pub(crate) async fn record(store: &Store, message: &NewMessage) {
    assert!(matches!(store.record_message(message, None).await.unwrap(), Recorded::New(_)));
}

/// A query for all recipients of a message.
pub(crate) fn all() -> RecipientQuery {
    RecipientQuery { limit: 1_000, after: None, status: None }
}

/// Claims everything due and records each as accepted with the Telnyx id `p-<recipient>`.
pub(crate) async fn accept_all(store: &Store) -> Vec<Attempt> {
    let attempts = store.begin_attempts(1_000, now()).await.unwrap();
    let answer =
        |attempt: &Attempt| (attempt.id, Answer::Accepted { provider_id: provider_id(attempt.recipient_id) });
    store.record_answers(&attempts.iter().map(answer).collect::<Vec<_>>(), now()).await.unwrap();
    attempts
}

/// A recipient's Telnyx id in these tests.
pub(crate) fn provider_id(recipient: Uuid) -> String {
    format!("p-{recipient}")
}

/// A state as Telnyx reports it.
pub(crate) fn state(rank: Rank) -> RecipientState {
    RecipientState { rank, closed: false }
}

/// The order to cancel a message.
pub(crate) fn cancel_of<'a>(church_id: &'a ChurchId, message_id: Uuid, by: &'a str) -> CancelOrder<'a> {
    CancelOrder { church_id, message_id, by, now: now(), trace_parent: None }
}

/// A webhook that reports a state for a Telnyx id.
pub(crate) fn webhook(event_id: &str, provider_id: &str, phone: &str, state: RecipientState) -> Webhook {
    let failed = state.rank == Rank::Failed;
    let failure = failed.then(|| Failure { code: "40300".into(), reason: format!("blocked ({event_id})") });
    Webhook {
        event_id: event_id.into(),
        event_type: "message.finalized".into(),
        occurred_at: Some(now()),
        received_at: now(),
        body: Bytes::from_static(b"{}"),
        content: WebhookContent::Delivery(DeliveryReport {
            provider_id: provider_id.into(),
            recipient_hint: None,
            to: vec![PhoneReport {
                phone: phone.into(),
                rank: state.rank.as_i16(),
                closed: state.closed,
                failure,
            }],
        }),
        trace_parent: None,
    }
}

/// The same webhook, with our recipient id in the signed URL.
pub(crate) fn hinted(mut webhook: Webhook, recipient: Uuid) -> Webhook {
    if let WebhookContent::Delivery(report) = &mut webhook.content {
        report.recipient_hint = Some(recipient);
    }
    webhook
}

/// Repeats a call that timed out on a busy machine, as long as the store says that it may be repeated.
pub(crate) async fn patiently<T>(mut call: impl AsyncFnMut() -> Result<T, StoreError>) -> T {
    let calling = async {
        loop {
            match call().await {
                Err(error) if error.is_temporary() => tokio::task::yield_now().await,
                done => return done.unwrap(),
            }
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), calling).await.expect("the store is not busy")
}
