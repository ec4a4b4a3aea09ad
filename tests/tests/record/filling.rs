//! The data that measurements of large databases begin with.

use common::status::MessageStatus;
use common::store::{HistoryQuery, Total};
use tests::databases::{Database, Kind};
use tests::load::filling::{Amount, fill};
use tests::load::record::church_id;
use tests::on_both_databases;

on_both_databases!(
    a_filled_database_is_one_that_the_services_could_have_made,
    more_than_ten_thousand_messages_are_not_counted,
);

async fn a_filled_database_is_one_that_the_services_could_have_made(kind: Kind) {
    let database = Database::fresh(kind).await;
    let store = database.migrated().await;
    let amount = Amount { waiting: 500, ..Amount::of_months(20, 12_000, 4) };
    fill(&database.url, amount).await.unwrap();

    let audit = store.audit().await.unwrap();
    assert!(audit.is_sound(), "{audit:?}");
    assert_eq!(audit.accepted, 12_000);
    assert_eq!(audit.waiting_events, 800);
    assert_eq!(amount.events(), 800);
    for (church, messages) in [(0, 3_000), (1, 473), (19, 474)] {
        let church = church_id(church).parse().unwrap();
        let query = HistoryQuery { limit: 100, ..HistoryQuery::default() };
        let page = store.history(&church, &query).await.unwrap();
        let total = page.total.unwrap().messages;
        assert!(total.abs_diff(messages) < 10, "{church:?} has {total} messages");
        assert_eq!(page.messages[0].status, MessageStatus::Pending);
    }
}

async fn more_than_ten_thousand_messages_are_not_counted(kind: Kind) {
    let database = Database::fresh(kind).await;
    let store = database.migrated().await;
    let amount = Amount { churches: 1, messages: 10_300, large: 10_300, waiting: 500 };
    fill(&database.url, amount).await.unwrap();
    let church = church_id(0).parse().unwrap();
    let total = async |statuses: &[MessageStatus]| {
        let query = HistoryQuery { limit: 1, statuses: statuses.to_vec(), ..HistoryQuery::default() };
        store.history(&church, &query).await.unwrap().total.unwrap()
    };
    assert_eq!(total(&[]).await, Total { messages: 10_000, more: true });
    assert_eq!(total(&[MessageStatus::Pending]).await, Total { messages: 200, more: false });
    let two = total(&[MessageStatus::Delivered, MessageStatus::Pending]).await;
    assert_eq!(two, Total { messages: 10_000, more: true });
}
