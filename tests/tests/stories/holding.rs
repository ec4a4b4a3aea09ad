//! Telnyx accepts nothing from one sender, or from any: only the affected senders wait, readiness reports it, and no
//! text goes out late.

use common::store::Sender;
use deploy::simulator::{Answer, Rule};
use serde_json::json;
use tests::databases::{self, Kind};
use tests::stack::TestStack;
use tests::{eventually, on_both_databases};

use super::{AUTHOR, CHURCH, DELIVERED, borrowed, phones};

on_both_databases!(
    a_throttled_number_delays_no_other_number,
    a_refused_profile_holds_back_only_its_church_and_degrades_readiness,
    a_spent_daily_limit_holds_the_sender_until_midnight,
    a_429_with_an_html_body_is_retried,
    a_refused_api_key_stops_sending_and_degrades_readiness,
    a_text_held_back_longer_than_send_within_fails_as_not_sent,
);

const OTHER: &str = "hope";
const NUMBER: &str = "+15550000077";

/// A stack in which the church [`OTHER`] has its own number.
async fn two_senders(kind: Kind, settings: &[(&str, &str)]) -> TestStack {
    let stack = TestStack::start_with(kind, |options| {
        for (name, value) in settings {
            options.environment.push(("message-api".into(), (*name).into(), (*value).into()));
        }
    })
    .await;
    let church_id = OTHER.parse().unwrap();
    let sender = Sender { church_id, number: NUMBER.into(), messaging_profile_id: None, rate: None };
    stack.store().set_sender(&sender).await.unwrap();
    stack
}

fn hold_back(stack: &TestStack, answer: Answer) {
    stack.telnyx().add_rule(Rule { from: NUMBER.into(), answer, ..Rule::default() });
}

fn refuse(status: u16, code: &str) -> Answer {
    Answer::Refuse { status, code: code.into() }
}

/// Waits until readiness contains a text, and fails if it is not 200 meanwhile.
async fn until_told(stack: &TestStack, text: &str) {
    let ops = stack.stack.file().ops.api.clone();
    eventually(&format!("readiness says {text}"), async || {
        let (status, said) = stack.readiness(&ops).await;
        assert_eq!(status, 200, "{said}");
        said.contains(text).then_some(())
    })
    .await;
}

async fn until_well(stack: &TestStack) {
    let ops = stack.stack.file().ops.api.clone();
    eventually("readiness is ready", async || (stack.readiness(&ops).await.1 == "ready\n").then_some(()))
        .await;
}

fn asked_from(stack: &TestStack, number: &str) -> usize {
    stack.telnyx().entries().iter().filter(|entry| entry.request["from"] == number).count()
}

async fn a_throttled_number_delays_no_other_number(kind: Kind) {
    let stack = two_senders(kind, &[("SEND_RATE", "1000")]).await;
    hold_back(&stack, Answer::Throttle { retry_after: 20 });
    let many = phones(200);
    let held = stack.send(OTHER, AUTHOR, &borrowed(&many)).await;
    eventually("the number is throttled", async || (asked_from(&stack, NUMBER) > 0).then_some(())).await;
    let free = stack.send(CHURCH, AUTHOR, &borrowed(&many)).await;
    stack.until_status(CHURCH, free, "delivered").await;
    let tries = asked_from(&stack, NUMBER);
    assert!(tries < 40, "{tries} messages of a number that is throttled");
    assert_eq!(stack.message(OTHER, held).await["status"], "pending");
    stack.telnyx().clear_rules();
    let shown = stack.until_status(OTHER, held, "delivered").await;
    assert_eq!(shown["deliveredCount"], 200);
    let taken = stack.telnyx().entries().iter().filter(|entry| entry.accepted).count();
    assert_eq!(taken, 400, "no text is sent twice");
}

async fn a_refused_profile_holds_back_only_its_church_and_degrades_readiness(kind: Kind) {
    let stack = two_senders(kind, &[]).await;
    hold_back(&stack, refuse(403, "10010"));
    let held = stack.send(OTHER, AUTHOR, &[DELIVERED]).await;
    until_told(&stack, "degraded: sending (senders: 1 held back by sender_refused").await;
    let ops = stack.stack.file().ops.api.clone();
    assert_eq!(stack.metric(&ops, r#"church_api_senders_held{reason="sender_refused"}"#).await, 1.0);
    for _ in 0..3 {
        let free = stack.send(CHURCH, AUTHOR, &[DELIVERED]).await;
        stack.until_status(CHURCH, free, "delivered").await;
    }
    assert_eq!(asked_from(&stack, NUMBER), 1, "another sender's success does not shorten the wait");
    assert_eq!(stack.message(OTHER, held).await["status"], "pending");
}

async fn a_spent_daily_limit_holds_the_sender_until_midnight(kind: Kind) {
    let stack = two_senders(kind, &[]).await;
    hold_back(&stack, refuse(429, "40333"));
    let held = stack.send(OTHER, AUTHOR, &[DELIVERED]).await;
    until_told(&stack, "held back by spend_limit until").await;
    let ops = stack.stack.file().ops.api.clone();
    let (_, said) = stack.readiness(&ops).await;
    assert!(said.contains("T00:00:00.000Z"), "until midnight: {said}");
    assert_eq!(stack.message(OTHER, held).await["status"], "pending");
}

async fn a_429_with_an_html_body_is_retried(kind: Kind) {
    let stack = TestStack::start(kind).await;
    stack.telnyx().add_rule(Rule { answer: Answer::Edge, times: Some(1), ..Rule::default() });
    let message = stack.send(CHURCH, AUTHOR, &[DELIVERED]).await;
    stack.until_status(CHURCH, message, "delivered").await;
    let answers: Vec<_> = stack.telnyx().entries().iter().map(|entry| entry.answer).collect();
    assert_eq!(answers, [Some(429), Some(200)]);
}

async fn a_refused_api_key_stops_sending_and_degrades_readiness(kind: Kind) {
    let stack = TestStack::start(kind).await;
    stack.telnyx().add_rule(Rule { answer: refuse(401, "10009"), ..Rule::default() });
    let message = stack.send(CHURCH, AUTHOR, &[DELIVERED]).await;
    until_told(
        &stack,
        "degraded: sending (Telnyx refuses the API key; nothing is sent; check TELNYX_API_KEY)",
    )
    .await;
    stack.telnyx().clear_rules();
    stack.until_status(CHURCH, message, "delivered").await;
    until_well(&stack).await;
}

async fn a_text_held_back_longer_than_send_within_fails_as_not_sent(kind: Kind) {
    let stack = two_senders(kind, &[("SEND_WITHIN", "20s")]).await;
    hold_back(&stack, refuse(429, "40333"));
    let held = stack.send(OTHER, AUTHOR, &[DELIVERED]).await;
    eventually("Telnyx was asked", async || (asked_from(&stack, NUMBER) > 0).then_some(())).await;
    // As if it had been pressed long ago.
    databases::execute(&stack.stack.file().database, "update messages set created_at = $EPOCH").await;
    let shown = stack.until_status(OTHER, held, "failed").await;
    assert_eq!(shown["recipients"][0]["failureCode"], json!("not_sent"));
    stack.telnyx().clear_rules();
    let free = stack.send(CHURCH, AUTHOR, &[DELIVERED]).await;
    stack.until_status(CHURCH, free, "delivered").await;
    assert_eq!(stack.telnyx().totals().1, 1, "it does not go out late");
}
