//! `ops revoke` and `ops revocations`.

use std::fmt::{self, Display};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::builder::NonEmptyStringValueParser;
use clap::{Parser as _, Subcommand};
use common::claims::{IdClaim, Person};
use common::event::timestamp;
use common::revocation::Revocation;
use common::store::Store;
use common::subject::ChurchId;
use secrecy::SecretString;
use serde::Serialize;
use time::OffsetDateTime;

use super::database::{self, DatabaseOptions};
use super::found::unknown_church;
use super::output::Output;
use super::times::time;

/// Whose tokens. Sign-in systems number users and admins separately, so each claim has its own flag.
#[derive(clap::Args)]
struct Whose {
    /// The church
    #[arg(long)]
    church: ChurchId,
    /// The person with this `userId` in the tokens; the whole church if no person is given
    #[arg(long, value_name = "ID", group = "person", value_parser = NonEmptyStringValueParser::new())]
    user: Option<String>,
    /// The person with this `adminId` in the tokens
    #[arg(long, value_name = "ID", group = "person", value_parser = NonEmptyStringValueParser::new())]
    admin: Option<String>,
    /// The person with this `sub`, and neither `userId` nor `adminId`, in the tokens
    #[arg(long, value_name = "ID", group = "person", value_parser = NonEmptyStringValueParser::new())]
    sub: Option<String>,
}

impl Whose {
    fn person(&self) -> Option<Person> {
        let ids = [(IdClaim::UserId, &self.user), (IdClaim::AdminId, &self.admin), (IdClaim::Sub, &self.sub)];
        ids.into_iter().find_map(|(claim, id)| id.clone().map(|id| Person { claim, id }))
    }
}

#[derive(clap::Args)]
pub(super) struct Revoke {
    #[command(flatten)]
    database: DatabaseOptions,
    #[command(flatten)]
    whose: Whose,
    /// Revoke tokens issued until this time, as 2026-11-22T20:15:00Z; by default until now. A token without `iat`
    /// counts as older
    #[arg(long, value_name = "TIME", value_parser = time)]
    issued_before: Option<OffsetDateTime>,
}

#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(super) struct Revocations {
    #[command(flatten)]
    list: Option<List>,
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Subcommand)]
enum Action {
    /// List the revocations in force (the default)
    List(List),
    /// Accept the tokens of a person, or of the whole church, again
    Undo(Undo),
}

// Nothing is flattened in it: clap would take the whole for absent even where its arguments are given.
#[derive(clap::Parser)]
struct List {
    #[arg(long, env = database::URL, hide_env_values = true, value_name = "URL", help_heading = "Database",
        help = database::HELP)]
    database_url: SecretString,
    /// Only those of one church
    #[arg(long)]
    church: Option<ChurchId>,
}

#[derive(clap::Args)]
struct Undo {
    #[command(flatten)]
    database: DatabaseOptions,
    #[command(flatten)]
    whose: Whose,
}

/// `ops revoke`.
pub(super) async fn revoke(options: Revoke, output: Output) -> anyhow::Result<ExitCode> {
    let until = options.issued_before.unwrap_or_else(OffsetDateTime::now_utc);
    let person = options.whose.person();
    let revocation = Revocation::new(options.whose.church, person, until).context("--issued-before")?;
    let store = options.database.open().await?;
    if let Some(note) = unknown_church(&store, &revocation.church_id).await? {
        output.progress(&format!("note: {note}"));
    }
    print(&set(&store, revocation).await?, output)
}

/// Records a revocation.
pub(super) async fn set(store: &Store, revocation: Revocation) -> anyhow::Result<Report> {
    store.revoke(&revocation).await.context("can't record the revocation")?;
    report(&[revocation], State::Revoked)
}

