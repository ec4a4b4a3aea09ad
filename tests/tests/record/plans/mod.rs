//! PostgreSQL finds the rows of hot statements by their indexes, in a database of some size: its plans depend on the
//! number of rows. The plans of SQLite are tested beside the statements (`store/plans.rs`).

mod explained;
mod plan;

use std::cell::RefCell;
use std::time::Duration as StdDuration;

use common::status::{MessageStatus, Rank};
use common::store::{
    Answer, AskTimes, Attempt, FailureQuery, HistoryQuery, IdempotencyKey, NewMessage, Outcome, Overdue,
    Prunable, RecipientQuery, SendLimits, Store, StuckQuery, Superseded, Webhook,
};
use common::subject::ChurchId;
use tests::load::filling::Amount;
use tests::load::record::church_id;
use time::Duration;
use uuid::Uuid;

use self::explained::Explained;
use super::church::{church, message, now, provider_id, state, webhook};

/// Rows that a call handles at once.
const BATCH: u32 = 50;
/// Many recipients that wait. The database's statistics are older and know of none.
const WAITING: u64 = 50_000;
const BROADCAST: &str = "
    insert into messages (id, church_id, author_id, content, target_type, media_urls, from_number, status, version,
            recipient_count, created_at, updated_at)
        values ('00000000-0000-7000-8000-000000000000', 'church-3', 'author', 'Service at ten', 'all', '[]',
                '+15550000003', 'pending', 1, 50000, now(), now());
    insert into recipients (id, message_id, church_id, ordinal, phone, due_at, sender)
        select gen_random_uuid(), '00000000-0000-7000-8000-000000000000', 'church-3', n, '+1202' || (1000000 + n),
               now(), '+15550000003'
        from generate_series(1, 50000) n";
/// Rows that one call of the store deletes.
const PRUNED: u64 = 500;
const AMOUNT: Amount = Amount { churches: 50, messages: 60_000, large: 30_000, waiting: 12_000 };

/// What the filled database lacks: most events are announced, some webhooks are parked, Telnyx is to be asked about
/// recipients without a receipt, and requests had keys.
const MORE: &str = "
    update outbox set stream_seq = position, announced_at = created_at
        where position <= (select max(position) - 1000 from outbox);
    insert into webhooks (event_id, event_type, deliveries, outcome, provider_id, report, received_at, body)
        select 'parked-' || n, 'message.finalized', 1, 'parked', 'unknown-' || n,
               '{\"provider_id\":\"unknown-' || n || '\",\"recipient_hint\":null,\"to\":[]}', now(), '{}'
        from generate_series(1, 500) n;
    update recipients set ask_at = attempted_at + interval '15 minutes' where not finished;
    insert into idempotency_keys (church_id, key, body_digest, message_id, created_at)
        select church_id, id::text, '', id, created_at from messages";

