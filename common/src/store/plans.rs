//! Checks that SQLite uses the indexes that were made for its statements. Without statistics the plan depends on the
//! text of a statement alone, not on the number of rows.

use time::OffsetDateTime;
use uuid::Uuid;

use super::columns::{Columns, Read};
use super::connections::LastCommit;
use super::database::Database as _;
use super::failures::StoreError;
use super::history::{Changes, page_of};
use super::inbound::page_of as inbound_page;
use super::kept::newest;
use super::records::{HistoryQuery, InboundQuery, Overdue, SendLimits, StuckQuery, WebhookQuery};
use super::retention::{FINISHED, Prunable, deletion};
use super::rows::{Budget, Claim};
use super::sending::{asking, due, estimate, limits, paces};
use super::sql::{Sql, Statement, sql};
use super::sqlite::Sqlite;
use super::{audit, churches, failing, forwarding, life, outbox, parked, stuck};
use crate::status::MessageStatus;
use crate::subject::ChurchId;

const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

/// One step of a plan.
struct Step(String);

impl Read for Step {
    fn read(row: &impl Columns) -> Result<Self, StoreError> {
        Ok(Self(row.text("detail")?))
    }
}

fn church() -> ChurchId {
    "grace".parse().unwrap()
}

/// The steps of a statement's plan that read tables.
async fn plan(database: &Sqlite, statement: Statement<'_>) -> Vec<String> {
    let steps: Vec<Step> = database.fetch(statement.explained()).await.unwrap();
    let looks = |step: &String| step.starts_with("SCAN ") || step.starts_with("SEARCH ");
    steps.into_iter().map(|step| step.0).filter(looks).collect()
}

fn claim<'a>() -> Statement<'a> {
    let budget = Budget { sender: "+15550000000".into(), allowed: 5, not_before: None };
    let claim = Claim { id: Uuid::nil(), limit: 10, now: NOW, after: "", limits: SendLimits::default() };
    due::due_recipients(&claim, &[budget])
}

fn bare<'a>(sql: Sql) -> Statement<'a> {
    sql.into()
}

/// Checks that the plan of a statement uses each of these indexes as often as it stands here.
async fn expect_indexes(database: &Sqlite, name: &str, statement: Statement<'_>, indexes: &[&str]) {
    let steps = plan(database, statement).await;
    for index in indexes {
        let uses = steps.iter().filter(|step| step.contains(index)).count();
        let wanted = indexes.iter().filter(|other| *other == index).count();
        assert!(uses >= wanted, "{name} does not use {index}: {steps:#?}");
    }
    // With the unique index of provider ids it reads all recipients that have none.
    let wrong = steps.iter().find(|step| step.contains("(provider_id=?)") || *step == "SCAN recipients");
    assert_eq!(wrong, None, "{name}: {steps:#?}");
}

