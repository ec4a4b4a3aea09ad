//! message-api asks Telnyx about messages whose webhooks are missing.

use common::store::{ASKED, Audit};
use deploy::simulator::{Answer, Outcome, Request, Retrieval, Rule};
use serde_json::json;
use tests::databases::{self, Kind};
use tests::stack::TestStack;
use tests::{eventually, on_both_databases};

use super::{AUTHOR, BLOCKED, CHURCH, DELIVERED, READ};

on_both_databases!(
    statuses_are_complete_by_asking_after_webhooks_are_lost_for_good,
    killing_message_api_while_it_asks_telnyx_loses_nothing,
    missing_webhooks_degrade_readiness_until_one_comes,
    a_throttled_retrieval_waits_as_long_as_telnyx_asks,
    a_retrieval_without_a_result_is_repeated,
);

const UNCONFIRMED: &str = "+12025550105";
const UNDELIVERABLE: &str = "+12025550106";

async fn asking(kind: Kind, more: &[(&str, &str)]) -> TestStack {
    TestStack::start_with(kind, |options| {
        options.pace.back_off = std::time::Duration::from_millis(20);
        for (name, value) in [("ASK_AFTER", "1s"), ("ASK_RATE", "50")].iter().chain(more) {
            options.environment.push(("message-api".into(), (*name).into(), (*value).into()));
        }
    })
    .await
}

/// Number of stored reports that came from asking.
async fn asked_reports(stack: &TestStack) -> i64 {
    let sql = format!("select count(*) from webhooks where event_type = '{ASKED}' and length(body) > 2");
    databases::number(&stack.stack.file().database, &sql).await
}

fn assert_sound(audit: &Audit) {
    assert!(audit.is_sound() && audit.parked == 0, "{audit:?}");
}

async fn statuses_are_complete_by_asking_after_webhooks_are_lost_for_good(kind: Kind) {
    let mut stack = asking(kind, &[]).await;
    let rule = Rule { phone: UNDELIVERABLE.into(), outcome: Some(Outcome::Failed), ..Rule::default() };
    stack.telnyx().add_rule(rule);
    stack.stack.kill("webhook-ingest").await.unwrap();
    let mut messages = Vec::new();
    for (phone, status) in [
        (DELIVERED, "delivered"),
        (READ, "read"),
        (UNCONFIRMED, "sent"),
        (UNDELIVERABLE, "failed"),
        (BLOCKED, "failed"),
    ] {
        messages.push((stack.send(CHURCH, AUTHOR, &[phone]).await, status));
    }
    stack.until_accepted(4).await;
    // The simulator tries three times and gives up.
    eventually("all webhooks are lost", async || {
        let entries = stack.telnyx().entries();
        let mut accepted = entries.iter().filter(|entry| entry.accepted);
        accepted.all(|entry| entry.webhooks.len() >= 6).then_some(())
    })
    .await;
    for (message, status) in &messages {
        let shown = stack.until_status(CHURCH, *message, status).await;
        if *status == "failed" {
            assert!(shown["recipients"][0]["failureReason"].is_string(), "{shown}");
        }
    }
    assert!(asked_reports(&stack).await >= 4);
    stack.stack.start_process("webhook-ingest").unwrap();
    stack.stack.ready("webhook-ingest").await.unwrap();
    assert_sound(&stack.audit().await);
    assert_eq!(stack.telnyx().totals(), (5, 4), "asking sends nothing");
}

async fn killing_message_api_while_it_asks_telnyx_loses_nothing(kind: Kind) {
    let mut stack = asking(kind, &[("ASK_RATE", "1")]).await;
    stack.telnyx().add_rule(Rule { lose_webhooks: true, ..Rule::default() });
    let phones = super::phones(4);
    let message = stack.send(CHURCH, AUTHOR, &super::borrowed(&phones)).await;
    eventually("Telnyx was asked about some", async || (asked_reports(&stack).await >= 1).then_some(()))
        .await;
    stack.stack.kill("message-api").await.unwrap();
    stack.stack.start_process("message-api").unwrap();
    stack.stack.ready("message-api").await.unwrap();
    // The killed process's claims expire only after two minutes. The other recipients finish before.
    let delivered = eventually("the others finish", async || {
        let shown = stack.message(CHURCH, message).await;
        shown["deliveredCount"].as_i64().filter(|count| *count >= 3)
    })
    .await;
    assert!(delivered >= 3);
    assert_sound(&stack.audit().await);
}