fn large() -> ChurchId {
    church(&church_id(0))
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_finds_the_rows_of_hot_statements_by_their_indexes() {
    let mut explained = Explained::start(AMOUNT, MORE).await;
    history(&mut explained).await;
    sending(&mut explained).await;
    time_limits(&mut explained).await;
    relay(&mut explained).await;
    gauges(&mut explained).await;
    pruning(&mut explained).await;
    explained.end();
}

async fn history(explained: &mut Explained) {
    use MessageStatus::{Delivered, Failed, Pending, Read, Sent};
    let page = HistoryQuery { limit: BATCH, ..HistoryQuery::default() };
    let of = |statuses: &[MessageStatus]| HistoryQuery { statuses: statuses.to_vec(), ..page.clone() };
    let older = HistoryQuery { before: Some((now() - Duration::days(45), Uuid::max())), ..page.clone() };
    let changed = HistoryQuery { updated_since: Some(now() - Duration::hours(1)), ..page.clone() };
    for church in [large(), church(&church_id(1))] {
        for (kind, query) in [
            ("all", page.clone()),
            ("pending", of(&[Pending])),
            ("sent", of(&[Sent])),
            ("delivered", of(&[Delivered])),
            ("failed", of(&[Failed])),
            ("read", of(&[Read])),
            ("failed or read", of(&[Failed, Read])),
            ("older than a cursor", older.clone()),
            ("failed and older than a cursor", HistoryQuery { statuses: vec![Failed], ..older.clone() }),
            ("changed in the last hour", changed.clone()),
        ] {
            let name = format!("a page of the history of {church:?}, {kind}");
            let read = async |store: &Store| store.history(&church, &query).await.unwrap();
            explained.check(&name, BATCH.into(), read).await;
        }
    }
}

/// Sends, from recording to the webhook of the delivery.
async fn sending(explained: &mut Explained) {
    let about = u64::from(BATCH);
    let recorded = explained.check("recording a message", about, async |store| record(store).await).await;
    let (id, church) = (recorded.id, &recorded.church_id);
    let message = async |store: &Store| store.message(church, id).await.unwrap().unwrap();
    explained.check("a message", 1, message).await;
    let query = RecipientQuery { limit: BATCH, after: None, status: None };
    let recipients = async |store: &Store| store.recipients(church, id, &query).await.unwrap();
    explained.check("the recipients of a message", about, recipients).await;
    explained.execute(BROADCAST).await;
    let next = async |store: &Store| store.next_attempt_at().await.unwrap();
    explained.check("when the next recipient is due", 10, next).await;

    let accepted = RefCell::new(Vec::new());
    let claim = async |store: &Store| {
        let attempts = accept(store).await;
        accepted.borrow_mut().push(attempts);
    };
    explained.check("claiming due recipients and recording the answers", about, claim).await;
    let deliver = async |store: &Store| {
        let delivered: Vec<_> = accepted.borrow_mut().pop().unwrap().iter().map(delivered).collect();
        let outcomes = store.record_webhooks(&delivered).await.unwrap();
        assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Applied), "{outcomes:?}");
    };
    explained.check("a batch of webhooks", about, deliver).await;
}

async fn record(store: &Store) -> NewMessage {
    let new = message(&church_id(1), BATCH as usize);
    let key = IdempotencyKey { key: new.id.to_string(), body_digest: vec![1] };
    store.record_message(&new, Some(&key)).await.unwrap();
    new
}

/// Claims due recipients; Telnyx accepts them.
async fn accept(store: &Store) -> Vec<Attempt> {
    let attempts = store.begin_attempts(BATCH / 2, now()).await.unwrap();
    assert_eq!(attempts.len() as u32, BATCH / 2);
    let answer =
        |attempt: &Attempt| (attempt.id, Answer::Accepted { provider_id: provider_id(attempt.recipient_id) });
    store.record_answers(&attempts.iter().map(answer).collect::<Vec<_>>(), now()).await.unwrap();
    attempts
}

fn delivered(attempt: &Attempt) -> Webhook {
    let event_id = Uuid::now_v7().to_string();
    webhook(&event_id, &provider_id(attempt.recipient_id), &attempt.phone, state(Rank::Delivered))
}

/// What happens to recipients without a receipt, and to those that nobody sends.
async fn time_limits(explained: &mut Explained) {
    let about = u64::from(BATCH);
    let quarter = StdDuration::from_secs(900);
    let ask = async |store: &Store| {
        let asks = store.take_asks(BATCH / 5, &AskTimes::new(now(), quarter, quarter)).await.unwrap();
        assert_eq!(asks.len() as u32, BATCH / 5);
        let never: Vec<_> = asks.iter().map(|ask| (ask.recipient_id, None)).collect();
        store.ask_again(&never).await.unwrap();
    };
    explained.check("due asks", about, ask).await;
    let close = async |store: &Store| {
        let overdue = Overdue { accepted_before: now(), unresolved_before: now(), limit: BATCH / 5 };
        assert_eq!(store.close_overdue(&overdue, now()).await.unwrap() as u32, BATCH / 5);
    };
    explained.check("closing overdue recipients", about, close).await;
    let heard = async |store: &Store| {
        let (from, until) = (now() - Duration::DAY, now() - Duration::minutes(10));
        store.webhooks_missing_since(from, until).await.unwrap()
    };
    explained.check("whether webhooks are missing", 1, heard).await;
    let fail = async |store: &Store| {
        let mut new = message(&church_id(2), BATCH as usize);
        new.from_number = Some("+15550000002".into());
        store.record_message(&new, None).await.unwrap();
        let limits = SendLimits { rate: None, within: Some(StdDuration::ZERO) };
        let failed = store.clone().with_limits(limits).fail_unsent(BATCH, now() + Duration::SECOND).await;
        assert!(failed.unwrap() > 0);
    };
    explained.check("failing what was not sent in time", about, fail).await;
}

