//! Records sent messages in the same way as the services, so that webhooks find their recipients.

use anyhow::{Context as _, ensure};
use common::store::{Answer, NewMessage, NewRecipient, Recorded, Store, StoreError};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use time::OffsetDateTime;
use uuid::Uuid;

/// Messages recorded at the same time.
const CONCURRENCY: usize = 8;
/// Attempts begun and answered in one call.
const BATCH: u32 = 1_000;
/// How often a call to a busy database is repeated.
const TRIES: usize = 5;

/// The numbers of churches, messages and recipients.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Churches; messages go to them in turn.
    pub churches: usize,
    /// Messages in total.
    pub messages: usize,
    /// Recipients of each message.
    pub recipients: usize,
}

/// A recipient that Telnyx accepted and may send webhooks about.
#[derive(Debug, Clone)]
pub struct Target {
    /// Number of the client's church.
    pub church: usize,
    /// Its message.
    pub message: Uuid,
    /// The recipient's id.
    pub recipient: Uuid,
    /// E.164.
    pub phone: String,
    /// Telnyx's id of its message.
    pub provider_id: String,
}

/// The id of the church with this number.
pub fn church_id(number: usize) -> String {
    format!("church-{number}")
}

/// Records the messages, and that Telnyx accepted each recipient.
///
/// # Errors
/// If the database refuses.
pub async fn messages(store: &Store, plan: Plan) -> anyhow::Result<Vec<Target>> {
    // Not due for years, so a message-api on the same database sends nothing. This generator uses a clock ahead of
    // that.
    let due = OffsetDateTime::now_utc() + time::Duration::days(3_650);
    let recorded: Vec<Vec<Target>> = stream::iter(0..plan.messages)
        .map(|number| message(store, plan, number, due))
        .buffered(CONCURRENCY)
        .try_collect()
        .await?;
    let targets: Vec<Target> = recorded.into_iter().flatten().collect();
    let mut accepted = 0;
    while accepted < targets.len() {
        let attempts = patiently(|| store.begin_attempts(BATCH, due)).await?;
        ensure!(!attempts.is_empty(), "only {accepted} of {} recipients are due", targets.len());
        let answers = attempts.iter().map(|attempt| {
            let provider_id = provider_id(attempt.recipient_id);
            (attempt.id, Answer::Accepted { provider_id })
        });
        let (answers, now): (Vec<_>, _) = (answers.collect(), OffsetDateTime::now_utc());
        patiently(|| store.record_answers(&answers, now)).await?;
        accepted += attempts.len();
    }
    Ok(targets)
}

/// Repeats a call while the services keep the database busy, because SQLite has one writer.
async fn patiently<T, F, Fut>(mut attempt: F) -> Result<T, StoreError>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, StoreError>>,
{
    for _ in 1..TRIES {
        match attempt().await {
            Err(error) if error.is_temporary() => {}
            done => return done,
        }
    }
    attempt().await
}

async fn message(
    store: &Store,
    plan: Plan,
    number: usize,
    due: OffsetDateTime,
) -> anyhow::Result<Vec<Target>> {
    let church = number % plan.churches;
    let recipient = |_| NewRecipient {
        id: Uuid::now_v7(),
        phone: phone(),
        member_id: None,
        first_name: Some("Ann".into()),
        last_name: None,
    };
    let message = NewMessage {
        id: Uuid::now_v7(),
        church_id: church_id(church).parse().context("a church's id")?,
        author_id: "author".into(),
        conversation_id: None,
        content: "The choir meets at seven tonight, in the small hall and not in the church.".into(),
        target_type: "individual".into(),
        media_urls: Vec::new(),
        from_number: Some("+12025550100".into()),
        messaging_profile_id: None,
        send_at: Some(due),
        recipients: (0..plan.recipients).map(recipient).collect(),
        created_at: OffsetDateTime::now_utc(),
        trace_parent: None,
    };
    let recorded = patiently(|| store.record_message(&message, None)).await?;
    ensure!(matches!(recorded, Recorded::New(_)), "a message was there before");
    let target = |recipient: NewRecipient| Target {
        church,
        message: message.id,
        recipient: recipient.id,
        phone: recipient.phone,
        provider_id: provider_id(recipient.id),
    };
    Ok(message.recipients.iter().cloned().map(target).collect())
}

/// A unique phone.
fn phone() -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("+1202{:07}", NEXT.fetch_add(1, Ordering::Relaxed) % 10_000_000)
}

/// An id like Telnyx's, as long and as random.
fn provider_id(recipient: Uuid) -> String {
    let mut bytes = recipient.into_bytes();
    bytes.reverse();
    Uuid::from_bytes(bytes).to_string()
}
