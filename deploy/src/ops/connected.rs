//! `ops connected`: who of a church has a live page open.

use std::fmt::{self, Display};
use std::process::ExitCode;

use common::subject::ChurchId;
use serde::Serialize;

use super::gateways::GatewayOptions;
use super::output::{Output, counted, table};

#[derive(clap::Args)]
pub(super) struct WhoIsConnected {
    #[command(flatten)]
    gateways: GatewayOptions,
    /// The church
    #[arg(long)]
    church: ChurchId,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    users: Vec<User>,
    /// Gateways that did not answer.
    unanswered: Vec<String>,
}

#[derive(Serialize)]
struct User {
    user: String,
    gateway: String,
    sockets: u32,
}

/// Exit code 1 if a gateway did not answer.
pub(super) async fn run(options: WhoIsConnected, output: Output) -> anyhow::Result<ExitCode> {
    let report = read(&options.gateways, &options.church).await?;
    output.report(&report)?;
    Ok(if report.is_complete() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Asks each gateway.
pub(super) async fn read(gateways: &GatewayOptions, church: &ChurchId) -> anyhow::Result<Report> {
    let mut report = Report { users: Vec::new(), unanswered: Vec::new() };
    for (gateway, answer) in gateways.connected(church).await? {
        match answer {
            Ok(connected) => report.users.extend(connected.users.into_iter().map(|one| User {
                user: one.user,
                gateway: gateway.to_owned(),
                sockets: one.sockets,
            })),
            Err(error) => report.unanswered.push(format!("{gateway}: {error:#}")),
        }
    }
    Ok(report)
}

impl Report {
    /// The open sockets of all users.
    pub(super) fn sockets(&self) -> u64 {
        self.users.iter().map(|user| u64::from(user.sockets)).sum()
    }

    /// Whether each gateway answered.
    pub(super) fn is_complete(&self) -> bool {
        self.unanswered.is_empty()
    }
}

impl Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.users.is_empty() && self.is_complete() {
            writeln!(out, "nobody of this church is connected")?;
        }
        let row = |user: &User| {
            [user.user.clone(), counted(user.sockets.into(), "socket"), format!("at {}", user.gateway)]
        };
        table(out, &self.users.iter().map(row).collect::<Vec<_>>())?;
        self.unanswered.iter().try_for_each(|gateway| writeln!(out, "no answer of {gateway}"))
    }
}
