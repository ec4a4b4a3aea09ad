//! Retention deletes old rows and keeps unfinished ones.

use common::revocation::Revocation;
use common::status::Rank;
use common::store::Prunable;
use tests::databases::{Database, Kind};
use tests::on_both_databases;
use time::Duration;

use super::church::{accept_all, church, message, now, phone, provider_id, record, state, webhook};

on_both_databases!(
    an_old_message_is_deleted_with_its_recipients_unless_pending,
    a_revocation_is_deleted_once_older_than_any_token,
);

async fn an_old_message_is_deleted_with_its_recipients_unless_pending(kind: Kind) {
    let database = Database::fresh(kind).await;
    let store = database.migrated().await;
    let (finished, pending) = (message("grace", 2), message("grace", 2));
    record(&store, &finished).await;
    record(&store, &pending).await;
    accept_all(&store).await;
    for (number, to) in finished.recipients.iter().chain(&pending.recipients[..1]).enumerate() {
        let hook =
            webhook(&to.id.to_string(), &provider_id(to.id), &phone(number % 2), state(Rank::Delivered));
        store.record_webhooks(&[hook]).await.unwrap();
    }
    let grace = church("grace");
    assert_eq!(store.prune(Prunable::Messages, now() - Duration::hours(1)).await.unwrap(), 0);
    let later = now() + Duration::hours(1);
    assert_eq!(store.prune(Prunable::Messages, later).await.unwrap(), 1);
    assert_eq!(store.prune(Prunable::Messages, later).await.unwrap(), 0);
    assert_eq!(store.message(&grace, finished.id).await.unwrap(), None);
    assert!(store.recipients(&grace, finished.id, &crate::church::all()).await.unwrap().is_empty());
    assert_eq!(store.recipients(&grace, pending.id, &crate::church::all()).await.unwrap().len(), 2);
    assert!(store.audit().await.unwrap().is_sound());
}

async fn a_revocation_is_deleted_once_older_than_any_token(kind: Kind) {
    let database = Database::fresh(kind).await;
    let store = database.migrated().await;
    let until = |hours| Revocation::new(church("grace"), None, now() - Duration::hours(hours)).unwrap();
    store.revoke(&until(2)).await.unwrap();
    assert_eq!(store.prune(Prunable::Revocations, now() - Duration::hours(3)).await.unwrap(), 0);
    assert_eq!(store.prune(Prunable::Revocations, now() - Duration::hours(1)).await.unwrap(), 1);
    assert!(store.revocations(None).await.unwrap().is_empty());
}
