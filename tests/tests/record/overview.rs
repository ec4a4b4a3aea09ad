//! What the operators' lists and counts ask of the store: both databases answer alike.

use common::status::{Rank, RecipientState};
use common::store::{Backlog, Outcome, StuckQuery, Waiting, WebhookContent, WebhookQuery};
use tests::databases::{Database, Kind};
use tests::on_both_databases;
use time::Duration;
use uuid::Uuid;

use super::church::{accept_all, church, message, now, phone, provider_id, record, webhook};

on_both_databases!(
    a_stuck_message_is_listed_with_what_its_recipients_wait_for,
    webhooks_are_listed_newest_first_by_what_became_of_them,
    churches_are_listed_in_pages_with_their_newest_message,
);

const DELIVERED: RecipientState = RecipientState { rank: Rank::Delivered, closed: false };

async fn a_stuck_message_is_listed_with_what_its_recipients_wait_for(kind: Kind) {
    let database = Database::fresh(kind).await;
    let store = database.migrated().await;
    let accepted = message("grace", 2);
    record(&store, &accepted).await;
    accept_all(&store).await;
    let unanswered = message("hope", 1);
    record(&store, &unanswered).await;
    assert_eq!(store.begin_attempts(10, now()).await.unwrap().len(), 1);
    let unsent = message("hope", 3);
    record(&store, &unsent).await;
    let query = StuckQuery { before: now() + Duration::hours(1), waiting: None, church: None, limit: 10 };
    let mut stuck = store.stuck(&query).await.unwrap();
    stuck.sort_by_key(|one| one.message_id);
    let told: Vec<(Uuid, Waiting, i64)> =
        stuck.iter().map(|one| (one.message_id, one.waiting, one.recipients)).collect();
    assert_eq!(
        told,
        [
            (accepted.id, Waiting::Unreported, 2),
            (unanswered.id, Waiting::Unanswered, 1),
            (unsent.id, Waiting::Unsent, 3),
        ]
    );
    assert_eq!(stuck[0].church_id, church("grace"));
    for (waiting, id) in [
        (Waiting::Unreported, accepted.id),
        (Waiting::Unanswered, unanswered.id),
        (Waiting::Unsent, unsent.id),
    ] {
        let found = store.stuck(&StuckQuery { waiting: Some(waiting), ..query.clone() }).await.unwrap();
        assert_eq!(found.iter().map(|one| one.message_id).collect::<Vec<_>>(), [id]);
    }
    let of_grace = StuckQuery { church: Some(church("grace")), ..query.clone() };
    assert_eq!(store.stuck(&of_grace).await.unwrap().len(), 1);
    let sent_of_grace = StuckQuery { waiting: Some(Waiting::Unsent), ..of_grace };
    assert!(store.stuck(&sent_of_grace).await.unwrap().is_empty());
    assert_eq!(store.stuck(&StuckQuery { limit: 2, ..query.clone() }).await.unwrap().len(), 2);
    let before = now() - Duration::hours(1);
    assert!(store.stuck(&StuckQuery { before, ..query }).await.unwrap().is_empty());
    let later = now() + Duration::hours(1);
    assert_eq!(store.backlog(later, 10).await.unwrap(), Backlog { due: 3, unanswered: 1 });
    assert_eq!(store.parked_webhooks(10).await.unwrap(), 0);
    assert_eq!(store.backlog(later, 2).await.unwrap().due, 2);
}

async fn webhooks_are_listed_newest_first_by_what_became_of_them(kind: Kind) {
    let database = Database::fresh(kind).await;
    let store = database.migrated().await;
    let new = message("grace", 1);
    record(&store, &new).await;
    accept_all(&store).await;
    let applied = webhook("e1", &provider_id(new.recipients[0].id), &phone(0), DELIVERED);
    let mut parked = webhook("e2", "unknown", &phone(0), DELIVERED);
    let mut ignored = webhook("e3", "other", &phone(0), DELIVERED);
    parked.received_at += Duration::seconds(1);
    ignored.received_at += Duration::seconds(2);
    ignored.content = WebhookContent::Ignored { reason: "a fault".into() };
    store.record_webhooks(&[applied.clone(), parked, ignored]).await.unwrap();
    store.record_webhooks(&[applied]).await.unwrap();
    let all = WebhookQuery { outcome: None, since: now() - Duration::hours(1), before: None, limit: 10 };
    let ids = async |query: &WebhookQuery| -> Vec<String> {
        store.webhooks(query).await.unwrap().into_iter().map(|webhook| webhook.event_id).collect()
    };
    assert_eq!(ids(&all).await, ["e3", "e2", "e1"]);
    for (outcome, id) in [
        (Outcome::Applied, "e1"),
        (Outcome::Duplicate, "e1"),
        (Outcome::Parked, "e2"),
        (Outcome::Ignored, "e3"),
    ] {
        assert_eq!(ids(&WebhookQuery { outcome: Some(outcome), ..all.clone() }).await, [id]);
    }
    let first = store.webhooks(&WebhookQuery { limit: 1, ..all.clone() }).await.unwrap();
    let before = Some((first[0].received_at, first[0].event_id.clone()));
    assert_eq!(ids(&WebhookQuery { before, ..all.clone() }).await, ["e2", "e1"]);
    assert!(ids(&WebhookQuery { since: now() + Duration::hours(1), ..all }).await.is_empty());
    let (found, kept) = store.webhook("e3").await.unwrap().unwrap();
    assert_eq!((found.reason.as_deref(), &kept.body[..]), (Some("a fault"), &b"{}"[..]));
    assert!(store.webhook("e4").await.unwrap().is_none());
}

async fn churches_are_listed_in_pages_with_their_newest_message(kind: Kind) {
    let database = Database::fresh(kind).await;
    let store = database.migrated().await;
    assert!(store.churches("", 10).await.unwrap().is_empty());
    for id in ["hope", "grace", "grace", "mercy"] {
        record(&store, &message(id, 1)).await;
    }
    let last = message("grace", 1);
    record(&store, &last).await;
    let churches = store.churches("", 2).await.unwrap();
    assert_eq!(churches.iter().map(|one| one.church_id.as_str()).collect::<Vec<_>>(), ["grace", "hope"]);
    assert_eq!(churches[0].last_message_at, Some(last.created_at));
    let rest = store.churches("hope", 10).await.unwrap();
    assert_eq!(rest.iter().map(|one| one.church_id.as_str()).collect::<Vec<_>>(), ["mercy"]);
}
