//! `ops doctor`: checks everything that an installation needs, without changing anything or sending a text.

use std::process::ExitCode;

use super::broker::BrokerOptions;
use super::check_broker::{self, UserPasswords};
use super::check_database;
use super::check_keys::{self, KeyOptions};
use super::check_services::{self, ServiceOptions};
use super::check_telnyx::{self, TelnyxOptions};
use super::database::DatabaseOptions;
use super::diagnosis::Diagnosis;
use super::output::Output;

#[derive(clap::Args)]
pub(super) struct Doctor {
    #[command(flatten)]
    database: DatabaseOptions,
    #[command(flatten)]
    broker: BrokerOptions,
    #[command(flatten)]
    passwords: UserPasswords,
    #[command(flatten)]
    keys: KeyOptions,
    #[command(flatten)]
    telnyx: TelnyxOptions,
    #[command(flatten)]
    services: ServiceOptions,
}

/// Exit code 1 if anything is wrong.
pub(super) async fn run(options: Doctor, output: Output) -> anyhow::Result<ExitCode> {
    let mut diagnosis = Diagnosis::default();
    check_keys::check(&options.keys, &mut diagnosis);
    let senders = match options.database.open().await {
        Ok(store) => {
            diagnosis.ok("database", "answers");
            check_database::check(&store, &mut diagnosis).await
        }
        Err(error) => {
            diagnosis.wrong("database", format!("{error:#}"), "bring it back, or correct DATABASE_URL");
            Vec::new()
        }
    };
    check_broker::check(&options.broker, &options.passwords, &mut diagnosis).await;
    check_telnyx::check(&options.telnyx, &senders, &mut diagnosis).await;
    check_services::check(&options.services, &mut diagnosis).await;
    output.report(&diagnosis)?;
    Ok(if diagnosis.is_well() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
