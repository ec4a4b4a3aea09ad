//! The record: messages, recipients, webhooks and the outbox, in SQLite or PostgreSQL.
//!
//! [`Store`] is an enum over two modules, each the best SQL of its database; what is the same for both stands once:
//! [`book`] decides how reports change the record, [`ledger`] leads through a transaction, and the databases only read
//! and write rows for them. Whatever changes
//! a message puts the event into the outbox in the same transaction, and [`Store::announcements`] tells the relay.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use time::OffsetDateTime;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use uuid::Uuid;

use crate::revocation::Revocation;
use crate::service::{Condition, ConfigError};
use crate::subject::ChurchId;

mod attempts;
mod book;
mod columns;
mod estimate;
mod ledger;
mod pace;
mod postgres;
mod recording;
mod records;
mod sqlite;

use attempts::OpenClaim;
use ledger::{Database as _, Ledger};
pub use records::*;

/// Rows that are changed or deleted at once where it may be many, so that nobody waits long for them.
const PORTION: u32 = 1_000;
/// Portions deleted in one go at most.
const PORTIONS: usize = 100;
/// Longest time that any step may take, even if the database's server is gone without a word.
const LONGEST_STEP: Duration = Duration::from_secs(10);

/// `DATABASE_URL`.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Database")]
pub struct StoreOptions {
    /// `sqlite:<file>` or `postgres://user:password@host/database`
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_name = "URL")]
    pub database_url: SecretString,
    /// Connections to PostgreSQL at most
    #[arg(long, env = "DATABASE_CONNECTIONS", default_value_t = 8, value_name = "N")]
    pub database_connections: u32,
}

/// Why the store could not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database is away, overloaded or locked. Trying again later may help.
    #[error("the database is not available")]
    Unavailable(#[source] sqlx::Error),
    /// Nobody knows whether the database committed it: its answer to the commit was lost.
    #[error("the database did not say whether it committed")]
    OutcomeUnknown(#[source] sqlx::Error),
    /// The database refuses what it was given. Trying again does not help.
    #[error("the database refuses the data")]
    Refused(#[source] sqlx::Error),
    /// The schema could not be brought up to date.
    #[error("the database's schema could not be brought up to date")]
    Migration(#[source] sqlx::migrate::MigrateError),
    /// A row holds what this version can't read.
    #[error("a row can't be read: {0}")]
    Unreadable(String),
}

impl StoreError {
    /// Whether the same call may succeed later.
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::OutcomeUnknown(_))
    }

    /// What a failed commit means. Where the database itself refused, nothing was committed.
    fn of_commit(error: sqlx::Error) -> Self {
        let is_refusal =
            matches!(&error, sqlx::Error::Database(database) if refuses_commit(database.as_ref()));
        if is_refusal { error.into() } else { Self::OutcomeUnknown(error) }
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Database(database) if !is_passing(database.as_ref()) => Self::Refused(error),
            sqlx::Error::Encode(_) | sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => {
                Self::Refused(error)
            }
            _ => Self::Unavailable(error),
        }
    }
}

/// Whether a database's own error passes by itself. It refuses data for good in the classes 22 (data), 23 (integrity)
/// and 54 (limits) of PostgreSQL, and with TOOBIG 18, CONSTRAINT 19, MISMATCH 20 and RANGE 25 of SQLite, whose extended
/// codes keep the primary one in their low byte. All else, a schema that is not there yet included, may pass.
fn is_passing(error: &dyn sqlx::error::DatabaseError) -> bool {
    let Some(code) = error.code() else { return true };
    if error.try_downcast_ref::<sqlx::postgres::PgDatabaseError>().is_some() {
        return !["22", "23", "54"].iter().any(|class| code.starts_with(class));
    }
    !code.parse::<u32>().is_ok_and(|code| matches!(code & 0xff, 18 | 19 | 20 | 25))
}

/// Whether a database's own error says that a transaction was not committed. PostgreSQL's classes 08, 57 and 58 (the
/// connection, an operator, the system) don't; nor does SQLite, but for BUSY 5, LOCKED 6, FULL 13 and CONSTRAINT 19.
fn refuses_commit(error: &dyn sqlx::error::DatabaseError) -> bool {
    let Some(code) = error.code() else { return false };
    if error.try_downcast_ref::<sqlx::postgres::PgDatabaseError>().is_some() {
        return !["08", "57", "58"].iter().any(|class| code.starts_with(class));
    }
    code.parse::<u32>().is_ok_and(|code| matches!(code & 0xff, 5 | 6 | 13 | 19))
}

