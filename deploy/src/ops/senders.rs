//! `ops senders`: which church sends from which number.

use std::fmt::{self, Display};
use std::process::ExitCode;

use anyhow::Context as _;
use common::store::{SenderState, Store};
use common::subject::ChurchId;
use serde::Serialize;
use time::OffsetDateTime;

use super::database::DatabaseOptions;
use super::output::{Output, moment, serialize_moment, table};

#[derive(Serialize)]
#[serde(transparent)]
pub(super) struct Report(Vec<Sender>);

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Sender {
    church_id: ChurchId,
    number: String,
    messaging_profile_id: Option<String>,
    rate: Option<u32>,
    /// It is held back until then.
    #[serde(serialize_with = "serialize_moment")]
    held_until: Option<OffsetDateTime>,
    held_by: Option<String>,
    #[serde(serialize_with = "serialize_moment")]
    served_at: Option<OffsetDateTime>,
}

pub(super) async fn run(options: &DatabaseOptions, output: Output) -> anyhow::Result<ExitCode> {
    output.report(&read(&options.open().await?).await?)?;
    Ok(ExitCode::SUCCESS)
}

/// The senders, and how each stands with Telnyx.
pub(super) async fn read(store: &Store) -> anyhow::Result<Report> {
    let senders = store.senders().await.context("can't read the senders")?;
    let now = OffsetDateTime::now_utc();
    Ok(Report(senders.into_iter().map(|state| Sender::at(state, now)).collect()))
}

impl Sender {
    fn at(state: SenderState, now: OffsetDateTime) -> Self {
        let held_until = state.held_until.filter(|until| *until > now);
        Self {
            church_id: state.sender.church_id,
            number: state.sender.number,
            messaging_profile_id: state.sender.messaging_profile_id,
            rate: state.sender.rate,
            held_by: held_until.and(state.reason),
            held_until,
            served_at: state.served_at,
        }
    }

    fn row(&self) -> [String; 6] {
        let held =
            self.held_by.as_ref().map(|by| format!("held back by {by} until {}", moment(self.held_until)));
        [
            self.church_id.to_string(),
            self.number.clone(),
            format!("profile {}", self.messaging_profile_id.as_deref().unwrap_or("-")),
            self.rate.map_or("no rate of its own".into(), |rate| format!("{rate} a second")),
            format!("last answer of Telnyx {}", moment(self.served_at)),
            held.unwrap_or_default(),
        ]
    }
}

impl Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return writeln!(out, "no church has a sender of its own; all send as TELNYX_FROM");
        }
        table(out, &self.0.iter().map(Sender::row).collect::<Vec<_>>())
    }
}
