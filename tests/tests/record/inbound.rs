//! Texts that people send to a church.

use std::time::Duration;

use common::inbound::{InboundEvent, OptOut};
use common::status::Rank;
use common::store::{
    Erased, Forward, ForwardClaim, Inbound, InboundQuery, InboundText, Outcome, Prunable, Sender, Store,
    Webhook, WebhookContent,
};
use futures_util::future::join_all;
use tests::databases::{Database, Kind};
use tests::on_both_databases;
use time::OffsetDateTime;
use uuid::Uuid;

use super::church::{church, now, patiently, phone, state, webhook};

on_both_databases!(
    a_text_belongs_to_the_church_of_the_number_that_it_was_sent_to,
    a_repeated_text_is_recorded_and_told_once,
    the_news_of_a_text_names_neither_number_nor_text,
    pages_of_texts_neither_skip_nor_repeat_one,
    a_text_is_forwarded_by_one_process_at_a_time_and_again_after_its_lease,
    texts_of_one_person_are_forwarded_in_their_order,
    a_text_is_given_up_after_its_time,
    a_late_failure_does_not_put_off_a_later_attempt,
    erasing_a_person_deletes_the_texts_that_they_sent,
    an_old_text_is_deleted,
);

/// The number of the church `grace`.
const NUMBER: &str = "+15559990001";
/// The default number.
const DEFAULT: &str = "+15559990009";

fn text(event_id: &str, from: usize, to: &str, content: &str) -> Webhook {
    let content = InboundText {
        to: vec!["+15558888888".into(), to.into()],
        default_church: (to == DEFAULT).then(|| church("hope")),
        from: phone(from),
        content: content.into(),
        media_count: 2,
        opt_out: (content == "STOP").then_some(OptOut::Stop),
        received_at: now(),
    };
    let hook = webhook(event_id, "p", &phone(from), state(Rank::Sent));
    Webhook { event_type: "message.received".into(), content: WebhookContent::Inbound(content), ..hook }
}

async fn store_of(database: &Database) -> Store {
    let store = database.migrated().await;
    let sender =
        Sender { church_id: church("grace"), number: NUMBER.into(), messaging_profile_id: None, rate: None };
    store.set_sender(&sender).await.unwrap();
    store
}

async fn texts_of(store: &Store, id: &str) -> Vec<Inbound> {
    store.inbound(&church(id), &InboundQuery { limit: 100, ..InboundQuery::default() }).await.unwrap()
}

async fn news(store: &Store) -> Vec<InboundEvent> {
    let rows = store.waiting_events(1_000).await.unwrap();
    rows.iter().map(|row| serde_json::from_str(&row.payload).unwrap()).collect()
}

fn claim_at(now: OffsetDateTime) -> ForwardClaim {
    let not_before = now - time::Duration::hours(24);
    ForwardClaim { limit: 100, now, lease: Duration::from_secs(30), not_before }
}

/// What is due by now.
async fn take(store: &Store) -> Vec<Forward> {
    store.take_forwards(&claim_at(now())).await.unwrap()
}

fn contents(forwards: &[Forward]) -> Vec<&str> {
    let mut contents: Vec<_> = forwards.iter().map(|one| one.inbound.content.as_str()).collect();
    contents.sort_unstable();
    contents
}

async fn a_text_belongs_to_the_church_of_the_number_that_it_was_sent_to(kind: Kind) {
    let database = Database::fresh(kind).await;
    let store = store_of(&database).await;
    let batch = [
        text("e1", 1, NUMBER, "Thank you"),
        text("e2", 1, DEFAULT, "STOP"),
        text("e3", 1, "+15557777777", "Who is this?"),
    ];
    let outcomes = store.record_webhooks(&batch).await.unwrap();
    assert_eq!(outcomes, [Outcome::Received, Outcome::Received, Outcome::Ignored]);
    let [grace, hope] = [texts_of(&store, "grace").await, texts_of(&store, "hope").await];
    let [WebhookContent::Inbound(first), WebhookContent::Inbound(second), _] = batch.map(|one| one.content)
    else {
        panic!("these are texts")
    };
    for (shown, sent) in [(&grace, first), (&hope, second)] {
        let [shown] = shown.as_slice() else { panic!("{shown:?}") };
        assert_eq!((&shown.from, &shown.content), (&sent.from, &sent.content));
        assert_eq!(
            (shown.media_count, shown.opt_out, shown.received_at),
            (2, sent.opt_out, sent.received_at)
        );
    }
    let news = news(&store).await;
    assert_eq!((news[0].church_id.as_str(), news[0].inbound_id), ("grace", grace[0].id));
    assert_eq!((news[1].church_id.as_str(), news[1].inbound_id), ("hope", hope[0].id));
    assert_eq!((news.len(), news[1].opt_out), (2, Some(OptOut::Stop)));
    let audit = store.audit().await.unwrap();
    assert!(audit.is_sound(), "{audit:?}");
    assert_eq!((audit.received, audit.ignored), (2, 1));
}

