//! Publishes rows so that the stream itself keeps the order and refuses repetitions.
//!
//! Each row names itself (`Nats-Msg-Id`) and the row before it (`Nats-Expected-Last-Msg-Id`), so rows can be sent
//! without waiting for each other's answer: one is stored only right after the one before it. A refusal names the stream's
//! own last id or sequence, and [`end`](super::end) tells what follows from it: an answer was lost, another relay was
//! faster, or the stream lost its tail. A server that was restarted knows the last id only within its window for
//! duplicates; then the sequence (`Nats-Expected-Last-Sequence`) takes the id's place.
//!
//! In a cluster the sequence always takes its place: nats-server 2.15 stops a replicated stream, on all servers, when an
//! id is not the expected one. A sequence that is not the expected one is only refused.
//!
//! A row that is too large for the stream is announced in its smallest form. If that is refused, too, the row is taken
//! out of the outbox and kept for operators, so that nothing behind it waits.

use std::collections::{HashMap, HashSet};

use async_nats::jetstream::context::{Context as JetStream, ContextBuilder, PublishAckFuture, PublishError};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::publish::PublishAck;
use futures_util::future::{join, join_all};
use time::OffsetDateTime;
use tracing::{debug, error, info, warn};
use uuid::Uuid;

use super::end::{End, Fence, Lag, Place};
use super::refusal::{Refusal, words};
use super::resources::Counters;
use super::timing::ACK_TIMEOUT;
use super::trouble::Trouble;
use crate::broker::Broker;
use crate::event::ChurchEvent;
use crate::store::{OutboxRow, Store, Superseded, Term};
use crate::subject::{self, STREAM, Topic};
use crate::trace_context::{self, TRACEPARENT};

/// Rows on their way at once.
const WINDOW: usize = 512;
/// Refusals in a row without any row being stored.
const MAX_REFUSALS: u32 = 5;

/// What is to be done after rows were announced, or one was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Go on with the rows that follow.
    GoOn,
    /// Read the outbox again: events wait there that come before these rows.
    ReadAgain,
}

/// Publishes rows and marks them.
pub(super) struct Announcer {
    jetstream: JetStream,
    broker: Broker,
    store: Store,
    term: Term,
    counters: Counters,
    end: End,
    /// Rows that were sent and whose answer did not come, and when each was first sent, counted.
    unanswered: HashMap<i64, u64>,
    /// How many rows were sent so far.
    sent: u64,
    /// Rows that are stored and not marked yet: position and sequence.
    unmarked: Vec<(i64, i64)>,
    /// The smallest form of rows that are too large for the stream, by position.
    reduced: HashMap<i64, String>,
    denials_seen: u64,
}

impl Announcer {
    pub(super) fn new(broker: Broker, store: Store, term: Term, counters: Counters) -> Self {
        let jetstream = ContextBuilder::new()
            .timeout(ACK_TIMEOUT)
            .max_ack_inflight(WINDOW * 4)
            .backpressure_on_inflight(false)
            .build(broker.client().clone());
        let denials_seen = broker.link().borrow().denials;
        Self {
            jetstream,
            broker,
            store,
            term,
            counters,
            end: End::Unread,
            unanswered: HashMap::new(),
            sent: 0,
            unmarked: Vec::new(),
            reduced: HashMap::new(),
            denials_seen,
        }
    }

    /// Whether a row was sent without an answer.
    pub(super) fn may_be_stored(&self, row: &OutboxRow) -> bool {
        self.unanswered.contains_key(&row.position)
    }

