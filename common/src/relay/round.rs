//! Looks into the outbox, again and again, while this process relays.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use tracing::warn;
use uuid::Uuid;

use super::announce::{Announcer, Next};
use super::plan;
use super::resources::Resources;
use super::trouble::Trouble;
use crate::store::Term;

/// Rows read at once. More than the two windows that may be stored without a mark when a relay dies, so that the next one
/// finds the stream's last event among them.
const BATCH: u32 = 2_000;
/// Progress of one message is announced at most this often.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);
/// First and longest wait after trouble.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// What a working relay remembers between two looks into the outbox.
pub(super) struct Round<'r> {
    resources: &'r Resources,
    announcer: Announcer,
    /// When a change of each message was last announced, for as long as that matters.
    recent: HashMap<Uuid, Instant>,
    back_off: Option<BackOff>,
    /// Since when this process can't reach the stream.
    cut_off_since: Option<Instant>,
    /// The stream's end, when it was seen before what was announced; it counts the second time.
    shorter: Option<i64>,
}

/// A wait after trouble, which nothing but a new connection shortens.
#[derive(Clone, Copy)]
struct BackOff {
    pause: Duration,
    until: Instant,
}

/// The outcome of a look into the outbox.
pub(super) enum Look {
    /// When to look again, if that is sooner than the sweep.
    Again(Option<Duration>),
    /// Another process relays now.
    LeaseLost,
}

impl<'r> Round<'r> {
    pub(super) fn new(resources: &'r Resources, term: Term) -> Self {
        let Resources { store, broker, counters, .. } = resources;
        let announcer = Announcer::new(broker.clone(), store.clone(), term, counters.clone());
        Self {
            resources,
            announcer,
            recent: HashMap::new(),
            back_off: None,
            cut_off_since: None,
            shorter: None,
        }
    }

    /// Whether the last look ended in trouble.
    pub(super) fn in_trouble(&self) -> bool {
        self.back_off.is_some()
    }

    /// Looks again at once: the connection changed.
    pub(super) fn end_back_off(&mut self) {
        if let Some(back_off) = &mut self.back_off {
            back_off.until = Instant::now();
        }
    }

    /// How long this process has not been able to reach the stream.
    pub(super) fn cut_off(&self) -> Duration {
        self.cut_off_since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Announces what waits, unless it has to wait after trouble.
    pub(super) async fn run(&mut self) -> Look {
        if !self.resources.broker.link().borrow().up {
            self.cut_off_since.get_or_insert_with(Instant::now);
            return Look::Again(None);
        }
        let left = self.back_off.map(|back_off| back_off.until.saturating_duration_since(Instant::now()));
        if let Some(left) = left.filter(|left| !left.is_zero()) {
            return Look::Again(Some(left));
        }
        match self.announce_waiting().await {
            Ok(pause) => {
                self.back_off = None;
                self.cut_off_since = None;
                self.resources.condition.met();
                Look::Again(pause)
            }
            Err(Trouble::LeaseLost) => Look::LeaseLost,
            Err(trouble) => Look::Again(Some(self.back_off(&trouble))),
        }
    }

    fn back_off(&mut self, trouble: &Trouble) -> Duration {
        let pause = self.back_off.map_or(BACK_OFF.0, |last| (last.pause * 2).min(BACK_OFF.1));
        if self.back_off.is_none() {
            warn!(error = trouble as &dyn std::error::Error, "events wait in the outbox; trying again");
        }
        if trouble.is_cut_off() {
            self.cut_off_since.get_or_insert_with(Instant::now);
        } else {
            self.cut_off_since = None;
        }
        self.resources.condition.unmet(trouble.to_string());
        self.back_off = Some(BackOff { pause, until: Instant::now() + pause });
        pause
    }

    async fn announce_waiting(&mut self) -> Result<Option<Duration>, Trouble> {
        self.announcer.mark().await?;
        let rows = self.resources.store.waiting_events(BATCH).await?;
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
        self.resources.counters.superseded.inc_by(left_out);
        let something = !plan.publish.is_empty();
        let next = self.announcer.announce(&plan.publish).await?;
        let changes = plan.publish.iter().filter(|row| !row.subject.ends_with(".sent"));
        self.recent.extend(changes.map(|row| (row.message_id, now)));
        let again = (next == Next::ReadAgain || something && full).then_some(Duration::ZERO);
        Ok(again.or(plan.put_off))
    }

    /// Compares the stream's end with what was announced. An end before that counts when it is seen twice: a former leader
    /// may have answered once.
    pub(super) async fn check_end(&mut self, last: i64) -> Result<(), Trouble> {
        let twice = self.shorter == Some(last);
        let has_lost_tail = self.announcer.has_lost_tail(last).await?;
        self.shorter = has_lost_tail.then_some(last);
        if has_lost_tail && twice {
            self.shorter = None;
            self.announcer.go_back_to(last).await?;
        }
        Ok(())
    }
}
