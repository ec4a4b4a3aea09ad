//! Who relays: one process at a time, and another one as soon as that one can't.

use common::claims::{IdClaim, Person};
use common::revocation::Revocation;
use common::status::Rank;
use common::store::{LeaseState, Store, StoreError};
use tests::broker::TestBroker;
use tests::databases::{Database, Kind};
use tests::proxy::Proxy;
use tests::{eventually, on_both_databases};
use uuid::Uuid;

use super::church::{accept_all, church, message, now, phone, provider_id, record, state, webhook};
use super::outbox::{Relaying, all_announced, record_some, stored_messages};

on_both_databases!(
    a_holder_that_lost_its_broker_leaves_the_relay_to_one_that_has_it,
    a_process_whose_term_is_over_changes_nothing,
    a_lease_from_before_the_clock_was_set_back_holds_up_nobody,
    an_older_version_and_this_one_never_relay_side_by_side,
    an_event_that_is_too_large_is_announced_in_its_smallest_form,
    an_event_that_the_stream_refuses_for_good_holds_up_nobody_and_is_put_back_by_hand,
    every_process_tells_how_many_events_wait_while_the_broker_is_away,
);

async fn until_held(store: &Store) {
    eventually("a process relays", async || store.lease_state().await.unwrap().held.then_some(())).await;
}

async fn a_holder_that_lost_its_broker_leaves_the_relay_to_one_that_has_it(kind: Kind) {
    let (broker, database) = (TestBroker::start().await, Database::fresh(kind).await);
    let store = database.migrated().await;
    let proxy = Proxy::to(&broker.url().replace("nats://", "http://")).await;
    let mut way = broker.options("ingest");
    way.nats_url = vec![proxy.url().replace("http://", "nats://")];
    let first = Relaying::start_with(&store, &way, "ingest").await;
    until_held(&store).await;
    let mut ids = record_some(&store, 3).await;
    all_announced(&store).await;
    let second = Relaying::start(&database.store(), &broker, "message_api").await;
    proxy.lead_to("http://127.0.0.1:1");
    first.says("degraded: nats").await;
    ids.extend(record_some(&store, 3).await);
    all_announced(&store).await;
    assert_eq!(stored_messages(&broker).await, ids);
    proxy.lead_new_to(&broker.url().replace("nats://", "http://"));
    second.stop().await;
    ids.extend(record_some(&store, 3).await);
    all_announced(&store).await;
    assert_eq!(stored_messages(&broker).await, ids, "the first one took it back");
    first.stop().await;
}

async fn a_lease_from_before_the_clock_was_set_back_holds_up_nobody(kind: Kind) {
    let database = Database::fresh(kind).await;
    let store = database.migrated().await;
    let before = store.take_lease(Uuid::now_v7()).await.unwrap().unwrap();
    assert!(store.lease_state().await.unwrap().held && store.outbox_state().await.unwrap().led);
    database
        .execute(match kind {
            Kind::Sqlite => "update relay_lease set expires_at = expires_at + 3600000",
            Kind::Postgres => "update relay_lease set expires_at = expires_at + interval '1 hour'",
        })
        .await;
    let database_says = store.lease_state().await.unwrap();
    assert!(!database_says.held && !store.outbox_state().await.unwrap().led);
    let after = store.take_lease(Uuid::now_v7()).await.unwrap().unwrap();
    assert_ne!(after, before);
    assert!(store.lease_state().await.unwrap().held);
}

/// What a process would do that was stopped in the middle of its work, and wakes after another one took over.
async fn a_process_whose_term_is_over_changes_nothing(kind: Kind) {
    let database = Database::fresh(kind).await;
    let store = database.migrated().await;
    record_some(&store, 2).await;
    let rows = store.waiting_events(10).await.unwrap();
    let old = store.take_lease(Uuid::now_v7()).await.unwrap().unwrap();
    assert_eq!(store.take_lease(Uuid::now_v7()).await.unwrap(), None, "one at a time");
    assert!(store.renew_lease(old).await.unwrap());
    database.execute("update relay_lease set expires_at = $EPOCH").await;
    assert_eq!(store.lease_state().await.unwrap(), LeaseState { held: false, standby_ready: false });
    let other = database.store();
    let new = other.take_lease(Uuid::now_v7()).await.unwrap().unwrap();
    assert!(!store.renew_lease(old).await.unwrap());
    let lost = |outcome: Result<(), StoreError>| assert!(matches!(outcome, Err(StoreError::LeaseLost)));
    lost(store.mark_announced(old, &[(rows[0].position, 1)], now()).await);
    lost(store.set_refused(old, rows[0].position, "too large").await);
    lost(store.unannounce_above(old, 0).await.map(drop));
    assert_eq!(store.waiting_events(10).await.unwrap(), rows);
    store.give_lease_up(old).await.unwrap();
    other.mark_announced(new, &[(rows[0].position, 1)], now()).await.unwrap();
    assert!(other.renew_lease(new).await.unwrap(), "nobody but its holder gave it up");
}

