//! The entries of docs/runbook.md, with the document's own commands.

use std::path::Path;

use deploy::services::{API, FROM, INGEST};
use serde_json::Value;
use tests::databases::{self, Database, Kind};
use tests::report::Report;
use tests::stack::TestStack;
use tests::{eventually, on_both_databases};
use uuid::Uuid;

use super::{AUTHOR, BLOCKED, CHURCH, DELIVERED, READ, SILENT};

on_both_databases!(
    a_restored_database_sends_nothing_twice_and_browsers_end_at_its_state,
    a_schema_newer_than_the_program_is_said_at_the_start_and_in_readiness,
);

/// Another church, whose messages are sent while a backup is made.
const OTHER: &str = "hope";

async fn stop_writers(stack: &mut TestStack) {
    for service in [INGEST, API] {
        stack.stack.terminate(service).await.unwrap();
    }
}

async fn start_writers(stack: &mut TestStack) {
    for service in [INGEST, API] {
        stack.stack.start_process(service).unwrap();
        stack.stack.ready(service).await.unwrap();
    }
}

/// Runs the document's blocks that put a backup in the place of the database.
async fn put_back(stack: &TestStack, kind: Kind, backup: &str) {
    let state = stack.stack.state();
    let path = |name: &str| state.join(name).display().to_string();
    let url = &stack.stack.file().database;
    let admin = url.replace("/church", "/postgres").replace("//postgres:", "//church:");
    let (file, aside) = (path("church.db"), path("aside"));
    let values = [("file", &*file), ("aside", &aside), ("backup", backup), ("ADMIN_URL", &admin)];
    let block = if kind == Kind::Sqlite { "restore-sqlite" } else { "restore-postgres" };
    stack.runbook(block, &values).await;
}

/// Starts the broker with an empty store.
async fn start_the_stream_anew(stack: &mut TestStack) {
    stack.stack.stop_broker().await.unwrap();
    let store = stack.stack.state().join("nats");
    std::fs::rename(&store, store.with_extension("before")).unwrap();
    stack.stack.start_broker().await.unwrap();
    stack.runbook("provision", &[]).await;
}

async fn a_restored_database_sends_nothing_twice_and_browsers_end_at_its_state(kind: Kind) {
    let mut stack = TestStack::start(kind).await;
    let mut browser = stack.client(CHURCH, AUTHOR).await;
    let early = stack.send(CHURCH, AUTHOR, &[DELIVERED]).await;
    stack.until_status(CHURCH, early, "delivered").await;
    // It waits at the moment of the backup and leaves afterwards.
    stack.ops(&["pause", "sending", "--church", CHURCH]).await;
    let doubtful = stack.send(CHURCH, AUTHOR, &[DELIVERED, SILENT]).await;
    let backup = stack.stack.state().join("backup").display().to_string();
    let block = if kind == Kind::Sqlite { "back-up-sqlite" } else { "back-up-postgres" };
    let values = [("backup", &*backup)];
    let during = async { stack.send(OTHER, AUTHOR, &[SILENT]).await };
    tokio::join!(stack.runbook(block, &values), during);
    stack.ops(&["resume", "sending", "--church", CHURCH]).await;
    let later = stack.send(CHURCH, AUTHOR, &[SILENT]).await;
    stack.until_accepted(5).await;
    let held = eventually("the browser's version is higher than the backup's", async || {
        Some(stack.message(CHURCH, doubtful).await).filter(|message| message["deliveredCount"] == 1)
    })
    .await;
    stack.until_announced().await;

    stop_writers(&mut stack).await;
    put_back(&stack, kind, &backup).await;
    eventually("no process holds the lease any more", async || {
        stack.store().outbox_state().await.ok().filter(|state| !state.led)
    })
    .await;
    let said = stack.runbook("restored", &[]).await;
    assert!(said.contains("sending is paused for everybody"), "{said}");
    start_the_stream_anew(&mut stack).await;
    start_writers(&mut stack).await;
    let told = |seen: &deploy::watch::Seen| seen.event == "connected" && seen.data["recovered"] == false;
    browser.until_one(told).await;
    stack.until_announced().await;
    stack.runbook("look", &[]).await;

    assert_eq!(stack.get(CHURCH, AUTHOR, &format!("/api/messages/{later}")).await.0, 404);
    let closed = stack.message(CHURCH, doubtful).await;
    assert_eq!((&closed["status"], &closed["failedCount"]), (&"failed".into(), &2.into()), "{closed}");
    assert!(closed["version"].as_i64().unwrap() > held["version"].as_i64().unwrap(), "{closed}");
    stack.ops(&["resume", "sending", "--church", CHURCH]).await;
    stack.runbook("resume", &[]).await;
    let new = stack.send(CHURCH, AUTHOR, &[READ]).await;
    stack.until_status(CHURCH, new, "read").await;
    // A webhook for a text that was sent after the backup still finds its recipient.
    let entries = stack.telnyx().entries();
    let of_doubtful = recipients(&closed);
    let late = entries.iter().filter(|entry| of_doubtful.contains(&entry.recipient_id().unwrap()));
    for entry in late {
        assert_eq!(stack.report(&Report::of(entry, "delivered")).await.status(), 200);
    }
    let settled = stack.until_status(CHURCH, doubtful, "delivered").await;
    assert_eq!(settled["deliveredCount"], 2, "{settled}");
    stack.sent_once();
    assert!(stack.audit().await.is_sound());
    let last = newest_version(&stack, doubtful).await;
    browser
        .until_one(|seen| {
            seen.data["messageId"] == doubtful.to_string() && seen.data["version"].as_i64() == Some(last)
        })
        .await;
}