/// What the relay does with the outbox.
async fn relay(explained: &mut Explained) {
    let about = u64::from(BATCH);
    let taking = async |store: &Store| store.take_lease(Uuid::now_v7()).await.unwrap();
    let term = explained.once(taking).await.unwrap();
    let waiting = async |store: &Store| store.waiting_events(BATCH).await.unwrap();
    let rows = explained.check("events that wait in the outbox", about, waiting).await;
    assert_eq!(rows.len() as u32, BATCH);
    let announce = async |store: &Store| {
        let rows = waiting(store).await;
        let (kept, left_out) = rows.split_last().unwrap();
        let left_out = left_out.iter().take(5).map(|row| row.position).collect();
        let superseded =
            Superseded { positions: left_out, heir: kept.position, payload: kept.payload.clone() };
        store.supersede(term, &[superseded]).await.unwrap();
        let announced: Vec<_> = rows.iter().map(|row| (row.position, row.position)).collect();
        store.mark_announced(term, &announced, now()).await.unwrap();
    };
    explained.check("announcing events", about, announce).await;
    let last = async |store: &Store| store.last_announced().await.unwrap().unwrap();
    let last = explained.check("the event announced last", 1, last).await;
    let find = async |store: &Store| store.announced(last.event_id).await.unwrap();
    explained.check("an announced event", 1, find).await;
    let lost = async |store: &Store| store.unannounce_above(term, last.stream_seq - 20).await.unwrap();
    explained.check("events that the stream lost", about, lost).await;
}

/// What is looked at every few seconds, and what operators ask for.
async fn gauges(explained: &mut Explained) {
    // As much as is counted at most.
    let about = 10_000;
    let outbox = async |store: &Store| store.outbox_state().await.unwrap();
    explained.check("the state of the outbox", about, outbox).await;
    let backlog = async |store: &Store| store.backlog(now(), 10_000).await.unwrap();
    explained.check("the backlog", about, backlog).await;
    let since = async |store: &Store| store.due_since(now()).await.unwrap();
    explained.check("since when recipients are due", 10, since).await;
    let held = async |store: &Store| store.held_senders(now()).await.unwrap();
    explained.check("senders that are held back", 10, held).await;
    let parked = async |store: &Store| store.parked_webhooks(u32::MAX).await.unwrap();
    explained.check("the number of parked webhooks", about, parked).await;
    let sweep = async |store: &Store| store.sweep_parked(Some("parked-2"), BATCH).await.unwrap();
    explained.check("a page of parked webhooks", BATCH.into(), sweep).await;
    let last = async |store: &Store| store.last_webhook_at().await.unwrap();
    explained.check("the newest webhook", 1, last).await;
    let churches = async |store: &Store| store.churches("", 100).await.unwrap();
    explained.check("all churches", AMOUNT.churches as u64, churches).await;
    let known = async |store: &Store| store.knows_church(&large()).await.unwrap();
    explained.check("whether a church is known", 1, known).await;
    let stuck = StuckQuery { before: now(), waiting: None, church: None, limit: BATCH };
    let stuck = async |store: &Store| store.stuck(&stuck).await.unwrap();
    explained.check("messages that wait for long", WAITING, stuck).await;
    let failed = FailureQuery { since: now() - Duration::days(7), church: None, code: None };
    let failed = async |store: &Store| store.failure_counts(&failed).await.unwrap();
    explained.check("the failures of a week", about, failed).await;
}

async fn pruning(explained: &mut Explained) {
    for (what, days) in [
        (Prunable::Events, 10),
        (Prunable::Webhooks, 75),
        (Prunable::IdempotencyKeys, 75),
        (Prunable::Messages, 75),
    ] {
        let prune = async |store: &Store| {
            let pruned = store.prune(what, now() - Duration::days(days)).await.unwrap();
            assert_eq!(pruned, PRUNED, "{what:?}");
        };
        explained.check(&format!("deleting a batch of old {what:?}"), PRUNED, prune).await;
    }
}
