//! The operators' commands. Exit codes: 0 done, 1 failed (or the books do not add up), 2 a wrong setting.

use std::io::Write as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use common::revocation::InFuture;
use common::service::ConfigError;
use common::store::StoreOptions;

mod audit;
mod forget;
mod outbox;
mod provision;
mod revocations;
mod sender;
pub mod stream;

/// What operators do with a running installation.
#[derive(Parser)]
#[command(name = "ops", version)]
struct Command {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Make the stream CHURCH, or bring its limits up to date; says what was done
    Provision(provision::Provision),
    /// Sum the books of the database, and name the events that the stream refuses; exit code 1 where they do not add up
    Audit(StoreOptions),
    /// Take tokens back: of one person of a church, or of everybody in it. In force everywhere within a second
    Revoke(revocations::Revoke),
    /// List the revocations that stand, or undo one
    Revocations(revocations::Revocations),
    /// Set the number that a church sends from, and its messaging profile
    Sender(sender::SetSender),
    /// Put events that the stream refused back into the outbox
    Outbox(outbox::Outbox),
    /// Erase one person: the number, the names, and what Telnyx sent about it
    Forget(forget::Forget),
}

/// Runs the command of the command line. Gives the process its exit code.
pub async fn main() -> ExitCode {
    let outcome = match Command::parse().what {
        What::Provision(options) => provision::run(options).await,
        What::Audit(options) => audit::run(&options).await,
        What::Revoke(options) => revocations::revoke(options).await,
        What::Revocations(options) => revocations::run(options).await,
        What::Sender(options) => sender::run(options).await,
        What::Outbox(options) => outbox::run(options).await,
        What::Forget(options) => forget::run(options).await,
    };
    outcome.unwrap_or_else(|error| {
        // Standard error may be closed; there is nobody else to tell.
        let _ = writeln!(std::io::stderr(), "ops: {error:#}");
        let is_setting = error.is::<ConfigError>() || error.is::<InFuture>();
        ExitCode::from(if is_setting { 2 } else { 1 })
    })
}