/// `ops revocations`; lists if no subcommand is given.
pub(super) async fn run(options: Revocations, output: Output) -> anyhow::Result<ExitCode> {
    match (options.action, options.list) {
        (Some(Action::Undo(undo)), _) => undo_revocations(undo, output).await,
        (Some(Action::List(list)), _) | (None, Some(list)) => list_revocations(&list, output).await,
        // Says that the database is not given.
        (None, None) => list_revocations(&List::parse_from(["ops revocations"]), output).await,
    }
}

async fn list_revocations(options: &List, output: Output) -> anyhow::Result<ExitCode> {
    let store = DatabaseOptions::at(options.database_url.clone()).open().await?;
    print(&read(&store, options.church.as_ref()).await?, output)
}

/// The revocations in force, of one church or of all.
pub(super) async fn read(store: &Store, church: Option<&ChurchId>) -> anyhow::Result<Report> {
    let revocations = store.revocations(church).await.context("can't read the revocations")?;
    report(&revocations, State::Revoked)
}

async fn undo_revocations(undo: Undo, output: Output) -> anyhow::Result<ExitCode> {
    let store = undo.database.open().await?;
    print(&end(&store, &undo.whose.church, undo.whose.person()).await?, output)
}

/// Accepts the tokens of a person, or of the whole church, again.
pub(super) async fn end(store: &Store, church: &ChurchId, person: Option<Person>) -> anyhow::Result<Report> {
    let key = person.as_ref().map(ToString::to_string).unwrap_or_default();
    let mut revocations = store.revocations(Some(church)).await.context("can't read the revocations")?;
    // Revocations of earlier versions have the id without its claim.
    let id = person.map(|person| person.id);
    let of_earlier_versions = |it: &Revocation| it.claim.is_none() && id.is_some() && it.user_id == id;
    revocations.retain(|it| it.key() == key || of_earlier_versions(it));
    anyhow::ensure!(!revocations.is_empty(), "there is no such revocation; `ops revocations` lists them");
    let mut undone = Vec::new();
    for revocation in revocations {
        if store.undo_revocation(&revocation).await.context("can't undo the revocation")? {
            undone.push(revocation);
        }
    }
    report(&undone, State::Accepted)
}

/// What becomes of the tokens of a revocation.
#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
enum State {
    Revoked,
    Accepted,
}

/// A revocation as it is told.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Told {
    church_id: ChurchId,
    /// None means everybody.
    #[serde(skip_serializing_if = "Option::is_none")]
    claim: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    issued_until: String,
    tokens: State,
}

#[derive(Serialize)]
#[serde(transparent)]
pub(super) struct Report(Vec<Told>);

impl Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            writeln!(out, "no tokens are revoked")?;
        }
        for Told { church_id, claim, id, issued_until, tokens } in &self.0 {
            let whose = match (claim, id) {
                (_, None) => "everybody".to_owned(),
                (Some(claim), Some(id)) => format!("{claim} {id}"),
                (None, Some(id)) => format!("userId, adminId or sub {id}"),
            };
            let state = match tokens {
                State::Revoked => "are revoked",
                State::Accepted => "are accepted again",
            };
            writeln!(out, "tokens of {whose} in {church_id} issued until {issued_until} {state}")?;
        }
        Ok(())
    }
}

fn print(report: &Report, output: Output) -> anyhow::Result<ExitCode> {
    output.report(report)?;
    Ok(ExitCode::SUCCESS)
}

fn report(revocations: &[Revocation], tokens: State) -> anyhow::Result<Report> {
    revocations.iter().map(|revocation| told(revocation, tokens)).collect::<anyhow::Result<_>>().map(Report)
}

fn told(revocation: &Revocation, tokens: State) -> anyhow::Result<Told> {
    let until = OffsetDateTime::from_unix_timestamp(revocation.issued_until)?;
    Ok(Told {
        church_id: revocation.church_id.clone(),
        claim: revocation.claim.map(IdClaim::as_str),
        id: revocation.user_id.clone(),
        issued_until: timestamp::to_text(until),
        tokens,
    })
}