#[tokio::test]
async fn sqlite_finds_rows_by_the_index_made_for_them() {
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("church.db").display().to_string();
    let database = Sqlite::new(&file, LastCommit::default());
    database.migrate().await.unwrap();
    let overdue = Overdue { accepted_before: NOW, unresolved_before: NOW, limit: 10 };
    let (church, all) = (church(), HistoryQuery { limit: 10, ..HistoryQuery::default() });
    let older = HistoryQuery { before: Some((NOW, Uuid::nil())), ..all.clone() };
    let failed = HistoryQuery { statuses: vec![MessageStatus::Failed], ..all.clone() };
    let ended = HistoryQuery { statuses: vec![MessageStatus::Failed, MessageStatus::Read], ..all.clone() };
    let changed = HistoryQuery { updated_since: Some(NOW), ..all.clone() };
    let texts = InboundQuery { limit: 10, ..InboundQuery::default() };
    let older_texts = InboundQuery { before: Some((NOW, Uuid::nil())), ..texts.clone() };
    let new_texts = InboundQuery { updated_since: Some(NOW), ..texts.clone() };
    let prune = |what| bare(deletion(what).unwrap());
    for (name, statement, indexes) in [
        (
            "overdue",
            limits::overdue_recipients(&overdue),
            vec!["recipients_overdue", "recipients_unresolved"],
        ),
        ("waiting since", bare(limits::WAITING_SINCE), vec!["recipients_waiting", "autoindex_messages"]),
        ("waiting senders", bare(paces::WAITING_SENDERS), vec!["recipients_waiting"; 3]),
        ("due", claim(), vec!["recipients_turn"; 3]),
        ("taken attempts", bare(due::READ_ATTEMPTS), vec!["autoindex_recipients_1", "autoindex_messages"]),
        ("queue", bare(estimate::QUEUE), vec!["recipients_waiting"]),
        ("asks", bare(asking::DUE), vec!["recipients_ask"]),
        ("unheard", bare(asking::UNHEARD), vec!["recipients_overdue", "webhooks_received", "webhooks_asked"]),
        // Twice: to count, and to find the page.
        (
            "history",
            page_of(&church, &all, Changes::All),
            vec!["messages_history", "messages_history", "autoindex_messages"],
        ),
        ("older history", page_of(&church, &older, Changes::All), vec!["messages_history"; 2]),
        ("failed history", page_of(&church, &failed, Changes::All), vec!["messages_status"; 2]),
        ("history of two statuses", page_of(&church, &ended, Changes::All), vec!["messages_status"; 4]),
        (
            "changed history",
            page_of(&church, &changed, Changes::InOutbox),
            vec!["autoindex_messages", "outbox_changes"],
        ),
        ("changed history, long ago", page_of(&church, &changed, Changes::ByTime), vec!["messages_history"]),
        ("texts", inbound_page(&church, &texts), vec!["inbound_history"]),
        ("older texts", inbound_page(&church, &older_texts), vec!["inbound_history"]),
        ("new texts", inbound_page(&church, &new_texts), vec!["inbound_history"]),
        ("due forwards", bare(forwarding::DUE), vec!["inbound_forward", "inbound_forward_turn"]),
        ("too old forwards", bare(forwarding::TOO_OLD), vec!["inbound_forward"]),
        ("waiting forwards", bare(forwarding::STATE), vec!["inbound_forward"]),
        ("old texts", prune(Prunable::Inbound), vec!["inbound_recorded"]),
        ("parked", bare(parked::PAGE), vec!["webhooks_parked"]),
        ("count of parked", bare(parked::COUNT), vec!["webhooks_parked"]),
        ("outbox", bare(outbox::WAITING), vec!["outbox_waiting"]),
        ("old events", prune(Prunable::Events), vec!["INTEGER PRIMARY KEY", "outbox_announced"]),
        ("old webhooks", prune(Prunable::Webhooks), vec!["INTEGER PRIMARY KEY", "webhooks_received"]),
        ("old keys", prune(Prunable::IdempotencyKeys), vec!["INTEGER PRIMARY KEY", "idempotency_keys_age"]),
        ("old messages", bare(FINISHED), vec!["messages_created"]),
    ] {
        expect_indexes(&database, name, statement, &indexes).await;
    }
}

#[tokio::test]
async fn sqlite_finds_what_operators_ask_for_by_the_index_made_for_it() {
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("church.db").display().to_string();
    let database = Sqlite::new(&file, LastCommit::default());
    database.migrate().await.unwrap();
    let stuck_for_long = StuckQuery { before: NOW, waiting: None, church: None, limit: 10 };
    let webhooks = WebhookQuery { outcome: None, since: NOW, before: None, limit: 10 };
    for (name, statement, indexes) in [
        (
            "stuck",
            stuck::stuck(&stuck_for_long),
            vec!["recipients_waiting", "recipients_unresolved", "recipients_overdue", "autoindex_messages_1"],
        ),
        ("backlog", bare(stuck::BACKLOG), vec!["recipients_waiting", "recipients_unresolved"]),
        ("churches", bare(churches::CHURCHES), vec!["messages_"; 3]),
        ("newest webhooks", newest(&webhooks), vec!["webhooks_received"]),
        ("webhooks of recipients", life::webhooks_between(&[], NOW, NOW), vec!["webhooks_received"]),
        ("failures", bare(failing::FAILED).push(sql!(") select id from failed")), vec!["recipients_failed"]),
        ("miscounted", bare(audit::MISCOUNTED), vec!["recipients_message", "autoindex_messages_1"]),
        ("unannounced", bare(audit::UNANNOUNCED), vec!["autoindex_messages_1", "outbox_message"]),
    ] {
        expect_indexes(&database, name, statement, &indexes).await;
    }
}
