//! From the outbox into the stream, through every kind of broker failure.

use std::path::Path;

use async_nats::jetstream;
use common::broker::{Broker, NatsOptions};
use common::relay;
use common::service::{Context, Weight};
use common::status::Rank;
use common::store::Store;
use tests::broker::TestBroker;
use tests::databases::{Database, Kind};
use tests::{eventually, on_both_databases};
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::church::{accept_all, message, phone, provider_id, record, state, webhook};

on_both_databases!(
    committed_events_are_in_the_stream_once_and_in_order,
    events_committed_during_a_broker_outage_follow_after_it,
    a_second_relay_stands_by_and_takes_over,
    a_stream_that_lost_its_tail_gets_the_lost_events_again,
    a_recreated_stream_gets_every_event_the_outbox_still_holds,
    relays_competing_for_the_lease_store_every_event_exactly_once,
);

/// A relay that looks to the others like a process of its own.
pub(crate) struct Relaying {
    pub(crate) context: Context,
    tasks: TaskTracker,
}

impl Relaying {
    pub(crate) async fn start(store: &Store, broker: &TestBroker, user: &str) -> Self {
        Self::start_with(store, &broker.options(user), user).await
    }

    pub(crate) async fn start_with(store: &Store, broker: &NatsOptions, user: &str) -> Self {
        let context = Context::new();
        context.health.condition("database", Weight::Required).met();
        let connection = Broker::connect(broker, user, &context, Weight::Degrading).await.unwrap();
        let tasks = TaskTracker::new();
        relay::start(store.clone(), connection, &context, &tasks);
        Self { context, tasks }
    }