async fn missing_webhooks_degrade_readiness_until_one_comes(kind: Kind) {
    let stack = asking(kind, &[("RECEIPTS_WITHIN", "1s")]).await;
    let ops = stack.stack.file().ops.api.clone();
    stack.telnyx().add_rule(Rule { lose_webhooks: true, ..Rule::default() });
    let lost = stack.send(CHURCH, AUTHOR, &[DELIVERED]).await;
    let told = async || {
        let (status, said) = stack.readiness(&ops).await;
        assert_eq!(status, 200, "{said}");
        said.contains("degraded: receipts (no webhook came for what Telnyx accepted since")
    };
    eventually("readiness reports missing webhooks", async || told().await.then_some(())).await;
    stack.until_status(CHURCH, lost, "delivered").await;
    assert!(told().await, "answers to questions do not hide missing webhooks");
    // An invalid webhook does not count.
    let url = format!("{}/webhooks/telnyx", stack.stack.file().ingest);
    let rubbish = stack.stack.http().post(url).json(&json!({"data": {}})).send().await.unwrap();
    assert_eq!(rubbish.status(), 401);
    assert!(told().await);
    stack.telnyx().clear_rules();
    let heard = stack.send(CHURCH, AUTHOR, &[DELIVERED]).await;
    stack.until_status(CHURCH, heard, "delivered").await;
    eventually("readiness is ready", async || (!told().await).then_some(())).await;
}

/// All retrievals, in the order of time.
fn retrievals(stack: &TestStack) -> Vec<Retrieval> {
    let mut all: Vec<_> = stack.telnyx().entries().into_iter().flat_map(|entry| entry.retrievals).collect();
    all.sort_by_key(|retrieval| retrieval.at);
    all
}

async fn a_throttled_retrieval_waits_as_long_as_telnyx_asks(kind: Kind) {
    let stack = asking(kind, &[]).await;
    stack.telnyx().add_rule(Rule { lose_webhooks: true, ..Rule::default() });
    let bare = Answer::Refuse { status: 429, code: "10011".into() };
    for (answer, times) in [(Answer::Throttle { retry_after: 3 }, 1), (bare, 2)] {
        let throttling = Rule { request: Request::Retrieve, answer, times: Some(times), ..Rule::default() };
        stack.telnyx().add_rule(throttling);
    }
    let message = stack.send(CHURCH, AUTHOR, &[DELIVERED]).await;
    for count in 1..=3 {
        eventually("Telnyx has throttled it", async || (retrievals(&stack).len() == count).then_some(()))
            .await;
        stack.make_lookups_due().await;
    }
    stack.until_status(CHURCH, message, "delivered").await;
    let retrievals = retrievals(&stack);
    assert_eq!(retrievals.iter().map(|it| it.answer).collect::<Vec<_>>(), [429, 429, 429, 200]);
    // The pauses grow, unless Telnyx says how long to wait.
    for (two, least) in retrievals.windows(2).zip([2, 4, 3]) {
        assert!(two[1].at - two[0].at >= time::Duration::seconds(least), "{retrievals:?}");
    }
    assert_sound(&stack.audit().await);
    assert_eq!(stack.telnyx().totals(), (1, 1));
}

async fn a_retrieval_without_a_result_is_repeated(kind: Kind) {
    let stack = asking(kind, &[]).await;
    stack.telnyx().add_rule(Rule { lose_webhooks: true, ..Rule::default() });
    let unclear = [
        Answer::Lose,
        Answer::Break,
        Answer::Refuse { status: 401, code: "10009".into() },
        Answer::Refuse { status: 500, code: "10007".into() },
    ];
    let count = unclear.len();
    for answer in unclear {
        let rule = Rule { request: Request::Retrieve, answer, times: Some(1), ..Rule::default() };
        stack.telnyx().add_rule(rule);
    }
    let message = stack.send(CHURCH, AUTHOR, &[DELIVERED]).await;
    for asked in 1..=count {
        eventually("Telnyx is asked", async || (retrievals(&stack).len() == asked).then_some(())).await;
        assert_eq!(stack.message(CHURCH, message).await["status"], "pending");
        stack.make_lookups_due().await;
    }
    stack.until_status(CHURCH, message, "delivered").await;
    assert_sound(&stack.audit().await);
    assert_eq!(stack.telnyx().totals(), (1, 1));
}
