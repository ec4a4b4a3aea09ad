//! Sends signed webhooks to the message's own URLs, with Telnyx's retries.

use std::sync::Arc;
use std::time::Duration;

use reqwest::StatusCode;
use time::OffsetDateTime;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::behaviour::{Outcome, Rule, Step};
use super::book::Attempt;
use super::pace::Pace;
use super::payload::{Event, Message};
use super::state::Telnyx;

/// Most webhooks under way at once.
pub(super) const MAX_POSTS: usize = 128;
/// Attempts of a webhook at each of the message's URLs.
pub(super) const ATTEMPTS: u32 = 3;

/// Sends the webhooks of an accepted message in the background.
pub(super) fn follow(telnyx: &Arc<Telnyx>, message: Message, rule: &Rule) {
    let to = message.request["to"].as_str().unwrap_or_default();
    let mut steps = rule.steps(to, &telnyx.pace);
    if let (Some(first), Some(wait)) = (steps.first_mut(), until(&message.request["send_at"])) {
        first.pause += wait;
    }
    let copies = if rule.lose_webhooks { 0 } else { rule.copies.max(1) };
    run(telnyx, message, steps, copies);
}

/// The time until a scheduled message is sent.
fn until(send_at: &serde_json::Value) -> Option<Duration> {
    let at = common::event::timestamp::parse(send_at.as_str()?)?;
    (at - OffsetDateTime::now_utc()).try_into().ok()
}

/// Ends a message with another outcome than the planned one. Returns whether there is such a message.
pub(super) fn trigger(telnyx: &Arc<Telnyx>, id: Uuid, outcome: Outcome) -> bool {
    let message = {
        let mut state = telnyx.state();
        let Some(entry) = state.book.find(id).filter(|entry| entry.accepted) else { return false };
        let message = Message { id: entry.id, request: entry.request.clone(), accepted_at: entry.at };
        if let Some(stop) = state.unfinished.remove(&message.id) {
            stop.cancel();
        }
        message
    };
    let at_once =
        Pace { sent: Duration::ZERO, finalized: Duration::ZERO, read: Duration::ZERO, ..telnyx.pace };
    // Only the last webhook: earlier ones have been sent, or are obsolete.
    let last = outcome.steps(&at_once).pop();
    run(telnyx, message, last.into_iter().collect(), 1);
    true
}

fn run(telnyx: &Arc<Telnyx>, message: Message, steps: Vec<Step>, copies: u32) {
    if steps.is_empty() {
        return;
    }
    let stop = telnyx.shutdown.child_token();
    telnyx.state().unfinished.insert(message.id, stop.clone());
    let (telnyx, tasks) = (telnyx.clone(), telnyx.tasks.clone());
    tasks.spawn(async move {
        let id = message.id;
        let finished = stop.run_until_cancelled(deliver_all(&telnyx, message, steps, copies)).await;
        // If it was cancelled, other webhooks have replaced it.
        if finished.is_some() {
            telnyx.state().unfinished.remove(&id);
        }
    });
}

async fn deliver_all(telnyx: &Arc<Telnyx>, message: Message, steps: Vec<Step>, copies: u32) {
    let message = Arc::new(message);
    let mut deliveries = JoinSet::new();
    for step in steps {
        tokio::time::sleep(step.pause).await;
        // Independent of the webhook: GET tells the status, too.
        telnyx.state().book.reached(message.id, step.status);
        let (id, at) = (Uuid::now_v7(), OffsetDateTime::now_utc());
        for _ in 0..copies {
            let (telnyx, message) = (telnyx.clone(), message.clone());
            // The next event does not wait until this one is answered.
            deliveries.spawn(async move {
                let event = Event { id, kind: step.event, status: step.status, at };
                deliver(&telnyx, &message, &event).await;
            });
        }
    }
    deliveries.join_all().await;
}

/// Three attempts at the message's URL, then three at its failover URL.
async fn deliver(telnyx: &Telnyx, message: &Message, event: &Event<'_>) {
    for field in ["webhook_url", "webhook_failover_url"] {
        let Some(url) = message.request[field].as_str() else { continue };
        for attempt in 1..=ATTEMPTS {
            if post(telnyx, message, event, (url, attempt)).await {
                return;
            }
            if attempt < ATTEMPTS {
                telnyx.back_off(attempt).await;
            }
        }
    }
}

/// One attempt. Returns whether it was answered with success.
async fn post(telnyx: &Telnyx, message: &Message, event: &Event<'_>, (url, attempt): (&str, u32)) -> bool {
    telnyx.webhooks.pass().await;
    let at = OffsetDateTime::now_utc();
    let answer = post_signed(telnyx, url, message.webhook(event, attempt, url).to_string()).await;
    let attempt = Attempt {
        event_id: event.id,
        event_type: event.kind.to_owned(),
        url: url.to_owned(),
        attempt,
        at,
        ended_at: OffsetDateTime::now_utc(),
        answer: answer.map(|status| status.as_u16()),
    };
    telnyx.state().book.attempted(message.id, attempt);
    answer.is_some_and(|status| status.is_success())
}

/// Posts a signed body, unless webhooks are held back. Returns the answer's status, if one came.
pub(super) async fn post_signed(telnyx: &Telnyx, url: &str, body: String) -> Option<StatusCode> {
    telnyx.webhooks.pass().await;
    let _permit = telnyx.posts.acquire().await.ok()?;
    let mut request = telnyx.http.post(url).header("content-type", "application/json");
    for (name, value) in telnyx.signer.headers(OffsetDateTime::now_utc().unix_timestamp(), body.as_bytes()) {
        request = request.header(name, value);
    }
    request.body(body).send().await.ok().map(|answer| answer.status())
}
