//! message-api is killed (SIGKILL) at each step of a claim, a send and a reconciliation, while another one works on the
//! same database. The judge is Telnyx's book: no recipient is sent a text twice, and every message ends as the book says.

use std::time::Duration;

use deploy::services::API;
use deploy::simulator::{Hold, Request, Rule};
use futures_util::future::join_all;
use serde_json::{Value, json};
use sqlx::{ConnectOptions as _, Executor as _};
use tests::chance::Chance;
use tests::databases::Kind;
use tests::gate::{Gate, Step};
use tests::message_api::MessageApi;
use tests::stack::TestStack;
use tests::{eventually, on_both_databases};
use uuid::Uuid;

use super::{AUTHOR, CHURCH, borrowed, phones};

on_both_databases!(
    a_kill_at_each_step_of_a_send_sends_nothing_twice,
    a_kill_at_each_step_of_a_retrieval_loses_no_receipt,
    kills_at_random_moments_under_load_send_nothing_twice,
);

/// Where a request to Telnyx can be when its sender is killed.
const HOLDS: [Hold; 3] = [Hold::Unread, Hold::Unanswered, Hold::Halfway];

/// A stack whose own message-api has ended, and another one on the same database: the one that is killed.
async fn with_a_victim(kind: Kind) -> (TestStack, MessageApi) {
    let stack = TestStack::start_with(kind, |options| {
        options.pace.back_off = Duration::from_millis(20);
        for (name, value) in [
            ("SEND_RATE", "1000"),
            ("SEND_TIMEOUT", "4s"),
            ("UNRESOLVED_AFTER", "5s"),
            ("ASK_AFTER", "1s"),
            ("ASK_RATE", "50"),
        ] {
            options.environment.push((API.into(), name.into(), value.into()));
        }
    })
    .await;
    let victim = MessageApi::start(&stack, "message-api-victim", &[]).await;
    (stack, victim)
}

/// What the recipients of a message have become, once each is finished as Telnyx's book says.
#[derive(Debug, PartialEq)]
struct End {
    delivered: usize,
    unresolved: usize,
}

/// Waits until what Telnyx took of a message is delivered and the rest has failed, and nobody was sent a text twice.
async fn end_of(stack: &TestStack, message: Uuid) -> End {
    let shown = eventually("the message ends as Telnyx's book says", async || {
        let shown = stack.message(CHURCH, message).await;
        let taken = stack.sent_once();
        let is_taken = |it: &&Value| it["id"].as_str().is_some_and(|id| taken.contains(&id.parse().unwrap()));
        let taken = shown["recipients"].as_array().unwrap().iter().filter(is_taken).count();
        (shown["status"] != "pending" && shown["deliveredCount"] == json!(taken)).then_some(shown)
    })
    .await;
    let failed = |it: &&Value| it["status"] == "failed";
    let failed: Vec<_> = shown["recipients"].as_array().unwrap().iter().filter(failed).collect();
    assert!(failed.iter().all(|it| it["failureCode"] == "unresolved"), "{shown}");
    let delivered = usize::try_from(shown["deliveredCount"].as_u64().unwrap()).unwrap();
    End { delivered, unresolved: failed.len() }
}

async fn until_held(stack: &TestStack, what: &str, is_so: impl Fn(usize) -> bool) {
    eventually(what, async || is_so(stack.telnyx().held_requests()).then_some(())).await;
}

async fn a_kill_at_each_step_of_a_send_sends_nothing_twice(kind: Kind) {
    let (mut stack, mut victim) = with_a_victim(kind).await;
    let (token, phones) = (stack.token(CHURCH, AUTHOR), phones(3));
    for hold in HOLDS {
        stack.stack.terminate(API).await.unwrap();
        stack.telnyx().add_rule(Rule { hold: Some(hold), ..Rule::default() });
        let message = victim.send(&token, &borrowed(&phones)).await;
        until_held(&stack, "all requests wait", |held| held == phones.len()).await;
        stack.restart_message_api().await;
        victim.kill().await;
        until_held(&stack, "Telnyx has noticed that nobody waits", |held| held == 0).await;
        stack.telnyx().release_requests();
        stack.telnyx().clear_rules();
        victim.restart().await;
        let expected = match hold {
            Hold::Unread => End { delivered: 0, unresolved: 3 },
            Hold::Unanswered | Hold::Halfway => End { delivered: 3, unresolved: 0 },
        };
        assert_eq!(end_of(&stack, message).await, expected, "killed with the request {hold:?}");
    }
    assert!(stack.audit().await.is_sound());
}

async fn a_kill_at_each_step_of_a_retrieval_loses_no_receipt(kind: Kind) {
    let (mut stack, mut victim) = with_a_victim(kind).await;
    let (token, phones) = (stack.token(CHURCH, AUTHOR), phones(3));
    for hold in HOLDS {
        stack.stack.terminate(API).await.unwrap();
        stack.telnyx().add_rule(Rule { lose_webhooks: true, ..Rule::default() });
        stack.telnyx().add_rule(Rule { request: Request::Retrieve, hold: Some(hold), ..Rule::default() });
        let message = victim.send(&token, &borrowed(&phones)).await;
        until_held(&stack, "a retrieval waits", |held| held > 0).await;
        stack.restart_message_api().await;
        victim.kill().await;
        until_held(&stack, "Telnyx has noticed that nobody waits", |held| held == 0).await;
        stack.telnyx().clear_rules();
        stack.make_lookups_due().await;
        victim.restart().await;
        let end = end_of(&stack, message).await;
        assert_eq!(end, End { delivered: 3, unresolved: 0 }, "killed with the retrieval {hold:?}");
    }
    let audit = stack.audit().await;
    assert!(audit.is_sound() && audit.parked == 0, "{audit:?}");
}