async fn a_repeated_text_is_recorded_and_told_once(kind: Kind) {
    let database = Database::fresh(kind).await;
    let store = store_of(&database).await;
    let once = text("e0", 0, NUMBER, "Amen");
    let twice = [once.clone(), once.clone()];
    let outcomes = store.record_webhooks(&twice).await.unwrap();
    assert_eq!(outcomes, [Outcome::Received, Outcome::Duplicate]);
    assert_eq!(store.record_webhooks(&twice).await.unwrap(), [Outcome::Duplicate; 2]);
    assert_eq!((texts_of(&store, "grace").await.len(), news(&store).await.len()), (1, 1));

    // Telnyx may repeat a webhook while the first is being recorded, by another process.
    let batch: Vec<_> = (1..20).map(|n| text(&format!("e{n}"), n, NUMBER, "Amen")).collect();
    let reversed: Vec<_> = batch.iter().rev().cloned().collect();
    let racing = [&batch, &reversed, &batch, &reversed].map(|batch| {
        let store = &store;
        async move { patiently(async || store.record_webhooks(batch).await).await }
    });
    join_all(racing).await;
    assert_eq!((texts_of(&store, "grace").await.len(), news(&store).await.len()), (20, 20));
    assert!(store.audit().await.unwrap().is_sound());
}

async fn the_news_of_a_text_names_neither_number_nor_text(kind: Kind) {
    let database = Database::fresh(kind).await;
    let store = store_of(&database).await;
    store.record_webhooks(&[text("e1", 7, NUMBER, "My secret")]).await.unwrap();
    let rows = store.waiting_events(10).await.unwrap();
    assert_eq!(rows[0].subject, "church.grace.received");
    let shown = format!("{rows:?}");
    for private in [&phone(7)[1..], "secret", &NUMBER[1..]] {
        assert!(!shown.contains(private), "{shown}");
    }
}

async fn pages_of_texts_neither_skip_nor_repeat_one(kind: Kind) {
    let database = Database::fresh(kind).await;
    let store = store_of(&database).await;
    let began = now();
    // Those of one batch were recorded at the same moment.
    for batch in [0..4, 4..5, 5..9] {
        let batch: Vec<_> = batch.map(|n| text(&format!("e{n}"), n, NUMBER, &n.to_string())).collect();
        store.record_webhooks(&batch).await.unwrap();
    }
    store.record_webhooks(&[text("other", 0, DEFAULT, "of another church")]).await.unwrap();
    let (mut all, mut before) = (Vec::new(), None);
    loop {
        let query = InboundQuery { limit: 2, before, updated_since: Some(began) };
        let page = store.inbound(&church("grace"), &query).await.unwrap();
        let Some(last) = page.last() else { break };
        before = Some((last.recorded_at, last.id));
        all.extend(page.into_iter().map(|text| text.content));
    }
    assert_eq!(all, ["8", "7", "6", "5", "4", "3", "2", "1", "0"]);
    let later = InboundQuery {
        limit: 10,
        updated_since: Some(now() + time::Duration::minutes(1)),
        ..InboundQuery::default()
    };
    assert!(store.inbound(&church("grace"), &later).await.unwrap().is_empty());
}

async fn a_text_is_forwarded_by_one_process_at_a_time_and_again_after_its_lease(kind: Kind) {
    let database = Database::fresh(kind).await;
    let store = store_of(&database).await;
    let batch: Vec<_> = (0..20).map(|n| text(&format!("e{n}"), n, NUMBER, &format!("{n:02}"))).collect();
    store.record_webhooks(&batch).await.unwrap();
    let stores: Vec<_> = (0..4).map(|_| database.store()).collect();
    let claim = ForwardClaim { limit: 7, ..claim_at(now()) };
    let taking = stores.iter().map(async |store| patiently(async || store.take_forwards(&claim).await).await);
    let mut taken = join_all(taking).await.concat();
    taken.extend(patiently(async || store.take_forwards(&claim_at(claim.now)).await).await);
    assert_eq!(contents(&taken), (0..20).map(|n| format!("{n:02}")).collect::<Vec<_>>(), "each once");
    assert!(taken.iter().all(|one| one.tries == 1));

    // One was told, one is due at once, the others are those of a process that died.
    store.forwarded(&taken[0], now()).await.unwrap();
    store.forward_again(&taken[1], claim.now).await.unwrap();
    let again = take(&store).await;
    assert_eq!((again.len(), again[0].inbound.id, again[0].tries), (1, taken[1].inbound.id, 2));
    let after = claim_at(now() + Duration::from_secs(31));
    assert_eq!(store.take_forwards(&after).await.unwrap().len(), 19);
    assert_eq!(store.forward_state().await.unwrap().waiting, 19);
}

