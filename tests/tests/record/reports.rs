//! Webhooks in every order and with repetitions: the final state is the same, none is lost, and a body that the
//! database refuses fails alone.

use common::event::{ChurchEvent, EventType};
use common::status::{MessageStatus, Rank, RecipientState};
use common::store::{Answer, Outcome, Overdue, Store, Webhook};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tests::databases::{Database, Kind};
use tests::on_both_databases;
use uuid::Uuid;

use super::church::{
    accept_all, all, church, hinted, message, now, phone, provider_id, record, state, webhook,
};

on_both_databases!(
    a_report_raises_the_message_status_and_is_announced_once,
    a_repeated_webhook_is_counted_and_changes_nothing,
    two_webhooks_of_one_recipient_in_one_batch_make_one_event,
    a_webhook_before_telnyxs_answer_is_matched_by_the_signed_url,
    a_signed_url_for_another_phone_is_not_trusted,
    an_unmatched_webhook_is_parked_until_its_telnyx_id_is_known,
    the_sweep_applies_a_parked_webhook,
    any_order_and_repetition_ends_in_one_state_and_never_goes_back,
    a_body_the_database_refuses_fails_only_its_own_webhook,
    concurrent_batches_lose_no_webhook,
    progress_without_a_counter_change_makes_no_version,
    answers_and_repeated_parked_webhooks_do_not_deadlock,
    a_late_failure_reason_from_telnyx_replaces_unresolved,
);

async fn one_accepted(store: &Store) -> (Uuid, Uuid) {
    let new = message("grace", 1);
    record(store, &new).await;
    let attempts = accept_all(store).await;
    (new.id, attempts[0].recipient_id)
}

async fn events(store: &Store) -> Vec<ChurchEvent> {
    let rows = store.waiting_events(1_000).await.unwrap();
    rows.iter().map(|row| serde_json::from_str(&row.payload).unwrap()).collect()
}

async fn a_report_raises_the_message_status_and_is_announced_once(kind: Kind) {
    let database = Database::fresh(kind).await;
    let store = database.migrated().await;
    let (id, recipient) = one_accepted(&store).await;
    let hook = webhook("e1", &provider_id(recipient), &phone(0), state(Rank::Delivered));
    assert_eq!(store.record_webhooks(&[hook]).await.unwrap(), [Outcome::Applied]);
    let read = store.message(&church("grace"), id).await.unwrap().unwrap();
    assert_eq!((read.status, read.version, read.tally.delivered), (MessageStatus::Delivered, 2, 1));
    let events = events(&store).await;
    assert_eq!(events.iter().map(|e| e.kind).collect::<Vec<_>>(), [EventType::Sent, EventType::Delivered]);
    assert_eq!(events[1].changed[0].recipient_id, recipient);
    assert_eq!((events[1].version, events[1].user_id.as_deref()), (2, Some("author")));
}

async fn a_repeated_webhook_is_counted_and_changes_nothing(kind: Kind) {
    let database = Database::fresh(kind).await;
    let store = database.migrated().await;
    let (id, recipient) = one_accepted(&store).await;
    let hook = webhook("e1", &provider_id(recipient), &phone(0), state(Rank::Delivered));
    let twice = [hook.clone(), hook.clone()];
    assert_eq!(store.record_webhooks(&twice).await.unwrap(), [Outcome::Applied, Outcome::Duplicate]);
    assert_eq!(store.record_webhooks(&twice).await.unwrap(), [Outcome::Duplicate; 2]);
    assert_eq!(store.message(&church("grace"), id).await.unwrap().unwrap().version, 2);
    let audit = store.audit().await.unwrap();
    assert_eq!((audit.accepted, audit.applied, audit.duplicate), (4, 1, 3));
    assert!(audit.is_sound());
}

async fn two_webhooks_of_one_recipient_in_one_batch_make_one_event(kind: Kind) {
    let database = Database::fresh(kind).await;
    let store = database.migrated().await;
    let (id, recipient) = one_accepted(&store).await;
    let provider = provider_id(recipient);
    let batch = [
        webhook("final", &provider, &phone(0), state(Rank::Delivered)),
        webhook("sent", &provider, &phone(0), state(Rank::Sent)),
    ];
    assert_eq!(store.record_webhooks(&batch).await.unwrap(), [Outcome::Applied, Outcome::Stale]);
    assert_eq!(store.message(&church("grace"), id).await.unwrap().unwrap().version, 2);
    assert_eq!(events(&store).await.len(), 2);
}