async fn kills_at_random_moments_under_load_send_nothing_twice(kind: Kind) {
    const KILLS: usize = 6;
    let (mut stack, mut second) = with_a_victim(kind).await;
    let phones = phones(60);
    let phones = borrowed(&phones);
    let mut messages = join_all((0..4).map(|_| stack.send(CHURCH, AUTHOR, &phones))).await;
    let mut chance = Chance::new(9);
    for kill in 0..KILLS {
        // At a moment that is not always the same: the work goes on meanwhile, and is soon done.
        tokio::time::sleep(Duration::from_millis(chance.below(120) as u64)).await;
        if kill % 2 == 0 {
            second.kill().await;
            second.restart().await;
        } else {
            stack.stack.kill(API).await.unwrap();
            stack.restart_message_api().await;
        }
        messages.push(stack.send(CHURCH, AUTHOR, &phones).await);
    }
    for message in messages {
        let end = end_of(&stack, message).await;
        assert_eq!(end.delivered + end.unresolved, phones.len());
    }
    assert!(stack.audit().await.is_sound());
}

/// A commit that was under way when its process was killed stands or does not; nobody but the database knows.
#[tokio::test(flavor = "multi_thread")]
async fn a_kill_in_the_middle_of_each_commit_sends_nothing_twice() {
    let (mut stack, mut victim) = with_a_victim(Kind::Postgres).await;
    let (token, phones) = (stack.token(CHURCH, AUTHOR), phones(3));
    let database = stack.stack.file().database.clone();
    for (step, stands) in [
        (Step::Message, true),
        (Step::Message, false),
        (Step::Claim, true),
        (Step::Claim, false),
        (Step::Accepted, true),
        (Step::Accepted, false),
        (Step::Report, true),
        (Step::Report, false),
    ] {
        stack.stack.terminate(API).await.unwrap();
        stack.telnyx().hold(true);
        stack.telnyx().add_rule(Rule { lose_webhooks: step == Step::Report, ..Rule::default() });
        let key = format!("{step:?}-{stands}");
        let press = victim.request(&token, Some(&key), &borrowed(&phones));
        let mut gate = Gate::close(&database, step).await;
        let first_press = tokio::spawn(press.send());
        gate.until_reached().await;
        victim.kill().await;
        if stands {
            gate.open().await
        } else {
            gate.undo().await
        }
        let is_answered = first_press.await.unwrap().is_ok_and(|answer| answer.status() == 201);
        assert_eq!(is_answered, step != Step::Message, "{key}");

        stack.restart_message_api().await;
        stack.telnyx().clear_rules();
        stack.telnyx().hold(false);
        stack.make_lookups_due().await;
        victim.restart().await;
        // The person at the office presses again.
        let pressed = eventually("the message is recorded", async || {
            let answer = stack.request(&token, Some(&key), &borrowed(&phones)).send().await.unwrap();
            (answer.status() == 201).then_some(answer)
        })
        .await;
        let pressed: Value = pressed.json().await.unwrap();
        let expected = match (step, stands) {
            (Step::Claim, true) => End { delivered: 0, unresolved: 3 },
            _ => End { delivered: 3, unresolved: 0 },
        };
        assert_eq!(end_of(&stack, tests::stack::id_of(&pressed["data"])).await, expected, "{key}");
    }
    let (_, history) = stack.get(CHURCH, AUTHOR, "/api/messages/history").await;
    assert_eq!(history["pagination"]["total"], 8, "one message for each press");
    let audit = stack.audit().await;
    assert!(audit.is_sound() && audit.parked == 0, "{audit:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_while_sqlites_file_is_locked_sends_nothing_twice() {
    let (mut stack, mut victim) = with_a_victim(Kind::Sqlite).await;
    stack.stack.terminate(API).await.unwrap();
    let url = stack.stack.file().database.clone();
    victim.kill().await;
    drop(victim);
    let mut victim = MessageApi::start(&stack, "message-api-slow", &[("SEND_CONCURRENCY", "1")]).await;
    let (token, phones) = (stack.token(CHURCH, AUTHOR), phones(3));
    stack.telnyx().add_rule(Rule { hold: Some(Hold::Unanswered), times: Some(1), ..Rule::default() });
    let message = victim.send(&token, &borrowed(&phones)).await;
    until_held(&stack, "the first request waits", |held| held == 1).await;
    // Neither its answer can be recorded now, nor the next recipient be claimed.
    let options = url.parse::<sqlx::sqlite::SqliteConnectOptions>().unwrap();
    let mut other = options.busy_timeout(Duration::from_secs(30)).connect().await.unwrap();
    other.execute("begin immediate").await.unwrap();
    stack.telnyx().release_requests();
    until_held(&stack, "the first request is answered", |held| held == 0).await;
    victim.kill().await;
    other.execute("rollback").await.unwrap();
    stack.restart_message_api().await;
    victim.restart().await;
    assert_eq!(end_of(&stack, message).await, End { delivered: 3, unresolved: 0 });
}
