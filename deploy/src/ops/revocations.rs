//! `ops revoke` and `ops revocations`.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser as _, Subcommand};
use common::claims::{IdClaim, Person};
use common::event::timestamp;
use common::revocation::Revocation;
use common::store::StoreOptions;
use common::subject::ChurchId;
use time::OffsetDateTime;

use super::database::open;

/// Whose tokens. Sign-in systems number users and admins separately, so each claim has its own flag.
#[derive(clap::Args)]
struct Whose {
    /// The church
    #[arg(long)]
    church: ChurchId,
    /// The person with this `userId` in the tokens; the whole church if no person is given
    #[arg(long, value_name = "ID", group = "person")]
    user: Option<String>,
    /// The person with this `adminId` in the tokens
    #[arg(long, value_name = "ID", group = "person")]
    admin: Option<String>,
    /// The person with this `sub`, and neither `userId` nor `adminId`, in the tokens
    #[arg(long, value_name = "ID", group = "person")]
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
    store: StoreOptions,
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

#[derive(clap::Parser)]
struct List {
    #[command(flatten)]
    store: StoreOptions,
    /// Only those of one church
    #[arg(long)]
    church: Option<ChurchId>,
}

#[derive(clap::Args)]
struct Undo {
    #[command(flatten)]
    store: StoreOptions,
    #[command(flatten)]
    whose: Whose,
}

fn time(text: &str) -> Result<OffsetDateTime, String> {
    timestamp::parse(text).ok_or_else(|| "write a time as 2026-11-22T20:15:00Z".into())
}

/// `ops revoke`.
pub(super) async fn revoke(options: Revoke) -> anyhow::Result<ExitCode> {
    let until = options.issued_before.unwrap_or_else(OffsetDateTime::now_utc);
    let person = options.whose.person();
    let revocation = Revocation::new(options.whose.church, person, until).context("--issued-before")?;
    open(&options.store).await?.revoke(&revocation).await.context("can't record the revocation")?;
    print(&revocation, "are revoked")
}

/// `ops revocations`; lists if no subcommand is given.
pub(super) async fn run(options: Revocations) -> anyhow::Result<ExitCode> {
    match (options.action, options.list) {
        (Some(Action::Undo(undo)), _) => undo_revocations(undo).await,
        (Some(Action::List(list)), _) | (None, Some(list)) => list_revocations(&list).await,
        // The address comes from the environment, which clap does not count as an argument of the list.
        (None, None) => list_revocations(&List::parse_from(["ops revocations"])).await,
    }
}

async fn list_revocations(options: &List) -> anyhow::Result<ExitCode> {
    let revocations = open(&options.store).await?.revocations(options.church.as_ref()).await;
    let revocations = revocations.context("can't read the revocations")?;
    for revocation in &revocations {
        print(revocation, "are revoked")?;
    }
    if revocations.is_empty() {
        writeln!(std::io::stdout(), "no tokens are revoked")?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn undo_revocations(undo: Undo) -> anyhow::Result<ExitCode> {
    let store = open(&undo.store).await?;
    let key = undo.whose.person().map(|person| person.to_string()).unwrap_or_default();
    let revocations =
        store.revocations(Some(&undo.whose.church)).await.context("can't read the revocations")?;
    // Revocations of earlier versions have the id without its claim.
    let id = undo.whose.person().map(|person| person.id);
    let of_earlier_versions = |it: &&Revocation| it.claim.is_none() && id.is_some() && it.user_id == id;
    let found: Vec<_> = revocations.iter().filter(|it| it.key() == key || of_earlier_versions(it)).collect();
    anyhow::ensure!(!found.is_empty(), "there is no such revocation; `ops revocations` lists them");
    for revocation in found {
        if store.undo_revocation(revocation).await.context("can't undo the revocation")? {
            print(revocation, "are accepted again")?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn print(revocation: &Revocation, what: &str) -> anyhow::Result<ExitCode> {
    let whose = match (revocation.claim, revocation.user_id.as_deref()) {
        (_, None) => "everybody".to_owned(),
        (Some(claim), Some(id)) => format!("{} {id}", claim.as_str()),
        (None, Some(id)) => format!("userId, adminId or sub {id}"),
    };
    let until = OffsetDateTime::from_unix_timestamp(revocation.issued_until)?;
    let (church, until) = (&revocation.church_id, timestamp::to_text(until));
    writeln!(std::io::stdout(), "tokens of {whose} in {church} issued until {until} {what}")?;
    Ok(ExitCode::SUCCESS)
}
