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
use super::retry::DefaultSender;

#[derive(clap::Args)]
pub(super) struct ListSenders {
    #[command(flatten)]
    database: DatabaseOptions,
    #[command(flatten)]
    default_sender: DefaultSender,
}

#[derive(Serialize)]
#[serde(transparent)]
pub(super) struct Report(Vec<Sender>);

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Sender {
    /// None means the churches without one of their own.
    church_id: Option<ChurchId>,
    number: Option<String>,
    messaging_profile_id: Option<String>,
    rate: Option<u32>,
    /// It is held back until then.
    #[serde(serialize_with = "serialize_moment")]
    held_until: Option<OffsetDateTime>,
    held_by: Option<String>,
    #[serde(serialize_with = "serialize_moment")]
    served_at: Option<OffsetDateTime>,
}

pub(super) async fn run(options: ListSenders, output: Output) -> anyhow::Result<ExitCode> {
    let store = options.database.open().await?;
    output.report(&read(&store, &options.default_sender).await?)?;
    Ok(ExitCode::SUCCESS)
}

/// The senders of churches and how each stands with Telnyx, and what all other churches send as.
async fn read(store: &Store, default: &DefaultSender) -> anyhow::Result<Report> {
    let senders = store.senders().await.context("can't read the senders")?;
    let now = OffsetDateTime::now_utc();
    let own = senders.into_iter().map(|state| Sender::at(state, now));
    Ok(Report(own.chain(Sender::of_others(default)).collect()))
}

impl Sender {
    fn at(state: SenderState, now: OffsetDateTime) -> Self {
        let held_until = state.held_until.filter(|until| *until > now);
        Self {
            church_id: Some(state.sender.church_id),
            number: Some(state.sender.number),
            messaging_profile_id: state.sender.messaging_profile_id,
            rate: state.sender.rate,
            held_by: held_until.and(state.reason),
            held_until,
            served_at: state.served_at,
        }
    }

    /// The default sender, if it is set here.
    fn of_others(default: &DefaultSender) -> Option<Self> {
        let set = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let (number, messaging_profile_id) =
            (set(&default.telnyx_from), set(&default.telnyx_messaging_profile_id));
        (number.is_some() || messaging_profile_id.is_some()).then_some(Self {
            church_id: None,
            number,
            messaging_profile_id,
            rate: None,
            held_until: None,
            held_by: None,
            served_at: None,
        })
    }

    fn row(&self) -> [String; 6] {
        let Some(church) = &self.church_id else { return self.row_of_others() };
        let held =
            self.held_by.as_ref().map(|by| format!("held back by {by} until {}", moment(self.held_until)));
        [
            church.to_string(),
            self.number.clone().unwrap_or_default(),
            self.profile(),
            self.rate.map_or("no rate of its own".into(), |rate| format!("{rate} a second")),
            format!("last answer of Telnyx {}", moment(self.served_at)),
            held.unwrap_or_default(),
        ]
    }

    /// How the default sender stands with Telnyx is not kept beside it.
    fn row_of_others(&self) -> [String; 6] {
        let number = self.number.clone().unwrap_or_else(|| "a number of the profile".into());
        let whose = "all other churches".into();
        let setting = if self.number.is_some() { "TELNYX_FROM" } else { "TELNYX_MESSAGING_PROFILE_ID" };
        [
            whose,
            number,
            self.profile(),
            "the rate of SEND_RATE".into(),
            format!("by {setting}"),
            String::new(),
        ]
    }

    fn profile(&self) -> String {
        format!("profile {}", self.messaging_profile_id.as_deref().unwrap_or("-"))
    }
}

impl Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.iter().all(|sender| sender.church_id.is_none()) {
            writeln!(out, "no church has a sender of its own")?;
        }
        table(out, &self.0.iter().map(Sender::row).collect::<Vec<_>>())?;
        if self.0.iter().all(|sender| sender.church_id.is_some()) {
            writeln!(out, "TELNYX_FROM is not set here: what all other churches send as is not known")?;
        }
        Ok(())
    }
}