async fn texts_of_one_person_are_forwarded_in_their_order(kind: Kind) {
    let database = Database::fresh(kind).await;
    let store = store_of(&database).await;
    let batch = [
        text("e1", 1, NUMBER, "STOP"),
        text("e2", 1, NUMBER, "START"),
        text("e3", 2, NUMBER, "Amen"),
        text("e4", 1, DEFAULT, "to another church"),
    ];
    store.record_webhooks(&batch).await.unwrap();
    let first = take(&store).await;
    assert_eq!(contents(&first), ["Amen", "STOP", "to another church"]);
    assert!(take(&store).await.is_empty(), "START waits for STOP");
    let stop = first.iter().find(|one| one.inbound.content == "STOP").unwrap();
    store.forward_again(stop, now() + Duration::from_secs(60)).await.unwrap();
    assert!(take(&store).await.is_empty(), "also while STOP waits to be tried again");
    store.forwarded(stop, now()).await.unwrap();
    assert_eq!(contents(&take(&store).await), ["START"]);
}

async fn a_text_is_given_up_after_its_time(kind: Kind) {
    let database = Database::fresh(kind).await;
    let store = store_of(&database).await;
    let batch = [text("e1", 1, NUMBER, "STOP"), text("e2", 1, NUMBER, "START")];
    store.record_webhooks(&batch).await.unwrap();
    let [stop] = take(&store).await.try_into().unwrap();
    store.forward_again(&stop, now()).await.unwrap();
    let since = store.forward_state().await.unwrap().tried_since;
    assert_eq!(since, Some(stop.inbound.recorded_at), "only the first was tried");

    let day = time::Duration::hours(24);
    let too_late = claim_at(now() + day + time::Duration::minutes(1));
    assert!(store.take_forwards(&too_late).await.unwrap().is_empty());
    assert_eq!(store.give_up_forwards(now() - day).await.unwrap(), 0);
    assert_eq!(store.give_up_forwards(too_late.not_before).await.unwrap(), 2);
    assert_eq!(store.give_up_forwards(too_late.not_before).await.unwrap(), 0);
    let state = store.forward_state().await.unwrap();
    assert_eq!((state.waiting, state.tried_since), (0, None));
    assert_eq!(texts_of(&store, "grace").await.len(), 2, "they stay in the list");
}

async fn a_late_failure_does_not_put_off_a_later_attempt(kind: Kind) {
    let database = Database::fresh(kind).await;
    let store = store_of(&database).await;
    store.record_webhooks(&[text("e1", 1, NUMBER, "Amen")]).await.unwrap();
    let [first] = take(&store).await.try_into().unwrap();
    let after = claim_at(now() + Duration::from_secs(31));
    let [second] = store.take_forwards(&after).await.unwrap().try_into().unwrap();
    store.forward_again(&first, now()).await.unwrap();
    assert!(take(&store).await.is_empty(), "the second attempt is under way");
    store.forwarded(&second, now()).await.unwrap();
    store.forward_again(&second, now()).await.unwrap();
    assert!(take(&store).await.is_empty(), "it was told");
}

async fn erasing_a_person_deletes_the_texts_that_they_sent(kind: Kind) {
    let database = Database::fresh(kind).await;
    let store = store_of(&database).await;
    let mut batch: Vec<_> = (0..3).map(|n| text(&format!("e{n}"), n % 2, NUMBER, "Amen")).collect();
    for hook in &mut batch {
        let WebhookContent::Inbound(text) = &hook.content else { panic!("it is a text") };
        hook.body = format!(r#"{{"from":{{"phone_number":"{}"}},"text":"Amen"}}"#, text.from).into();
    }
    store.record_webhooks(&batch).await.unwrap();
    let expected = Erased { webhooks: 2, inbound: 2, ..Erased::default() };
    assert_eq!(store.erase_phone(&phone(0), true).await.unwrap(), expected);
    assert_eq!(texts_of(&store, "grace").await.len(), 3, "they were only counted");
    assert_eq!(store.erase_phone(&phone(0), false).await.unwrap(), expected);
    assert_eq!(store.erase_phone(&phone(0), false).await.unwrap(), Erased::default());
    let left = texts_of(&store, "grace").await;
    assert_eq!((left.len(), &left[0].from), (1, &phone(1)));
    assert_eq!(take(&store).await.len(), 1, "nobody is told of them any more");
    // Telnyx may repeat a webhook for a while.
    assert_eq!(store.record_webhooks(&batch).await.unwrap(), [Outcome::Duplicate; 3]);
    assert_eq!(texts_of(&store, "grace").await.len(), 1);
    assert!(store.audit().await.unwrap().is_sound());
}

async fn an_old_text_is_deleted(kind: Kind) {
    let database = Database::fresh(kind).await;
    let store = store_of(&database).await;
    store.record_webhooks(&[text(&Uuid::now_v7().to_string(), 1, NUMBER, "Amen")]).await.unwrap();
    assert_eq!(store.prune(Prunable::Inbound, now() - time::Duration::hours(1)).await.unwrap(), 0);
    assert_eq!(store.prune(Prunable::Inbound, now() + time::Duration::hours(1)).await.unwrap(), 1);
    assert!(texts_of(&store, "grace").await.is_empty());
}
