//! Retries in the store: who is retried, and only once.

use common::failure::PASSING;
use common::status::{MessageStatus, Rank};
use common::store::{
    Answer, Failure, NewMessage, NewRetry, Overdue, Prunable, Recipient, Retried, SendLimits, Store,
};
use tests::databases::{Database, Kind};
use tests::on_both_databases;
use time::Duration;
use uuid::Uuid;

use super::church::{all, church, hinted, message, now, phone, record, state, webhook};

on_both_databases!(
    only_recipients_that_failed_for_a_passing_reason_are_retried,
    each_recipient_is_retried_once_and_a_second_call_gets_the_same_message,
    two_processes_that_retry_at_once_make_one_message,
    unresolved_recipients_are_retried_only_if_asked_for,
    a_retry_can_be_retried,
    what_telnyx_refuses_after_it_was_given_up_can_be_retried,
    what_telnyx_took_although_it_said_no_is_retried_only_if_asked_for,
    a_retry_that_retention_deleted_is_not_made_again,
);

/// A retry of a message of the church `grace`.
pub(crate) fn retry_of(message: Uuid) -> NewRetry {
    NewRetry {
        id: Uuid::now_v7(),
        church_id: church("grace"),
        retry_of: message,
        author_id: "ann".into(),
        from_number: Some("+15550000000".into()),
        messaging_profile_id: None,
        include_unresolved: false,
        created_at: now(),
        trace_parent: None,
    }
}

/// Records a message whose recipients Telnyx refuses with these codes.
pub(crate) async fn refused(store: &Store, codes: &[&str]) -> NewMessage {
    let new = message("grace", codes.len());
    record(store, &new).await;
    refuse(store, codes).await;
    new
}

/// Claims what is due and refuses it with these codes.
async fn refuse(store: &Store, codes: &[&str]) {
    let attempts = store.begin_attempts(100, now()).await.unwrap();
    assert_eq!(attempts.len(), codes.len());
    let refused = |code: &&str| Answer::Refused(Failure { code: (*code).into(), reason: "no".into() });
    let answers: Vec<_> =
        attempts.iter().zip(codes).map(|(attempt, code)| (attempt.id, refused(code))).collect();
    store.record_answers(&answers, now()).await.unwrap();
}

async fn phones(store: &Store, message: Uuid) -> Vec<String> {
    let recipients: Vec<Recipient> = store.recipients(&church("grace"), message, &all()).await.unwrap();
    recipients.into_iter().map(|recipient| recipient.phone).collect()
}

/// Fails the attempt that has no answer.
async fn give_up(store: &Store) {
    let later = now() + Duration::days(1);
    let overdue = Overdue { accepted_before: now(), unresolved_before: later, limit: 10 };
    assert_eq!(store.close_overdue(&overdue, later).await.unwrap(), 1);
}

/// Why the only recipient failed.
async fn code(store: &Store, message: Uuid) -> String {
    let recipient = store.recipients(&church("grace"), message, &all()).await.unwrap().remove(0);
    recipient.failure.unwrap().code
}

async fn only_recipients_that_failed_for_a_passing_reason_are_retried(kind: Kind) {
    let database = Database::fresh(kind).await;
    let store = database.migrated().await;
    let new = refused(&store, &["40300", PASSING[1], "40310", "40318"]).await;
    let Retried::New(again) = store.retry(&retry_of(new.id)).await.unwrap() else { panic!("it is new") };
    assert_eq!((again.retry_of, again.content, again.tally.recipients), (Some(new.id), new.content, 2));
    assert_eq!((again.status, again.version), (MessageStatus::Pending, 1));
    let expected = [&new.recipients[1], &new.recipients[3]].map(|recipient| recipient.phone.clone());
    assert_eq!(phones(&store, again.id).await, expected);
    assert_eq!(store.begin_attempts(100, now()).await.unwrap().len(), 2);

    let other = refused(&store, &["40300", "40310"]).await;
    assert!(matches!(store.retry(&retry_of(other.id)).await.unwrap(), Retried::Nothing));
    let foreign = NewRetry { church_id: church("hope"), ..retry_of(new.id) };
    assert!(store.retry(&foreign).await.is_err());
    assert!(store.audit().await.unwrap().is_sound());
}

async fn each_recipient_is_retried_once_and_a_second_call_gets_the_same_message(kind: Kind) {
    let database = Database::fresh(kind).await;
    let store = database.migrated().await;
    let new = refused(&store, &["40318", "40318"]).await;
    let Retried::New(first) = store.retry(&retry_of(new.id)).await.unwrap() else { panic!("it is new") };
    for _ in 0..2 {
        let Retried::Repeated(again) = store.retry(&retry_of(new.id)).await.unwrap() else {
            panic!("it is the same")
        };
        assert_eq!(again.id, first.id);
    }
    assert_eq!(store.begin_attempts(100, now()).await.unwrap().len(), 2);
}