async fn a_webhook_before_telnyxs_answer_is_matched_by_the_signed_url(kind: Kind) {
    let database = Database::fresh(kind).await;
    let store = database.migrated().await;
    let new = message("grace", 1);
    record(&store, &new).await;
    let attempt = store.begin_attempts(1, now()).await.unwrap()[0].id;
    let recipient = attempt.recipient_id;
    let early = hinted(webhook("e1", "p1", &phone(0), state(Rank::Delivered)), recipient);
    assert_eq!(store.record_webhooks(&[early]).await.unwrap(), [Outcome::Applied]);
    // The answer comes later with the same id, which the next webhook is matched by.
    store.record_answers(&[(attempt, Answer::Accepted { provider_id: "p1".into() })], now()).await.unwrap();
    let read = webhook("e2", "p1", &phone(0), state(Rank::Read));
    assert_eq!(store.record_webhooks(&[read]).await.unwrap(), [Outcome::Applied]);
}

async fn a_signed_url_for_another_phone_is_not_trusted(kind: Kind) {
    let database = Database::fresh(kind).await;
    let store = database.migrated().await;
    let new = message("grace", 1);
    record(&store, &new).await;
    let recipient = store.begin_attempts(1, now()).await.unwrap()[0].recipient_id;
    let foreign = hinted(webhook("e1", "p1", "+15559999999", state(Rank::Delivered)), recipient);
    assert_eq!(store.record_webhooks(&[foreign]).await.unwrap(), [Outcome::Parked]);
    assert_eq!(store.message(&church("grace"), new.id).await.unwrap().unwrap().version, 1);
}

async fn an_unmatched_webhook_is_parked_until_its_telnyx_id_is_known(kind: Kind) {
    let database = Database::fresh(kind).await;
    let store = database.migrated().await;
    let new = message("grace", 1);
    record(&store, &new).await;
    let early = webhook("e1", "p1", &phone(0), state(Rank::Delivered));
    assert_eq!(store.record_webhooks(&[early]).await.unwrap(), [Outcome::Parked]);
    let attempt = store.begin_attempts(1, now()).await.unwrap()[0].id;
    store.record_answers(&[(attempt, Answer::Accepted { provider_id: "p1".into() })], now()).await.unwrap();
    assert_eq!(
        store.message(&church("grace"), new.id).await.unwrap().unwrap().status,
        MessageStatus::Delivered
    );
    let audit = store.audit().await.unwrap();
    assert_eq!((audit.applied, audit.parked), (1, 0));
    assert!(audit.is_sound());
}

