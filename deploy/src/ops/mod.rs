//! The operators' commands, one file each. Exit codes: 0 done; 1 failed, or found something wrong; 2 wrong setting.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};
use common::config::ConfigError;
use common::revocation::InFuture;
use common::service;
use common::version::VERSION;

use self::output::Output;

mod audit;
mod backup;
mod broker;
mod cancel;
mod check_broker;
mod check_database;
mod check_keys;
mod check_services;
mod check_telnyx;
mod churches;
mod comparison;
mod completions;
mod connected;
mod console;
mod copy;
mod database;
mod diagnosis;
mod doctor;
mod environment;
mod events;
mod failures;
mod forget;
mod found;
mod gateways;
mod init;
mod kept;
mod message;
mod names;
mod newest;
mod operator;
mod outbox;
mod output;
mod parked;
mod pauses;
mod progress;
mod provision;
mod replay;
mod replays;
mod reported;
mod reprocess;
mod restored;
mod retry;
mod revocations;
mod secret;
mod sender;
mod senders;
pub mod stream;
mod stuck;
mod timeline;
mod times;
mod webhooks;

/// Operates a running installation. Exit codes: 0 done; 1 failed, or found something wrong; 2 wrong setting.
#[derive(Parser)]
#[command(name = "ops", version = VERSION)]
struct Command {
    #[command(subcommand)]
    action: Action,
    /// Print the report as JSON
    #[arg(long, global = true)]
    json: bool,
    /// File with NAME=value lines, read before all settings; a variable that is set already stays
    #[arg(long, global = true, value_name = "FILE")]
    env_file: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Action {
    /// Write a file of settings with fresh secrets
    Init(init::Init),
    /// Print a script with which a shell completes commands and flags
    Completions(completions::Completions),
    /// Create the stream CHURCH, or update its limits
    Provision(provision::Provision),
    /// Check keys, clocks, database, broker, Telnyx and services; exit code 1 if anything is wrong. Sends no text
    Doctor(Box<doctor::Doctor>),
    /// Serve the console: the same questions and changes in a browser on this machine
    Console(Box<console::Console>),
    /// Tell a message's life: accepted, attempts, answers, webhooks, events, and which gateway emitted them
    Message(message::FindMessage),
    /// List who of a church has a live page open
    Connected(connected::WhoIsConnected),
    /// List messages with recipients that wait for longer than they should; exit code 1 if there are any
    Stuck(stuck::FindStuck),
    /// Count the recipients that failed, by reason, and list them; exit code 1 if there are any
    Failures(failures::Failures),
    /// List webhooks whose recipient is not known; exit code 1 if there are any
    Parked(parked::Parked),
    /// List webhooks by what became of them, newest first
    Webhooks(webhooks::ListWebhooks),
    /// Process kept webhooks again that changed nothing, after a fault was mended; says first what would become of them
    Reprocess(reprocess::Reprocess),
    /// List the newest events of a church, as the stream has them
    Events(newest::NewestEvents),
    /// Send stored events of a church to its browsers once more; they ignore what they know
    Replay(replay::ReplayEvents),
    /// Send a message again to those whom it did not reach for a reason that passes, as a new message
    Retry(retry::Retry),
    /// Cancel what has not left yet
    Cancel(cancel::Cancel),
    /// Pause sending, of everybody or of one church
    Pause(pauses::PauseOptions),
    /// Resume sending
    Resume(pauses::ResumeOptions),
    /// List the churches that have messages or a number of their own
    Churches(churches::ListChurches),
    /// List the churches that have a number of their own, and what all others send as
    Senders(senders::ListSenders),
    /// Name each message, event and webhook that does not add up, and events that the stream refuses; exit code 1 if
    /// there are any
    Audit(audit::AuditOptions),
    /// Revoke the tokens of one person of a church, or of the whole church; in force everywhere within a second
    Revoke(revocations::Revoke),
    /// List the revocations in force, or undo one
    Revocations(revocations::Revocations),
    /// Set the number, messaging profile and rate that a church sends with
    Sender(sender::SetSender),
    /// Put events that the stream refused back into the outbox
    Outbox(outbox::Outbox),
    /// Erase a person's number and names, and the webhooks about that number
    Forget(forget::Forget),
    /// Copy the SQLite file while the services run, and check the copy
    Backup(backup::Backup),
    /// Make a database that was restored from a backup safe to run: pause sending, close what may have been sent since,
    /// raise versions above what browsers hold. Only while no service runs
    Restored(restored::RestoredOptions),
    /// Copy everything from SQLite into an empty PostgreSQL database and compare counts and sums. Only while no service
    /// runs
    Copy(copy::CopyOptions),
}

/// Runs the command of the command line. Gives the process its exit code.
pub fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            // Standard error may be closed.
            let _ = writeln!(std::io::stderr(), "ops: {error:#}");
            let is_setting = error.is::<ConfigError>() || error.is::<InFuture>();
            ExitCode::from(if is_setting { 2 } else { 1 })
        }
    }
}

