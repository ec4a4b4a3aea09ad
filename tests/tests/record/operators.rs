//! What operators ask of the store: both databases answer alike.

use common::status::{Rank, RecipientState};
use common::store::{FailureQuery, KeptQuery, Outcome};
use tests::databases::{Database, Kind};
use tests::on_both_databases;
use time::Duration;

use super::church::{accept_all, church, message, now, phone, provider_id, record, webhook};

on_both_databases!(
    a_message_is_found_by_every_id_that_belongs_to_it_and_a_parked_webhook_by_telnyxs,
    a_messages_life_has_its_recipients_webhooks_and_events,
    failures_are_counted_by_code_and_listed,
    a_webhook_processed_again_changes_its_recipient_once,
    a_dry_run_says_what_would_become_and_changes_nothing,
);

const FAILED: RecipientState = RecipientState { rank: Rank::Failed, closed: true };
const DELIVERED: RecipientState = RecipientState { rank: Rank::Delivered, closed: false };

async fn a_message_is_found_by_every_id_that_belongs_to_it_and_a_parked_webhook_by_telnyxs(kind: Kind) {
    let database = Database::fresh(kind).await;
    let store = database.migrated().await;
    let (new, other) = (message("grace", 2), message("hope", 1));
    record(&store, &new).await;
    record(&store, &other).await;
    accept_all(&store).await;
    let recipient = new.recipients[1].id;
    for (id, of) in [
        (new.id.to_string(), None),
        (recipient.to_string(), Some(recipient)),
        (provider_id(recipient), Some(recipient)),
    ] {
        let found = store.find_message(&id).await.unwrap().unwrap();
        assert_eq!((found.church_id, found.message_id, found.recipient_id), (church("grace"), new.id, of));
    }
    assert_eq!(store.find_message("unknown").await.unwrap(), None);
    let parked = webhook("e1", "unknown", &phone(7), DELIVERED);
    assert_eq!(store.record_webhooks(&[parked]).await.unwrap(), [Outcome::Parked]);
    let parked = store.parked_of("unknown", 10).await.unwrap();
    assert_eq!(parked.iter().map(|webhook| &*webhook.event_id).collect::<Vec<_>>(), ["e1"]);
    assert!(store.parked_of("e1", 10).await.unwrap().is_empty());
    let to = store.messages_to(&phone(0), 10).await.unwrap();
    assert_eq!(to.iter().map(|found| found.message_id).collect::<Vec<_>>(), [other.id, new.id]);
    assert_eq!(store.messages_to(&phone(0), 1).await.unwrap().len(), 1);
}

async fn a_messages_life_has_its_recipients_webhooks_and_events(kind: Kind) {
    let database = Database::fresh(kind).await;
    let store = database.migrated().await;
    let new = message("grace", 3);
    record(&store, &new).await;
    accept_all(&store).await;
    let report = webhook("e1", &provider_id(new.recipients[0].id), &phone(0), DELIVERED);
    store.record_webhooks(&[report]).await.unwrap();
    let origin = store.origin(new.id).await.unwrap().unwrap();
    assert_eq!(origin.from_number, new.from_number);
    // Whoever is finished comes last.
    let lives = store.recipient_lives(new.id, None, 10).await.unwrap();
    assert_eq!(lives.iter().map(|life| life.id).collect::<Vec<_>>(), [1, 2, 0].map(|n| new.recipients[n].id));
    assert!(lives.iter().all(|life| life.attempted_at.is_some() && life.provider_id.is_some()));
    let one = store.recipient_lives(new.id, Some(new.recipients[2].id), 10).await.unwrap();
    assert_eq!(one, [lives[1].clone()]);
    let span = (now() - Duration::hours(3), now() + Duration::hours(1));
    let webhooks = store.webhooks_of(&lives, span.0, span.1).await.unwrap();
    assert_eq!(webhooks.len(), 1);
    assert_eq!(
        (&*webhooks[0].0.event_id, &*webhooks[0].0.outcome, &*webhooks[0].1.body),
        ("e1", "applied", &b"{}"[..])
    );
    assert!(store.webhooks_of(&one, span.0, span.1).await.unwrap().is_empty());
    let events = store.events_of(new.id).await.unwrap();
    let versions: Vec<i64> = events.iter().map(|event| event.version).collect();
    let newest = store.message(&new.church_id, new.id).await.unwrap().unwrap().version;
    assert_eq!(versions, (1..=newest).collect::<Vec<_>>());
    assert!(events.iter().all(|event| event.stream_seq.is_none() && event.refused.is_none()));
}

