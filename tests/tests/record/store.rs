//! Recording and reading messages: both databases behave alike.

use common::claims::{IdClaim, Person};
use common::revocation::Revocation;
use common::status::{MessageStatus, Rank, RecipientState};
use common::store::{
    HistoryQuery, IdempotencyKey, Message, Prunable, Recipient, RecipientQuery, Recorded, Sender, Total,
};
use tests::databases::{Database, Kind};
use tests::on_both_databases;
use time::Duration;
use uuid::Uuid;

use super::church::{accept_all, all, church, message, now, phone, provider_id, record, webhook};

on_both_databases!(
    a_recorded_message_reads_back_unchanged,
    another_church_can_not_read_a_message,
    the_history_is_newest_first_and_pages_without_gaps,
    the_history_of_several_statuses_is_one_list,
    changes_are_found_whether_or_not_the_outbox_reaches_back_to_them,
    the_history_filters_by_status_and_updated_since,
    recipients_come_in_pages_and_filter_by_status,
    a_repeated_key_returns_the_first_message,
    concurrent_requests_with_one_key_record_one_message,
    the_same_key_with_another_body_is_refused,
    the_same_key_in_another_church_is_another_key,
    a_senders_number_belongs_to_one_church,
    services_starting_together_migrate_the_schema_once,
    a_store_without_a_schema_is_unavailable,
    pruning_deletes_old_rows_and_keeps_waiting_ones,
    a_revocation_is_stored_and_announced_and_never_shortened,
);

async fn a_recorded_message_reads_back_unchanged(kind: Kind) {
    let database = Database::fresh(kind).await;
    let store = database.migrated().await;
    let new = message("grace", 3);
    let Recorded::New(told) = store.record_message(&new, None).await.unwrap() else { panic!("it is new") };
    let read = store.message(&new.church_id, new.id).await.unwrap().unwrap();
    assert_eq!(read, told);
    assert_eq!((read.version, read.status, read.tally.recipients), (1, MessageStatus::Pending, 3));
    let recipients = store.recipients(&new.church_id, new.id, &all()).await.unwrap();
    let phones: Vec<_> = recipients.iter().map(|r| r.phone.clone()).collect();
    assert_eq!(phones, new.recipients.iter().map(|r| r.phone.clone()).collect::<Vec<_>>());
}

async fn another_church_can_not_read_a_message(kind: Kind) {
    let database = Database::fresh(kind).await;
    let store = database.migrated().await;
    let new = message("grace", 1);
    record(&store, &new).await;
    let other = church("hope");
    assert!(store.message(&other, new.id).await.unwrap().is_none());
    assert!(store.recipients(&other, new.id, &all()).await.unwrap().is_empty());
    let query = HistoryQuery { limit: 20, ..HistoryQuery::default() };
    assert_eq!(store.history(&other, &query).await.unwrap().total, total(0));
}

fn total(messages: u64) -> Option<Total> {
    Some(Total { messages, more: false })
}

async fn the_history_is_newest_first_and_pages_without_gaps(kind: Kind) {
    let database = Database::fresh(kind).await;
    let store = database.migrated().await;
    let start = now();
    let mut ids = Vec::new();
    for n in 0..7 {
        let mut new = message("grace", 1);
        // Three messages share one millisecond; the id decides their order.
        new.created_at = start + Duration::milliseconds(n / 3);
        ids.push(new.id);
        record(&store, &new).await;
    }
    ids.reverse();
    let by_offset = HistoryQuery { limit: 3, offset: 3, ..HistoryQuery::default() };
    let page = store.history(&church("grace"), &by_offset).await.unwrap();
    assert_eq!(page.total, total(7));
    assert_eq!(page.messages.iter().map(|m| m.id).collect::<Vec<_>>(), ids[3..6]);
    let behind = HistoryQuery { limit: 3, offset: 9, ..HistoryQuery::default() };
    let page = store.history(&church("grace"), &behind).await.unwrap();
    assert_eq!((page.messages.len(), page.total), (0, total(7)));

    let mut seen = Vec::new();
    let mut before = None;
    loop {
        let query = HistoryQuery { limit: 2, before, ..HistoryQuery::default() };
        let page = store.history(&church("grace"), &query).await.unwrap();
        // A page by cursor has no total.
        assert_eq!(page.total, before.map_or(total(7), |_| None));
        let Some(last) = page.messages.last() else { break };
        before = Some((last.created_at, last.id));
        seen.extend(page.messages.iter().map(|m| m.id));
    }
    assert_eq!(seen, ids);
}

