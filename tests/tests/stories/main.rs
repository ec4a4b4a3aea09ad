//! Stories that cross the services: the whole stack, the real Socket.IO client, and what goes wrong between them.

#![expect(clippy::unwrap_used, clippy::panic, reason = "what fails here fails a test")]

mod answers;
mod churches;
mod churn;
mod commits;
mod crashes;
mod cursors;
mod databases;
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
mod operators;
mod outages;
mod processes;
mod reconciling;
mod relay;
mod resuming;
mod revocation;
mod sdk;
mod sending;
mod settings;
mod sharing;
mod slow;
mod tokens;
mod types;
mod upgrades;
mod way;
mod webhooks;

/// The church of most stories.
const CHURCH: &str = "grace";
/// Its user who writes.
const AUTHOR: &str = "pastor";
/// A phone that the text reaches.
const DELIVERED: &str = "+12025550101";
/// A phone whose owner has answered STOP.
const BLOCKED: &str = "+12025550102";
/// A phone of which Telnyx says nothing: the story says it.
const SILENT: &str = "+12025550103";
/// A phone on which the text is read.
const READ: &str = "+12025550104";

/// So many phones of which Telnyx says nothing.
fn silent_phones(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("+1202{number:03}0103")).collect()
}

/// So many phones that the text reaches.
fn phones(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("+1202{number:03}0101")).collect()
}

/// As the harness takes them.
fn borrowed(phones: &[String]) -> Vec<&str> {
    phones.iter().map(String::as_str).collect()
}
