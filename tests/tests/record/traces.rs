//! Which trace the events in the outbox belong to.

use common::status::Rank;
use common::store::{CancelOrder, InboundText, NewMessage, NewRetry, Store, Webhook, WebhookContent};
use common::trace_context::TraceParent;
use tests::databases::{Database, Kind};
use tests::on_both_databases;
use uuid::Uuid;

use super::church::{
    accept_all, cancel_of, church, message, now, phone, provider_id, record, state, webhook,
};
use super::retrying::{refused, retry_of};

on_both_databases!(
    an_event_keeps_the_trace_of_the_request_that_made_it,
    an_event_takes_the_trace_of_the_webhook_that_changed_its_message_last,
    the_news_of_a_text_keeps_the_trace_of_its_webhook,
    a_refused_event_is_put_back_with_its_trace,
);

fn trace(number: usize) -> Option<TraceParent> {
    TraceParent::parse(&format!("00-{:032x}-{:016x}-01", number + 1, number + 1))
}

/// The traces of the events that wait, oldest first.
async fn traces(store: &Store) -> Vec<Option<TraceParent>> {
    store.waiting_events(100).await.unwrap().into_iter().map(|row| row.trace_parent).collect()
}

/// Records a message in a trace.
async fn record_traced(store: &Store, number: usize) -> NewMessage {
    let new = NewMessage { trace_parent: trace(number), ..message("grace", 2) };
    record(store, &new).await;
    new
}

async fn an_event_keeps_the_trace_of_the_request_that_made_it(kind: Kind) {
    let database = Database::fresh(kind).await;
    let store = database.migrated().await;
    let failed = refused(&store, &["40300", "40008"]).await;
    let sent = record_traced(&store, 0).await;
    let grace = church("grace");
    let order = CancelOrder { trace_parent: trace(1), ..cancel_of(&grace, sent.id, "ann") };
    store.cancel(&order).await.unwrap();
    store.retry(&NewRetry { trace_parent: trace(2), ..retry_of(failed.id) }).await.unwrap();
    // The message that failed, and how it failed, belong to no trace.
    assert_eq!(traces(&store).await, [None, None, trace(0), trace(1), trace(2)]);
}

async fn an_event_takes_the_trace_of_the_webhook_that_changed_its_message_last(kind: Kind) {
    let database = Database::fresh(kind).await;
    let store = database.migrated().await;
    let messages =
        [record_traced(&store, 0).await, record_traced(&store, 1).await, record_traced(&store, 2).await];
    accept_all(&store).await;
    let hook = |message: usize, to: usize, rank: Rank, number: Option<usize>| {
        let id = provider_id(messages[message].recipients[to].id);
        let event_id = format!("{message}-{to}-{rank:?}");
        Webhook { trace_parent: number.and_then(trace), ..webhook(&event_id, &id, &phone(to), state(rank)) }
    };
    let batch = [
        hook(0, 0, Rank::Delivered, Some(3)),
        hook(1, 0, Rank::Delivered, Some(4)),
        hook(2, 0, Rank::Delivered, Some(5)),
        hook(0, 1, Rank::Delivered, Some(6)),
        // The last one of this message belongs to no trace.
        hook(1, 1, Rank::Delivered, None),
        // It comes too late to change anything.
        hook(2, 0, Rank::Sent, Some(7)),
    ];
    store.record_webhooks(&batch).await.unwrap();
    let rows = store.waiting_events(100).await.unwrap();
    let found = messages.map(|message| {
        let of_message: Vec<_> = rows.iter().filter(|row| row.message_id == message.id).collect();
        assert_eq!(of_message.len(), 2);
        of_message[1].trace_parent.clone()
    });
    assert_eq!(found, [trace(6), None, trace(5)]);
}

async fn the_news_of_a_text_keeps_the_trace_of_its_webhook(kind: Kind) {
    let database = Database::fresh(kind).await;
    let store = database.migrated().await;
    let text = |event_id: &str, trace_parent| Webhook {
        content: WebhookContent::Inbound(InboundText {
            to: vec!["+15559990009".into()],
            default_church: Some(church("hope")),
            from: phone(1),
            content: "Amen".into(),
            media_count: 0,
            opt_out: None,
            received_at: now(),
        }),
        trace_parent,
        ..webhook(event_id, "p", &phone(1), state(Rank::Sent))
    };
    store.record_webhooks(&[text("a", trace(0)), text("b", None), text("c", trace(1))]).await.unwrap();
    assert_eq!(traces(&store).await, [trace(0), None, trace(1)]);
}

async fn a_refused_event_is_put_back_with_its_trace(kind: Kind) {
    let database = Database::fresh(kind).await;
    let store = database.migrated().await;
    record_traced(&store, 0).await;
    let position = store.waiting_events(1).await.unwrap()[0].position;
    let term = store.take_lease(Uuid::now_v7()).await.unwrap().unwrap();
    store.set_refused(term, position, "it is too large").await.unwrap();
    assert_eq!((traces(&store).await, store.retry_refused(None).await.unwrap()), (vec![], 1));
    assert_eq!(traces(&store).await, [trace(0)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_to_postgresql_keeps_the_traces() {
    let (file, server) = (Database::fresh(Kind::Sqlite).await, Database::fresh(Kind::Postgres).await);
    let (from, to) = (file.migrated().await, server.migrated().await);
    record_traced(&from, 0).await;
    record(&from, &message("grace", 1)).await;
    from.copy_into(&to).await.unwrap();
    assert_eq!(traces(&to).await, [trace(0), None]);
}
