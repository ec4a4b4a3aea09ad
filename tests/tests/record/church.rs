//! Rows for the tests of the record.

use bytes::Bytes;
use common::event::timestamp;
use common::status::{Rank, RecipientState};
use common::store::{
    Answer, Attempt, DeliveryReport, Failure, NewMessage, NewRecipient, PhoneReport, RecipientQuery,
    Recorded, Store, StoreError, Webhook, WebhookContent,
};
use common::subject::ChurchId;
use time::OffsetDateTime;
use uuid::Uuid;

/// A church.
pub(crate) fn church(id: &str) -> ChurchId {
    id.parse().unwrap()
}

/// Now, to the millisecond, as the store keeps it.
pub(crate) fn now() -> OffsetDateTime {
    timestamp::millis(OffsetDateTime::now_utc())
}

/// The phone of a recipient by number.
pub(crate) fn phone(number: usize) -> String {
    format!("+1555{number:07}")
}

/// A message to so many recipients.
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
    }
}

/// Records a message.
pub(crate) async fn record(store: &Store, message: &NewMessage) {
    assert!(matches!(store.record_message(message, None).await.unwrap(), Recorded::New(_)));
}

/// All recipients of a message of a test.
pub(crate) fn all() -> RecipientQuery {
    RecipientQuery { limit: 1_000, after: None, status: None }
}

/// Takes all that is due and answers each as accepted, under `p-<recipient>`.
pub(crate) async fn accept_all(store: &Store) -> Vec<Attempt> {
    let attempts = store.begin_attempts(1_000, now()).await.unwrap();
    let answer =
        |attempt: &Attempt| (attempt.id, Answer::Accepted { provider_id: provider_id(attempt.recipient_id) });
    store.record_answers(&attempts.iter().map(answer).collect::<Vec<_>>(), now()).await.unwrap();
    attempts
}

/// The id that Telnyx gives a recipient in these tests.
pub(crate) fn provider_id(recipient: Uuid) -> String {
    format!("p-{recipient}")
}

/// A report of Telnyx's.
pub(crate) fn state(rank: Rank) -> RecipientState {
    RecipientState { rank, closed: false }
}

/// A webhook of an event that reports a state under a provider id.
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
    }
}

/// The same webhook, with our recipient id in the signed URL.
pub(crate) fn hinted(mut webhook: Webhook, recipient: Uuid) -> Webhook {
    if let WebhookContent::Delivery(report) = &mut webhook.content {
        report.recipient_hint = Some(recipient);
    }
    webhook
}

/// Calls again what a busy machine made too late; the store says what may be called again.
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