/// The store of one database.
#[derive(Clone)]
pub struct Store {
    backend: Backend,
    announcements: Arc<Notify>,
    /// The church whose recipient was attempted last: the next turn begins after it.
    served: Arc<Mutex<String>>,
    /// Claims that may have been committed, to be read back before anything else is claimed.
    open_claims: Arc<Mutex<Vec<OpenClaim>>>,
    limits: SendLimits,
}

#[derive(Clone)]
enum Backend {
    Postgres(postgres::Postgres),
    Sqlite(sqlite::Sqlite),
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Calls the same method on whichever database it is, and waits for it [`LONGEST_STEP`] at most.
macro_rules! dispatch {
    ($store:expr, $db:ident => $call:expr) => {
        within(LONGEST_STEP, async {
            match &$store.backend {
                Backend::Postgres($db) => $call,
                Backend::Sqlite($db) => $call,
            }
        })
        .await
    };
}

async fn within<T>(
    limit: Duration,
    step: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    let timed_out = |_| Err(StoreError::Unavailable(sqlx::Error::PoolTimedOut));
    tokio::time::timeout(limit, step).await.unwrap_or_else(timed_out)
}

/// The two steps of a change whose outcome is told: only the commit can leave it open.
async fn in_two_steps<L: Ledger, T>(
    prepare: impl Future<Output = Result<(T, Option<L>), StoreError>>,
) -> Result<T, StoreError> {
    let (prepared, ledger) = within(LONGEST_STEP, prepare).await?;
    if let Some(mut ledger) = ledger {
        let timed_out = |_| Err(StoreError::OutcomeUnknown(sqlx::Error::PoolTimedOut));
        tokio::time::timeout(LONGEST_STEP, ledger.commit()).await.unwrap_or_else(timed_out)?;
    }
    Ok(prepared)
}

/// The relay's right to be the only one at work on a database. Given up when dropped.
pub enum RelayLock {
    /// An advisory lock on a connection of its own.
    Postgres(postgres::AdvisoryLock),
    /// A locked file beside the database.
    Sqlite(std::fs::File),
}

impl RelayLock {
    /// Whether the lock is still ours; it is lost with its connection.
    pub async fn is_held(&mut self) -> bool {
        match self {
            Self::Postgres(lock) => lock.is_held().await,
            Self::Sqlite(_) => true,
        }
    }
}

impl Store {
    /// Prepares the store without connecting: the database may be away.
    ///
    /// # Errors
    /// `DATABASE_URL` names no database that we know.
    pub fn new(options: &StoreOptions) -> Result<Self, ConfigError> {
        let url = options.database_url.expose_secret();
        let backend = if url.starts_with("postgres:") || url.starts_with("postgresql:") {
            Backend::Postgres(postgres::Postgres::new(url, options.database_connections)?)
        } else if url.starts_with("sqlite:") {
            Backend::Sqlite(sqlite::Sqlite::new(url)?)
        } else {
            return Err(ConfigError::new(
                "DATABASE_URL",
                "write sqlite:<file> or postgres://user:password@host/database",
            ));
        };
        Ok(Self {
            backend,
            announcements: Arc::default(),
            served: Arc::default(),
            open_claims: Arc::default(),
            limits: SendLimits::default(),
        })
    }