    /// Publishes rows in order and marks those that are stored, each window while the next one is on its way.
    pub(super) async fn announce(&mut self, rows: &[OutboxRow]) -> Result<Next, Trouble> {
        let mut rest: Vec<&OutboxRow> = rows.iter().collect();
        let mut refusals = 0;
        while !rest.is_empty() {
            let place = self.place().await?;
            let window = if matches!(self.end, End::Confirmed(_)) { rest.len().min(WINDOW) } else { 1 };
            let waited = rest.len();
            let refused = self.publish_and_mark(&rest[..window], place).await?;
            self.leave_out_stored(&mut rest);
            let Some(error) = refused else { continue };
            // What a refusal says is compared with what is marked.
            self.mark().await?;
            // A row that is too large is made smaller or taken out: the stream's end is not in doubt.
            let is_too_large = Refusal::of(&error) == Refusal::TooLarge;
            refusals = if rest.len() < waited || is_too_large { 0 } else { refusals + 1 };
            if refusals > MAX_REFUSALS {
                return Err(Trouble::Unstable);
            }
            if self.resolve(error, &mut rest).await? == Next::ReadAgain {
                return Ok(Next::ReadAgain);
            }
        }
        self.mark().await?;
        Ok(Next::GoOn)
    }

    /// Publishes rows, and meanwhile marks those that are stored already. Returns the first refusal.
    async fn publish_and_mark(
        &mut self,
        rows: &[&OutboxRow],
        place: Place,
    ) -> Result<Option<PublishError>, Trouble> {
        let (store, term, stored) = (self.store.clone(), self.term, std::mem::take(&mut self.unmarked));
        let mark = store.mark_announced(term, &stored, OffsetDateTime::now_utc());
        let (refused, marked) = join(self.publish(rows, place), mark).await;
        self.end.confirm(refused.is_none());
        if let Err(error) = marked {
            // They are marked later.
            self.unmarked.extend(stored);
            return Err(error.into());
        }
        self.note_marked(stored.len());
        Ok(refused)
    }

    /// The place that the next row expects.
    async fn place(&mut self) -> Result<Place, Trouble> {
        if let Some(place) = self.end.place() {
            return Ok(place);
        }
        let place = match self.store.last_announced().await? {
            Some(last) => Place::after(last.event_id, last.stream_seq),
            None => Place::at(0),
        };
        self.end = End::Assumed(place);
        Ok(place)
    }

    /// Sends a window of rows and takes in the answers. Returns the first refusal.
    ///
    /// An answer vouches for its own row alone: of a row that was stored earlier the stream says so whatever became of
    /// the rows before it, and a row may become visible in the outbox after one with a higher position.
    async fn publish(&mut self, rows: &[&OutboxRow], place: Place) -> Option<PublishError> {
        let mut answers = Vec::with_capacity(rows.len());
        let is_cluster = self.may_be_a_cluster();
        let mut fence = place.fence;
        let mut first_time = Vec::with_capacity(rows.len());
        for (row, sequence) in rows.iter().zip(place.sequence..) {
            if is_cluster {
                fence = Fence::Sequence(sequence);
            }
            self.sent += 1;
            first_time.push(!self.may_be_stored(row));
            self.unanswered.entry(row.position).or_insert(self.sent);
            let message = self.message(row, fence);
            answers.push(self.jetstream.send_publish(row.subject.clone(), message).await);
            fence = Fence::Event(row.event_id);
        }
        let answers = join_all(answers.into_iter().map(answer)).await;
        let mut refusal = None;
        for ((row, answer), first_time) in rows.iter().zip(answers).zip(first_time) {
            match answer {
                Ok(ack) => self.stored(row, ack.sequence as i64),
                Err(error) => {
                    // Of this attempt alone: an earlier one may have stored the row.
                    if first_time && Refusal::of(&error).is_proof() {
                        self.unanswered.remove(&row.position);
                    }
                    refusal = refusal.or(Some(error));
                }
            }
        }
        refusal
    }

    fn stored(&mut self, row: &OutboxRow, sequence: i64) {
        self.unanswered.remove(&row.position);
        self.reduced.remove(&row.position);
        self.unmarked.push((row.position, sequence));
        self.counters.announced.inc();
        log_announced(row, sequence);
        self.end.advance(row.event_id, sequence);
    }

    /// Takes stored rows out of the rest.
    fn leave_out_stored(&self, rest: &mut Vec<&OutboxRow>) {
        let stored: HashSet<i64> = self.unmarked.iter().map(|(position, _)| *position).collect();
        rest.retain(|row| !stored.contains(&row.position));
    }

