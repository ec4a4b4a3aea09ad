//! What `ops doctor` finds: nothing in a healthy stack, and each planted fault by its name.

use deploy::services;
use deploy::simulator::{UNKNOWN_NUMBER, UNKNOWN_PROFILE};
use serde_json::Value;
use tests::databases::{self, Database, Kind};
use tests::ops::Said;
use tests::stack::TestStack;
use tests::{eventually, on_both_databases};

use super::operators_replay::replay_by_hand;
use super::{AUTHOR, CHURCH, DELIVERED, SILENT, silent_phones};

on_both_databases!(a_healthy_stack_has_nothing_wrong_and_nothing_is_sent,);

/// The findings in this state, as `check: words`.
pub(super) fn findings(said: &Said, state: &str) -> Vec<String> {
    let all = said.json();
    let found = all.as_array().unwrap().iter().filter(|finding| finding["state"] == state);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    found.map(|finding| format!("{}: {}", text(&finding["check"]), text(&finding["says"]))).collect()
}

pub(super) async fn doctor(stack: &TestStack, others: &[(&str, &str)]) -> Said {
    stack.ops_with_settings(&["doctor", "--json"], others).await
}

async fn a_healthy_stack_has_nothing_wrong_and_nothing_is_sent(kind: Kind) {
    let stack = TestStack::start(kind).await;
    let id = stack.send(CHURCH, AUTHOR, &[DELIVERED]).await;
    stack.until_status(CHURCH, id, "delivered").await;
    let profile = [("TELNYX_MESSAGING_PROFILE_ID", "profile")];
    let said = eventually("the services are ready", async || {
        let said = doctor(&stack, &profile).await;
        (said.code == 0).then_some(said)
    })
    .await;
    assert!(findings(&said, "wrong").is_empty(), "{said:?}");
    let skipped: Vec<String> = findings(&said, "skipped");
    // PostgreSQL does not tell how full its disk is.
    assert_eq!(skipped.len(), usize::from(kind == Kind::Postgres), "{skipped:?}");
    assert_eq!(stack.telnyx().entries().len(), 1);
    assert_eq!(stack.audit().await.ignored, 0);
    let text = stack.ops_with_settings(&["doctor"], &profile).await.out;
    assert!(text.lines().all(|line| line.starts_with("ok ") || line.starts_with("skipped ")), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_wrong_setting_is_named() {
    let stack = TestStack::start(Kind::Sqlite).await;
    let elsewhere = stack.stack.file().api.clone();
    for (setting, found) in [
        (("TELNYX_API_KEY", "mistaken"), "telnyx: refuses the API key"),
        (("TELNYX_BASE_URL", "http://127.0.0.1:1"), "telnyx: no answer"),
        (("TELNYX_FROM", UNKNOWN_NUMBER), "telnyx number: the account does not have"),
        (("TELNYX_MESSAGING_PROFILE_ID", UNKNOWN_PROFILE), "telnyx profile: the account does not show"),
        (("TELNYX_PUBLIC_KEY", "c2hvcnQ="), "webhook keys: "),
        (("JWT_SECRET", "short"), "token keys: "),
        (("PUBLIC_WEBHOOK_URL", &elsewhere), "webhook url: "),
        (("NATS_GATEWAY_PASSWORD", "mistaken"), "broker user: NATS_GATEWAY_PASSWORD: "),
        (("NATS_OPS_PASSWORD", "mistaken"), "broker: NATS_OPS_PASSWORD: "),
        (("NATS_URL", "nats://127.0.0.1:1"), "broker: can't connect"),
        (("DATABASE_URL", "sqlite:/proc/none.db"), "database: "),
        (("API_OPS_URLS", "http://127.0.0.1:1"), "message-api: http://127.0.0.1:1 does not answer"),
    ] {
        let said = doctor(&stack, &[setting]).await;
        let wrong = findings(&said, "wrong");
        assert_eq!(said.code, 1, "{setting:?}: {said:?}");
        assert!(wrong.iter().any(|finding| finding.starts_with(found)), "{setting:?}: {wrong:?}");
        assert!(!said.out.contains("mistaken"), "{said:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_is_missing_is_named() {
    let stack = TestStack::start(Kind::Postgres).await;
    let of_indexes = async |state| {
        let found = findings(&doctor(&stack, &[]).await, state);
        found.into_iter().find(|finding| finding.starts_with("indexes: "))
    };
    let built = eventually("a service builds all indexes", || of_indexes("ok")).await;
    assert_eq!(built, "indexes: all are built");
    databases::execute(&stack.stack.file().database, "drop index messages_status").await;
    let missing = of_indexes("wrong").await.unwrap();
    assert!(missing.starts_with("indexes: messages_status is not built yet"), "{missing}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_trouble_of_a_running_stack_is_named() {
    let mut stack = TestStack::start(Kind::Sqlite).await;
    stack.send(CHURCH, AUTHOR, &[SILENT]).await;
    stack.until_accepted(1).await;
    stack.ops(&["pause", "sending", "--church", CHURCH]).await;
    let mut replaying = {
        // So many that it runs for long.
        for phone in silent_phones(60) {
            stack.send("hope", AUTHOR, &[&phone]).await;
        }
        stack.until_announced().await;
        stack.ops_running(&["replay", "--church", "hope", "--since", "1h", "--rate", "1"])
    };
    replay_by_hand(&stack).await;
    let gateway = services::gateway(1);
    let url = stack.stack.file().database.clone();
    eventually("the replay and the pause are found", async || {
        let said = doctor(&stack, &[]).await;
        let has = |how: &str, start: &str, end: &str| {
            findings(&said, how).iter().any(|found| found.starts_with(start) && found.ends_with(end))
        };
        (has("ok", "consumers: ops-replay-", " is running")
            && has(
                "wrong",
                "consumers: by-hand (made by hand) since ",
                " emits every event again, also new ones",
            )
            && has("wrong", "paused: sending of grace is paused by operator:anna since ", "Z"))
        .then_some(())
    })
    .await;
    replaying.kill().await.unwrap();
    stack.stack.kill(&gateway).await.unwrap();
    for service in [services::API, services::INGEST] {
        stack.stack.kill(service).await.unwrap();
    }
    tests::databases::execute(&url, "update relay_lease set expires_at = 0").await;
    let wrong = findings(&doctor(&stack, &[]).await, "wrong");
    for found in
        ["relay: no process", "realtime-gateway: ", "message-api: ", "webhook-ingest: ", "webhook url: "]
    {
        assert!(wrong.iter().any(|finding| finding.starts_with(found)), "{found}: {wrong:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_schema_and_a_church_whose_number_is_gone_are_named() {
    let stack = TestStack::start(Kind::Sqlite).await;
    let older = Database::fresh(Kind::Sqlite).await;
    older.migrated().await;
    older.execute("delete from _sqlx_migrations where version > 3").await;
    let wrong = findings(&doctor(&stack, &[("DATABASE_URL", &older.url)]).await, "wrong");
    assert!(wrong.iter().any(|finding| finding.starts_with("schema: is at migration 3 of ")), "{wrong:?}");
    stack.ops(&["sender", "--church", "hope", "--number", UNKNOWN_NUMBER]).await;
    let wrong = findings(&doctor(&stack, &[]).await, "wrong");
    assert!(
        wrong.contains(&"telnyx number: the account does not have the number of hope".to_owned()),
        "{wrong:?}"
    );
}
