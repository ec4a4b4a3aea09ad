//! Publishing rows so that the stream itself keeps the order and refuses repetitions.
//!
//! Each row names itself (`Nats-Msg-Id`) and the row before it (`Nats-Expected-Last-Msg-Id`), so rows can be sent
//! without waiting for each other's answer: one is stored only right after the one before it. What the stream answers instead,
//! its own last id or sequence, says what happened: an answer was lost, another relay was faster, or the stream lost
//! its tail. A server that was restarted knows the last id only within its window for duplicates and answers with an
//! empty one; then the sequence (`Nats-Expected-Last-Sequence`) takes the id's place.
//!
//! A row that is too large for the stream is announced in its smallest form. If that is refused, too, the row is taken
//! out of the outbox and kept for operators, so that nothing behind it waits.

use std::collections::HashMap;

use async_nats::jetstream::context::{
    Context as JetStream, ContextBuilder, PublishAckFuture, PublishError, PublishErrorKind,
};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::publish::PublishAck;
use futures_util::future::join_all;
use time::OffsetDateTime;
use tracing::{debug, error, info, warn};
use uuid::Uuid;

use super::refusal::{is_out_of_place, is_too_large, last_id, last_sequence, words};
use super::{ACK_TIMEOUT, Counters};
use crate::broker::Broker;
use crate::event::ChurchEvent;
use crate::store::{OutboxRow, Store, StoreError, Superseded, Term};
use crate::subject::{self, STREAM, Topic};

/// Rows on their way at once.
const WINDOW: usize = 256;
/// Attempts to find the place again without any row being stored.
const MAX_REPAIRS: u32 = 5;

/// Why rows still wait.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    /// Another process holds the lease now.
    #[error("another process relays the outbox now")]
    LeaseLost,
    /// The database can't be read or written.
    #[error("the outbox can't be read or marked")]
    Store(#[source] StoreError),
    /// There is no stream, or it has no leader at the moment.
    #[error(
        "the broker has no stream {STREAM}; run `ops provision`, or, if the broker's disk was full, free it and restart \
         nats-server"
    )]
    NoStream,
    /// The broker can't store anything more.
    #[error("the broker's storage is full; free it and restart nats-server, which refuses until then")]
    StorageFull,
    /// The broker refused for lack of permission.
    #[error("the broker does not let this service publish; check its permissions in nats.conf")]
    Denied,
    /// The broker did not answer, or with an error.
    #[error("the broker did not take an event")]
    Publish(#[source] PublishError),
    /// The place in the stream is lost and can't be found again.
    #[error("the stream changes while events are announced")]
    Unstable,
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::LeaseLost => Self::LeaseLost,
            other => Self::Store(other),
        }
    }
}

impl Trouble {
    /// Whether this process has no working way to the stream, although another one may have.
    pub(super) fn is_of_the_way(&self) -> bool {
        match self {
            Self::NoStream | Self::Denied => true,
            Self::Publish(error) => {
                matches!(error.kind(), PublishErrorKind::TimedOut | PublishErrorKind::BrokenPipe)
            }
            // A full broker is full for everybody.
            Self::StorageFull | Self::LeaseLost | Self::Store(_) | Self::Unstable => false,
        }
    }
}

/// What the next row expects to be the stream's last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fence {
    Event(Uuid),
    Sequence(i64),
}

/// The last stored row as far as we know.
#[derive(Debug, Clone, Copy)]
struct Place {
    fence: Fence,
    sequence: i64,
}

/// Publishes rows and marks them.
pub(super) struct Announcer {
    jetstream: JetStream,
    broker: Broker,
    store: Store,
    term: Term,
    counters: Counters,
    place: Option<Place>,
    /// Whether the stream took the last rows at that place.
    confirmed: bool,
    /// Rows that were sent and whose answer did not come, and when each was first sent, counted.
    unanswered: HashMap<i64, u64>,
    /// The stream's last event, where its sequence is still to be learned.
    last_stored: Option<Uuid>,
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
            place: None,
            confirmed: false,
            unanswered: HashMap::new(),
            last_stored: None,
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

