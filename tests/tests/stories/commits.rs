//! The database answers a commit late, after it was done and never: at a send, at a claim, at an answer of Telnyx.

use deploy::services::API;
use deploy::simulator::{Answer, Rule};
use serde_json::Value;
use tests::databases::Kind;
use tests::eventually;
use tests::gate::{Gate, Step};
use tests::message_api::MessageApi;
use tests::proxy::Proxy;
use tests::stack::{TestStack, id_of};

use super::{AUTHOR, CHURCH, DELIVERED, borrowed, phones};

/// What becomes of a commit.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fate {
    /// It stands, and is answered when nobody waits for it any more.
    Late,
    /// It stands, and its answer is lost.
    Lost,
    /// It does not stand, and is never answered.
    Undone,
}

impl Fate {
    /// Applies this outcome to the commit that the gate has stopped.
    async fn befall(self, gate: Gate, proxy: &Proxy) {
        match self {
            Self::Late => gate.open().await,
            Self::Lost => {
                proxy.cut();
                gate.open().await;
            }
            Self::Undone => gate.undo().await,
        }
    }
}

const FATES: [Fate; 3] = [Fate::Late, Fate::Lost, Fate::Undone];
/// A place where no database is.
const NOWHERE: &str = "http://127.0.0.1:1";

