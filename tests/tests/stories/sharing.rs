//! Two message-apis work on one database at the same time: they share the work and the rates, and nobody is sent a text
//! twice.

use deploy::services::{API, binary};
use futures_util::future::join_all;
use tests::databases::Kind;
use tests::message_api::MessageApi;
use tests::stack::{TestStack, id_of};
use tests::{eventually, on_both_databases};
use time::{Duration, OffsetDateTime};
use tokio::process::Command;

use super::{AUTHOR, CHURCH, borrowed, phones};

on_both_databases!(
    two_message_apis_share_the_work_and_send_each_recipient_once,
    two_message_apis_keep_the_rate_of_all_and_of_each_number_together,
);

async fn two(kind: Kind, rate: &str) -> (TestStack, MessageApi) {
    let stack = TestStack::start_with(kind, |options| {
        options.environment.push((API.into(), "SEND_RATE".into(), rate.into()));
    })
    .await;
    let second = MessageApi::start(&stack, "message-api-second", &[]).await;
    (stack, second)
}

/// How many messages a process has posted.
async fn posted(stack: &TestStack, ops: &str) -> f64 {
    stack.sum(ops, "api_sends_total").await
}

async fn two_message_apis_share_the_work_and_send_each_recipient_once(kind: Kind) {
    let (stack, second) = two(kind, "1000").await;
    let (token, phones) = (stack.token(CHURCH, AUTHOR), phones(30));
    let ops = [stack.stack.file().ops.api.clone(), second.ops_url()];
    // Until both have taken part.
    eventually("both have posted", async || {
        stack.send(CHURCH, AUTHOR, &borrowed(&phones)).await;
        second.send(&token, &borrowed(&phones)).await;
        let counts = join_all(ops.iter().map(|ops| posted(&stack, ops))).await;
        counts.iter().all(|count| *count > 0.0).then_some(())
    })
    .await;
    let (_, history) = stack.get(CHURCH, AUTHOR, "/api/messages/history?limit=100").await;
    let messages: Vec<_> = history["data"].as_array().unwrap().iter().map(id_of).collect();
    for message in &messages {
        let shown = stack.until_status(CHURCH, *message, "delivered").await;
        assert_eq!(shown["deliveredCount"], phones.len(), "{shown}");
    }
    assert_eq!(stack.sent_once().len(), messages.len() * phones.len());
    assert!(stack.audit().await.is_sound());
}

/// A rate is the most that may be sent since the button was pressed, and a bucket of a tenth of a second more.
fn assert_keeps(rate: u32, sent: usize, pressed_at: OffsetDateTime, last_at: OffsetDateTime) {
    let burst = (rate / 10).max(1);
    let least = Duration::seconds_f64(f64::from(u32::try_from(sent).unwrap() - burst) / f64::from(rate));
    assert!(last_at - pressed_at >= least, "{sent} in {} at {rate} a second", last_at - pressed_at);
}

async fn two_message_apis_keep_the_rate_of_all_and_of_each_number_together(kind: Kind) {
    let (stack, second) = two(kind, "40").await;
    let ops = [
        ["sender", "--church", "hope", "--number", "+12025550201", "--rate", "10"].as_slice(),
        &["--database-url", &stack.stack.file().database],
    ]
    .concat();
    let set = Command::new(binary("ops").unwrap()).args(ops).output().await.unwrap();
    assert!(set.status.success(), "{set:?}");
    let pressed_at = OffsetDateTime::now_utc();
    let (hope, grace) = (phones(40), phones(80));
    let of_hope = second.send(&stack.token("hope", AUTHOR), &borrowed(&hope)).await;
    let of_grace = stack.send(CHURCH, AUTHOR, &borrowed(&grace)).await;
    stack.until_status("hope", of_hope, "delivered").await;
    stack.until_status(CHURCH, of_grace, "delivered").await;
    let entries = stack.telnyx().entries();
    let from_hope: Vec<_> = entries.iter().filter(|it| it.request["from"] == "+12025550201").collect();
    assert_eq!((from_hope.len(), entries.len()), (40, 120));
    assert_keeps(10, from_hope.len(), pressed_at, from_hope.iter().map(|it| it.at).max().unwrap());
    assert_keeps(40, entries.len(), pressed_at, entries.iter().map(|it| it.at).max().unwrap());
    assert_eq!(stack.sent_once().len(), 120);
}