    pub(crate) async fn stop(self) {
        self.context.shutdown.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    pub(crate) async fn says(&self, text: &str) {
        eventually(text, async || self.context.health.report().1.contains(text).then_some(())).await;
    }
}

pub(crate) async fn record_some(store: &Store, count: usize) -> Vec<Uuid> {
    let mut ids = Vec::new();
    for _ in 0..count {
        let new = message("grace", 1);
        record(store, &new).await;
        ids.push(new.id);
    }
    ids
}

pub(crate) async fn all_announced(store: &Store) {
    eventually("the outbox is empty", async || {
        store.waiting_events(1).await.unwrap().is_empty().then_some(())
    })
    .await;
}

/// The messages in the stream. Fails if an event is there twice.
pub(crate) async fn stored_messages(broker: &TestBroker) -> Vec<Uuid> {
    let stored = broker.stored().await;
    let mut events: Vec<_> = stored.iter().map(|(_, id, _)| id.clone()).collect();
    events.sort();
    events.dedup();
    assert_eq!(events.len(), stored.len(), "an event is in the stream twice");
    stored.iter().map(|(_, _, event)| event["messageId"].as_str().unwrap().parse().unwrap()).collect()
}

async fn committed_events_are_in_the_stream_once_and_in_order(kind: Kind) {
    let (broker, database) = (TestBroker::start().await, Database::fresh(kind).await);
    let store = database.migrated().await;
    let relay = Relaying::start(&store, &broker, "ingest").await;
    let ids = record_some(&store, 20).await;
    all_announced(&store).await;
    assert_eq!(stored_messages(&broker).await, ids);
    let last = store.last_announced().await.unwrap().unwrap();
    assert_eq!(last.stream_seq, 20);
    relay.stop().await;
}

async fn events_committed_during_a_broker_outage_follow_after_it(kind: Kind) {
    let (mut broker, database) = (TestBroker::start().await, Database::fresh(kind).await);
    let store = database.migrated().await;
    let relay = Relaying::start(&store, &broker, "message_api").await;
    let mut ids = record_some(&store, 5).await;
    all_announced(&store).await;
    broker.kill().await;
    relay.says("degraded: nats").await;
    ids.extend(record_some(&store, 15).await);
    assert!(relay.context.health.report().0, "a broker outage leaves the services ready");
    broker.restart().await;
    all_announced(&store).await;
    assert_eq!(stored_messages(&broker).await, ids);
    relay.stop().await;
}

async fn a_second_relay_stands_by_and_takes_over(kind: Kind) {
    let (broker, database) = (TestBroker::start().await, Database::fresh(kind).await);
    let store = database.migrated().await;
    let first = Relaying::start(&store, &broker, "ingest").await;
    let mut ids = record_some(&store, 3).await;
    all_announced(&store).await;
    let second = Relaying::start(&database.store(), &broker, "message_api").await;
    ids.extend(record_some(&store, 3).await);
    all_announced(&store).await;
    assert!(store.take_lease(Uuid::now_v7()).await.unwrap().is_none());
    first.stop().await;
    ids.extend(record_some(&store, 3).await);
    all_announced(&store).await;
    assert_eq!(stored_messages(&broker).await, ids);
    second.stop().await;
}

fn copy(from: &Path, to: &Path) {
    let copied = std::process::Command::new("cp").arg("-R").arg(from).arg(to).status().unwrap();
    assert!(copied.success());
}

async fn a_stream_that_lost_its_tail_gets_the_lost_events_again(kind: Kind) {
    let (mut broker, database) = (TestBroker::start().await, Database::fresh(kind).await);
    let store = database.migrated().await;
    let relay = Relaying::start(&store, &broker, "ingest").await;
    let mut ids = record_some(&store, 4).await;
    all_announced(&store).await;
    broker.kill().await;
    let (data, older) = (broker.data(), broker.data().with_extension("older"));
    copy(&data, &older);
    broker.restart().await;
    ids.extend(record_some(&store, 4).await);
    all_announced(&store).await;
    // A power cut: the newest events were not flushed to disk.
    broker.kill().await;
    std::fs::remove_dir_all(&data).unwrap();
    std::fs::rename(&older, &data).unwrap();
    broker.restart().await;
    ids.extend(record_some(&store, 1).await);
    all_announced(&store).await;
    assert_eq!(stored_messages(&broker).await, ids);
    relay.stop().await;
}

async fn a_recreated_stream_gets_every_event_the_outbox_still_holds(kind: Kind) {
    let (mut broker, database) = (TestBroker::start().await, Database::fresh(kind).await);
    let store = database.migrated().await;
    let relay = Relaying::start(&store, &broker, "ingest").await;
    let mut ids = record_some(&store, 4).await;
    all_announced(&store).await;
    broker.kill().await;
    std::fs::remove_dir_all(broker.data()).unwrap();
    broker.restart().await;
    ids.extend(record_some(&store, 1).await);
    relay.says("run `ops provision`").await;
    broker.provision().await;
    all_announced(&store).await;
    assert_eq!(stored_messages(&broker).await, ids);
    relay.stop().await;
}

/// Each relay repeatedly takes the lease from the other in the middle of its work.
async fn relays_competing_for_the_lease_store_every_event_exactly_once(kind: Kind) {
    let (broker, database) = (TestBroker::start().await, Database::fresh(kind).await);
    let store = database.migrated().await;
    let first = Relaying::start(&store, &broker, "ingest").await;
    let second = Relaying::start(&database.store(), &broker, "message_api").await;
    let mut ids = Vec::new();
    for _ in 0..10 {
        ids.extend(record_some(&store, 10).await);
        database.execute("update relay_lease set expires_at = $EPOCH").await;
    }
    all_announced(&store).await;
    assert_eq!(stored_messages(&broker).await, ids);
    first.stop().await;
    second.stop().await;
}

/// Positions are assigned before the commit, so a row may become visible after one with a higher position. Here the
/// relay stored the later row and died before it marked it. Returns the messages in the order that the stream should
/// have.
async fn a_later_row_is_stored_and_not_marked(store: &Store, broker: &TestBroker) -> Vec<Uuid> {
    let relay = Relaying::start(store, broker, "ingest").await;
    let mut ids = record_some(store, 3).await;
    all_announced(store).await;
    relay.stop().await;
    let third = store.last_announced().await.unwrap().unwrap();
    ids.extend(record_some(store, 3).await);
    let rows = store.waiting_events(10).await.unwrap();
    let publish = jetstream::message::PublishMessage::build()
        .payload(rows[1].payload.clone().into())
        .message_id(rows[1].event_id.to_string())
        .expected_last_message_id(third.event_id.to_string());
    let jetstream = jetstream::new(broker.client("ingest").await);
    jetstream.send_publish(rows[1].subject.clone(), publish).await.unwrap().await.unwrap();
    ids.swap(3, 4);
    ids
}

/// Shortens the stream's duplicate window.
async fn forget_duplicates_soon(broker: &TestBroker) {
    broker.reconfigure(|config| config.duplicate_window = std::time::Duration::from_millis(100)).await;
}

/// The one place that waits for time to pass: the test is about the window's end.
async fn until_the_window_is_over() {
    tokio::time::sleep(std::time::Duration::from_millis(400)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_visible_late_is_announced_although_a_later_ack_was_lost() {
    let (broker, database) = (TestBroker::start().await, Database::fresh(Kind::Sqlite).await);
    let store = database.migrated().await;
    let ids = a_later_row_is_stored_and_not_marked(&store, &broker).await;
    let relay = Relaying::start(&store, &broker, "message_api").await;
    all_announced(&store).await;
    relay.stop().await;
    assert_eq!(stored_messages(&broker).await, ids);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_visible_late_is_announced_after_the_duplicate_window() {
    let (broker, database) = (TestBroker::start().await, Database::fresh(Kind::Sqlite).await);
    let store = database.migrated().await;
    forget_duplicates_soon(&broker).await;
    let ids = a_later_row_is_stored_and_not_marked(&store, &broker).await;
    until_the_window_is_over().await;
    let relay = Relaying::start(&store, &broker, "message_api").await;
    all_announced(&store).await;
    relay.stop().await;
    assert_eq!(stored_messages(&broker).await, ids);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_when_the_broker_forgot_its_last_event_id() {
    let (mut broker, database) = (TestBroker::start().await, Database::fresh(Kind::Sqlite).await);
    let store = database.migrated().await;
    forget_duplicates_soon(&broker).await;
    let ids = a_later_row_is_stored_and_not_marked(&store, &broker).await;
    broker.kill().await;
    until_the_window_is_over().await;
    broker.restart().await;
    let relay = Relaying::start(&store, &broker, "message_api").await;
    all_announced(&store).await;
    relay.stop().await;
    // An event may be there twice, which its version makes harmless. None may be missing.
    let stored = broker.stored().await;
    let stands = |id: &Uuid| stored.iter().any(|(_, _, event)| event["messageId"] == id.to_string());
    assert!(ids.iter().all(stands));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_relay_goes_on_after_a_broker_restart_long_after_the_last_event() {
    let (mut broker, database) = (TestBroker::start().await, Database::fresh(Kind::Sqlite).await);
    let store = database.migrated().await;
    // After a restart the broker knows no last id.
    forget_duplicates_soon(&broker).await;
    let relay = Relaying::start(&store, &broker, "ingest").await;
    let mut ids = record_some(&store, 3).await;
    all_announced(&store).await;
    broker.kill().await;
    until_the_window_is_over().await;
    broker.restart().await;
    ids.extend(record_some(&store, 3).await);
    all_announced(&store).await;
    assert_eq!(stored_messages(&broker).await, ids);
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denied_publish_is_reported_as_a_permission_error() {
    let (broker, database) = (TestBroker::start().await, Database::fresh(Kind::Sqlite).await);
    let store = database.migrated().await;
    let relay = Relaying::start(&store, &broker, "gateway").await;
    record_some(&store, 1).await;
    relay.says("does not let this service publish").await;
    assert!(relay.context.health.report().0);
    assert_eq!(store.waiting_events(10).await.unwrap().len(), 1);
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn superseded_progress_is_skipped_but_its_recipients_are_still_named() {
    let (broker, database) = (TestBroker::start().await, Database::fresh(Kind::Sqlite).await);
    let store = database.migrated().await;
    let new = message("grace", 4);
    record(&store, &new).await;
    accept_all(&store).await;
    for (number, recipient) in new.recipients.iter().enumerate() {
        let hook =
            webhook(&number.to_string(), &provider_id(recipient.id), &phone(number), state(Rank::Delivered));
        store.record_webhooks(&[hook]).await.unwrap();
    }
    let relay = Relaying::start(&store, &broker, "ingest").await;
    all_announced(&store).await;
    let stored = broker.stored().await;
    let types: Vec<_> = stored.iter().map(|(_, _, event)| event["type"].as_str().unwrap()).collect();
    assert_eq!(types, ["message:sent", "message:delivered"]);
    let changed = stored[1].2["changed"].as_array().unwrap();
    assert_eq!(changed.len(), 4);
    relay.stop().await;
}