/// A stack on PostgreSQL, and a second message-api behind a proxy.
async fn behind_a_proxy(settings: &[(&str, &str)]) -> (TestStack, MessageApi, Proxy) {
    let stack = TestStack::start(Kind::Postgres).await;
    let (proxy, through) = Proxy::to_postgres(&stack.stack.file().database).await;
    let settings = [settings, &[("DATABASE_URL", &through)]].concat();
    let behind = MessageApi::start(&stack, "message-api-behind", &settings).await;
    (stack, behind, proxy)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_send_with_an_unknown_outcome_says_so_and_a_key_makes_it_repeatable() {
    let (stack, behind, proxy) = behind_a_proxy(&[("API_REQUEST_TIMEOUT", "6s")]).await;
    let database = stack.stack.file().database.clone();
    for (fate, key) in FATES.iter().flat_map(|fate| [(*fate, None), (*fate, Some("press"))]) {
        let church = format!("church-{fate:?}-{}", key.unwrap_or("none"));
        let token = stack.token(&church, AUTHOR);
        let mut gate = Gate::close(&database, Step::Message).await;
        let pressing = tokio::spawn(behind.request(&token, key, &[DELIVERED]).send());
        gate.until_reached().await;
        let answer = if fate == Fate::Late {
            let answer = pressing.await;
            fate.befall(gate, &proxy).await;
            answer
        } else {
            fate.befall(gate, &proxy).await;
            pressing.await
        };
        let answer = answer.unwrap().unwrap();
        let (status, retry) = (answer.status(), answer.headers().contains_key("retry-after"));
        let body: Value = answer.json().await.unwrap();
        // The limit of the store's call or that of the request, whichever a busy machine notices first.
        let codes = if key.is_some() { &["unavailable", "timed_out"][..] } else { &["outcome_unknown"] };
        assert_eq!((status.as_u16(), retry), (503, key.is_some()), "{church}: {body}");
        assert!(codes.iter().any(|code| body["code"] == **code), "{church}: {body}");

        // Without a key, the history is what tells; with one, the request may be repeated, by whichever process.
        let stands = usize::from(fate != Fate::Undone);
        let recorded = async || {
            let (_, history) = stack.get(&church, AUTHOR, "/api/messages/history").await;
            history["data"].as_array().unwrap().clone()
        };
        eventually("the history shows what stands", async || {
            (recorded().await.len() == stands).then_some(())
        })
        .await;
        if key.is_some() {
            for _ in 0..2 {
                let again = stack.request(&token, key, &[DELIVERED]).send().await.unwrap();
                assert_eq!(again.status(), 201, "{church}");
            }
        }
        let messages = recorded().await;
        assert_eq!(messages.len(), stands.max(usize::from(key.is_some())), "{church}");
        for message in messages {
            stack.until_status(&church, id_of(&message), "delivered").await;
        }
    }
    assert_eq!(stack.sent_once().len(), 5, "one for each message");
}

/// A claim that stands is read back and sent by the process that made it: nobody waits until it is given up.
#[tokio::test(flavor = "multi_thread")]
async fn a_claim_with_an_unknown_outcome_is_read_back_and_sent_once() {
    let (mut stack, behind, proxy) = behind_a_proxy(&[]).await;
    let database = stack.stack.file().database.clone();
    let (token, phones) = (stack.token(CHURCH, AUTHOR), phones(5));
    for fate in FATES {
        stack.stack.terminate(API).await.unwrap();
        let mut gate = Gate::close(&database, Step::Claim).await;
        let message = behind.send(&token, &borrowed(&phones)).await;
        gate.until_reached().await;
        fate.befall(gate, &proxy).await;
        stack.restart_message_api().await;
        let shown = stack.until_status(CHURCH, message, "delivered").await;
        assert_eq!(shown["deliveredCount"], 5, "{fate:?}: {shown}");
    }
    assert_eq!(stack.sent_once().len(), 15);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_of_telnyx_with_an_unknown_outcome_is_recorded_once() {
    let (mut stack, behind, proxy) = behind_a_proxy(&[]).await;
    let database = stack.stack.file().database.clone();
    let (token, phones) = (stack.token(CHURCH, AUTHOR), phones(5));
    for fate in FATES {
        stack.stack.terminate(API).await.unwrap();
        stack.telnyx().hold(true);
        let mut gate = Gate::close(&database, Step::Accepted).await;
        let message = behind.send(&token, &borrowed(&phones)).await;
        gate.until_reached().await;
        fate.befall(gate, &proxy).await;
        stack.restart_message_api().await;
        eventually("the answers are on record", async || {
            stack.message(CHURCH, message).await["sentAt"].is_string().then_some(())
        })
        .await;
        stack.telnyx().hold(false);
        let shown = stack.until_status(CHURCH, message, "delivered").await;
        assert_eq!(shown["deliveredCount"], 5, "{fate:?}: {shown}");
    }
    assert_eq!(stack.sent_once().len(), 15);
    assert!(stack.audit().await.is_sound());
}

/// The process that was told "not accepted" does not know whether that is on record, and records it again after another
/// process has attempted the recipient anew.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_recorded_again_after_another_attempt_sends_nothing_twice() {
    let (mut stack, behind, proxy) = behind_a_proxy(&[]).await;
    let database = stack.stack.file().database.clone();
    let token = stack.token(CHURCH, AUTHOR);
    stack.stack.terminate(API).await.unwrap();
    stack.telnyx().hold(true);
    let answer = Answer::Throttle { retry_after: 0 };
    stack.telnyx().add_rule(Rule { answer, times: Some(1), ..Rule::default() });
    let mut gate = Gate::close(&database, Step::TakenBack).await;
    let message = behind.send(&token, &[DELIVERED]).await;
    gate.until_reached().await;
    proxy.lead_to(NOWHERE);
    gate.open().await;
    stack.restart_message_api().await;
    stack.until_accepted(1).await;
    let waiting = async || stack.sum(&behind.ops_url(), "api_answers_waiting").await;
    eventually("the answer waits to be recorded", async || (waiting().await == 1.0).then_some(())).await;
    proxy.lead_to_postgres(&database);
    eventually("the answer is recorded again", async || (waiting().await == 0.0).then_some(())).await;
    // What was wrongly due again would go before this one, by whichever process.
    let later = stack.send(CHURCH, AUTHOR, &[DELIVERED]).await;
    stack.until_accepted(2).await;
    stack.telnyx().hold(false);
    stack.until_status(CHURCH, message, "delivered").await;
    stack.until_status(CHURCH, later, "delivered").await;
    assert_eq!((stack.sent_once().len(), stack.telnyx().totals()), (2, (3, 2)));
}

/// Its claim has locked what every claim needs: PostgreSQL ends its session, and the others go on.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_vanishes_in_the_middle_of_a_claim_does_not_stop_the_others() {
    let (mut stack, behind, proxy) = behind_a_proxy(&[]).await;
    let (token, phones) = (stack.token(CHURCH, AUTHOR), phones(5));
    stack.stack.terminate(API).await.unwrap();
    proxy.swallow_after("set attempted_at = $1, claim_id");
    let message = behind.send(&token, &borrowed(&phones)).await;
    proxy.until_swallowing().await;
    stack.restart_message_api().await;
    let shown = stack.until_status(CHURCH, message, "delivered").await;
    assert_eq!(shown["deliveredCount"], 5, "{shown}");
    proxy.swallow(false);
    assert_eq!(stack.sent_once().len(), 5);
}
