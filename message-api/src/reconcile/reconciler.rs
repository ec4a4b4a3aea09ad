//! Retrieves due messages from Telnyx, and records its answers as delivery reports.

use std::time::Duration;

use common::store::{ASKED, Ask, AskTimes, Store, StoreError, Webhook};
use common::throttle::Throttle;
use futures_util::future::join_all;
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};
use uuid::Uuid;

use super::report;
use super::schedule::Schedule;
use crate::app::App;
use crate::metrics::{ApiMetrics, Outcome};
use crate::settings::SendOptions;
use crate::telnyx::{Retrieved, Telnyx};

/// Time between two rounds. A round retrieves at most `ASK_RATE` messages.
const TICK: Duration = Duration::from_secs(1);
/// How long a message is reserved for the process that retrieves it. After that it is due again.
const RESERVED_FOR: Duration = Duration::from_secs(120);
/// Longest pause between rounds while Telnyx throttles us.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Limits a log line that repeats while the database is away.
static REPEATS: Throttle = Throttle::once_a_minute();

/// Retrieves messages without a final status.
pub(crate) struct Reconciler {
    store: Store,
    telnyx: Telnyx,
    metrics: ApiMetrics,
    schedule: Schedule,
    rate: u32,
}

impl Reconciler {
    pub(crate) fn new(app: &App, telnyx: Telnyx, options: &SendOptions) -> Self {
        let schedule = Schedule { first: options.ask_after, unknown_after: options.unconfirmed_after };
        let (store, metrics) = (app.store.clone(), app.metrics.clone());
        Self { store, telnyx, metrics, schedule, rate: options.ask_rate }
    }

    /// Works until shutdown.
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        let mut pause = TICK;
        while !shutdown.is_cancelled() {
            pause = match self.round().await {
                Ok(None) => TICK,
                Ok(Some(wait)) => wait.unwrap_or(pause * 2).clamp(TICK, LONGEST_PAUSE),
                Err(error) => {
                    if let Some(held_back) = REPEATS.opens("record") {
                        let error = &error as &dyn std::error::Error;
                        warn!(
                            error,
                            held_back, "can't read or record what Telnyx is asked for; trying again"
                        );
                    }
                    TICK
                }
            };
            shutdown.run_until_cancelled(tokio::time::sleep(pause)).await;
        }
    }

    /// Retrieves the messages that are due. Returns whether Telnyx throttled us, and the wait that it asks for.
    async fn round(&self) -> Result<Option<Option<Duration>>, StoreError> {
        let now = OffsetDateTime::now_utc();
        let times = AskTimes::new(now, self.schedule.first, RESERVED_FOR);
        let asks = self.store.take_asks(self.rate, &times).await?;
        if asks.is_empty() {
            return Ok(None);
        }
        let answers = join_all(asks.iter().map(|ask| self.retrieve(ask, now))).await;
        let now = OffsetDateTime::now_utc();
        let (mut reports, mut again, mut throttled) = (Vec::new(), Vec::new(), None);
        for (ask, retrieved) in asks.iter().zip(answers) {
            match retrieved {
                Retrieved::Known(body) => {
                    reports.push(as_webhook(ask, body, now));
                    again.push((ask.recipient_id, self.schedule.next(ask, now)));
                }
                Retrieved::Unknown => again.push((ask.recipient_id, self.schedule.next_of_unknown(ask, now))),
                Retrieved::Throttled(wait) => throttled = throttled.max(Some(wait)),
                Retrieved::Unclear(why) => {
                    debug!(recipient.id = %ask.recipient_id, why, "Telnyx did not say what became of a message");
                }
            }
        }
        // Reports first: a recipient that is final by its report is not scheduled again.
        if !reports.is_empty() {
            self.store.record_webhooks(&reports).await?;
        }
        self.store.ask_again(&again).await?;
        Ok(throttled)
    }

    async fn retrieve(&self, ask: &Ask, now: OffsetDateTime) -> Retrieved {
        // Telnyx does not keep a message that long, so there is no need to ask.
        let retrieved = if self.schedule.is_over(ask, now) {
            Retrieved::Unknown
        } else {
            self.telnyx.retrieve(&ask.provider_id).await
        };
        let outcome = match retrieved {
            Retrieved::Known(_) => "known",
            Retrieved::Unknown => "unknown",
            Retrieved::Throttled(_) => "throttled",
            Retrieved::Unclear(_) => "unclear",
        };
        self.metrics.asks.get_or_create(&Outcome { outcome }).inc();
        retrieved
    }
}

fn as_webhook(ask: &Ask, body: bytes::Bytes, received_at: OffsetDateTime) -> Webhook {
    let (content, occurred_at) = report::read(ask, &body);
    Webhook {
        event_id: format!("{ASKED}-{}", Uuid::now_v7()),
        event_type: ASKED.into(),
        occurred_at,
        received_at,
        body,
        content,
        trace_parent: None,
    }
}
