//! `ops copy`: from SQLite to PostgreSQL, while no service runs.

use std::fmt::{self, Display};
use std::process::ExitCode;

use anyhow::Context as _;
use common::store::{CopiedTable, Store, StoreOptions};
use secrecy::SecretString;
use serde::Serialize;

use super::database::DatabaseOptions;
use super::output::{Output, table};
use super::restored::ensure_stopped;

#[derive(clap::Args)]
pub(super) struct CopyOptions {
    #[command(flatten)]
    database: DatabaseOptions,
    /// The empty PostgreSQL database: postgres://user:password@host/database
    #[arg(long, env = "TARGET_DATABASE_URL", hide_env_values = true, value_name = "URL")]
    to: SecretString,
}

#[derive(Serialize)]
#[serde(transparent)]
struct Report(Vec<Row>);

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    table: &'static str,
    rows: i64,
    compared: usize,
}

impl Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = [["table".to_owned(), "rows".into(), "counts and sums that agree".into()]];
        let rows = self.0.iter().map(|it| [it.table.into(), it.rows.to_string(), it.compared.to_string()]);
        table(out, &head.into_iter().chain(rows).collect::<Vec<_>>())
    }
}

pub(super) async fn run(options: CopyOptions, output: Output) -> anyhow::Result<ExitCode> {
    let from = options.database.open().await?;
    let to = Store::new(&StoreOptions { database_url: options.to, database_connections: 2 })?;
    to.check_reachable().await.map_err(|reason| anyhow::anyhow!("TARGET_DATABASE_URL: {reason}"))?;
    ensure_stopped(&from).await?;
    to.migrate().await.context("can't make the schema in PostgreSQL")?;
    let copied = from.copy_into(&to).await.context("nothing was copied")?;
    let row = |CopiedTable { table, rows, compared }| Row { table, rows, compared };
    output.report(&Report(copied.into_iter().map(row).collect()))?;
    // Faster than before the rows came.
    to.build_indexes().await.context("all is copied; the services build the missing indexes")?;
    Ok(ExitCode::SUCCESS)
}
