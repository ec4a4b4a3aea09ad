//! `ops message`: a message's life, from what is recorded anyway.

use std::fmt::{self, Display};
use std::process::ExitCode;

use anyhow::{Context as _, bail, ensure};
use common::failure::reason_of_unconfirmed;
use common::store::{
    EventTrace, FoundMessage, KeptBody, KeptWebhook, Message, Origin, Pause, RecipientLife, Store,
};
use common::subject::ChurchId;
use serde::Serialize;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::broker::{self, BrokerOptions};
use super::database::DatabaseOptions;
use super::events::{self, Last, StoredEvent};
use super::found::found;
use super::gateways::GatewayOptions;
use super::output::{Output, counted, moment, serialize_moment, table};
use super::sender::e164;
use super::timeline::{Step, Timeline};

/// Most recipients that are shown.
const SHOWN: u32 = 20;
/// Most messages to one number that are shown.
pub(super) const MESSAGES: u32 = 5;
/// The broker's clock may be behind by this.
pub(super) const SKEW: Duration = Duration::minutes(5);
/// Webhooks that come later than this after a message's last change are not looked for.
const LATE: Duration = Duration::days(1);
/// What is said of a message that is not there any more.
pub(super) const GONE: &str = "the message was deleted meanwhile";

#[derive(clap::Args)]
pub(super) struct FindMessage {
    #[command(flatten)]
    database: DatabaseOptions,
    #[command(flatten)]
    broker: BrokerOptions,
    #[command(flatten)]
    gateways: GatewayOptions,
    /// The message's id, a recipient's id, or Telnyx's id
    #[arg(required_unless_present = "phone")]
    id: Option<String>,
    /// The newest five messages to this number, in E.164
    #[arg(long, value_parser = e164, conflicts_with = "id")]
    phone: Option<String>,
}

/// Where a message's life is recorded.
#[derive(Clone, Copy)]
pub(super) struct Sources<'a> {
    pub(super) store: &'a Store,
    pub(super) broker: &'a BrokerOptions,
    pub(super) gateways: &'a GatewayOptions,
}

/// A message and its life.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Life {
    message_id: Uuid,
    church_id: ChurchId,
    status: &'static str,
    version: i64,
    author_id: String,
    recipient_count: i32,
    delivered_count: i32,
    failed_count: i32,
    unconfirmed_count: i32,
    read_count: i32,
    cancelled_count: i32,
    sender: Option<String>,
    #[serde(serialize_with = "serialize_moment")]
    send_at: Option<OffsetDateTime>,
    cancelled_by: Option<String>,
    retry_of: Option<Uuid>,
    recipients: Vec<Recipient>,
    /// Recipients that are not shown.
    more_recipients: i32,
    steps: Vec<Step>,
    /// What could not be found out.
    notes: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Recipient {
    id: Uuid,
    phone: String,
    status: &'static str,
    telnyx_id: Option<String>,
    failure_code: Option<String>,
    /// Why it failed, or why it is not known whether it arrived.
    failure_reason: Option<String>,
    retry_id: Option<Uuid>,
}

pub(super) async fn run(options: FindMessage, output: Output) -> anyhow::Result<ExitCode> {
    let store = options.database.open().await?;
    let sources = Sources { store: &store, broker: &options.broker, gateways: &options.gateways };
    let mut lives = Vec::new();
    for one in find(&store, &options).await? {
        lives.push(sources.life(one).await?);
    }
    output.report(&Report(lives))?;
    Ok(ExitCode::SUCCESS)
}

async fn find(store: &Store, options: &FindMessage) -> anyhow::Result<Vec<FoundMessage>> {
    match (&options.id, &options.phone) {
        (Some(id), _) => Ok(vec![found(store, id).await?]),
        (None, phone) => to_phone(store, phone.as_deref().unwrap_or_default()).await,
    }
}

/// The newest messages to a number.
pub(super) async fn to_phone(store: &Store, phone: &str) -> anyhow::Result<Vec<FoundMessage>> {
    let found = store.messages_to(phone, MESSAGES).await.context("can't look for messages")?;
    ensure!(!found.is_empty(), "there is no message to this number");
    Ok(found)
}

/// The webhooks of a message's recipients with their bodies, oldest first.
pub(super) async fn webhooks(
    store: &Store,
    message: &Message,
    recipients: &[RecipientLife],
) -> anyhow::Result<Vec<(KeptWebhook, KeptBody)>> {
    let until = OffsetDateTime::now_utc().min(message.updated_at + LATE);
    let found = store.webhooks_of(recipients, message.created_at - SKEW, until).await;
    found.context("can't look for the message's webhooks")
}

impl Sources<'_> {
    /// The life of a message.
    pub(super) async fn life(&self, found: FoundMessage) -> anyhow::Result<Life> {
        life(self.store, self, found).await
    }
}

async fn life(store: &Store, options: &Sources<'_>, found: FoundMessage) -> anyhow::Result<Life> {
    let FoundMessage { church_id: church, message_id: id, recipient_id } = found;
    let message = store.message(&church, id).await?.context(GONE)?;
    let origin = store.origin(id).await?.context(GONE)?;
    let recipients = store.recipient_lives(id, recipient_id, SHOWN).await?;
    let webhooks = webhooks(store, &message, &recipients).await?;
    let pauses = store.pauses().await?;
    let pause = Pause::of(&pauses, &church);
    let mut timeline = Timeline::of(&message, &recipients, pause);
    timeline.add_webhooks(&webhooks, &recipients);
    let recorded = store.events_of(id).await?;
    let stored = stored_events(options, &message, &recorded).await;
    let stored = timeline.add_events(&recorded, stored);
    add_emissions(options, &church, &stored, &mut timeline).await?;
    Ok(Life::new(message, origin, &recipients, timeline))
}