async fn failures_are_counted_by_code_and_listed(kind: Kind) {
    let database = Database::fresh(kind).await;
    let store = database.migrated().await;
    let (grace, hope) = (message("grace", 3), message("hope", 1));
    record(&store, &grace).await;
    record(&store, &hope).await;
    accept_all(&store).await;
    for (number, recipient) in grace.recipients[..2].iter().chain(&hope.recipients).enumerate() {
        let report = webhook(&format!("e{number}"), &provider_id(recipient.id), &recipient.phone, FAILED);
        store.record_webhooks(&[report]).await.unwrap();
    }
    let all = FailureQuery { since: now() - Duration::hours(1), church: None, code: None };
    let counts = store.failure_counts(&all).await.unwrap();
    assert_eq!(counts.iter().map(|count| (count.recipients, count.messages)).collect::<Vec<_>>(), [(3, 2)]);
    let code = counts[0].code.clone();
    assert_eq!(store.failed_recipients(&all, 10).await.unwrap().len(), 3);
    assert_eq!(store.failed_recipients(&all, 2).await.unwrap().len(), 2);
    let of_grace = FailureQuery { church: Some(church("grace")), code: Some(code), ..all.clone() };
    let failed = store.failed_recipients(&of_grace, 10).await.unwrap();
    assert!(failed.len() == 2 && failed.iter().all(|one| one.message_id == grace.id), "{failed:?}");
    for nothing in [
        FailureQuery { since: now() + Duration::hours(1), ..all.clone() },
        FailureQuery { code: Some("none".into()), ..all },
    ] {
        assert!(store.failure_counts(&nothing).await.unwrap().is_empty());
    }
}

/// A webhook that was ignored because of a fault, and how the mended parser reads it.
async fn an_ignored_one(store: &common::store::Store) -> common::store::Webhook {
    let new = message("grace", 1);
    record(store, &new).await;
    accept_all(store).await;
    let meant = webhook("e1", &provider_id(new.recipients[0].id), &phone(0), DELIVERED);
    let content = common::store::WebhookContent::Ignored { reason: "a fault".into() };
    let ignored = common::store::Webhook { content, ..meant.clone() };
    assert_eq!(store.record_webhooks(&[ignored]).await.unwrap(), [Outcome::Ignored]);
    meant
}

async fn a_webhook_processed_again_changes_its_recipient_once(kind: Kind) {
    let database = Database::fresh(kind).await;
    let store = database.migrated().await;
    let meant = an_ignored_one(&store).await;
    let query = KeptQuery { reason: Some("fault".into()), limit: 10, ..KeptQuery::default() };
    let kept = store.kept_webhooks(&query).await.unwrap();
    assert_eq!(kept.iter().map(|kept| &*kept.event_id).collect::<Vec<_>>(), ["e1"]);
    assert_eq!(store.kept_bodies(&["e1"]).await.unwrap()[0].body, meant.body);
    let outcomes = |done: Vec<common::store::Reprocessed>| -> Vec<Outcome> {
        done.into_iter().map(|one| one.outcome).collect()
    };
    let once = store.reprocess(std::slice::from_ref(&meant), false).await.unwrap();
    assert_eq!(outcomes(once), [Outcome::Applied]);
    let again = store.reprocess(&[meant], false).await.unwrap();
    assert_eq!(outcomes(again), []);
    let audit = store.audit().await.unwrap();
    assert!(audit.is_sound() && audit.applied == 1 && audit.ignored == 0, "{audit:?}");
    assert!(store.kept_webhooks(&query).await.unwrap().is_empty());
}

async fn a_dry_run_says_what_would_become_and_changes_nothing(kind: Kind) {
    let database = Database::fresh(kind).await;
    let store = database.migrated().await;
    let meant = an_ignored_one(&store).await;
    let dry = store.reprocess(&[meant], true).await.unwrap();
    assert_eq!(dry[0].outcome, Outcome::Applied);
    let audit = store.audit().await.unwrap();
    assert!(audit.is_sound() && audit.applied == 0 && audit.ignored == 1, "{audit:?}");
}