    /// Marks the rows that are stored; called again after the database was away.
    pub(super) async fn mark(&mut self) -> Result<(), Trouble> {
        self.store.mark_announced(self.term, &self.unmarked, OffsetDateTime::now_utc()).await?;
        self.note_marked(self.unmarked.len());
        self.unmarked.clear();
        Ok(())
    }

    fn note_marked(&self, rows: usize) {
        if rows > 0 {
            self.broker.note_success();
        }
    }

    /// Does what the table of [`end`](super::end) says about a refusal.
    async fn resolve(&mut self, error: PublishError, rest: &mut Vec<&OutboxRow>) -> Result<Next, Trouble> {
        match Refusal::of(&error) {
            Refusal::LastIs(last) => self.last_is(last, rest).await,
            Refusal::LastIsUnknown => {
                self.end = End::Assumed(Place::at(self.place().await?.sequence));
                Ok(Next::GoOn)
            }
            Refusal::EndsAt(last) => self.ends_at(last, rest).await,
            Refusal::TooLarge => self.reduce_or_refuse(&error, rest).await.map(|()| Next::GoOn),
            Refusal::EndsSomewhere => Err(Trouble::Unstable),
            Refusal::StorageFull => Err(Trouble::StorageFull),
            Refusal::NoStream => Err(Trouble::NoStream),
            Refusal::TimedOut if self.was_denied() => Err(Trouble::Denied),
            Refusal::TimedOut | Refusal::Other => Err(Trouble::Publish(error)),
        }
    }

    async fn last_is(&mut self, last: Uuid, rest: &[&OutboxRow]) -> Result<Next, Trouble> {
        let before = self.place().await?.sequence;
        if rest.iter().any(|row| row.event_id == last) {
            self.end = End::Passed { before, last };
            return Ok(Next::GoOn);
        }
        let sequence = match self.store.announced(last).await? {
            Some(row) => {
                self.unannounce_above(row.stream_seq).await?;
                row.stream_seq
            }
            None => {
                warn!(event.id = %last, "the stream ends with an event that is not in the outbox; going on after it");
                before
            }
        };
        self.end = End::Assumed(Place::after(last, sequence));
        Ok(Next::ReadAgain)
    }

    async fn ends_at(&mut self, last: i64, rest: &mut Vec<&OutboxRow>) -> Result<Next, Trouble> {
        let mut unanswered: Vec<_> = rest.iter().copied().filter(|row| self.may_be_stored(row)).collect();
        unanswered.sort_by_key(|row| self.unanswered.get(&row.position).copied());
        let next = match self.end.lag(last, unanswered, rest) {
            Lag::Stored(rows) => {
                let first = last + 1 - rows.len() as i64;
                rows.iter().zip(first..).for_each(|(row, sequence)| self.stored(row, sequence));
                self.leave_out_stored(rest);
                self.mark().await?;
                Next::GoOn
            }
            Lag::TailLost => {
                self.unannounce_above(last).await?;
                Next::ReadAgain
            }
            Lag::Foreign => {
                warn!(
                    sequence = last,
                    "the stream holds events that are not in the outbox; going on after them"
                );
                Next::ReadAgain
            }
        };
        // The server may not know the id of the event there.
        self.end = End::Assumed(Place::at(last));
        Ok(next)
    }

    /// The first of the rest is too large for the stream: announces its smallest form instead. If that was refused, too,
    /// takes the row out.
    async fn reduce_or_refuse(
        &mut self,
        error: &PublishError,
        rest: &mut Vec<&OutboxRow>,
    ) -> Result<(), Trouble> {
        let Some(row) = rest.first().copied() else { return Ok(()) };
        let (event, message) = (row.event_id, row.message_id);
        if self.reduced.remove(&row.position).is_none()
            && let Some(smallest) = smallest(row)
        {
            warn!(event.id = %event, message.id = %message, "an event is too large; announcing its smallest form");
            self.reduced.insert(row.position, smallest);
            return Ok(());
        }
        let reason = words(error);
        error!(event.id = %event, message.id = %message, reason, "the stream refuses an event; see `ops audit`");
        self.store.set_refused(self.term, row.position, &reason).await?;
        rest.remove(0);
        Ok(())
    }

