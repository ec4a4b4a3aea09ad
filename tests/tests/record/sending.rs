//! Attempts are committed before the request, repeated only if certainly not accepted, and made in fair turns.

use common::status::{MessageStatus, Rank};
use common::store::{Answer, AttemptId, Failure, Outcome, Overdue, Store};
use tests::databases::{Database, Kind};
use tests::on_both_databases;
use time::Duration;
use uuid::Uuid;

use super::church::{accept_all, all, church, message, now, phone, provider_id, record, state, webhook};

on_both_databases!(
    only_one_dispatcher_begins_an_attempt,
    churches_take_fair_turns,
    a_scheduled_message_is_not_due_early,
    a_recipient_surely_not_accepted_is_retried_when_due,
    an_unresolved_attempt_is_never_retried_and_fails_with_a_reason,
    a_refusal_fails_the_recipient_with_its_reason,
    an_accepted_message_without_a_receipt_is_closed_unconfirmed,
    a_webhook_resolves_an_unresolved_attempt,
);

async fn only_one_dispatcher_begins_an_attempt(kind: Kind) {
    let database = Database::fresh(kind).await;
    let store = database.migrated().await;
    record(&store, &message("grace", 60)).await;
    let dispatchers = (0..4).map(|_| {
        let store = store.clone();
        tokio::spawn(async move {
            let mut begun = Vec::new();
            loop {
                let attempts = store.begin_attempts(7, now()).await.unwrap();
                begun.extend(attempts.iter().map(|attempt| attempt.recipient_id));
                if attempts.is_empty() && store.next_attempt_at().await.unwrap().is_none() {
                    return begun;
                }
            }
        })
    });
    let mut begun: Vec<Uuid> = Vec::new();
    for dispatcher in dispatchers.collect::<Vec<_>>() {
        begun.extend(dispatcher.await.unwrap());
    }
    begun.sort();
    begun.dedup();
    assert_eq!(begun.len(), 60);
    assert!(store.begin_attempts(7, now()).await.unwrap().is_empty());
}

async fn churches_take_fair_turns(kind: Kind) {
    let database = Database::fresh(kind).await;
    let store = database.migrated().await;
    record(&store, &message("large", 40)).await;
    record(&store, &message("small", 2)).await;
    record(&store, &message("tiny", 1)).await;
    let mut order = Vec::new();
    for _ in 0..6 {
        let attempts = store.begin_attempts(1, now()).await.unwrap();
        order.extend(attempts.iter().map(|attempt| attempt.church_id.to_string()));
    }
    assert_eq!(order, ["large", "small", "tiny", "large", "small", "large"]);
    let many = store.begin_attempts(100, now()).await.unwrap();
    assert_eq!(many.len(), 37);
}

async fn a_scheduled_message_is_not_due_early(kind: Kind) {
    let database = Database::fresh(kind).await;
    let store = database.migrated().await;
    let mut later = message("grace", 1);
    later.send_at = Some(now() + Duration::minutes(10));
    record(&store, &later).await;
    assert!(store.begin_attempts(10, now()).await.unwrap().is_empty());
    assert_eq!(store.next_attempt_at().await.unwrap(), later.send_at);
    let attempts = store.begin_attempts(10, now() + Duration::minutes(11)).await.unwrap();
    assert_eq!(attempts.len(), 1);
}

async fn begin_one(store: &Store) -> AttemptId {
    let attempts = store.begin_attempts(1, now()).await.unwrap();
    attempts.first().expect("one is due").id
}

async fn a_recipient_surely_not_accepted_is_retried_when_due(kind: Kind) {
    let database = Database::fresh(kind).await;
    let store = database.migrated().await;
    record(&store, &message("grace", 1)).await;
    let attempt = begin_one(&store).await;
    let again_at = now() + Duration::seconds(30);
    store.record_answers(&[(attempt, Answer::NotAccepted { again_at, setback: None })], now()).await.unwrap();
    assert!(store.begin_attempts(1, now()).await.unwrap().is_empty());
    let attempts = store.begin_attempts(1, again_at).await.unwrap();
    assert_eq!((attempts[0].recipient_id, attempts[0].tried), (attempt.recipient_id, 1));
}

