//! Cancelling in the store: against claims, answers and webhooks, in any order.

use common::status::{MessageStatus, Rank};
use common::store::{Answer, CANCELLED, Cancelled, Recipient, Store};
use tests::databases::{Database, Kind};
use tests::on_both_databases;
use time::Duration;
use uuid::Uuid;

use super::church::{
    accept_all, all, cancel_of, church, hinted, message, now, phone, provider_id, record, state, webhook,
};

on_both_databases!(
    cancelling_fails_what_waits_and_leaves_what_was_attempted,
    a_cancelled_message_of_which_nothing_was_sent_is_failed_without_a_failure_event,
    an_attempt_that_telnyx_did_not_accept_is_not_repeated_after_a_cancel,
    a_cancelled_text_that_telnyx_took_all_the_same_counts_as_left,
    cancelling_again_changes_nothing_and_tells_the_same,
    cancelling_at_the_same_time_as_claims_takes_each_recipient_once,
    another_churchs_message_cannot_be_cancelled,
);

async fn cancel(store: &Store, message: Uuid) -> Cancelled {
    store.cancel(&cancel_of(&church("grace"), message, "ann")).await.unwrap()
}

async fn recipients(store: &Store, message: Uuid) -> Vec<Recipient> {
    store.recipients(&church("grace"), message, &all()).await.unwrap()
}

fn is_cancelled(recipient: &Recipient) -> bool {
    recipient.failure.as_ref().is_some_and(|failure| failure.code == CANCELLED)
}

async fn cancelling_fails_what_waits_and_leaves_what_was_attempted(kind: Kind) {
    let database = Database::fresh(kind).await;
    let store = database.migrated().await;
    let new = message("grace", 5);
    record(&store, &new).await;
    let attempts = store.begin_attempts(2, now()).await.unwrap();
    assert_eq!(cancel(&store, new.id).await, Cancelled { cancelled: 3, left: 2 });
    assert!(store.begin_attempts(10, now() + Duration::days(1)).await.unwrap().is_empty());
    let shown = store.message(&church("grace"), new.id).await.unwrap().unwrap();
    assert_eq!((shown.status, shown.tally.failed, shown.tally.cancelled), (MessageStatus::Pending, 3, 3));
    for attempt in &attempts {
        let accepted = Answer::Accepted { provider_id: provider_id(attempt.recipient_id) };
        store.record_answers(&[(attempt.id, accepted)], now()).await.unwrap();
        let id = provider_id(attempt.recipient_id);
        let delivered = webhook(&id, &id, &attempt.phone, state(Rank::Delivered));
        store.record_webhooks(&[delivered]).await.unwrap();
    }
    let shown = store.message(&church("grace"), new.id).await.unwrap().unwrap();
    assert_eq!(
        (shown.status, shown.tally.delivered, shown.tally.cancelled),
        (MessageStatus::Delivered, 2, 3)
    );
    assert!(store.audit().await.unwrap().is_sound());
}

async fn a_cancelled_message_of_which_nothing_was_sent_is_failed_without_a_failure_event(kind: Kind) {
    let database = Database::fresh(kind).await;
    let store = database.migrated().await;
    let new = message("grace", 2);
    record(&store, &new).await;
    assert_eq!(cancel(&store, new.id).await, Cancelled { cancelled: 2, left: 0 });
    let shown = store.message(&church("grace"), new.id).await.unwrap().unwrap();
    assert_eq!((shown.status, shown.version), (MessageStatus::Failed, 2));
    assert_eq!(shown.failure_reason.as_deref(), Some("Cancelled by ann."));
    let failures = "select count(*) from outbox where payload like '%message:failed%'";
    assert_eq!(tests::databases::number(&database.url, failures).await, 0);
    let told = "select count(*) from outbox where payload like '%\"cancelledCount\":2%'";
    assert_eq!(tests::databases::number(&database.url, told).await, 1);
}

