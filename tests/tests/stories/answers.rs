//! What Telnyx answers to a send decides who waits, for how long, and what operators are told.

use common::event::timestamp;
use common::store::{HeldSender, Sender};
use deploy::services::API;
use deploy::simulator::{Answer, Rule};
use tests::databases::{self, Kind};
use tests::proxy::Proxy;
use tests::stack::TestStack;
use tests::{eventually, on_both_databases};
use time::{Duration, OffsetDateTime};

use super::{AUTHOR, CHURCH, DELIVERED, borrowed, phones};

on_both_databases!(
    a_number_in_trouble_waits_alone_and_operators_are_told,
    while_telnyx_cannot_be_reached_nothing_is_sent_and_operators_are_told,
    a_throttled_send_waits_until_the_date_in_retry_after,
    a_long_broadcast_that_only_waits_its_turn_is_sent_whole,
    a_webhook_that_the_first_address_does_not_take_comes_to_the_second,
);

/// Telnyx's answer, the word that operators are told, and for how long the number waits at least.
const TROUBLES: [(u16, &str, &str, Duration); 4] = [
    (400, "40320", "number_unusable", Duration::minutes(1)),
    (429, "40333", "spend_limit", Duration::minutes(1)),
    (429, "40318", "queue_full", Duration::seconds(30)),
    (403, "10010", "sender_refused", Duration::seconds(30)),
];

/// The number of the church in this trouble.
fn number(turn: usize) -> String {
    format!("+1202555020{turn}")
}

/// A church with a number of its own.
async fn church_with_number(stack: &TestStack, church: &str, number: &str) {
    let (church_id, number) = (church.parse().unwrap(), number.into());
    let sender = Sender { church_id, number, messaging_profile_id: None, rate: None };
    stack.store().set_sender(&sender).await.unwrap();
}

async fn held(stack: &TestStack) -> Vec<HeldSender> {
    stack.store().held_senders(OffsetDateTime::now_utc()).await.unwrap()
}

/// As if the wait of every number were over.
async fn end_waits(stack: &TestStack) {
    for sql in [
        "update recipients set due_at = $EPOCH where attempted_at is null",
        "update paces set held_until = $EPOCH where held_until is not null",
    ] {
        databases::execute(&stack.stack.file().database, sql).await;
    }
}

/// When Telnyx counts a new day.
fn midnight_after(at: OffsetDateTime) -> OffsetDateTime {
    at.to_offset(time::UtcOffset::UTC).date().midnight().assume_utc() + Duration::DAY
}

async fn a_number_in_trouble_waits_alone_and_operators_are_told(kind: Kind) {
    let stack = TestStack::start(kind).await;
    let ops = stack.stack.file().ops.api.clone();
    let mut messages = Vec::new();
    for (turn, (status, code, word, _)) in TROUBLES.into_iter().enumerate() {
        let (church, number) = (word.replace('_', "-"), number(turn));
        church_with_number(&stack, &church, &number).await;
        let answer = Answer::Refuse { status, code: code.into() };
        stack.telnyx().add_rule(Rule { from: number, answer, ..Rule::default() });
        messages.push((stack.send(&church, AUTHOR, &[DELIVERED]).await, church));
    }
    let waiting = eventually("all four numbers wait", async || {
        Some(held(&stack).await).filter(|held| held.len() == TROUBLES.len())
    })
    .await;
    let entries = stack.telnyx().entries();
    for (turn, (_, _, word, least)) in TROUBLES.iter().enumerate() {
        let entry = entries.iter().find(|entry| entry.request["from"] == number(turn)).unwrap();
        let until = waiting.iter().find(|sender| sender.reason == *word).unwrap().until;
        assert!(until >= timestamp::millis(entry.at) + *least, "{word}: {} until {until}", entry.at);
        assert!(*word != "spend_limit" || until >= midnight_after(entry.at), "{until}");
    }
    eventually("readiness names all four, and stays ready", async || {
        let (status, said) = stack.readiness(&ops).await;
        assert_eq!(status, 200, "{said}");
        let is_told = |word: &str| said.contains(&format!("1 held back by {word} until "));
        (said.contains("degraded: sending") && TROUBLES.iter().all(|(_, _, word, _)| is_told(word)))
            .then_some(())
    })
    .await;
    let others = stack.send(CHURCH, AUTHOR, &borrowed(&phones(20))).await;
    let shown = stack.until_status(CHURCH, others, "delivered").await;
    assert_eq!(shown["deliveredCount"], 20, "{shown}");
    for (message, church) in &messages {
        assert_eq!(stack.message(church, *message).await["status"], "pending");
    }

    stack.telnyx().clear_rules();
    end_waits(&stack).await;
    for (message, church) in &messages {
        stack.until_status(church, *message, "delivered").await;
    }
    eventually("readiness is well", async || {
        (!stack.readiness(&ops).await.1.contains("degraded: sending")).then_some(())
    })
    .await;
    assert_eq!(stack.sent_once().len(), 24);
}