async fn the_history_filters_by_status_and_updated_since(kind: Kind) {
    let database = Database::fresh(kind).await;
    let store = database.migrated().await;
    let new = message("grace", 1);
    record(&store, &new).await;
    let query = |statuses: &[MessageStatus], updated_since| HistoryQuery {
        limit: 20,
        statuses: statuses.to_vec(),
        updated_since,
        ..HistoryQuery::default()
    };
    let count = async |query| store.history(&church("grace"), &query).await.unwrap().messages.len();
    assert_eq!(count(query(&[MessageStatus::Pending, MessageStatus::Failed], None)).await, 1);
    assert_eq!(count(query(&[MessageStatus::Delivered], None)).await, 0);
    assert_eq!(count(query(&[], Some(new.created_at))).await, 1);
    assert_eq!(count(query(&[], Some(new.created_at + Duration::milliseconds(1)))).await, 0);
}

async fn the_history_of_several_statuses_is_one_list(kind: Kind) {
    let database = Database::fresh(kind).await;
    let store = database.migrated().await;
    let mut all = Vec::new();
    for n in 0..9 {
        let mut new = message("grace", 1);
        new.created_at = now() - Duration::minutes(9 - n);
        record(&store, &new).await;
        all.push(new);
    }
    accept_all(&store).await;
    // One in three is delivered, one in three read, one in three pending.
    for (number, new) in all.iter().enumerate().filter(|(number, _)| number % 3 > 0) {
        let rank = if number % 3 == 1 { Rank::Delivered } else { Rank::Read };
        let provider = provider_id(new.recipients[0].id);
        let report =
            webhook(&format!("e{number}"), &provider, &phone(0), RecipientState { rank, closed: false });
        store.record_webhooks(&[report]).await.unwrap();
    }
    all.reverse();
    let ended: Vec<Uuid> = all.iter().enumerate().filter(|(n, _)| n % 3 < 2).map(|(_, new)| new.id).collect();
    let query = |offset, before| HistoryQuery {
        limit: 4,
        offset,
        before,
        statuses: vec![MessageStatus::Read, MessageStatus::Delivered],
        updated_since: None,
    };
    let first = store.history(&church("grace"), &query(0, None)).await.unwrap();
    let ids = |messages: &[Message]| messages.iter().map(|message| message.id).collect::<Vec<_>>();
    assert_eq!((ids(&first.messages), first.total), (ended[..4].to_vec(), total(6)));
    let last = first.messages.last().map(|last| (last.created_at, last.id));
    for query in [query(4, None), query(0, last)] {
        let second = store.history(&church("grace"), &query).await.unwrap();
        assert_eq!(ids(&second.messages), ended[4..]);
    }
}

async fn changes_are_found_whether_or_not_the_outbox_reaches_back_to_them(kind: Kind) {
    let database = Database::fresh(kind).await;
    let store = database.migrated().await;
    let minutes_ago = |minutes| now() - Duration::minutes(minutes);
    let mut all = Vec::new();
    for minutes in [30, 20, 10] {
        let mut new = message("grace", 1);
        new.created_at = minutes_ago(minutes);
        record(&store, &new).await;
        // Another church's changes are none.
        record(&store, &message("hope", 1)).await;
        all.push(new);
    }
    accept_all(&store).await;
    // The oldest message changes now.
    let delivered = RecipientState { rank: Rank::Delivered, closed: false };
    let report = webhook("e", &provider_id(all[0].recipients[0].id), &phone(0), delivered);
    store.record_webhooks(&[report]).await.unwrap();
    let changed = async |since| {
        let query = HistoryQuery { limit: 20, updated_since: Some(since), ..HistoryQuery::default() };
        let page = store.history(&church("grace"), &query).await.unwrap();
        assert_eq!(page.total, total(page.messages.len() as u64));
        page.messages.iter().map(|message| message.id).collect::<Vec<_>>()
    };
    let [oldest, middle, newest] = [all[0].id, all[1].id, all[2].id];
    let check = async || {
        assert_eq!(changed(minutes_ago(5)).await, [oldest]);
        assert_eq!(changed(minutes_ago(15)).await, [newest, oldest]);
        assert_eq!(changed(minutes_ago(25)).await, [newest, middle, oldest]);
        assert_eq!(changed(minutes_ago(60)).await, [newest, middle, oldest]);
    };
    // A new database does not know what was deleted before: the messages themselves tell.
    check().await;
    database.execute("update outbox_horizon set pruned_until = $EPOCH").await;
    check().await;
    // Everything is deleted from the outbox, but an event that is to be announced again.
    let term = store.take_lease(Uuid::now_v7()).await.unwrap().unwrap();
    let waiting = store.waiting_events(100).await.unwrap();
    let announced: Vec<_> = waiting.iter().zip(1..).map(|(row, sequence)| (row.position, sequence)).collect();
    store.mark_announced(term, &announced, now()).await.unwrap();
    assert_eq!(store.announce_again(&[waiting[0].event_id]).await.unwrap(), 1);
    while store.prune(Prunable::Events, now() + Duration::seconds(1)).await.unwrap() > 0 {}
    check().await;
}

