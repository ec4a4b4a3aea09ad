//! One look into the outbox after the other, as long as this process relays.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use tracing::warn;
use uuid::Uuid;

use super::announce::{Announcer, Trouble};
use super::{Relay, plan};
use crate::store::Term;

/// Rows read at once.
const BATCH: u32 = 500;
/// Progress of one message is announced at most this often.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);
/// First and longest wait after trouble.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// What a working relay remembers between two looks into the outbox.
pub(super) struct Round<'r> {
    relay: &'r Relay,
    announcer: Announcer,
    /// When a change of each message was last announced, for as long as that matters.
    recent: HashMap<Uuid, Instant>,
    backoff: Option<Duration>,
    /// Since when this process has no working way to the stream.
    cut_off_since: Option<Instant>,
    /// The stream's end, where it was seen before what was announced; believed the second time.
    shorter: Option<i64>,
}

/// What a look into the outbox came to.
pub(super) enum Look {
    /// When to look again, if that is sooner than the sweep.
    Again(Option<Duration>),
    /// Another process relays now.
    LeaseLost,
}

impl<'r> Round<'r> {
    pub(super) fn new(relay: &'r Relay, term: Term) -> Self {
        let announcer =
            Announcer::new(relay.broker.clone(), relay.store.clone(), term, relay.counters.clone());
        Self { relay, announcer, recent: HashMap::new(), backoff: None, cut_off_since: None, shorter: None }
    }

    /// While in trouble it is not woken, it comes back after the pause.
    pub(super) fn in_trouble(&self) -> bool {
        self.backoff.is_some()
    }

    /// How long this process has had no working way to the stream.
    pub(super) fn cut_off(&self) -> Duration {
        self.cut_off_since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Announces what waits.
    pub(super) async fn run(&mut self) -> Look {
        if !self.relay.broker.link().borrow().up {
            self.cut_off_since.get_or_insert_with(Instant::now);
            return Look::Again(None);
        }
        match self.announce_waiting().await {
            Ok(pause) => {
                self.backoff = None;
                self.cut_off_since = None;
                self.relay.condition.met();
                Look::Again(pause)
            }
            Err(Trouble::LeaseLost) => Look::LeaseLost,
            Err(trouble) => Look::Again(Some(self.back_off(&trouble))),
        }
    }

    fn back_off(&mut self, trouble: &Trouble) -> Duration {
        let backoff = self.backoff.map_or(BACKOFF.0, |last| (last * 2).min(BACKOFF.1));
        if self.backoff.is_none() {
            warn!(trouble = trouble as &dyn std::error::Error, "events wait in the outbox; trying again");
        }
        if trouble.is_of_the_way() {
            self.cut_off_since.get_or_insert_with(Instant::now);
        } else {
            self.cut_off_since = None;
        }
        self.relay.condition.unmet(trouble.to_string());
        self.backoff = Some(backoff);
        backoff
    }

    async fn announce_waiting(&mut self) -> Result<Option<Duration>, Trouble> {
        self.announcer.mark().await?;
        let rows = self.relay.store.waiting_events(BATCH).await?;
        let full = rows.len() >= BATCH as usize;
        let now = Instant::now();
        self.recent.retain(|_, at| now.duration_since(*at) < PROGRESS_INTERVAL);
        let plan = plan::plan(
            rows,
            |row| self.announcer.may_be_stored(row),
            |message| {
                self.recent.get(message).map(|at| PROGRESS_INTERVAL.saturating_sub(now.duration_since(*at)))
            },
        );
        let left_out = plan.superseded.iter().map(|heir| heir.positions.len() as u64).sum();
        self.announcer.supersede(&plan.superseded).await?;
        self.relay.counters.superseded.inc_by(left_out);
        let something = !plan.publish.is_empty();
        let complete = self.announcer.announce(&plan.publish).await?;
        let changes = plan.publish.iter().filter(|row| !row.subject.ends_with(".sent"));
        self.recent.extend(changes.map(|row| (row.message_id, now)));
        let again = (!complete || something && full).then_some(Duration::ZERO);
        Ok(again.or(plan.put_off))
    }

    /// Takes in where the stream ends. An end before what was announced is believed when it is seen twice: a server that
    /// was the leader a moment ago may answer, too.
    pub(super) async fn heard_end(&mut self, last: i64) -> Result<(), Trouble> {
        let twice = self.shorter == Some(last);
        let is_shorter = self.announcer.is_shorter(last).await?;
        self.shorter = is_shorter.then_some(last);
        if is_shorter && twice {
            self.shorter = None;
            self.announcer.go_back_to(last).await?;
        }
        Ok(())
    }
}
