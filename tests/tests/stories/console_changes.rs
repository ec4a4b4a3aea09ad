//! What operators change with the console.

use async_nats::jetstream::stream::Stream;
use common::subject::STREAM;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tests::databases::Kind;
use tests::eventually;
use tests::stack::TestStack;

use super::{AUTHOR, CHURCH, DELIVERED, SILENT, silent_phones};

async fn stream(stack: &TestStack) -> Stream {
    let client = stack.stack.nats("ops").await.unwrap();
    async_nats::jetstream::new(client).get_stream(STREAM).await.unwrap()
}

async fn consumers(stack: &TestStack) -> usize {
    stream(stack).await.cached_info().state.consumer_count
}

fn lines(file: &std::path::Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_console_that_only_reads_previews_a_change_and_refuses_it() {
    let stack = TestStack::start(Kind::Sqlite).await;
    let console = stack.console(&[]).await.enter().await;
    let pause = json!({ "change": "pause", "church": CHURCH });
    let refused = console.posting("/api/changes", &pause).send().await.unwrap();
    assert_eq!(refused.status(), 403);
    assert!(refused.text().await.unwrap().contains("--allow-changes"));
    let preview: Value = console.posting("/api/preview", &pause).send().await.unwrap().json().await.unwrap();
    assert_eq!(preview["command"], "ops pause sending --church grace");
    assert!(stack.store().pauses().await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_says_what_it_did_and_is_kept_in_the_log_with_its_command() {
    let stack = TestStack::start(Kind::Sqlite).await;
    let folder = tests::databases::folder();
    let log = folder.path().join("actions.jsonl");
    let options = ["--allow-changes", "--action-log", log.to_str().unwrap()];
    let console = stack.console(&options).await.enter().await;
    stack.send(CHURCH, AUTHOR, &[SILENT]).await;
    stack.until_accepted(1).await;
    let paused = console.change(&json!({ "change": "pause", "church": CHURCH })).await;
    assert!(paused["says"].as_str().unwrap().contains("paused for grace by operator:anna"), "{paused}");
    let id = stack.send(CHURCH, AUTHOR, &[DELIVERED]).await;
    let cancelled = console.change(&json!({ "change": "cancel", "id": id })).await;
    assert!(cancelled["says"].as_str().unwrap().contains("no text for 1 recipient"), "{cancelled}");
    let life = console.report(&format!("/api/messages/{id}")).await;
    assert_eq!(life["cancelledBy"], "operator:anna");
    let whose = json!({ "person": { "claim": "adminId", "id": "7" } });
    let revoked = console.change(&json!({ "change": "revoke", "church": CHURCH, "whose": whose })).await;
    assert!(revoked["says"].as_str().unwrap().contains("adminId 7"), "{revoked}");
    let undone =
        console.change(&json!({ "change": "undoRevocation", "church": CHURCH, "whose": whose })).await;
    assert!(undone["says"].as_str().unwrap().contains("accepted again"), "{undone}");
    console.change(&json!({ "change": "resume", "church": CHURCH })).await;
    let nothing = console.change(&json!({ "change": "resume", "church": CHURCH })).await;
    assert_eq!(nothing["state"], "failed", "{nothing}");
    let kept = lines(&log);
    let states: Vec<_> = kept.iter().map(|line| line["state"].as_str().unwrap()).collect();
    assert_eq!(
        states,
        [["started", "done"]; 5].concat().into_iter().chain(["started", "failed"]).collect::<Vec<_>>()
    );
    let commands: Vec<_> =
        kept.iter().step_by(2).map(|line| line["command"].as_str().unwrap().to_owned()).collect();
    assert_eq!(commands[2], "ops revoke --church grace --admin 7");
    assert!(kept.iter().all(|line| line["operator"] == "operator:anna"));
    // The command does the same as the click.
    let words: Vec<&str> = commands[0].split(' ').skip(1).collect();
    assert_eq!(stack.ops(&words).await.code, 0);
    assert_eq!(stack.store().pauses().await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_out_changes_nothing_and_everybodys_tokens_are_revoked_only_by_that_word() {
    let stack = TestStack::start(Kind::Sqlite).await;
    let console = stack.console(&["--allow-changes", "--action-log", "/dev/null"]).await.enter().await;
    for whose in [
        json!(null),
        json!({}),
        json!({ "person": null }),
        json!({ "person": { "claim": "userId" } }),
        json!({ "person": { "claim": "userId", "id": "" } }),
        json!({ "person": { "claim": "userId", "id": " " } }),
    ] {
        let revoke = json!({ "change": "revoke", "church": CHURCH, "whose": whose });
        let undo = json!({ "change": "undoRevocation", "church": CHURCH, "whose": whose });
        for change in [revoke, undo, json!({ "change": "revoke", "church": CHURCH })] {
            for path in ["/api/preview", "/api/changes"] {
                let refused = console.posting(path, &change).send().await.unwrap();
                assert_eq!(refused.status(), 422, "{change}");
            }
        }
    }
    assert!(stack.store().revocations(None).await.unwrap().is_empty());
    // Neither is anything else changed for everybody because something was left out.
    let reprocess = |which| json!({ "change": "reprocess", "which": which });
    for change in [
        json!({ "change": "pause" }),
        json!({ "change": "resume" }),
        reprocess(json!({ "events": [] })),
        reprocess(json!({ "reason": " " })),
    ] {
        let refused = console.posting("/api/changes", &change).send().await.unwrap();
        assert_eq!(refused.status(), 422, "{change}");
    }
    let all = json!({ "change": "revoke", "church": CHURCH, "whose": "everybody" });
    let revoked = console.change(&all).await;
    assert!(revoked["says"].as_str().unwrap().contains("tokens of everybody in grace"), "{revoked}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_is_previewed_can_be_stopped_and_ends_with_the_console() {
    let stack = TestStack::start(Kind::Sqlite).await;
    for phone in silent_phones(4) {
        stack.send(CHURCH, AUTHOR, &[&phone]).await;
    }
    eventually("the events are stored", async || (stack.stored(CHURCH).await.len() >= 4).then_some(())).await;
    let mut console = stack.console(&["--allow-changes", "--action-log", "/dev/null"]).await.enter().await;
    // So slow that it does not end by itself.
    let replay = json!({ "change": "replay", "church": CHURCH, "since": "1h", "message": null, "rate": 1 });
    let before = stack.stored(CHURCH).await.len() as u64;
    let preview: Value = console.posting("/api/preview", &replay).send().await.unwrap().json().await.unwrap();
    let after = stack.stored(CHURCH).await.len() as u64;
    assert!((before..=after).contains(&preview["report"]["events"].as_u64().unwrap()), "{preview}");
    let id = console.start(&replay).await;
    eventually("the replay has begun", async || {
        let work = console.work(id).await;
        (work["progress"]["done"].as_u64() > Some(0) && consumers(&stack).await == 1).then_some(())
    })
    .await;
    let stopped = console.posting(&format!("/api/work/{id}/stop"), &json!({})).send().await.unwrap();
    assert_eq!(stopped.status(), 204);
    let ended = eventually("the replay ended", async || {
        Some(console.work(id).await).filter(|work| work["state"] == "failed")
    })
    .await;
    assert!(ended["says"].as_str().unwrap().contains("the consumer is removed"), "{ended}");
    assert_eq!(consumers(&stack).await, 0);

    console.start(&replay).await;
    eventually("the second has begun", async || (consumers(&stack).await == 1).then_some(())).await;
    let pid = Pid::from_raw(i32::try_from(console.program.id().unwrap()).unwrap()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    assert!(console.program.wait().await.unwrap().success());
    assert_eq!(consumers(&stack).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_audit_needs_no_flag_and_a_log_that_cannot_be_written_ends_the_program() {
    let stack = TestStack::start(Kind::Sqlite).await;
    let id = stack.send(CHURCH, AUTHOR, &[DELIVERED]).await;
    stack.until_status(CHURCH, id, "delivered").await;
    stack.until_announced().await;
    let console = stack.console(&[]).await.enter().await;
    let started: Value =
        console.posting("/api/audit", &json!({})).send().await.unwrap().json().await.unwrap();
    let work = started["work"].as_u64().unwrap();
    let audited = eventually("the audit ended", async || {
        Some(console.work(work).await).filter(|work| work["state"] != "running")
    })
    .await;
    assert_eq!(
        (&audited["says"], &audited["report"]["found"]),
        (&"everything adds up: nothing is lost, and nothing is there twice".into(), &json!([])),
        "{audited}"
    );
    let words =
        ["console", "--listen", "127.0.0.1:0", "--allow-changes", "--action-log", "/nowhere/at/all/log"];
    std::fs::write(stack.stack.state().join("file"), "").unwrap();
    let inside = stack.stack.state().join("file/log").display().to_string();
    let words = [&words[..5], &[inside.as_str()]].concat();
    let said = stack.ops(&words).await;
    assert!(said.code == 2 && said.err.contains("OPS_ACTION_LOG"), "{said:?}");
}
