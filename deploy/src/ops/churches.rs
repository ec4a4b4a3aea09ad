//! `ops churches`: the churches that have messages or a number of their own.

use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::process::ExitCode;

use anyhow::Context as _;
use common::store::{Pause, SenderState, Store};
use common::subject::ChurchId;
use serde::Serialize;
use time::OffsetDateTime;

use super::database::DatabaseOptions;
use super::output::{Listed, Output, moment, serialize_moment};

#[derive(clap::Args)]
pub(super) struct ListChurches {
    #[command(flatten)]
    database: DatabaseOptions,
    /// Only churches after this id, in the order of their ids
    #[arg(long, value_name = "ID", default_value = "")]
    after: String,
    /// Most churches to list
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
}

#[derive(Serialize)]
#[serde(transparent)]
pub(super) struct Report(Listed<Church>);

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Church {
    church_id: ChurchId,
    #[serde(serialize_with = "serialize_moment")]
    last_message_at: Option<OffsetDateTime>,
    number: Option<String>,
    rate: Option<u32>,
    /// Who paused its sending.
    paused_by: Option<String>,
    /// Why Telnyx holds its number back.
    held_by: Option<String>,
}

pub(super) async fn run(options: ListChurches, output: Output) -> anyhow::Result<ExitCode> {
    let store = options.database.open().await?;
    output.report(&read(&store, &options.after, options.limit).await?)?;
    Ok(ExitCode::SUCCESS)
}

/// Lists churches after an id.
pub(super) async fn read(store: &Store, after: &str, limit: u32) -> anyhow::Result<Report> {
    let mut churches = BTreeMap::new();
    for known in store.churches(after, limit).await.context("can't list the churches")? {
        let church = Church { last_message_at: known.last_message_at, ..Church::new(&known.church_id) };
        churches.insert(known.church_id, church);
    }
    let now = OffsetDateTime::now_utc();
    for state in store.senders().await.context("can't read the senders")? {
        if state.sender.church_id.as_str() <= after {
            continue;
        }
        let new = Church::new(&state.sender.church_id);
        churches.entry(new.church_id.clone()).or_insert(new).set_sender(state, now);
    }
    let pauses = store.pauses().await.context("can't read the pauses")?;
    let most = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut churches: Vec<Church> = churches.into_values().take(most).collect();
    for church in &mut churches {
        church.paused_by = paused_by(&pauses, &church.church_id);
    }
    Ok(Report(Listed::new(churches, limit)))
}

/// What one church sends as, and whether it is paused or held back. Works for a church without messages, too.
pub(super) async fn one(store: &Store, id: &ChurchId) -> anyhow::Result<Church> {
    let senders = store.senders().await.context("can't read the senders")?;
    let pauses = store.pauses().await.context("can't read the pauses")?;
    let mut church = Church::new(id);
    if let Some(state) = senders.into_iter().find(|state| state.sender.church_id == *id) {
        church.set_sender(state, OffsetDateTime::now_utc());
    }
    church.paused_by = paused_by(&pauses, id);
    Ok(church)
}

/// Who paused a church, or everybody.
fn paused_by(pauses: &[Pause], church: &ChurchId) -> Option<String> {
    Pause::of(pauses, church).map(|pause| pause.by.clone())
}

impl Church {
    fn set_sender(&mut self, state: SenderState, now: OffsetDateTime) {
        self.held_by = state.reason.filter(|_| state.held_until.is_some_and(|until| until > now));
        (self.number, self.rate) = (Some(state.sender.number), state.sender.rate);
    }

    fn new(id: &ChurchId) -> Self {
        Self {
            church_id: id.clone(),
            last_message_at: None,
            number: None,
            rate: None,
            paused_by: None,
            held_by: None,
        }
    }

    fn row(&self) -> [String; 4] {
        let held = self.held_by.as_ref().map(|by| format!("held back by {by}"));
        let paused = self.paused_by.as_ref().map(|by| format!("paused by {by}"));
        [
            self.church_id.to_string(),
            format!("last message {}", moment(self.last_message_at)),
            self.number.clone().unwrap_or_default(),
            [paused, held].into_iter().flatten().collect::<Vec<_>>().join(", "),
        ]
    }
}

impl Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.table(
            out,
            "no church has a message or a number of its own, or none after this id",
            Church::row,
        )
    }
}