async fn the_sweep_applies_a_parked_webhook(kind: Kind) {
    let database = Database::fresh(kind).await;
    let store = database.migrated().await;
    let strangers: Vec<Webhook> = (0..5)
        .map(|n| webhook(&format!("x{n}"), &format!("x{n}"), "+15551111111", state(Rank::Sent)))
        .collect();
    store.record_webhooks(&strangers).await.unwrap();
    let mut after = None;
    let mut pages = 0;
    loop {
        let (claimed, next) = store.sweep_parked(after.as_deref(), 2).await.unwrap();
        assert_eq!(claimed, 0);
        pages += 1;
        match next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    assert_eq!(pages, 3);
    assert_eq!(store.audit().await.unwrap().parked, 5);
}

/// Reports of one message to three recipients, repeated, shuffled and split into batches.
fn stories() -> impl Strategy<Value = Vec<Vec<(usize, i16, bool)>>> {
    let report = (0..3usize, 1..=6i16, any::<bool>());
    prop::collection::vec(prop::collection::vec(report, 1..6), 1..8)
}

async fn any_order_and_repetition_ends_in_one_state_and_never_goes_back(kind: Kind) {
    let database = Database::fresh(kind).await;
    let store = database.migrated().await;
    let runtime = tokio::runtime::Handle::current();
    let config = Config { cases: 24, failure_persistence: None, ..Config::default() };
    tokio::task::block_in_place(|| {
        TestRunner::new(config)
            .run(&stories(), |story| {
                runtime.block_on(tell(&store, story));
                Ok(())
            })
            .unwrap();
    });
    assert!(store.audit().await.unwrap().is_sound());
}

/// Records the batches of one story and checks each state against the lattice.
async fn tell(store: &Store, batches: Vec<Vec<(usize, i16, bool)>>) {
    let new = message("grace", 3);
    record(store, &new).await;
    accept_all(store).await;
    let mut expected = [RecipientState::NEW; 3];
    let (mut status, mut version) = (MessageStatus::Pending, 1);
    for batch in batches {
        let hooks: Vec<Webhook> = batch
            .iter()
            .map(|(who, rank, closed)| {
                let report = RecipientState { rank: Rank::from_i16(*rank).unwrap(), closed: *closed };
                expected[*who] = expected[*who].join(report);
                let provider = provider_id(new.recipients[*who].id);
                // A repetition has the same event id.
                webhook(&format!("{}-{who}-{rank}-{closed}", new.id), &provider, &phone(*who), report)
            })
            .collect();
        store.record_webhooks(&hooks).await.unwrap();
        let read = store.message(&new.church_id, new.id).await.unwrap().unwrap();
        assert!(read.status >= status, "{:?} after {status:?}", read.status);
        assert!(read.version >= version && (read.status == status || read.version > version));
        (status, version) = (read.status, read.version);
    }
    let recipients = store.recipients(&new.church_id, new.id, &all()).await.unwrap();
    assert_eq!(recipients.iter().map(|r| r.state).collect::<Vec<_>>(), expected);
}

/// Makes the database refuse one event, as a NUL in a text does in PostgreSQL.
async fn a_body_the_database_refuses_fails_only_its_own_webhook(kind: Kind) {
    let database = Database::fresh(kind).await;
    let store = database.migrated().await;
    let (id, recipient) = one_accepted(&store).await;
    let poison = match kind {
        Kind::Postgres => "poison\0".to_owned(),
        Kind::Sqlite => {
            refuse_in_sqlite(&database.url, "poison").await;
            "poison".to_owned()
        }
    };
    let provider = provider_id(recipient);
    let mut batch: Vec<Webhook> = (0..9)
        .map(|n| webhook(&format!("x{n}"), &format!("x{n}"), "+15551111111", state(Rank::Sent)))
        .collect();
    batch.insert(4, webhook(&poison, "x", "+15551111111", state(Rank::Sent)));
    batch.push(webhook("good", &provider, &phone(0), state(Rank::Delivered)));
    let outcomes = store.record_webhooks(&batch).await.unwrap();
    assert_eq!(outcomes[4], Outcome::Ignored);
    assert_eq!(outcomes[10], Outcome::Applied);
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == Outcome::Parked).count(), 9);
    assert_eq!(store.message(&church("grace"), id).await.unwrap().unwrap().status, MessageStatus::Delivered);
    // Telnyx repeats it, and it is recognised as a duplicate.
    assert_eq!(store.record_webhooks(&[batch.swap_remove(4)]).await.unwrap(), [Outcome::Duplicate]);
    assert_eq!(store.audit().await.unwrap().ignored, 1);
}