/// The message's events in the stream; without the broker's password, why they are not looked for.
async fn stored_events(
    options: &Sources<'_>,
    message: &Message,
    recorded: &[EventTrace],
) -> anyhow::Result<Vec<StoredEvent>> {
    let Some(client) = options.broker.connect_if_set().await? else {
        bail!("set {} to find them", broker::PASSWORD);
    };
    let stream = events::stream(client).await?;
    let sequences = recorded.iter().filter_map(|trace| u64::try_from(trace.stream_seq?).ok());
    let last = Last { version: message.version, sequence: sequences.max().unwrap_or(0) };
    let span = (message.created_at - SKEW, Some(last));
    events::of_message(&stream, &message.church_id, message.id, span).await
}

async fn add_emissions(
    options: &Sources<'_>,
    church: &ChurchId,
    sequences: &[u64],
    timeline: &mut Timeline,
) -> anyhow::Result<()> {
    let (Some(first), Some(last)) = (sequences.iter().min(), sequences.iter().max()) else { return Ok(()) };
    for (gateway, answer) in options.gateways.emitted(church, (*first, *last)).await? {
        match answer {
            Ok(emitted) => timeline.add_emissions(gateway, sequences, &emitted),
            Err(error) => {
                timeline.note(format!("the gateway {gateway} does not say what it emitted: {error:#}"))
            }
        }
    }
    Ok(())
}

impl Life {
    fn new(message: Message, origin: Origin, recipients: &[RecipientLife], timeline: Timeline) -> Self {
        let (steps, notes) = timeline.into_parts();
        let shown = i32::try_from(recipients.len()).unwrap_or(i32::MAX);
        let tally = message.tally;
        Self {
            message_id: message.id,
            church_id: message.church_id,
            status: message.status.as_str(),
            version: message.version,
            author_id: message.author_id,
            recipient_count: tally.recipients,
            delivered_count: tally.delivered,
            failed_count: tally.failed,
            unconfirmed_count: tally.unconfirmed,
            read_count: tally.read,
            cancelled_count: tally.cancelled,
            sender: origin.from_number.or(origin.messaging_profile_id),
            send_at: origin.send_at,
            cancelled_by: origin.cancelled_by,
            retry_of: message.retry_of,
            recipients: recipients.iter().map(Recipient::new).collect(),
            more_recipients: tally.recipients - shown,
            steps,
            notes,
        }
    }
}

impl Recipient {
    fn new(recipient: &RecipientLife) -> Self {
        let failure = recipient.failure.as_ref();
        Self {
            id: recipient.id,
            phone: recipient.phone.clone(),
            status: recipient.state.status().as_str(),
            telnyx_id: recipient.provider_id.clone(),
            failure_code: failure.map(|failure| failure.code.clone()),
            failure_reason: failure
                .map(|failure| failure.reason.clone())
                .or_else(|| reason_of_unconfirmed(recipient.state).map(str::to_owned)),
            retry_id: recipient.retry_id,
        }
    }

    fn row(&self) -> [String; 6] {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let retried = self.retry_id.map(|id| format!("retried as {id}")).unwrap_or_default();
        [
            format!("  {}", self.id),
            self.phone.clone(),
            self.status.into(),
            self.telnyx_id.as_ref().map_or("no id of Telnyx".into(), |id| format!("Telnyx {id}")),
            format!("{} {}", text(&self.failure_code), text(&self.failure_reason)).trim().to_owned(),
            retried,
        ]
    }
}

#[derive(Serialize)]
#[serde(transparent)]
struct Report(Vec<Life>);

impl Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, life) in self.0.iter().enumerate() {
            if number > 0 {
                writeln!(out)?;
            }
            write!(out, "{life}")?;
        }
        Ok(())
    }
}

impl Display for Life {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { message_id, church_id, status, version, author_id, .. } = self;
        writeln!(out, "message {message_id} of {church_id}: {status}, version {version}, by {author_id}")?;
        writeln!(
            out,
            "  {}: {} delivered ({} read), {} failed ({} cancelled), {} unconfirmed",
            counted(self.recipient_count.into(), "recipient"),
            self.delivered_count,
            self.read_count,
            self.failed_count,
            self.cancelled_count,
            self.unconfirmed_count
        )?;
        writeln!(out, "  sent as {}", self.sender.as_deref().unwrap_or("-"))?;
        if self.send_at.is_some() {
            writeln!(out, "  not before {}", moment(self.send_at))?;
        }
        if let Some(by) = &self.cancelled_by {
            writeln!(out, "  cancelled by {by}")?;
        }
        if let Some(earlier) = self.retry_of {
            writeln!(out, "  tries again what {earlier} did not reach")?;
        }
        table(out, &self.recipients.iter().map(Recipient::row).collect::<Vec<_>>())?;
        if self.more_recipients > 0 && self.recipients.len() > 1 {
            writeln!(
                out,
                "  and {} more; give a recipient's or Telnyx's id to see one",
                self.more_recipients
            )?;
        }
        table(out, &self.steps.iter().map(Step::row).collect::<Vec<_>>())?;
        self.notes.iter().try_for_each(|note| writeln!(out, "note: {note}"))
    }
}