async fn two_processes_that_retry_at_once_make_one_message(kind: Kind) {
    let database = Database::fresh(kind).await;
    let (first, second) = (database.migrated().await, database.store());
    for _ in 0..5 {
        let new = refused(&first, &["40318", "40318", "40318"]).await;
        let (one, other) = (retry_of(new.id), retry_of(new.id));
        let (one, other) = tokio::join!(first.retry(&one), second.retry(&other));
        let is_new = |retried: &Retried| matches!(retried, Retried::New(_));
        let (one, other) = (one.unwrap(), other.unwrap());
        assert!(is_new(&one) != is_new(&other), "{one:?} {other:?}");
        let id = |retried: &Retried| match retried {
            Retried::New(message) | Retried::Repeated(message) => message.id,
            Retried::Nothing => panic!("there was something to retry"),
        };
        assert_eq!(id(&one), id(&other));
        refuse(&first, &["40310", "40310", "40310"]).await;
    }
}

async fn unresolved_recipients_are_retried_only_if_asked_for(kind: Kind) {
    let database = Database::fresh(kind).await;
    let store = database.migrated().await;
    let new = message("grace", 1);
    record(&store, &new).await;
    assert_eq!(store.begin_attempts(1, now()).await.unwrap().len(), 1);
    give_up(&store).await;
    assert_eq!(code(&store, new.id).await, "unresolved");
    assert!(matches!(store.retry(&retry_of(new.id)).await.unwrap(), Retried::Nothing));
    let asked = NewRetry { include_unresolved: true, ..retry_of(new.id) };
    assert!(matches!(store.retry(&asked).await.unwrap(), Retried::New(_)));
}

async fn a_retry_can_be_retried(kind: Kind) {
    let database = Database::fresh(kind).await;
    let store = database.migrated().await;
    let new = refused(&store, &["40318", "40310"]).await;
    let Retried::New(first) = store.retry(&retry_of(new.id)).await.unwrap() else { panic!("it is new") };
    refuse(&store, &["40333"]).await;
    let Retried::New(second) = store.retry(&retry_of(first.id)).await.unwrap() else { panic!("it is new") };
    assert_eq!(second.retry_of, Some(first.id));
    assert_eq!(phones(&store, second.id).await, [new.recipients[0].phone.clone()]);
}

/// The database was away for so long that the answer was recorded only after the attempt was given up.
async fn what_telnyx_refuses_after_it_was_given_up_can_be_retried(kind: Kind) {
    let database = Database::fresh(kind).await;
    let store = database.migrated().await;
    let new = message("grace", 1);
    record(&store, &new).await;
    let attempt = store.begin_attempts(1, now()).await.unwrap().remove(0);
    give_up(&store).await;
    let not_accepted = Answer::NotAccepted { again_at: now(), setback: None };
    store.record_answers(&[(attempt.id, not_accepted)], now()).await.unwrap();
    assert_eq!(code(&store, new.id).await, "not_sent");
    assert!(store.begin_attempts(1, now() + Duration::days(2)).await.unwrap().is_empty());
    assert!(matches!(store.retry(&retry_of(new.id)).await.unwrap(), Retried::New(_)));
}

async fn what_telnyx_took_although_it_said_no_is_retried_only_if_asked_for(kind: Kind) {
    let database = Database::fresh(kind).await;
    let within = Some(std::time::Duration::from_secs(60));
    let store = database.migrated().await.with_limits(SendLimits { rate: None, within });
    let new = message("grace", 1);
    record(&store, &new).await;
    let attempt = store.begin_attempts(1, now()).await.unwrap().remove(0);
    let not_accepted = Answer::NotAccepted { again_at: now(), setback: None };
    store.record_answers(&[(attempt.id, not_accepted)], now()).await.unwrap();
    assert_eq!(store.fail_unsent(10, now() + Duration::days(1)).await.unwrap(), 1);
    assert_eq!(code(&store, new.id).await, "not_sent");
    let sent = hinted(webhook("sent", "p-1", &phone(0), state(Rank::Sent)), attempt.recipient_id);
    store.record_webhooks(&[sent]).await.unwrap();
    assert_eq!(code(&store, new.id).await, "unresolved");
    assert!(matches!(store.retry(&retry_of(new.id)).await.unwrap(), Retried::Nothing));
    let failed = webhook("failed", "p-1", &phone(0), state(Rank::Failed));
    store.record_webhooks(&[failed]).await.unwrap();
    assert_eq!(code(&store, new.id).await, "40300");
}

/// A retry may finish, and be deleted, long before the last recipient of the first message.
async fn a_retry_that_retention_deleted_is_not_made_again(kind: Kind) {
    let database = Database::fresh(kind).await;
    let store = database.migrated().await;
    let new = message("grace", 2);
    record(&store, &new).await;
    let attempts = store.begin_attempts(2, now()).await.unwrap();
    let busy = Answer::Refused(Failure { code: "40318".into(), reason: "busy".into() });
    store.record_answers(&[(attempts[0].id, busy)], now()).await.unwrap();
    assert!(matches!(store.retry(&retry_of(new.id)).await.unwrap(), Retried::New(_)));
    refuse(&store, &["40310"]).await;
    assert_eq!(store.prune(Prunable::Messages, now() + Duration::hours(1)).await.unwrap(), 1);
    assert!(matches!(store.retry(&retry_of(new.id)).await.unwrap(), Retried::Nothing));
}