async fn refuse_in_sqlite(url: &str, event_id: &str) {
    use sqlx::Connection as _;
    let mut connection = sqlx::SqliteConnection::connect(url).await.unwrap();
    let trigger = format!(
        "create trigger refuse before insert on webhooks when new.event_id = '{event_id}'
         begin select raise(abort, 'refused'); end"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(trigger)).execute(&mut connection).await.unwrap();
}

async fn concurrent_batches_lose_no_webhook(kind: Kind) {
    let database = Database::fresh(kind).await;
    let store = database.migrated().await;
    let new = message("grace", 40);
    record(&store, &new).await;
    let attempts = accept_all(&store).await;
    let batches = (0..8usize).map(|batch| {
        let store = store.clone();
        // Every batch reports every recipient, in an order of its own.
        let mut hooks: Vec<Webhook> = attempts
            .iter()
            .map(|attempt| {
                let rank = if batch % 2 == 0 { Rank::Sent } else { Rank::Delivered };
                let event = format!("{batch}-{}", attempt.recipient_id);
                webhook(&event, &provider_id(attempt.recipient_id), &attempt.phone, state(rank))
            })
            .collect();
        hooks.rotate_left(batch * 5);
        if batch > 4 {
            hooks.reverse();
        }
        tokio::spawn(async move {
            while let Err(error) = store.record_webhooks(&hooks).await {
                assert!(error.is_temporary(), "{error:?}");
            }
        })
    });
    for batch in batches.collect::<Vec<_>>() {
        batch.await.unwrap();
    }
    let read = store.message(&church("grace"), new.id).await.unwrap().unwrap();
    assert_eq!((read.status, read.tally.delivered), (MessageStatus::Delivered, 40));
    let audit = store.audit().await.unwrap();
    assert_eq!(audit.accepted - audit.duplicate, 320);
    assert!(audit.is_sound(), "{audit:?}");
}

async fn answers_and_repeated_parked_webhooks_do_not_deadlock(kind: Kind) {
    let database = Database::fresh(kind).await;
    let (store, other) = (database.migrated().await, database.store());
    for round in 0..20 {
        let new = message("grace", 40);
        record(&store, &new).await;
        let provider = |n: usize| format!("p{round}-{n}");
        let hook = |n: usize| webhook(&format!("e{round}-{n}"), &provider(n), &phone(n), state(Rank::Sent));
        let parked: Vec<Webhook> = (0..20).map(hook).collect();
        store.record_webhooks(&parked).await.unwrap();
        let attempts = store.begin_attempts(40, now()).await.unwrap();
        let attempt =
            |n: usize| attempts.iter().find(|it| it.recipient_id == new.recipients[n].id).unwrap().id;
        let answer = |n: usize| (attempt(n), Answer::Accepted { provider_id: provider(n) });
        let answers: Vec<_> = (0..20).map(answer).collect();
        let mut batch = parked;
        batch.extend((20..40).map(|n| hinted(hook(n), new.recipients[n].id)));
        let (answering, receiving) = (store.clone(), other.clone());
        let answering = tokio::spawn(async move { answering.record_answers(&answers, now()).await });
        let receiving = tokio::spawn(async move { receiving.record_webhooks(&batch).await });
        answering.await.unwrap().unwrap();
        receiving.await.unwrap().unwrap();
    }
    let audit = store.audit().await.unwrap();
    assert_eq!((audit.applied, audit.parked), (800, 0));
    assert!(audit.is_sound());
}

async fn a_late_failure_reason_from_telnyx_replaces_unresolved(kind: Kind) {
    let database = Database::fresh(kind).await;
    let store = database.migrated().await;
    let new = message("grace", 1);
    record(&store, &new).await;
    let recipient = store.begin_attempts(1, now()).await.unwrap()[0].recipient_id;
    let later = now() + time::Duration::hours(1);
    let overdue = Overdue { accepted_before: later, unresolved_before: later, limit: 10 };
    store.close_overdue(&overdue, later).await.unwrap();
    let late = hinted(webhook("e1", "p1", &phone(0), state(Rank::Failed)), recipient);
    assert_eq!(store.record_webhooks(std::slice::from_ref(&late)).await.unwrap(), [Outcome::Applied]);
    let read = store.message(&new.church_id, new.id).await.unwrap().unwrap();
    assert_eq!(read.failure_reason.as_deref(), Some("blocked (e1)"));
    assert_eq!((read.status, read.version), (MessageStatus::Failed, 2));
}

async fn progress_without_a_counter_change_makes_no_version(kind: Kind) {
    let database = Database::fresh(kind).await;
    let store = database.migrated().await;
    let (id, recipient) = one_accepted(&store).await;
    let hook = webhook("e1", &provider_id(recipient), &phone(0), state(Rank::Sent));
    assert_eq!(store.record_webhooks(&[hook]).await.unwrap(), [Outcome::Applied]);
    assert_eq!(store.message(&church("grace"), id).await.unwrap().unwrap().version, 1);
    assert_eq!(events(&store).await.len(), 1);
}