async fn recipients_come_in_pages_and_filter_by_status(kind: Kind) {
    let database = Database::fresh(kind).await;
    let store = database.migrated().await;
    let new = message("grace", 7);
    record(&store, &new).await;
    accept_all(&store).await;
    for (number, rank) in [Rank::Delivered, Rank::Read, Rank::Failed, Rank::Sent].into_iter().enumerate() {
        let provider = provider_id(new.recipients[number].id);
        let reached = RecipientState { rank, closed: number == 3 };
        let report = webhook(&format!("e{number}"), &provider, &phone(number), reached);
        store.record_webhooks(&[report]).await.unwrap();
    }
    let page = async |after, status| {
        let query = RecipientQuery { limit: 3, after, status };
        store.recipients(&new.church_id, new.id, &query).await.unwrap()
    };
    let mut seen = Vec::new();
    while let recipients = page(seen.last().map(|r: &Recipient| r.ordinal), None).await
        && !recipients.is_empty()
    {
        seen.extend(recipients);
    }
    assert_eq!(
        seen.iter().map(|r| r.id).collect::<Vec<_>>(),
        new.recipients.iter().map(|r| r.id).collect::<Vec<_>>()
    );
    use MessageStatus::{Delivered, Failed, Pending, Read, Sent};
    for status in [Pending, Sent, Failed, Delivered, Read] {
        let expected: Vec<_> = seen.iter().filter(|r| r.state.status() == status).take(3).cloned().collect();
        assert!(!expected.is_empty(), "{status:?}");
        assert_eq!(page(None, Some(status)).await, expected, "{status:?}");
    }
}

fn key(body: &[u8]) -> IdempotencyKey {
    IdempotencyKey { key: "k1".into(), body_digest: body.to_vec() }
}

async fn a_repeated_key_returns_the_first_message(kind: Kind) {
    let database = Database::fresh(kind).await;
    let store = database.migrated().await;
    let first = message("grace", 1);
    assert!(matches!(store.record_message(&first, Some(&key(b"x"))).await.unwrap(), Recorded::New(_)));
    let again = store.record_message(&message("grace", 1), Some(&key(b"x"))).await.unwrap();
    assert!(matches!(again, Recorded::Repeated(found) if found.id == first.id));
}

async fn concurrent_requests_with_one_key_record_one_message(kind: Kind) {
    let database = Database::fresh(kind).await;
    let store = database.migrated().await;
    let requests = (0..8).map(|_| {
        let store = store.clone();
        tokio::spawn(
            async move { store.record_message(&message("grace", 1), Some(&key(b"x"))).await.unwrap() },
        )
    });
    let mut new = 0;
    let mut ids = Vec::new();
    for request in requests.collect::<Vec<_>>() {
        match request.await.unwrap() {
            Recorded::New(message) => {
                new += 1;
                ids.push(message.id);
            }
            Recorded::Repeated(message) => ids.push(message.id),
            Recorded::KeyReused => panic!("the body is the same"),
        }
    }
    ids.dedup();
    assert_eq!((new, ids.len()), (1, 1));
}

async fn the_same_key_with_another_body_is_refused(kind: Kind) {
    let database = Database::fresh(kind).await;
    let store = database.migrated().await;
    store.record_message(&message("grace", 1), Some(&key(b"x"))).await.unwrap();
    let other = store.record_message(&message("grace", 1), Some(&key(b"y"))).await.unwrap();
    assert!(matches!(other, Recorded::KeyReused));
}

async fn the_same_key_in_another_church_is_another_key(kind: Kind) {
    let database = Database::fresh(kind).await;
    let store = database.migrated().await;
    store.record_message(&message("grace", 1), Some(&key(b"x"))).await.unwrap();
    let other = store.record_message(&message("hope", 1), Some(&key(b"y"))).await.unwrap();
    assert!(matches!(other, Recorded::New(_)));
}

