//! Waits for the right to relay, and takes it.

use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval};
use tracing::info;
use uuid::Uuid;

use super::probe::Probe;
use super::resources::Resources;
use super::timing::{SWEEP, in_time};
use crate::store::{LeaseState, StoreError, Term};

/// Between two probes of the stream.
const ASK: Duration = Duration::from_secs(2);
/// A lease that is free for so long is taken without a way to the stream, so that one process reports what is wrong.
const UNCLAIMED: Duration = Duration::from_secs(3);
/// Between two questions to a database that does not answer, or has no schema yet.
const SCHEMA_RETRY: Duration = Duration::from_millis(50);

/// A process that stands by.
pub(super) struct Standby<'r> {
    resources: &'r Resources,
    probe: &'r Probe,
    holder: Uuid,
    /// When the stream was last asked, and whether it answered.
    asked: Option<(Instant, bool)>,
    unclaimed_since: Option<Instant>,
}

impl<'r> Standby<'r> {
    pub(super) fn new(resources: &'r Resources, probe: &'r Probe, holder: Uuid) -> Self {
        Self { resources, probe, holder, asked: None, unclaimed_since: None }
    }

    /// Waits until this process has the lease.
    pub(super) async fn until_taken(mut self) -> Term {
        let mut turns = interval(SWEEP);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            turns.tick().await;
            let able = self.is_able().await;
            match self.turn(able).await {
                Ok(Some(term)) => {
                    info!("this process relays the outbox");
                    return term;
                }
                Ok(None) => {}
                // The database has a condition of its own.
                Err(_) => turns.reset_after(SCHEMA_RETRY),
            }
        }
    }

    async fn turn(&mut self, able: bool) -> Result<Option<Term>, StoreError> {
        let store = &self.resources.store;
        let LeaseState { held, standby_ready: _ } = in_time(store.lease_state()).await?;
        if held {
            self.unclaimed_since = None;
            let is_news = self.asked.is_some_and(|(at, _)| at.elapsed() < SWEEP);
            if able && is_news {
                in_time(store.offer_to_relay()).await?;
            }
            return Ok(None);
        }
        let unclaimed = self.unclaimed_since.get_or_insert_with(Instant::now).elapsed();
        if !able && unclaimed < UNCLAIMED {
            return Ok(None);
        }
        in_time(store.take_lease(self.holder)).await
    }

    /// Whether the stream accepts events, by a recent probe.
    async fn is_able(&mut self) -> bool {
        if !self.resources.broker.link().borrow().up {
            self.asked = None;
            return false;
        }
        match self.asked {
            Some((at, answer)) if at.elapsed() < ASK => answer,
            _ => {
                let answer = self.probe.last_sequence().await.is_ok();
                self.asked = Some((Instant::now(), answer));
                answer
            }
        }
    }
}