/// How the versions before the lease kept one another away.
enum OldRelay {
    Postgres(sqlx::PgConnection),
    Sqlite(std::fs::File),
}

impl OldRelay {
    async fn at(database: &Database) -> Self {
        use sqlx::Connection as _;
        match database.url.strip_prefix("sqlite:") {
            Some(file) => Self::Sqlite(
                std::fs::File::options()
                    .create(true)
                    .truncate(false)
                    .write(true)
                    .open(format!("{file}.relay.lock"))
                    .unwrap(),
            ),
            None => Self::Postgres(sqlx::PgConnection::connect(&database.url).await.unwrap()),
        }
    }

    async fn try_lock(&mut self) -> bool {
        match self {
            Self::Sqlite(file) => file.try_lock().is_ok(),
            Self::Postgres(connection) => {
                let query = sqlx::query_scalar("select pg_try_advisory_lock($1)").bind(0x4348_5552_4348_i64);
                query.fetch_one(connection).await.unwrap()
            }
        }
    }
}

async fn an_older_version_and_this_one_never_relay_side_by_side(kind: Kind) {
    let (broker, database) = (TestBroker::start().await, Database::fresh(kind).await);
    let store = database.migrated().await;
    let mut old = OldRelay::at(&database).await;
    assert!(old.try_lock().await);
    let relay = Relaying::start(&store, &broker, "ingest").await;
    record_some(&store, 1).await;
    relay.says("degraded: relay (no process relays the outbox)").await;
    assert_eq!(store.waiting_events(10).await.unwrap().len(), 1);
    drop(old);
    all_announced(&store).await;
    let mut old = OldRelay::at(&database).await;
    assert!(!old.try_lock().await, "no old relay starts beside it");
    relay.stop().await;
    let old = tokio::sync::Mutex::new(old);
    let may = async || old.lock().await.try_lock().await.then_some(());
    eventually("the old version may relay again", may).await;
}

/// A message whose recipients are all delivered at once: its event names 20 of them.
async fn record_delivered(store: &Store) -> Uuid {
    let new = message("grace", 20);
    record(store, &new).await;
    accept_all(store).await;
    let hooks: Vec<_> = new
        .recipients
        .iter()
        .enumerate()
        .map(|(number, to)| {
            webhook(&to.id.to_string(), &provider_id(to.id), &phone(number), state(Rank::Delivered))
        })
        .collect();
    store.record_webhooks(&hooks).await.unwrap();
    new.id
}

async fn an_event_that_is_too_large_is_announced_in_its_smallest_form(kind: Kind) {
    let (broker, database) = (TestBroker::start().await, Database::fresh(kind).await);
    let store = database.migrated().await;
    broker.reconfigure(|config| config.max_message_size = 1_100).await;
    let large = record_delivered(&store).await;
    let rows = store.waiting_events(10).await.unwrap();
    let next = record_some(&store, 1).await;
    let relay = Relaying::start(&store, &broker, "ingest").await;
    all_announced(&store).await;
    assert_eq!(stored_messages(&broker).await, [large, large, next[0]]);
    let (_, id, event) = broker.stored().await.swap_remove(1);
    assert_eq!(id, rows[1].event_id.to_string());
    assert_eq!((&event["type"], &event["deliveredCount"]), (&"message:delivered".into(), &20.into()));
    assert_eq!((event.get("changed"), &event["changedMore"]), (None, &true.into()));
    assert!(store.audit().await.unwrap().is_sound());
    relay.stop().await;
}