fn run() -> anyhow::Result<ExitCode> {
    environment::load(std::env::args_os().skip(1))?;
    let command = match Command::try_parse() {
        Ok(command) => command,
        Err(error) => return Ok(service::refuse(&error, &Command::command())),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(act(command.action, Output::new(command.json)))
}

async fn act(action: Action, output: Output) -> anyhow::Result<ExitCode> {
    match action {
        Action::Init(options) => init::run(&options, output),
        Action::Completions(options) => Ok(completions::run(&options, Command::command())),
        Action::Provision(options) => provision::run(options, output).await,
        Action::Console(options) => console::run(*options, output).await,
        Action::Message(options) => message::run(options, output).await,
        Action::Connected(options) => connected::run(options, output).await,
        Action::Stuck(options) => stuck::run(options, output).await,
        Action::Failures(options) => failures::run(options, output).await,
        Action::Parked(options) => parked::run(options, output).await,
        Action::Webhooks(options) => webhooks::run(options, output).await,
        Action::Reprocess(options) => reprocess::run(options, output).await,
        Action::Events(options) => newest::run(options, output).await,
        Action::Replay(options) => replay::run(options, output).await,
        Action::Retry(options) => retry::run(options, output).await,
        Action::Cancel(options) => cancel::run(options, output).await,
        Action::Pause(options) => pauses::pause(options, output).await,
        Action::Resume(options) => pauses::resume(options, output).await,
        Action::Churches(options) => churches::run(options, output).await,
        Action::Senders(options) => senders::run(options, output).await,
        Action::Doctor(options) => doctor::run(*options, output).await,
        Action::Audit(options) => audit::run(options, output).await,
        Action::Revoke(options) => revocations::revoke(options, output).await,
        Action::Revocations(options) => revocations::run(options, output).await,
        Action::Sender(options) => sender::run(options, output).await,
        Action::Outbox(options) => outbox::run(options, output).await,
        Action::Forget(options) => forget::run(options, output).await,
        Action::Backup(options) => backup::run(options, output).await,
        Action::Restored(options) => restored::run(options, output).await,
        Action::Copy(options) => copy::run(options, output).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Command::command().debug_assert();
    }

    #[test]
    fn each_change_of_the_console_has_a_command_that_does_the_same() {
        for command in console::examples() {
            let words = shlex::split(&command).unwrap();
            let settings = ["--database-url", "sqlite:x.db"].map(str::to_owned);
            let needs_database = words[1] != "replay";
            let words = words.into_iter().chain(settings.into_iter().filter(|_| needs_database));
            assert!(Command::try_parse_from(words).is_ok(), "{command}");
        }
    }

    #[test]
    fn revocations_are_listed_with_or_without_the_word_list() {
        let url = ["--database-url", "sqlite:x.db"];
        for words in [&["revocations"][..], &["revocations", "list"]] {
            for church in [&[][..], &["--church", "42"]] {
                let arguments = ["ops"].iter().chain(words).chain(&url).chain(church);
                assert!(Command::try_parse_from(arguments).is_ok(), "{words:?} {church:?}");
            }
        }
        let undo = ["ops", "revocations", "undo", "--church", "42", url[0], url[1]];
        assert!(Command::try_parse_from(undo).is_ok());
        assert!(Command::try_parse_from(["ops", "revocations", "undo", url[0], url[1]]).is_err());
    }
}
