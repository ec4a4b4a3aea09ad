//! `POST /api/messages/send`: records a message. The dispatcher sends it.

use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderMap, StatusCode};
use axum::{Extension, Json};
use common::claims::Claims;
use common::event::timestamp;
use common::store::{NewMessage, Recorded, StoreError};
use common::subject::ChurchId;
use common::throttle::Throttle;
use common::trace_context::TraceParent;
use time::OffsetDateTime;
use tracing::{info, warn};
use uuid::Uuid;

use super::body::SendRequest;
use super::draft::Draft;
use super::response::{AcceptedMessage, Success};
use crate::app::{App, Trace, WriteStarted};
use crate::auth::{Caller, check_may_send};
use crate::directory::{Found, NoRecipients, Target};
use crate::error::{ApiError, Code, Problems};
use crate::idempotency;
use crate::phone::Country;
use crate::settings::DefaultSender;

/// Limits a log line that a church without a number repeats.
static REPEATS: Throttle = Throttle::once_a_minute();

/// Answers once the message is recorded. It is sent afterwards.
#[utoipa::path(
    post,
    path = "/api/messages/send",
    tag = "messages",
    summary = "Send a message",
    params(("Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 255,
        description = "New for each press of the button. A request with the same key and body gets the first answer")),
    request_body(content = SendRequest, examples(
        ("by phone" = (value = json!({"content": "Service is at ten", "recipients": [{"phone": "+15551230101", "firstName": "Ada"}]}))),
        ("to a group" = (value = json!({"content": "Service is at ten", "targetType": "groups", "targetIds": ["ushers"]}))),
        ("to everybody" = (value = json!({"content": "Service is at ten", "targetType": "all"}))),
    )),
    responses((status = 201, description = "The message is recorded", body = Success<AcceptedMessage>, links(
        ("message" = (operation_id = "show", parameters(("id" = "$response.body#/data/id")))),
        ("recipients" = (operation_id = "recipients", parameters(("id" = "$response.body#/data/id")))),
        ("cancel" = (operation_id = "cancel", parameters(("id" = "$response.body#/data/id")))),
        ("retry" = (operation_id = "retry", parameters(("id" = "$response.body#/data/id")))),
    ))),
)]
pub(super) async fn send(
    State(app): State<App>,
    Caller(caller): Caller,
    (Extension(write_started), Extension(trace)): (Extension<WriteStarted>, Extension<Trace>),
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<(StatusCode, Json<Success<AcceptedMessage>>), ApiError> {
    check_may_send(&app, &caller)?;
    let body = body?;
    let key = idempotency::key(&headers, &body)?;
    let now = timestamp::millis(OffsetDateTime::now_utc());
    let mut draft = read(body, now, app.default_country).await?;
    let sender = sender_of(&app, &caller.church_id).await?;
    let mut skipped = 0;
    if let Some(target) = &draft.target {
        // A repetition gets the first answer, whatever the directory says by now.
        if let Some(key) = &key
            && let Some(recorded) = app.store.recorded_before(&caller.church_id, key).await?
        {
            return answer(&app, recorded, 0);
        }
        let found = ask(&app, &caller, target, trace.as_ref()).await?;
        (draft.recipients, skipped) = (found.recipients, found.skipped);
    }
    let message = NewMessage {
        id: Uuid::now_v7(),
        church_id: caller.church_id,
        author_id: caller.user_id,
        conversation_id: draft.conversation_id,
        content: draft.content,
        target_type: draft.target_type,
        media_urls: draft.media_urls,
        from_number: sender.number,
        messaging_profile_id: sender.messaging_profile_id,
        send_at: draft.send_at,
        recipients: draft.recipients,
        created_at: now,
        trace_parent: trace,
    };
    if key.is_none() {
        write_started.set();
    }
    let recorded = app.store.record_message(&message, key.as_ref()).await;
    answer(&app, recorded.map_err(|error| store_error(error, key.is_some()))?, skipped)
}

/// The answer to a send. `skipped` recipients of the directory have no number that can be read.
fn answer(
    app: &App,
    recorded: Recorded,
    skipped: usize,
) -> Result<(StatusCode, Json<Success<AcceptedMessage>>), ApiError> {
    let message = match recorded {
        Recorded::New(message) => {
            app.wake.notify_one();
            let recipients = message.tally.recipients;
            info!(message.id = %message.id, church.id = %message.church_id, recipients, skipped, "recorded a message");
            message
        }
        Recorded::Repeated(message) => message,
        Recorded::KeyReused => {
            return Err(ApiError::Unprocessable {
                code: Code::IdempotencyKeyReused,
                message: "this Idempotency-Key was used for another request; make a new one for each message",
            });
        }
    };
    let accepted = AcceptedMessage::from(message).skipping(skipped);
    Ok((StatusCode::CREATED, Json(Success::new(accepted))))
}

/// Asks the directory who belongs to a target.
async fn ask(
    app: &App,
    caller: &Claims,
    target: &Target,
    trace: Option<&TraceParent>,
) -> Result<Found, ApiError> {
    let directory = app.directory.as_ref().ok_or(ApiError::Unprocessable {
        code: Code::DirectoryUnavailable,
        message: "targetType and targetIds can't be looked up, because RECIPIENTS_URL is not set; list the recipients \
                  by phone in `recipients`",
    })?;
    directory.recipients(caller, target, trace).await.map_err(|problem| match problem {
        NoRecipients::Unknown(ids) => ApiError::UnknownTarget(unknown(target, &ids)),
        NoRecipients::Nobody => ApiError::NO_RECIPIENTS,
        NoRecipients::TooMany => ApiError::Unprocessable {
            code: Code::TooManyRecipients,
            message: "the target has more than 10,000 recipients; send to smaller groups",
        },
        NoRecipients::Slow => ApiError::RecipientsTimedOut,
        NoRecipients::Wrong(_) => ApiError::RecipientsUnavailable,
    })
}

/// Names the ids that are not known.
fn unknown(target: &Target, ids: &[String]) -> Problems {
    let mut problems = Problems::default();
    for (index, _) in target.ids.iter().enumerate().filter(|(_, id)| ids.contains(id)) {
        problems.add(format!("targetIds[{index}]"), "the product knows no such id");
    }
    problems
}

/// Parses and checks the body on a blocking thread: 10 000 numbers take a while.
async fn read(body: Bytes, now: OffsetDateTime, country: Option<Country>) -> Result<Draft, ApiError> {
    let reading = tokio::task::spawn_blocking(move || SendRequest::from_body(&body)?.check(now, country));
    reading.await.map_err(|_| ApiError::Internal)?
}

/// Without a key, repeating a request whose message may be recorded could send it twice.
fn store_error(error: StoreError, has_key: bool) -> ApiError {
    match error {
        StoreError::OutcomeUnknown(cause) if !has_key => {
            let cause = cause.as_ref() as &dyn std::error::Error;
            warn!(error = cause, "the database did not answer whether it recorded a message");
            ApiError::OutcomeUnknown
        }
        error => error.into(),
    }
}

/// The church's own sender, else the default sender.
pub(super) async fn sender_of(app: &App, church: &ChurchId) -> Result<DefaultSender, ApiError> {
    if let Some(own) = app.store.sender(church).await? {
        let (number, messaging_profile_id) = (Some(own.number), own.messaging_profile_id);
        return Ok(DefaultSender { number, messaging_profile_id });
    }
    if let Some(default) = &app.default_sender {
        return Ok(default.clone());
    }
    if let Some(held_back) = REPEATS.opens(church.as_str()) {
        warn!(church.id = %church, held_back, "a church has no number to send from; set one with `ops sender`");
    }
    Err(ApiError::Unprocessable {
        code: Code::NoSender,
        message: "this church has no number to send from yet; an administrator has to set one up",
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::http::header;
    use axum::response::IntoResponse as _;
    use common::store::Wait;

    use super::*;

    fn unknown() -> StoreError {
        let limit = Duration::from_secs(1);
        StoreError::OutcomeUnknown(Box::new(StoreError::TimedOut { waited_for: Wait::Commit, limit }))
    }

    #[tokio::test]
    async fn without_a_key_an_unknown_outcome_asks_for_no_repetition() {
        let response = store_error(unknown(), false).into_response();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(!response.headers().contains_key(header::RETRY_AFTER));
        let body = axum::body::to_bytes(response.into_body(), 10_000).await.unwrap();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["code"], "outcome_unknown");
        let text = body["error"].as_str().unwrap();
        assert!(text.contains("history") && text.contains("Idempotency-Key"), "{text}");
    }

    #[test]
    fn with_a_key_an_unknown_outcome_asks_for_a_repetition() {
        let response = store_error(unknown(), true).into_response();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(response.headers().contains_key(header::RETRY_AFTER));
    }
}
