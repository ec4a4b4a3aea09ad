//! Tests across services: the whole stack, the real Socket.IO client, and failures between them.

#![expect(clippy::unwrap_used, clippy::panic, reason = "what fails here fails a test")]

mod answers;
mod cancelling;
mod churches;
mod churn;
mod cluster;
mod commits;
mod console;
mod console_changes;
mod crashes;
mod cursors;
mod databases;
mod document;
mod draining;
mod edge;
mod expiry;
mod failing;
mod frontend;
mod history;
mod holding;
mod kills;
mod leaving;
mod limits;
mod logs;
mod manager;
mod metrics;
mod monitoring;
mod nats_cli;
mod operators;
mod operators_audit;
mod operators_doctor;
mod operators_failures;
mod operators_faults;
mod operators_messages;
mod operators_replay;
mod operators_sending;
mod outages;
mod processes;
mod proxied;
mod recipients;
mod reconciling;
mod relay;
mod replies;
mod resuming;
mod retrying;
mod revocation;
mod rotating;
mod runbook;
mod sdk;
mod sending;
mod settings;
mod sharing;
mod slow;
mod tls;
mod tokens;
mod traces;
mod types;
mod upgrades;
mod way;
mod webhooks;
mod write_lock;

/// The church of most stories.
const CHURCH: &str = "grace";
/// The user who sends messages.
const AUTHOR: &str = "pastor";
/// A phone for which the simulator reports delivery.
const DELIVERED: &str = "+12025550101";
/// A phone whose owner opted out with STOP.
const BLOCKED: &str = "+12025550102";
/// A phone without webhooks from the simulator. The story posts them itself.
const SILENT: &str = "+12025550103";
/// A phone for which the simulator reports that the text was read.
const READ: &str = "+12025550104";

/// This many phones without webhooks.
fn silent_phones(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("+1202{number:03}0103")).collect()
}

/// This many phones with reported delivery.
fn phones(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("+1202{number:03}0101")).collect()
}

/// The phones as the harness takes them.
fn borrowed(phones: &[String]) -> Vec<&str> {
    phones.iter().map(String::as_str).collect()
}