    /// Publishes rows in order and marks those that are stored. `false` if the outbox has to be read again, because
    /// the stream lost what comes before these rows.
    pub(super) async fn announce(&mut self, rows: &[OutboxRow]) -> Result<bool, Trouble> {
        let mut rest: Vec<&OutboxRow> = rows.iter().collect();
        let mut repairs = 0;
        while !rest.is_empty() {
            let place = self.place().await?;
            // As long as the place is only believed, one row alone asks for it: a later one in the same window could fit
            // where the first does not.
            let window = if self.confirmed { rest.len().min(WINDOW) } else { 1 };
            let waited = rest.len();
            let refusal = self.publish(&rest[..window], place).await;
            self.confirmed = refusal.is_none();
            rest.retain(|row| !self.is_stored(row));
            self.mark().await?;
            repairs = if rest.len() < waited { 0 } else { repairs + 1 };
            let Some(refusal) = refusal else { continue };
            if is_too_large(&refusal) {
                // The row is made smaller or taken out; the place is not in doubt.
                repairs = 0;
            }
            if repairs > MAX_REPAIRS {
                return Err(Trouble::Unstable);
            }
            if !self.find_place(refusal, &mut rest).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn is_stored(&self, row: &OutboxRow) -> bool {
        self.unmarked.iter().any(|(position, _)| *position == row.position)
    }

    /// Where the stream should end: after the row announced last.
    async fn place(&mut self) -> Result<Place, Trouble> {
        if let Some(place) = self.place {
            return Ok(place);
        }
        let place = match self.store.last_announced().await? {
            Some(last) => Place { fence: Fence::Event(last.event_id), sequence: last.stream_seq },
            None => Place { fence: Fence::Sequence(0), sequence: 0 },
        };
        self.place = Some(place);
        Ok(place)
    }

    /// Sends a window of rows and takes in the answers. Returns the first refusal.
    ///
    /// An answer vouches for its own row alone: of a row that was stored earlier the stream says so whatever became of
    /// the rows before it, and a row may become visible in the outbox after one with a higher position.
    async fn publish(&mut self, rows: &[&OutboxRow], place: Place) -> Option<PublishError> {
        let mut answers = Vec::with_capacity(rows.len());
        let mut fence = place.fence;
        let mut first_time = Vec::with_capacity(rows.len());
        for row in rows {
            self.sent += 1;
            first_time.push(!self.unanswered.contains_key(&row.position));
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
                    // A refusal is an answer, too: this attempt did not store it.
                    if first_time && (is_out_of_place(&error) || is_too_large(&error)) {
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
        tell(row, sequence);
        if self.place.is_none_or(|place| sequence >= place.sequence) {
            self.place = Some(Place { fence: Fence::Event(row.event_id), sequence });
        }
    }

    /// Marks what is stored; called again after the database was away.
    pub(super) async fn mark(&mut self) -> Result<(), Trouble> {
        self.store.mark_announced(self.term, &self.unmarked, OffsetDateTime::now_utc()).await?;
        if !self.unmarked.is_empty() {
            self.broker.obeyed();
            self.unmarked.clear();
        }
        Ok(())
    }

    /// Finds the place again after a refusal, and takes rows out that turn out to be stored. `false` if others come
    /// before the rest.
    async fn find_place(
        &mut self,
        refusal: PublishError,
        rest: &mut Vec<&OutboxRow>,
    ) -> Result<bool, Trouble> {
        match refusal.kind() {
            _ if is_too_large(&refusal) => self.reduce_or_refuse(&refusal, rest).await.map(|()| true),
            PublishErrorKind::WrongLastMessageId => match last_id(&refusal) {
                Some(last) => self.go_on_after(last, rest).await,
                None => {
                    let sequence = self.place().await?.sequence;
                    self.place = Some(Place { fence: Fence::Sequence(sequence), sequence });
                    Ok(true)
                }
            },
            PublishErrorKind::WrongLastSequence => {
                let last = last_sequence(&refusal).ok_or(Trouble::Unstable)?;
                self.go_on_at(last, rest).await
            }
            _ if super::storage::is_full(&refusal) => Err(Trouble::StorageFull),
            PublishErrorKind::StreamNotFound => Err(Trouble::NoStream),
            PublishErrorKind::TimedOut if self.was_denied() => Err(Trouble::Denied),
            _ => Err(Trouble::Publish(refusal)),
        }
    }

    /// The stream's last event is another one than we thought.
    async fn go_on_after(&mut self, last: Uuid, rest: &mut Vec<&OutboxRow>) -> Result<bool, Trouble> {
        if rest.iter().any(|row| row.event_id == last) {
            // Stored earlier, and its answer was lost. Which others are stored, too, the stream's sequence tells.
            let sequence = self.place().await?.sequence;
            self.place = Some(Place { fence: Fence::Sequence(sequence), sequence });
            self.last_stored = Some(last);
            return Ok(true);
        }
        let sequence = match self.store.announced(last).await? {
            Some(row) => {
                self.forget_above(row.stream_seq).await?;
                row.stream_seq
            }
            None => {
                warn!(event.id = %last, "the stream ends with an event that does not wait in the outbox; going on after it");
                self.place().await?.sequence
            }
        };
        self.place = Some(Place { fence: Fence::Event(last), sequence });
        // What was lost comes before these rows.
        Ok(false)
    }

    /// The stream ends at another sequence than we thought, and its server does not know the event there.
    async fn go_on_at(&mut self, last: i64, rest: &mut Vec<&OutboxRow>) -> Result<bool, Trouble> {
        let expected = self.place().await?.sequence;
        let more = usize::try_from(last - expected).unwrap_or(0);
        let mut stored: Vec<&OutboxRow> =
            rest.iter().copied().filter(|row| self.may_be_stored(row)).collect();
        stored.sort_by_key(|row| self.unanswered.get(&row.position).copied());
        let newest = self.last_stored.take();
        // Believed only if it adds up: as many as the stream has more, and the last of them is the stream's last.
        let adds_up = newest.is_none() || stored.last().map(|row| row.event_id) == newest;
        if more > 0 && stored.len() == more && adds_up {
            self.take_as_stored(&stored, rest).await?;
            self.place = Some(Place { fence: Fence::Sequence(last), sequence: last });
            return Ok(true);
        }
        if let Some(row) = rest.iter().copied().find(|row| Some(row.event_id) == newest).filter(|_| more > 0)
        {
            self.stored(row, last);
            rest.retain(|row| !self.is_stored(row));
            self.mark().await?;
            return Ok(true);
        }
        if last < expected {
            self.forget_above(last).await?;
        } else {
            warn!(
                sequence = last,
                "the stream holds events that do not wait in the outbox; going on after them"
            );
        }
        self.place = Some(Place { fence: Fence::Sequence(last), sequence: last });
        Ok(false)
    }

    /// Marks rows whose answers were lost, in the order in which they were sent: the last is the stream's last.
    async fn take_as_stored(
        &mut self,
        stored: &[&OutboxRow],
        rest: &mut Vec<&OutboxRow>,
    ) -> Result<(), Trouble> {
        let mut sequence = self.place().await?.sequence;
        for row in stored {
            sequence += 1;
            self.stored(row, sequence);
        }
        rest.retain(|row| !self.is_stored(row));
        self.mark().await
    }

    /// The first of the rest is too large for the stream: its smallest form takes its place, and if that is refused, too,
    /// nothing does.
    async fn reduce_or_refuse(
        &mut self,
        refusal: &PublishError,
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
        let reason = words(refusal);
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
    pub(super) async fn is_shorter(&mut self, last: i64) -> Result<bool, Trouble> {
        Ok(last < self.place().await?.sequence)
    }

    /// The stream lost its tail, or is a new one, while nothing was to be announced: what it lost waits again.
    pub(super) async fn go_back_to(&mut self, last: i64) -> Result<(), Trouble> {
        self.forget_above(last).await?;
        self.place = Some(Place { fence: Fence::Sequence(last), sequence: last });
        self.confirmed = false;
        Ok(())
    }

    /// The stream lost what it held above a sequence: that waits again, and so does every revocation that stands.
    async fn forget_above(&self, sequence: i64) -> Result<(), Trouble> {
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
        let message = PublishMessage::build()
            .payload(payload.clone().into())
            .message_id(row.event_id.to_string())
            .expected_stream(STREAM);
        match fence {
            Fence::Event(id) => message.expected_last_message_id(id.to_string()),
            Fence::Sequence(sequence) => message.expected_last_sequence(u64::try_from(sequence).unwrap_or(0)),
        }
    }

    /// A denied publish is nothing but a time-out here; the connection heard of it.
    fn was_denied(&mut self) -> bool {
        let denials = self.broker.link().borrow().denials;
        let denied = denials > self.denials_seen;
        self.denials_seen = denials;
        denied
    }
}

/// Logs that an event of a message stands in the stream: a change of status for everybody, mere progress for those who
/// look closely.
fn tell(row: &OutboxRow, sequence: i64) {
    let Some((church, Topic::Sent | Topic::Status)) = subject::parse(&row.subject) else { return };
    let (message, event) = (row.message_id, row.event_id);
    if row.progress {
        debug!(message.id = %message, church.id = %church, event.id = %event, sequence, "announced");
    } else {
        info!(message.id = %message, church.id = %church, event.id = %event, sequence, "announced");
    }
}

async fn answer(sent: Result<PublishAckFuture, PublishError>) -> Result<PublishAck, PublishError> {
    sent?.await
}

/// An event in as few words as it can be told; `None` if it has no smaller form.
fn smallest(row: &OutboxRow) -> Option<String> {
    let mut event: ChurchEvent = serde_json::from_str(&row.payload).ok()?;
    event.reduce();
    serde_json::to_string(&event).ok().filter(|payload| payload.len() < row.payload.len())
}
