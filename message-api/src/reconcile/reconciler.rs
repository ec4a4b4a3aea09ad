//! Asks Telnyx for what has no end, and records what it answers.

use std::time::Duration;

use common::store::{ASKED, Ask, AskTimes, Store, StoreError, Webhook};
use futures_util::future::join_all;
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};
use uuid::Uuid;

use super::report;
use super::schedule::Schedule;
use crate::app::App;
use crate::metrics::{ApiMetrics, AskLabels};
use crate::settings::SendOptions;
use crate::telnyx::{Asked, Telnyx};

/// Looks so often for what is due; at most the rate is asked for each time.
const TICK: Duration = Duration::from_secs(1);
/// Nobody else asks for what we took, for so long; what was not answered by then is asked for again.
const TAKEN_FOR: Duration = Duration::from_secs(120);
/// The longest pause while Telnyx throttles us.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Asks Telnyx for what has no end.
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
                Ok(Some(asked)) => asked.unwrap_or(pause * 2).clamp(TICK, LONGEST_PAUSE),
                Err(error) => {
                    warn!(
                        error = &error as &dyn std::error::Error,
                        "can't record what Telnyx was asked; trying again"
                    );
                    TICK
                }
            };
            shutdown.run_until_cancelled(tokio::time::sleep(pause)).await;
        }
    }

    /// Asks for what is due, as many as the rate allows. Says whether Telnyx throttled us, and for how long.
    async fn round(&self) -> Result<Option<Option<Duration>>, StoreError> {
        let now = OffsetDateTime::now_utc();
        let times = AskTimes::new(now, self.schedule.first, TAKEN_FOR);
        let asks = self.store.take_asks(self.rate, &times).await?;
        if asks.is_empty() {
            return Ok(None);
        }
        let answers = join_all(asks.iter().map(|ask| self.ask(ask, now))).await;
        let now = OffsetDateTime::now_utc();
        let (mut reports, mut again, mut throttled) = (Vec::new(), Vec::new(), None);
        for (ask, asked) in asks.iter().zip(answers) {
            match asked {
                Asked::Known(body) => {
                    reports.push(as_webhook(ask, body, now));
                    again.push((ask.recipient_id, self.schedule.next(ask, now)));
                }
                Asked::Unknown => again.push((ask.recipient_id, self.schedule.next_of_unknown(ask, now))),
                Asked::Throttled(wait) => throttled = throttled.max(Some(wait)),
                Asked::Unclear(why) => {
                    debug!(recipient.id = %ask.recipient_id, why, "Telnyx did not say what became of a message");
                }
            }
        }
        // First what was learned, so that what has an end by it is asked for no more.
        if !reports.is_empty() {
            self.store.record_webhooks(&reports).await?;
        }
        self.store.ask_again(&again).await?;
        Ok(throttled)
    }

    async fn ask(&self, ask: &Ask, now: OffsetDateTime) -> Asked {
        // Telnyx keeps nothing so long; it need not be asked.
        let asked = if self.schedule.is_over(ask, now) {
            Asked::Unknown
        } else {
            self.telnyx.ask(&ask.provider_id).await
        };
        let outcome = match asked {
            Asked::Known(_) => "known",
            Asked::Unknown => "unknown",
            Asked::Throttled(_) => "throttled",
            Asked::Unclear(_) => "unclear",
        };
        self.metrics.asks.get_or_create(&AskLabels { outcome }).inc();
        asked
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
    }
}