async fn an_attempt_that_telnyx_did_not_accept_is_not_repeated_after_a_cancel(kind: Kind) {
    let database = Database::fresh(kind).await;
    let store = database.migrated().await;
    let new = message("grace", 1);
    record(&store, &new).await;
    let attempt = store.begin_attempts(1, now()).await.unwrap().pop().unwrap();
    assert_eq!(cancel(&store, new.id).await, Cancelled { cancelled: 0, left: 1 });
    let again = Answer::NotAccepted { again_at: now(), setback: None };
    store.record_answers(&[(attempt.id, again)], now()).await.unwrap();
    assert!(store.begin_attempts(1, now() + Duration::days(1)).await.unwrap().is_empty());
    let shown = recipients(&store, new.id).await;
    assert!(is_cancelled(&shown[0]), "{shown:?}");
    assert_eq!(cancel(&store, new.id).await, Cancelled { cancelled: 1, left: 0 });
    // The text was sent after all, as its webhook shows. That counts more.
    let delivered = webhook("late", "p-1", &phone(0), state(Rank::Delivered));
    store.record_webhooks(&[hinted(delivered, attempt.recipient_id)]).await.unwrap();
    let shown = store.message(&church("grace"), new.id).await.unwrap().unwrap();
    assert_eq!((shown.status, shown.tally.cancelled, shown.tally.failed), (MessageStatus::Delivered, 0, 0));
    assert!(store.audit().await.unwrap().is_sound());
}

async fn a_cancelled_text_that_telnyx_took_all_the_same_counts_as_left(kind: Kind) {
    let database = Database::fresh(kind).await;
    let store = database.migrated().await;
    let new = message("grace", 2);
    record(&store, &new).await;
    let attempt = store.begin_attempts(1, now()).await.unwrap().pop().unwrap();
    let no = Answer::NotAccepted { again_at: now(), setback: None };
    store.record_answers(&[(attempt.id, no)], now()).await.unwrap();
    assert_eq!(cancel(&store, new.id).await, Cancelled { cancelled: 2, left: 0 });
    let before = store.message(&church("grace"), new.id).await.unwrap().unwrap();
    let sent = hinted(webhook("sent", "p-1", &attempt.phone, state(Rank::Sent)), attempt.recipient_id);
    store.record_webhooks(&[sent]).await.unwrap();
    assert_eq!(cancel(&store, new.id).await, Cancelled { cancelled: 1, left: 1 });
    let shown = recipients(&store, new.id).await;
    let taken = shown.iter().find(|it| it.id == attempt.recipient_id).unwrap();
    assert_eq!(taken.failure.as_ref().unwrap().code, "unresolved");
    let after = store.message(&church("grace"), new.id).await.unwrap().unwrap();
    assert_eq!((after.status, after.version), (MessageStatus::Failed, before.version + 1));
    assert!(store.audit().await.unwrap().is_sound());
}

async fn cancelling_again_changes_nothing_and_tells_the_same(kind: Kind) {
    let database = Database::fresh(kind).await;
    let store = database.migrated().await;
    let new = message("grace", 3);
    record(&store, &new).await;
    store.begin_attempts(1, now()).await.unwrap();
    let first = cancel(&store, new.id).await;
    let shown = store.message(&church("grace"), new.id).await.unwrap();
    assert_eq!(store.cancel(&cancel_of(&church("grace"), new.id, "bob")).await.unwrap(), first);
    assert_eq!(store.message(&church("grace"), new.id).await.unwrap(), shown);
}

async fn cancelling_at_the_same_time_as_claims_takes_each_recipient_once(kind: Kind) {
    let database = Database::fresh(kind).await;
    let (first, second) = (database.migrated().await, database.store());
    for _ in 0..10 {
        let new = message("grace", 40);
        record(&first, &new).await;
        let claiming = async {
            let mut claimed = Vec::new();
            for _ in 0..4 {
                claimed.extend(second.begin_attempts(10, now()).await.unwrap());
            }
            claimed
        };
        let (cancelled, claimed) = tokio::join!(cancel(&first, new.id), claiming);
        let shown = recipients(&first, new.id).await;
        let is_claimed = |it: &Recipient| claimed.iter().any(|attempt| attempt.recipient_id == it.id);
        assert!(shown.iter().all(|it| is_claimed(it) != is_cancelled(it)), "{shown:?}");
        assert_eq!(cancelled.cancelled + cancelled.left, 40);
        assert_eq!(cancelled.left, claimed.len() as i64);
    }
    accept_all(&first).await;
    assert!(first.audit().await.unwrap().is_sound());
}

async fn another_churchs_message_cannot_be_cancelled(kind: Kind) {
    let database = Database::fresh(kind).await;
    let store = database.migrated().await;
    let new = message("grace", 2);
    record(&store, &new).await;
    assert!(store.cancel(&cancel_of(&church("hope"), new.id, "ann")).await.is_err());
    assert_eq!(store.begin_attempts(10, now()).await.unwrap().len(), 2);
}
