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
use super::output::{Output, moment, serialize_moment, table};

#[derive(clap::Args)]
pub(super) struct ListChurches {
    #[command(flatten)]
    database: DatabaseOptions,
    /// Only churches after this id, in the order of their ids
    #[arg(long, value_name = "ID", default_value = "")]
    after: String,
    /// Most churches to list
    #[arg(long, value_name = "N", default_value_t = 200)]
    limit: u32,
}

#[derive(Serialize)]
#[serde(transparent)]
pub(super) struct Report(Vec<Church>);

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Church {
    church_id: String,
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
        churches.insert(church.church_id.clone(), church);
    }
    let now = OffsetDateTime::now_utc();
    for state in store.senders().await.context("can't read the senders")? {
        if state.sender.church_id.as_str() <= after {
            continue;
        }
        let new = Church::new(&state.sender.church_id);
        churches.entry(new.church_id.clone()).or_insert(new).set_sender(state, now);
    }
    for Pause { church_id, by, .. } in store.pauses().await.context("can't read the pauses")? {
        if let Some(church) = church_id.and_then(|id| churches.get_mut(id.as_str())) {
            church.paused_by = Some(by);
        }
    }
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    Ok(Report(churches.into_values().take(limit).collect()))
}

/// What one church sends as, and whether it is paused or held back. Works for a church without messages, too.
pub(super) async fn one(store: &Store, id: &ChurchId) -> anyhow::Result<Church> {
    let senders = store.senders().await.context("can't read the senders")?;
    let pauses = store.pauses().await.context("can't read the pauses")?;
    let mut church = Church::new(id);
    if let Some(state) = senders.into_iter().find(|state| state.sender.church_id == *id) {
        church.set_sender(state, OffsetDateTime::now_utc());
    }
    let pause = pauses.into_iter().find(|pause| pause.church_id.as_ref().is_none_or(|paused| paused == id));
    church.paused_by = pause.map(|pause| pause.by);
    Ok(church)
}

impl Church {
    fn set_sender(&mut self, state: SenderState, now: OffsetDateTime) {
        self.held_by = state.reason.filter(|_| state.held_until.is_some_and(|until| until > now));
        (self.number, self.rate) = (Some(state.sender.number), state.sender.rate);
    }

    fn new(id: &ChurchId) -> Self {
        Self { church_id: id.to_string(), ..Self::default() }
    }

    fn row(&self) -> [String; 4] {
        let held = self.held_by.as_ref().map(|by| format!("held back by {by}"));
        let paused = self.paused_by.as_ref().map(|by| format!("paused by {by}"));
        [
            self.church_id.clone(),
            format!("last message {}", moment(self.last_message_at)),
            self.number.clone().unwrap_or_default(),
            [paused, held].into_iter().flatten().collect::<Vec<_>>().join(", "),
        ]
    }
}

impl Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return writeln!(out, "no church has a message or a number of its own");
        }
        table(out, &self.0.iter().map(Church::row).collect::<Vec<_>>())
    }
}