async fn a_senders_number_belongs_to_one_church(kind: Kind) {
    let database = Database::fresh(kind).await;
    let store = database.migrated().await;
    let sender = |id: &str, number: &str| Sender {
        church_id: church(id),
        number: number.into(),
        messaging_profile_id: Some("profile".into()),
        rate: Some(3),
    };
    store.set_sender(&sender("grace", "+15550000001")).await.unwrap();
    store.set_sender(&sender("grace", "+15550000002")).await.unwrap();
    assert_eq!(store.sender(&church("grace")).await.unwrap(), Some(sender("grace", "+15550000002")));
    let taken = store.set_sender(&sender("hope", "+15550000002")).await.unwrap();
    assert_eq!(taken, Some(church("grace")));
    let listed = store.senders().await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!((&listed[0].sender, listed[0].held_until), (&sender("grace", "+15550000002"), None));
    assert_eq!(store.sender(&church("hope")).await.unwrap(), None);
}

async fn services_starting_together_migrate_the_schema_once(kind: Kind) {
    let database = Database::fresh(kind).await;
    let starts = (0..6).map(|_| {
        let store = database.store();
        tokio::spawn(async move { store.migrate().await })
    });
    for start in starts.collect::<Vec<_>>() {
        start.await.unwrap().unwrap();
    }
    record(&database.store(), &message("grace", 1)).await;
}

async fn a_store_without_a_schema_is_unavailable(kind: Kind) {
    let database = Database::fresh(kind).await;
    let refused = database.store().record_message(&message("grace", 1), None).await;
    assert!(matches!(&refused, Err(error) if error.is_temporary()), "{refused:?}");
}

async fn a_revocation_is_stored_and_announced_and_never_shortened(kind: Kind) {
    let database = Database::fresh(kind).await;
    let store = database.migrated().await;
    let grace = church("grace");
    let person = |id: &str| Person { claim: IdClaim::UserId, id: id.into() };
    let until = async |user| store.revoked_until(&grace, &person(user)).await.unwrap();
    assert_eq!(until("ann").await, None);
    let of_ann = |at| Revocation::new(grace.clone(), Some(person("ann")), at).unwrap();
    let (earlier, later) = (now() - Duration::hours(1), now());
    store.revoke(&of_ann(later)).await.unwrap();
    store.revoke(&of_ann(earlier)).await.unwrap();
    assert_eq!((until("ann").await, until("bob").await), (Some(later.unix_timestamp()), None));
    let admin = Person { claim: IdClaim::AdminId, id: "ann".into() };
    assert_eq!(
        store.revoked_until(&grace, &admin).await.unwrap(),
        None,
        "an admin of the same id is another person"
    );
    store.revoke(&Revocation::new(grace.clone(), None, earlier).unwrap()).await.unwrap();
    assert_eq!(until("bob").await, Some(earlier.unix_timestamp()));
    assert_eq!(store.revoked_until(&church("hope"), &person("ann")).await.unwrap(), None);
    let rows = store.waiting_events(10).await.unwrap();
    assert_eq!(rows.len(), 3);
    assert_eq!(rows[0].subject, "church.grace.revoked");
    assert!(store.audit().await.unwrap().is_sound());
}

async fn pruning_deletes_old_rows_and_keeps_waiting_ones(kind: Kind) {
    let database = Database::fresh(kind).await;
    let store = database.migrated().await;
    for _ in 0..3 {
        record(&store, &message("grace", 1)).await;
    }
    accept_all(&store).await;
    let rows = store.waiting_events(10).await.unwrap();
    let term = store.take_lease(Uuid::now_v7()).await.unwrap().unwrap();
    store.mark_announced(term, &[(rows[0].position, 1), (rows[1].position, 2)], now()).await.unwrap();
    let later = now() + Duration::hours(1);
    for what in [Prunable::Events, Prunable::Webhooks, Prunable::IdempotencyKeys] {
        store.prune(what, later).await.unwrap();
    }
    // The first is deleted. The second is the relay's fence, and the third still waits.
    assert!(store.announced(rows[0].event_id).await.unwrap().is_none());
    assert_eq!(store.last_announced().await.unwrap().unwrap().event_id, rows[1].event_id);
    assert_eq!(store.waiting_events(10).await.unwrap().len(), 1);
    assert_eq!(store.message(&church("grace"), Uuid::nil()).await.unwrap(), None);
}