fn recipients(message: &Value) -> Vec<Uuid> {
    let rows = message["recipients"].as_array().unwrap();
    rows.iter().map(|row| row["id"].as_str().unwrap().parse().unwrap()).collect()
}

async fn newest_version(stack: &TestStack, message: Uuid) -> i64 {
    stack.message(CHURCH, message).await["version"].as_i64().unwrap()
}

async fn a_schema_newer_than_the_program_is_said_at_the_start_and_in_readiness(kind: Kind) {
    let mut stack = TestStack::start(kind).await;
    let url = stack.stack.file().database.clone();
    // What a newer version leaves behind when it has migrated.
    let values = "9999, 'of a newer version', $EPOCH, true, '', 0";
    let columns = "version, description, installed_on, success, checksum, execution_time";
    let (empty, text) = if kind == Kind::Sqlite { ("x''", values) } else { ("''::bytea", values) };
    let text = text.replace("'', 0", &format!("{empty}, 0"));
    databases::execute(&url, &format!("insert into _sqlx_migrations ({columns}) values ({text})")).await;
    let ops = stack.stack.file().ops.clone();
    let says = async |stack: &TestStack| {
        for service in [&ops.api, &ops.ingest] {
            eventually("readiness tells of the newer schema", async || {
                let (status, said) = stack.readiness(service).await;
                (status == 200 && said.contains("degraded: schema") && said.contains("9999")).then_some(())
            })
            .await;
        }
    };
    says(&stack).await;
    stop_writers(&mut stack).await;
    start_writers(&mut stack).await;
    says(&stack).await;
    for service in [API, INGEST] {
        let log = std::fs::read_to_string(stack.stack.log(service)).unwrap();
        let said = log.matches("the database's schema is newer than this program").count();
        assert_eq!(said, 2, "once while it ran, once at its start: {log}");
    }
    let message = stack.send(CHURCH, AUTHOR, &[DELIVERED]).await;
    stack.until_status(CHURCH, message, "delivered").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_copied_from_sqlite_to_postgresql_and_goes_on_there() {
    let mut stack = TestStack::start(Kind::Sqlite).await;
    let mut browser = stack.client(CHURCH, AUTHOR).await;
    for phones in [&[DELIVERED, BLOCKED][..], &[READ], &[SILENT]] {
        stack.send(CHURCH, AUTHOR, phones).await;
    }
    stack.receive("+12025557777", FROM, "Amen — ὦ").await;
    stack.ops(&["sender", "--church", OTHER, "--number", "+15550000009", "--rate", "3"]).await;
    stack.ops(&["revoke", "--church", OTHER, "--user", "7"]).await;
    stack.until_accepted(3).await;
    stack.until_announced().await;
    let history =
        async |stack: &TestStack| stack.get(CHURCH, AUTHOR, "/api/messages/history").await.1["data"].take();
    eventually("what the simulator reports is recorded", async || {
        let rows = history(&stack).await;
        let count =
            |status: &str| rows.as_array().unwrap().iter().filter(|row| row["status"] == status).count();
        (count("pending") == 1 && count("read") == 1).then_some(())
    })
    .await;
    let (before, audit) = (history(&stack).await, stack.audit().await);

    let target = Database::fresh(Kind::Postgres).await;
    let to = [("TARGET_DATABASE_URL", &*target.url)];
    let refused = stack.ops(&["copy", "--to", &target.url]).await;
    assert!(refused.code == 1 && refused.err.contains("stop webhook-ingest"), "{refused:?}");
    stop_writers(&mut stack).await;
    eventually("no process holds the lease any more", async || {
        stack.store().outbox_state().await.ok().filter(|state| !state.led)
    })
    .await;
    let said = stack.runbook("copy", &to).await;
    assert!(said.lines().any(|line| line.starts_with("recipients") && line.contains('4')), "{said}");
    assert_eq!(target.store().missing_indexes().await.unwrap(), []);
    let again = stack.ops(&["copy", "--to", &target.url]).await;
    assert!(again.code == 1 && again.err.contains("has rows"), "{again:?}");

    for service in [INGEST, API] {
        stack.stack.set(service, "DATABASE_URL", &target.url).unwrap();
    }
    start_writers(&mut stack).await;
    assert_eq!(history(&stack).await, before);
    assert_eq!(target.store().audit().await.unwrap(), audit);
    let inbound = stack.get(CHURCH, AUTHOR, "/api/messages/inbound").await.1;
    assert_eq!(inbound["data"][0]["text"], "Amen — ὦ");
    let new = stack.send(CHURCH, AUTHOR, &[DELIVERED]).await;
    stack.until_status(CHURCH, new, "delivered").await;
    browser
        .until_one(|seen| seen.data["messageId"] == new.to_string() && seen.data["status"] == "delivered")
        .await;
    assert!(browser.recovered().iter().skip(1).all(|recovered| *recovered));
    assert!(target.store().audit().await.unwrap().is_sound());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_that_erase_a_person_erase_the_number() {
    let stack = TestStack::start(Kind::Sqlite).await;
    let message = stack.send(CHURCH, AUTHOR, &[DELIVERED]).await;
    stack.until_status(CHURCH, message, "delivered").await;
    let said = stack.runbook("erase", &[("phone", DELIVERED)]).await;
    assert!(
        said.contains("would erase") && said.contains("\nerased the number and names of 1 recipients"),
        "{said}"
    );
    let file = stack.stack.state().join("church.db");
    let rows = "select count(*) from recipients where phone like '%2025550101%'";
    assert_eq!(databases::number(&format!("sqlite:{}", Path::display(&file)), rows).await, 0);
}
