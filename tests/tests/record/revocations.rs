//! Revocations outlive the outbox and the stream, and can be undone.

use common::claims::{IdClaim, Person};
use common::revocation::Revocation;
use common::store::{Prunable, Store};
use tests::broker::TestBroker;
use tests::databases::{Database, Kind};
use tests::{eventually, on_both_databases};
use time::Duration;

use super::church::{church, now};
use super::outbox::{Relaying, all_announced, record_some};

on_both_databases!(
    a_recreated_stream_gets_revocations_the_outbox_no_longer_holds,
    a_standing_revocation_is_reannounced_before_the_stream_drops_it,
    an_undone_revocation_is_announced_once,
    a_revocation_without_a_claim_matches_every_claim_with_that_id,
);

fn seven(claim: IdClaim) -> Person {
    Person { claim, id: "7".into() }
}

async fn revoke(store: &Store, person: Option<Person>) -> Revocation {
    let revocation = Revocation::new(church("grace"), person, now() - Duration::hours(1)).unwrap();
    store.revoke(&revocation).await.unwrap();
    revocation
}

/// The revocations in the stream, oldest first.
async fn told(broker: &TestBroker) -> Vec<Revocation> {
    let stored = broker.stored().await;
    stored.into_iter().filter_map(|(_, _, event)| serde_json::from_value(event).ok()).collect()
}

async fn until_told(broker: &TestBroker, count: usize) -> Vec<Revocation> {
    eventually("revocations are in the stream", async || {
        Some(told(broker).await).filter(|told| told.len() >= count)
    })
    .await
}

fn same(told: &Revocation, first: &Revocation) -> bool {
    Revocation { id: first.id, timestamp: first.timestamp, ..told.clone() } == *first
}

/// The relay notices the new stream by itself, although nothing else is committed.
async fn a_recreated_stream_gets_revocations_the_outbox_no_longer_holds(kind: Kind) {
    let (mut broker, database) = (TestBroker::start().await, Database::fresh(kind).await);
    let store = database.migrated().await;
    let relay = Relaying::start(&store, &broker, "ingest").await;
    let first = revoke(&store, Some(seven(IdClaim::UserId))).await;
    record_some(&store, 2).await;
    all_announced(&store).await;
    while store.prune(Prunable::Events, now() + Duration::hours(1)).await.unwrap() > 0 {}
    assert!(store.announced(first.id).await.unwrap().is_none());
    broker.kill().await;
    std::fs::remove_dir_all(broker.data()).unwrap();
    broker.restart().await;
    broker.provision().await;
    assert!(same(&until_told(&broker, 1).await[0], &first));
    relay.stop().await;
}

async fn a_standing_revocation_is_reannounced_before_the_stream_drops_it(kind: Kind) {
    let (broker, database) = (TestBroker::start().await, Database::fresh(kind).await);
    let store = database.migrated().await;
    let first = revoke(&store, None).await;
    let relay = Relaying::start(&store, &broker, "ingest").await;
    assert_eq!(until_told(&broker, 1).await.len(), 1);
    database.execute("update revocations set announced_at = $EPOCH").await;
    let told = until_told(&broker, 2).await;
    assert!(same(&told[1], &first));
    relay.stop().await;
}

async fn an_undone_revocation_is_announced_once(kind: Kind) {
    let (broker, database) = (TestBroker::start().await, Database::fresh(kind).await);
    let store = database.migrated().await;
    let user = revoke(&store, Some(seven(IdClaim::UserId))).await;
    let admin = revoke(&store, Some(seven(IdClaim::AdminId))).await;
    let standing = store.revocations(Some(&church("grace"))).await.unwrap();
    assert!(standing.len() == 2 && same(&standing[0], &admin) && same(&standing[1], &user), "{standing:?}");
    assert!(store.revocations(Some(&church("hope"))).await.unwrap().is_empty());
    assert!(store.undo_revocation(&user).await.unwrap());
    assert!(!store.undo_revocation(&user).await.unwrap(), "no revocation is left to undo");
    let until = async |claim| store.revoked_until(&church("grace"), &seven(claim)).await.unwrap();
    assert_eq!(
        (until(IdClaim::UserId).await, until(IdClaim::AdminId).await),
        (None, Some(admin.issued_until))
    );
    let relay = Relaying::start(&store, &broker, "ingest").await;
    let undone = &until_told(&broker, 3).await[2];
    assert_eq!((undone.key(), undone.undone, undone.issued_until), (user.key(), true, 0));
    database.execute("update revocations set announced_at = $EPOCH").await;
    let told = until_told(&broker, 4).await;
    assert!(told.len() == 4 && same(&told[3], &admin), "{told:?}");
    relay.stop().await;
}

async fn a_revocation_without_a_claim_matches_every_claim_with_that_id(kind: Kind) {
    let database = Database::fresh(kind).await;
    let store = database.migrated().await;
    database
        .execute("insert into revocations (church_id, user_id, issued_until) values ('grace', '7', 100)")
        .await;
    for claim in [IdClaim::UserId, IdClaim::AdminId, IdClaim::Sub] {
        assert_eq!(store.revoked_until(&church("grace"), &seven(claim)).await.unwrap(), Some(100));
    }
    let standing = store.revocations(None).await.unwrap();
    assert_eq!((standing[0].claim, standing[0].user_id.as_deref()), (None, Some("7")));
    assert!(store.undo_revocation(&standing[0]).await.unwrap());
    assert_eq!(store.announce_revocations_again(now(), 10).await.unwrap(), 0);
}