    /// Brings the schema up to date. Several services may do so at the same time; newer schemas are left alone.
    ///
    /// # Errors
    /// The database is away, or a migration failed.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        match &self.backend {
            Backend::Postgres(db) => db.migrate().await,
            Backend::Sqlite(db) => db.migrate().await,
        }
    }

    /// Asks the database for a sign of life.
    ///
    /// # Errors
    /// It gives none.
    pub async fn ping(&self) -> Result<(), StoreError> {
        dispatch!(self, db => db.ping().await)
    }

    /// Brings the schema up to date as soon as the database answers, and keeps the readiness condition true to what
    /// the database does, until shutdown.
    pub async fn keep_ready(self, condition: Condition, shutdown: CancellationToken) {
        let mut migrated = false;
        while !shutdown.is_cancelled() {
            let checked = if migrated { self.ping().await } else { self.migrate().await };
            match checked {
                Ok(()) => {
                    if !migrated {
                        info!("the database is ready");
                    }
                    migrated = true;
                    condition.met();
                }
                Err(error) => {
                    warn!(
                        error = &error as &dyn std::error::Error,
                        "the database does not answer; trying again"
                    );
                    condition.unmet(error.to_string());
                }
            }
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = tokio::time::sleep(Duration::from_secs(1)) => {}
            }
        }
    }

    /// Notified after each commit that put a row into the outbox.
    pub fn announcements(&self) -> Arc<Notify> {
        self.announcements.clone()
    }

    /// Tells the relay, if anything is there to be announced.
    fn announce(&self, events: usize) {
        if events > 0 {
            self.announcements.notify_one();
        }
    }

    /// Records a message with its recipients and its `message:sent` event, in one transaction. With a key, a
    /// repetition finds the first one's message; one that comes at the same time waits for it.
    ///
    /// # Errors
    /// The database is away or refuses, or nobody knows whether it was recorded ([`StoreError::OutcomeUnknown`]).
    pub async fn record_message(
        &self,
        message: &NewMessage,
        key: Option<&IdempotencyKey>,
    ) -> Result<Recorded, StoreError> {
        let recorded = match &self.backend {
            Backend::Postgres(db) => in_two_steps(db.prepare_message(message, key)).await?,
            Backend::Sqlite(db) => in_two_steps(db.prepare_message(message, key)).await?,
        };
        self.announce(usize::from(matches!(recorded, Recorded::New(_))));
        Ok(recorded)
    }

    /// Who a church sends as, if it has a sender of its own.
    ///
    /// # Errors
    /// The database is away.
    pub async fn sender(&self, church: &ChurchId) -> Result<Option<Sender>, StoreError> {
        dispatch!(self, db => db.sender(church).await)
    }

    /// Sets who a church sends as.
    ///
    /// # Errors
    /// The database is away, or the number belongs to another church ([`StoreError::Refused`]).
    pub async fn set_sender(&self, sender: &Sender) -> Result<(), StoreError> {
        dispatch!(self, db => db.set_sender(sender).await)
    }

    /// A page of a church's messages, newest first.
    ///
    /// # Errors
    /// The database is away.
    pub async fn history(&self, church: &ChurchId, query: &HistoryQuery) -> Result<HistoryPage, StoreError> {
        dispatch!(self, db => db.history(church, query).await)
    }

    /// One message of a church.
    ///
    /// # Errors
    /// The database is away.
    pub async fn message(&self, church: &ChurchId, id: Uuid) -> Result<Option<Message>, StoreError> {
        dispatch!(self, db => db.message(church, id).await)
    }

    /// The recipients of one message of a church, in the order in which they were given.
    ///
    /// # Errors
    /// The database is away.
    pub async fn recipients(&self, church: &ChurchId, message: Uuid) -> Result<Vec<Recipient>, StoreError> {
        dispatch!(self, db => db.recipients(church, message).await)
    }

    /// The same store, whose attempts keep these limits.
    #[must_use]
    pub fn with_limits(mut self, limits: SendLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Tells the other processes the rate of everybody together, for their estimates.
    ///
    /// # Errors
    /// The database is away.
    pub async fn publish_rate(&self) -> Result<(), StoreError> {
        dispatch!(self, db => attempts::publish_rate(&mut db.begin().await?, self.limits.rate).await)
    }

    /// Takes up to `limit` recipients that are due, in fair turns between the churches and no faster than their
    /// senders may go, and records their attempt. It is committed when this returns; each must be sent now and
    /// answered by [`Store::record_answers`]. What an earlier call took whose commit was not answered is returned
    /// first, and may be more than `limit`.
    ///
    /// # Errors
    /// The database is away. Call again: what it may have committed all the same is read back.
    pub async fn begin_attempts(&self, limit: u32, now: OffsetDateTime) -> Result<Vec<Attempt>, StoreError> {
        let open = lock(&self.open_claims).pop();
        if let Some(claim) = open {
            return self.read_back(claim).await;
        }
        if limit == 0 || self.next_attempt_at().await?.is_none_or(|at| at > now) {
            return Ok(Vec::new());
        }
        let after = lock(&self.served).clone();
        let claim_id = Uuid::now_v7();
        let order = attempts::Order { claim_id, limit, now, after: &after, limits: self.limits };
        let taken = Mutex::new(Vec::new());
        let note = |attempts: &[Attempt]| {
            *lock(&taken) = attempts.iter().map(|attempt| attempt.recipient_id).collect();
        };
        let claimed = dispatch!(self, db => attempts::claim(db, &order, note).await);
        let recipients = taken.into_inner().unwrap_or_else(PoisonError::into_inner);
        if claimed.is_err() && !recipients.is_empty() {
            lock(&self.open_claims).push(OpenClaim { id: claim_id, recipients });
        }
        let attempts = claimed?;
        if let Some(last) = attempts.last() {
            *lock(&self.served) = last.church_id.as_str().to_owned();
        }
        Ok(attempts)
    }

    /// Treats attempts as if the answer to their claim's commit had been lost: they are read back, and nothing of what
    /// this call was given may be sent.
    pub fn doubt(&self, attempts: &[Attempt]) {
        let Some(first) = attempts.first() else { return };
        let recipients = attempts.iter().map(|attempt| attempt.recipient_id).collect();
        lock(&self.open_claims).push(OpenClaim { id: first.id.claim_id, recipients });
    }

    async fn read_back(&self, claim: OpenClaim) -> Result<Vec<Attempt>, StoreError> {
        let read = dispatch!(self, db => attempts::read_back(db, &claim).await);
        match &read {
            Ok(attempts) => info!(claim.id = %claim.id, attempts = attempts.len(), "read a claim back"),
            Err(_) => lock(&self.open_claims).push(claim),
        }
        read
    }

    /// When the next recipient may be tried, as far as its moment and its sender's pace decide; `None` if none waits.
    ///
    /// # Errors
    /// The database is away.
    pub async fn next_attempt_at(&self) -> Result<Option<OffsetDateTime>, StoreError> {
        dispatch!(self, db => attempts::next_at(&mut db.begin_reading().await?).await)
    }

    /// The senders that something waits for and that are held back.
    ///
    /// # Errors
    /// The database is away.
    pub async fn held_senders(&self, now: OffsetDateTime) -> Result<Vec<HeldSender>, StoreError> {
        dispatch!(self, db => attempts::held(&mut db.begin_reading().await?, now).await)
    }

    /// Records what became of attempts, and applies webhooks that waited for the ids that this makes known. An answer
    /// whose attempt is not under way any more changes nothing, so it may be recorded again.
    ///
    /// # Errors
    /// The database is away; it may have been recorded all the same.
    pub async fn record_answers(
        &self,
        answers: &[(AttemptId, Answer)],
        now: OffsetDateTime,
    ) -> Result<(), StoreError> {
        if answers.is_empty() {
            return Ok(());
        }
        let events =
            dispatch!(self, db => attempts::record_answers(&mut db.begin().await?, answers, now).await)?;
        self.announce(events);
        Ok(())
    }

    /// Ends the waiting of recipients whose receipt is overdue. Returns how many.
    ///
    /// # Errors
    /// The database is away.
    pub async fn close_overdue(&self, overdue: &Overdue, now: OffsetDateTime) -> Result<usize, StoreError> {
        let (closed, events) =
            dispatch!(self, db => ledger::close_overdue(&mut db.begin().await?, overdue, now).await)?;
        self.announce(events);
        Ok(closed)
    }

    /// Fails, as `not_sent`, up to `limit` recipients that were held back for longer than the limit of time. Returns
    /// how many.
    ///
    /// # Errors
    /// The database is away.
    pub async fn fail_unsent(&self, limit: u32, now: OffsetDateTime) -> Result<usize, StoreError> {
        let Some(within) = self.limits.within else { return Ok(0) };
        let (failed, events) = dispatch!(self, db => {
            attempts::fail_unsent(&mut db.begin().await?, within, limit, now).await
        })?;
        self.announce(events);
        Ok(failed)
    }

    /// Takes up to `limit` accepted recipients that Telnyx is to be asked for. Each is taken by nobody else until
    /// [`AskTimes::taken_until`].
    ///
    /// # Errors
    /// The database is away.
    pub async fn take_asks(&self, limit: u32, times: &AskTimes) -> Result<Vec<Ask>, StoreError> {
        dispatch!(self, db => db.take_asks(limit, times).await)
    }

    /// Records that Telnyx was asked, and when it is asked again; never, where there is no moment. What has an end by
    /// now stays as it is.
    ///
    /// # Errors
    /// The database is away.
    pub async fn ask_again(&self, recipients: &[(Uuid, Option<OffsetDateTime>)]) -> Result<(), StoreError> {
        if recipients.is_empty() {
            return Ok(());
        }
        dispatch!(self, db => db.ask_again(recipients).await)
    }

    /// Since when no webhook came for what Telnyx accepted between two moments, if none came.
    ///
    /// # Errors
    /// The database is away.
    pub async fn unheard_since(
        &self,
        from: OffsetDateTime,
        until: OffsetDateTime,
    ) -> Result<Option<OffsetDateTime>, StoreError> {
        dispatch!(self, db => db.unheard_since(from, until).await)
    }

    /// Records a batch of webhooks in one transaction: one outcome for each, in the order given. A body that the
    /// database refuses is split off and recorded as ignored; the others are not harmed.
    ///
    /// # Errors
    /// The database is away ([`StoreError::is_temporary`]); nothing was recorded.
    pub async fn record_webhooks(&self, batch: &[Webhook]) -> Result<Vec<Outcome>, StoreError> {
        let (outcomes, events) = dispatch!(self, db => ledger::record_webhooks(db, batch).await)?;
        self.announce(events);
        Ok(outcomes)
    }

    /// Tries again to find the recipients of parked webhooks, starting after the event id `after`. Returns how many
    /// found theirs, and where to go on; `None` at the end.
    ///
    /// # Errors
    /// The database is away.
    pub async fn claim_parked(
        &self,
        after: Option<&str>,
        limit: u32,
    ) -> Result<(usize, Option<String>), StoreError> {
        let (claimed, next, events) =
            dispatch!(self, db => ledger::sweep_parked(&mut db.begin().await?, after, limit).await)?;
        self.announce(events);
        Ok((claimed, next))
    }

    /// Records that tokens are revoked, and the news of it. An earlier revocation of later tokens stays in force.
    ///
    /// # Errors
    /// The database is away.
    pub async fn revoke(&self, revocation: &Revocation) -> Result<(), StoreError> {
        dispatch!(self, db => db.revoke(revocation).await)?;
        self.announce(1);
        Ok(())
    }

    /// Tokens of a user of a church that were issued until this Unix second are revoked.
    ///
    /// # Errors
    /// The database is away.
    pub async fn revoked_until(&self, church: &ChurchId, user: &str) -> Result<Option<i64>, StoreError> {
        dispatch!(self, db => db.revoked_until(church, user).await)
    }

    /// Waits for nobody: `None` while another relay works on this database.
    ///
    /// # Errors
    /// The database is away, or the lock file can't be made.
    pub async fn try_relay_lock(&self) -> Result<Option<RelayLock>, StoreError> {
        dispatch!(self, db => db.try_relay_lock().await)
    }

    /// The oldest rows of the outbox that are neither announced nor superseded, in order.
    ///
    /// # Errors
    /// The database is away.
    pub async fn waiting_events(&self, limit: u32) -> Result<Vec<OutboxRow>, StoreError> {
        dispatch!(self, db => db.waiting_events(limit).await)
    }

    /// The row that was announced last, if any is kept.
    ///
    /// # Errors
    /// The database is away.
    pub async fn last_announced(&self) -> Result<Option<Announced>, StoreError> {
        dispatch!(self, db => db.last_announced().await)
    }

    /// The announced row of an event, if it is kept.
    ///
    /// # Errors
    /// The database is away.
    pub async fn announced(&self, event_id: Uuid) -> Result<Option<Announced>, StoreError> {
        dispatch!(self, db => db.announced(event_id).await)
    }

    /// Marks rows as left out of the stream and gives their heirs what they named, in one transaction.
    ///
    /// # Errors
    /// The database is away.
    pub async fn supersede(&self, rows: &[Superseded]) -> Result<(), StoreError> {
        if rows.is_empty() {
            return Ok(());
        }
        dispatch!(self, db => db.supersede(rows).await)
    }

    /// Marks rows as announced: pairs of position and sequence in the stream.
    ///
    /// # Errors
    /// The database is away.
    pub async fn mark_announced(&self, rows: &[(i64, i64)], now: OffsetDateTime) -> Result<(), StoreError> {
        if rows.is_empty() {
            return Ok(());
        }
        dispatch!(self, db => db.mark_announced(rows, now).await)
    }

    /// Forgets that rows above a sequence of the stream were announced, because the stream lost them; they are
    /// announced again. Returns how many. Broken off in its middle, it has done the newest part and can be repeated.
    ///
    /// # Errors
    /// The database is away.
    pub async fn unannounce_above(&self, stream_seq: i64) -> Result<u64, StoreError> {
        let mut all = 0;
        loop {
            let rows = dispatch!(self, db => db.unannounce_above(stream_seq, PORTION).await)?;
            all += rows;
            if rows < u64::from(PORTION) {
                return Ok(all);
            }
        }
    }

    /// Deletes what is older than given, in portions. What waits is never deleted. Returns how many rows went.
    ///
    /// # Errors
    /// The database is away.
    pub async fn prune(&self, what: Prunable, before: OffsetDateTime) -> Result<u64, StoreError> {
        let mut all = 0;
        for _ in 0..PORTIONS {
            let rows = dispatch!(self, db => db.prune(what, before, PORTION).await)?;
            all += rows;
            if rows < u64::from(PORTION) {
                break;
            }
        }
        Ok(all)
    }

    /// Sums the books and recounts.
    ///
    /// # Errors
    /// The database is away.
    pub async fn audit(&self) -> Result<Audit, StoreError> {
        match &self.backend {
            Backend::Postgres(db) => db.audit().await,
            Backend::Sqlite(db) => db.audit().await,
        }
    }
}
