//! Telnyx is asked about accepted recipients without a final status, and about no others.

use std::time::Duration as StdDuration;

use common::status::{MessageStatus, Rank};
use common::store::{ASKED, Answer, AskTimes, Outcome, Overdue};
use tests::databases::{Database, Kind};
use tests::on_both_databases;
use time::{Duration, OffsetDateTime};

use super::church::{accept_all, message, now, phone, provider_id, record, state, webhook};

on_both_databases!(
    only_one_process_asks_about_an_accepted_recipient,
    telnyx_is_not_asked_about_a_finished_recipient,
    telnyx_is_not_asked_about_an_erased_person,
    a_recipient_telnyx_can_still_be_asked_about_is_not_closed,
    missing_webhooks_are_noticed_even_when_asking_gets_answers,
);

const QUARTER: StdDuration = StdDuration::from_secs(900);

fn times(at: OffsetDateTime) -> AskTimes {
    AskTimes::new(at, QUARTER, StdDuration::from_secs(120))
}

async fn only_one_process_asks_about_an_accepted_recipient(kind: Kind) {
    let database = Database::fresh(kind).await;
    let (one, two) = (database.migrated().await, database.store());
    record(&one, &message("grace", 3)).await;
    accept_all(&one).await;
    let (soon, later) = (now() + Duration::minutes(14), now() + Duration::minutes(16));
    assert!(one.take_asks(9, &times(soon)).await.unwrap().is_empty());
    let first = one.take_asks(2, &times(later)).await.unwrap();
    let second = two.take_asks(9, &times(later)).await.unwrap();
    assert_eq!((first.len(), second.len()), (2, 1));
    assert_eq!(second[0].provider_id, provider_id(second[0].recipient_id));
    // The process that claimed two of them was killed: others ask about them when the claim expires.
    two.ask_again(&[(second[0].recipient_id, Some(later + Duration::hours(1)))]).await.unwrap();
    let again = two.take_asks(9, &times(later + Duration::minutes(3))).await.unwrap();
    let sorted = |mut ids: Vec<_>| {
        ids.sort();
        ids
    };
    let ids = |asks: &[common::store::Ask]| sorted(asks.iter().map(|ask| ask.recipient_id).collect());
    assert_eq!(ids(&again), ids(&first));
    let due = two.take_asks(9, &times(later + Duration::hours(2))).await.unwrap();
    assert!(due.iter().any(|ask| ask.recipient_id == second[0].recipient_id && ask.asked == 1));
}

/// Telnyx's answer would contain the erased number.
async fn telnyx_is_not_asked_about_an_erased_person(kind: Kind) {
    let database = Database::fresh(kind).await;
    let store = database.migrated().await;
    record(&store, &message("grace", 2)).await;
    accept_all(&store).await;
    record(&store, &message("grace", 1)).await;
    let on_its_way = store.begin_attempts(1, now()).await.unwrap().swap_remove(0);
    store.erase_phone(&phone(0), false).await.unwrap();
    let accepted = Answer::Accepted { provider_id: "p".into() };
    store.record_answers(&[(on_its_way.id, accepted)], now()).await.unwrap();
    let later = now() + Duration::hours(1);
    let asks = store.take_asks(9, &times(later)).await.unwrap();
    assert_eq!(asks.iter().map(|ask| ask.phone.as_str()).collect::<Vec<_>>(), [phone(1)]);
    let overdue = Overdue { accepted_before: later, unresolved_before: later, limit: 9 };
    assert_eq!(store.close_overdue(&overdue, later).await.unwrap(), 2, "they are closed without a receipt");
}

async fn telnyx_is_not_asked_about_a_finished_recipient(kind: Kind) {
    let database = Database::fresh(kind).await;
    let store = database.migrated().await;
    record(&store, &message("grace", 2)).await;
    let attempts = accept_all(&store).await;
    let later = now() + Duration::hours(1);
    assert_eq!(store.take_asks(9, &times(later)).await.unwrap().len(), 2);
    let hook =
        webhook("e", &provider_id(attempts[0].recipient_id), &attempts[0].phone, state(Rank::Delivered));
    store.record_webhooks(&[hook]).await.unwrap();
    // The webhook came during the question to Telnyx.
    let again: Vec<_> = attempts.iter().map(|attempt| (attempt.recipient_id, Some(later))).collect();
    store.ask_again(&again).await.unwrap();
    let asks = store.take_asks(9, &times(later + Duration::hours(1))).await.unwrap();
    assert_eq!(asks.iter().map(|ask| ask.recipient_id).collect::<Vec<_>>(), [attempts[1].recipient_id]);
}

async fn a_recipient_telnyx_can_still_be_asked_about_is_not_closed(kind: Kind) {
    let database = Database::fresh(kind).await;
    let store = database.migrated().await;
    let new = message("grace", 1);
    record(&store, &new).await;
    let attempts = accept_all(&store).await;
    let late = now() + Duration::days(4);
    let overdue = Overdue { accepted_before: late, unresolved_before: late, limit: 10 };
    assert_eq!(store.close_overdue(&overdue, late).await.unwrap(), 0);
    store.ask_again(&[(attempts[0].recipient_id, None)]).await.unwrap();
    assert_eq!(store.close_overdue(&overdue, late).await.unwrap(), 1);
    let read = store.message(&new.church_id, new.id).await.unwrap().unwrap();
    assert_eq!(read.status, MessageStatus::Sent);
}

async fn missing_webhooks_are_noticed_even_when_asking_gets_answers(kind: Kind) {
    let database = Database::fresh(kind).await;
    let store = database.migrated().await;
    let (from, until) = (now() - Duration::hours(1), now() + Duration::hours(1));
    assert_eq!(store.webhooks_missing_since(from, until).await.unwrap(), None);
    record(&store, &message("grace", 2)).await;
    let attempts = accept_all(&store).await;
    assert!(store.webhooks_missing_since(from, until).await.unwrap().is_some());
    assert_eq!(store.webhooks_missing_since(from, from).await.unwrap(), None, "it is too early to tell");
    let report = |event: &str, number: usize| {
        let provider = provider_id(attempts[number].recipient_id);
        webhook(event, &provider, &attempts[number].phone, state(Rank::Delivered))
    };
    // An answer to a question is no webhook.
    for number in 0..2 {
        let mut asked = report(&format!("asked-{number}"), number);
        asked.event_type = ASKED.into();
        assert_eq!(store.record_webhooks(&[asked]).await.unwrap(), [Outcome::Applied]);
    }
    assert!(store.webhooks_missing_since(from, until).await.unwrap().is_some());
    // A webhook of an unknown message does not count either.
    let stranger = webhook("x", "x", &phone(9), state(Rank::Sent));
    assert_eq!(store.record_webhooks(&[stranger]).await.unwrap(), [Outcome::Parked]);
    assert!(store.webhooks_missing_since(from, until).await.unwrap().is_some());
    let mut late = report("e1", 0);
    late.received_at = now() + Duration::seconds(1);
    assert_eq!(store.record_webhooks(&[late]).await.unwrap(), [Outcome::Stale]);
    assert_eq!(store.webhooks_missing_since(from, until).await.unwrap(), None);
    assert!(store.audit().await.unwrap().is_sound());
}