async fn while_telnyx_cannot_be_reached_nothing_is_sent_and_operators_are_told(kind: Kind) {
    let mut stack = TestStack::start(kind).await;
    let ops = stack.stack.file().ops.api.clone();
    stack.stack.stop_telnyx().await;
    let message = stack.send(CHURCH, AUTHOR, &[DELIVERED]).await;
    eventually("readiness names the address, and stays ready", async || {
        let (status, said) = stack.readiness(&ops).await;
        assert_eq!(status, 200, "{said}");
        (said.contains("degraded: sending") && said.contains("TELNYX_BASE_URL")).then_some(())
    })
    .await;
    stack.stack.start_telnyx().await.unwrap();
    stack.until_status(CHURCH, message, "delivered").await;
    assert_eq!(stack.telnyx().totals(), (1, 1));
}

async fn a_throttled_send_waits_until_the_date_in_retry_after(kind: Kind) {
    let stack = TestStack::start(kind).await;
    let answer = Answer::ThrottleUntil { seconds: 3 };
    stack.telnyx().add_rule(Rule { answer, times: Some(1), ..Rule::default() });
    let message = stack.send(CHURCH, AUTHOR, &[DELIVERED]).await;
    stack.until_status(CHURCH, message, "delivered").await;
    let entries = stack.telnyx().entries();
    let answers: Vec<_> = entries.iter().map(|entry| entry.answer).collect();
    assert_eq!(answers, [Some(429), Some(200)]);
    // The date has whole seconds.
    assert!(entries[1].at - entries[0].at >= Duration::seconds(2), "{entries:?}");
}

async fn a_long_broadcast_that_only_waits_its_turn_is_sent_whole(kind: Kind) {
    let stack = TestStack::start_with(kind, |options| {
        options.environment.push((API.into(), "SEND_RATE".into(), "20".into()));
    })
    .await;
    let message = stack.send(CHURCH, AUTHOR, &borrowed(&phones(60))).await;
    let database = &stack.stack.file().database;
    eventually("an answer to the number is recorded", async || {
        let served = "select count(*) from paces where sender <> '*' and served_at is not null";
        (databases::number(database, served).await > 0).then_some(())
    })
    .await;
    // Long past SEND_WITHIN; but its number is being served.
    databases::execute(database, "update messages set created_at = $EPOCH").await;
    let shown = stack.until_status(CHURCH, message, "delivered").await;
    assert_eq!((&shown["deliveredCount"], &shown["failedCount"]), (&60.into(), &0.into()), "{shown}");
    assert_eq!(stack.sent_once().len(), 60);
}

async fn a_webhook_that_the_first_address_does_not_take_comes_to_the_second(kind: Kind) {
    let second = Proxy::to("http://127.0.0.1:1").await;
    let stack = TestStack::start_with(kind, |options| {
        options.pace.back_off = std::time::Duration::from_millis(20);
        let mut set =
            |name: &str, value: &str| options.environment.push((API.into(), name.into(), value.into()));
        set("PUBLIC_WEBHOOK_URL", "http://127.0.0.1:1");
        set("PUBLIC_WEBHOOK_FAILOVER_URL", &second.url());
    })
    .await;
    second.lead_to(&stack.stack.file().ingest);
    let message = stack.send(CHURCH, AUTHOR, &[DELIVERED]).await;
    let shown = stack.until_status(CHURCH, message, "delivered").await;
    let request = &stack.telnyx().entries()[0].request;
    let recipient = shown["recipients"][0]["id"].as_str().unwrap();
    let address = |base: &str| format!("{base}/webhooks/telnyx/{recipient}");
    assert_eq!(request["webhook_url"], address("http://127.0.0.1:1"));
    assert_eq!(request["webhook_failover_url"], address(&second.url()));
    assert_eq!(request["use_profile_webhooks"], false, "a profile's own addresses get nothing");
}