async fn an_event_that_the_stream_refuses_for_good_holds_up_nobody_and_is_put_back_by_hand(kind: Kind) {
    let (broker, database) = (TestBroker::start().await, Database::fresh(kind).await);
    let store = database.migrated().await;
    broker.reconfigure(|config| config.max_message_size = 1_100).await;
    // It has no smaller form.
    let person = Person { claim: IdClaim::UserId, id: "x".repeat(2_000) };
    let revocation = Revocation::new(church("grace"), Some(person), now()).unwrap();
    store.revoke(&revocation).await.unwrap();
    let relay = Relaying::start(&store, &broker, "ingest").await;
    let ids = record_some(&store, 3).await;
    all_announced(&store).await;
    assert_eq!(stored_messages(&broker).await, ids);
    relay.says("degraded: outbox_refused (the stream refuses 1 events; see `ops audit`)").await;
    assert!(relay.context.health.report().0, "degraded, and ready");
    let audit = store.audit().await.unwrap();
    assert!(audit.refused_events == 1 && !audit.is_sound(), "{audit:?}");
    let refused = store.refused_events(10).await.unwrap();
    assert_eq!(refused[0].event_id, revocation.id);
    assert!(refused[0].reason.contains("exceeds maximum"), "{refused:?}");

    broker.reconfigure(|config| config.max_message_size = 64 << 10).await;
    assert_eq!(store.retry_refused(Some(Uuid::nil())).await.unwrap(), 0);
    assert_eq!(store.retry_refused(Some(revocation.id)).await.unwrap(), 1);
    all_announced(&store).await;
    let (_, id, _) = broker.stored().await.pop().unwrap();
    assert_eq!(id, revocation.id.to_string());
    assert!(store.audit().await.unwrap().is_sound());
    relay.stop().await;
}

async fn every_process_tells_how_many_events_wait_while_the_broker_is_away(kind: Kind) {
    let (mut broker, database) = (TestBroker::start().await, Database::fresh(kind).await);
    let store = database.migrated().await;
    let relays = [
        Relaying::start(&store, &broker, "ingest").await,
        Relaying::start(&database.store(), &broker, "message_api").await,
    ];
    until_held(&store).await;
    broker.kill().await;
    record_some(&store, 510).await;
    for relay in &relays {
        eventually("the whole number is told", async || {
            relay.context.metrics.encode().contains("church_outbox_waiting 510\n").then_some(())
        })
        .await;
    }
    database.execute("update outbox set created_at = $EPOCH").await;
    for relay in &relays {
        relay.says("degraded: outbox_waiting (510 events wait, the oldest for").await;
        assert!(relay.context.health.report().0, "degraded, and ready");
    }
    broker.restart().await;
    all_announced(&store).await;
    for relay in relays {
        eventually("nothing waits", async || {
            (!relay.context.health.report().1.contains("outbox_waiting")).then_some(())
        })
        .await;
        relay.stop().await;
    }
}

/// PostgreSQL holds the session of a vanished host, and with it whatever that has locked, for hours.
#[tokio::test(flavor = "multi_thread")]
async fn a_holder_that_the_network_swallows_is_replaced_and_harms_nothing_when_it_is_back() {
    let (broker, database) = (TestBroker::start().await, Database::fresh(Kind::Postgres).await);
    let store = database.migrated().await;
    let options = database.url.parse::<sqlx::postgres::PgConnectOptions>().unwrap();
    let proxy = Proxy::to(&format!("http://127.0.0.1:{}", options.get_port())).await;
    let port = proxy.url().rsplit(':').next().unwrap().to_owned();
    let cut_off = Database::named(&through(&database.url, &port));
    let first = Relaying::start(&cut_off, &broker, "ingest").await;
    until_held(&store).await;
    let mut ids = record_some(&store, 5).await;
    all_announced(&store).await;
    let second = Relaying::start(&store, &broker, "message_api").await;
    ids.extend(record_some(&store, 5).await);
    proxy.swallow(true);
    ids.extend(record_some(&store, 20).await);
    all_announced(&store).await;
    proxy.swallow(false);
    for _ in 0..5 {
        ids.extend(record_some(&store, 10).await);
        all_announced(&store).await;
    }
    assert_eq!(stored_messages(&broker).await, ids);
    first.stop().await;
    second.stop().await;
}

/// The same database at another port.
fn through(url: &str, port: &str) -> String {
    let own = url.parse::<sqlx::postgres::PgConnectOptions>().unwrap().get_port();
    let other = url.replacen(&format!(":{own}/"), &format!(":{port}/"), 1);
    assert_ne!(other, url, "the URL names its port");
    other
}