    /// Leaves rows out, unless the term is over.
    pub(super) async fn supersede(&self, rows: &[Superseded]) -> Result<(), Trouble> {
        Ok(self.store.supersede(self.term, rows).await?)
    }

    /// Whether a stream that ends at a sequence has lost something that was announced.
    pub(super) async fn has_lost_tail(&mut self, last: i64) -> Result<bool, Trouble> {
        Ok(last < self.place().await?.sequence)
    }

    /// The stream lost its tail, or is a new one, while nothing was to be announced: what it lost waits again.
    pub(super) async fn go_back_to(&mut self, last: i64) -> Result<(), Trouble> {
        self.mark().await?;
        self.unannounce_above(last).await?;
        self.end = End::Assumed(Place::at(last));
        Ok(())
    }

    /// The stream lost what it held above a sequence: that waits again, and so does every revocation that stands.
    async fn unannounce_above(&self, sequence: i64) -> Result<(), Trouble> {
        let lost = self.store.unannounce_above(self.term, sequence).await?;
        if lost > 0 {
            warn!(events = lost, "the stream lost its newest events; they are announced again");
            self.counters.repaired.inc_by(lost);
            self.store.unannounce_revocations(self.term).await?;
        }
        Ok(())
    }

    fn message(&self, row: &OutboxRow, fence: Fence) -> PublishMessage {
        let payload = self.reduced.get(&row.position).unwrap_or(&row.payload);
        let mut message = PublishMessage::build()
            .payload(payload.clone().into())
            .message_id(row.event_id.to_string())
            .expected_stream(STREAM);
        if let Some(trace) = &row.trace_parent {
            message = message.header(TRACEPARENT, trace.as_str());
        }
        match fence {
            Fence::Event(id) => message.expected_last_message_id(id.to_string()),
            Fence::Sequence(sequence) => message.expected_last_sequence(u64::try_from(sequence).unwrap_or(0)),
        }
    }

    /// Whether the broker is a cluster, or not known yet.
    fn may_be_a_cluster(&self) -> bool {
        let server = self.broker.client().server_info();
        server.server_id.is_empty() || server.cluster.is_some()
    }

    /// Whether the broker denied a publish since the last question. The publish itself only times out.
    fn was_denied(&mut self) -> bool {
        let denials = self.broker.link().borrow().denials;
        let denied = denials > self.denials_seen;
        self.denials_seen = denials;
        denied
    }
}

/// Logs an event that is stored in the stream. Progress shows at debug, revocations not at all.
fn log_announced(row: &OutboxRow, sequence: i64) {
    let Some((church, topic)) = subject::parse(&row.subject) else { return };
    let (message, event) = (row.message_id, row.event_id);
    let _traced = trace_context::span(row.trace_parent.as_ref()).entered();
    match topic {
        Topic::Revoked => {}
        Topic::Received => {
            info!(inbound.id = %message, church.id = %church, event.id = %event, sequence, "announced");
        }
        Topic::Sent | Topic::Status if row.progress => {
            debug!(message.id = %message, church.id = %church, event.id = %event, sequence, "announced");
        }
        Topic::Sent | Topic::Status => {
            info!(message.id = %message, church.id = %church, event.id = %event, sequence, "announced");
        }
    }
}

async fn answer(sent: Result<PublishAckFuture, PublishError>) -> Result<PublishAck, PublishError> {
    sent?.await
}

/// The event without all that a reader finds in the message itself; `None` if that is no smaller.
fn smallest(row: &OutboxRow) -> Option<String> {
    let mut event: ChurchEvent = serde_json::from_str(&row.payload).ok()?;
    event.reduce();
    serde_json::to_string(&event).ok().filter(|payload| payload.len() < row.payload.len())
}