async fn an_unresolved_attempt_is_never_retried_and_fails_with_a_reason(kind: Kind) {
    let database = Database::fresh(kind).await;
    let store = database.migrated().await;
    let new = message("grace", 1);
    record(&store, &new).await;
    let attempt = begin_one(&store).await;
    store.record_answers(&[(attempt, Answer::Unresolved)], now()).await.unwrap();
    let day = now() + Duration::days(1);
    assert!(store.begin_attempts(1, day).await.unwrap().is_empty());
    let overdue = |before| Overdue { accepted_before: before, unresolved_before: before, limit: 10 };
    assert_eq!(store.close_overdue(&overdue(now() - Duration::hours(1)), now()).await.unwrap(), 0);
    assert_eq!(store.close_overdue(&overdue(day), day).await.unwrap(), 1);
    assert_eq!(store.close_overdue(&overdue(day), day).await.unwrap(), 0);
    let read = store.message(&new.church_id, new.id).await.unwrap().unwrap();
    assert_eq!((read.status, read.version, read.tally.failed), (MessageStatus::Failed, 2, 1));
    assert!(read.failure_reason.unwrap().contains("may have arrived"));
}

async fn a_refusal_fails_the_recipient_with_its_reason(kind: Kind) {
    let database = Database::fresh(kind).await;
    let store = database.migrated().await;
    let new = message("grace", 2);
    record(&store, &new).await;
    let attempt = begin_one(&store).await;
    let failure = Failure { code: "40310".into(), reason: "This is no phone number.".into() };
    store.record_answers(&[(attempt, Answer::Refused(failure.clone()))], now()).await.unwrap();
    let recipients = store.recipients(&new.church_id, new.id, &all()).await.unwrap();
    let failed = recipients.iter().find(|r| r.id == attempt.recipient_id).unwrap();
    assert_eq!(failed.failure.as_ref(), Some(&failure));
    let read = store.message(&new.church_id, new.id).await.unwrap().unwrap();
    assert_eq!((read.status, read.version), (MessageStatus::Pending, 2));
    assert_eq!(read.failure_reason, Some(failure.reason));
    assert!(store.audit().await.unwrap().is_sound());
}

async fn an_accepted_message_without_a_receipt_is_closed_unconfirmed(kind: Kind) {
    let database = Database::fresh(kind).await;
    let store = database.migrated().await;
    let new = message("grace", 2);
    record(&store, &new).await;
    let attempts = accept_all(&store).await;
    let day = now() + Duration::days(1);
    let overdue = Overdue { accepted_before: day, unresolved_before: day, limit: 10 };
    assert_eq!(store.close_overdue(&overdue, day).await.unwrap(), 0, "Telnyx can still be asked");
    let never: Vec<_> = attempts.iter().map(|attempt| (attempt.recipient_id, None)).collect();
    store.ask_again(&never).await.unwrap();
    assert_eq!(store.close_overdue(&overdue, day).await.unwrap(), 2);
    let status = async || store.message(&church("grace"), new.id).await.unwrap().unwrap();
    assert_eq!((status().await.status, status().await.tally.unconfirmed), (MessageStatus::Sent, 2));
    // A late receipt still counts.
    let late = webhook("late", &provider_id(attempts[0].recipient_id), &phone(0), state(Rank::Delivered));
    assert_eq!(store.record_webhooks(&[late]).await.unwrap(), [Outcome::Applied]);
    assert_eq!((status().await.status, status().await.tally.unconfirmed), (MessageStatus::Delivered, 1));
    assert!(status().await.sent_at.is_some());
}

async fn a_webhook_resolves_an_unresolved_attempt(kind: Kind) {
    let database = Database::fresh(kind).await;
    let store = database.migrated().await;
    let new = message("grace", 1);
    record(&store, &new).await;
    let attempt = begin_one(&store).await;
    store.record_answers(&[(attempt, Answer::Unresolved)], now()).await.unwrap();
    let hook =
        super::church::hinted(webhook("e1", "p1", &phone(0), state(Rank::Delivered)), attempt.recipient_id);
    assert_eq!(store.record_webhooks(&[hook]).await.unwrap(), [Outcome::Applied]);
    let read = store.message(&new.church_id, new.id).await.unwrap().unwrap();
    assert_eq!(read.status, MessageStatus::Delivered);
    let day = now() + Duration::days(1);
    let overdue = Overdue { accepted_before: day, unresolved_before: day, limit: 10 };
    assert_eq!(store.close_overdue(&overdue, day).await.unwrap(), 0);
}
