//! Retries in the store: who is retried, and only once.

use common::failure::PASSING;
use common::status::MessageStatus;
use common::store::{Answer, Failure, NewMessage, NewRetry, Overdue, Recipient, Retried, Store};
use tests::databases::{Database, Kind};
use tests::on_both_databases;
use time::Duration;
use uuid::Uuid;

use super::church::{all, church, message, now, record};

on_both_databases!(
    only_recipients_that_failed_for_a_passing_reason_are_retried,
    each_recipient_is_retried_once_and_a_second_call_gets_the_same_message,
    two_processes_that_retry_at_once_make_one_message,
    unresolved_recipients_are_retried_only_if_asked_for,
    a_retry_can_be_retried,
);

fn retry_of(message: Uuid) -> NewRetry {
    NewRetry {
        id: Uuid::now_v7(),
        church_id: church("grace"),
        retry_of: message,
        author_id: "ann".into(),
        from_number: Some("+15550000000".into()),
        messaging_profile_id: None,
        include_unresolved: false,
        created_at: now(),
    }
}

/// Records a message whose recipients Telnyx refuses with these codes.
async fn refused(store: &Store, codes: &[&str]) -> NewMessage {
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
    let later = now() + Duration::days(1);
    let overdue = Overdue { accepted_before: now(), unresolved_before: later, limit: 10 };
    assert_eq!(store.close_overdue(&overdue, later).await.unwrap(), 1);
    let recipient = store.recipients(&church("grace"), new.id, &all()).await.unwrap().remove(0);
    assert_eq!(recipient.failure.unwrap().code, "unresolved");
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
