//! The record: messages, recipients, webhooks and the outbox, in SQLite or PostgreSQL.
//!
//! [`Store`] is an enum over two modules, each the best SQL of its database. What both do alike stands once: [`book`]
//! decides how reports change the record, [`webhooks`], [`answers`] and [`attempts`] lead through a transaction, and the
//! databases only read, lock and write rows for them. Whatever changes a message puts the event into the outbox in the
//! same transaction, and [`Store::announcements`] tells the relay.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use time::OffsetDateTime;
use tokio::sync::{Notify, watch};
use tracing::{info, warn};
use uuid::Uuid;

use crate::service::ConfigError;
use crate::subject::ChurchId;

/// Calls the same method on whichever database it is, and waits for it as long as the store's limit. What the database
/// took back because of a changed column or a deadlock is done again, once; what may have been committed is not.
macro_rules! dispatch {
    ($store:expr, $db:ident => $call:expr) => {
        $store
            .bounded(async {
                let mut again = true;
                loop {
                    let done = match &$store.backend {
                        Backend::Postgres($db) => async { $call }.await,
                        Backend::Sqlite($db) => async { $call }.await,
                    };
                    match done {
                        Err(error) if again && error.may_be_repeated() => {
                            again = false;
                            if error.is_stale_plan() {
                                $store.renew();
                            }
                        }
                        done => break done,
                    }
                }
            })
            .await
    };
}

mod book;
mod columns;
mod connections;
mod erasure;
mod failures;
mod lease;
mod ledger;
mod messages;
mod new_events;
mod outage;
mod outbox;
mod postgres;
mod readiness;
mod records;
mod retention;
mod revocations;
mod sending;
mod sqlite;
mod url;
mod webhooks;

pub use connections::Wait;
use connections::{LastCommit, within};
pub use erasure::Erased;
pub use failures::StoreError;
pub use lease::{LEASE, LeaseState, Term};
use ledger::Database as _;
use new_events::News;
use outage::Outage;
pub use outbox::{OutboxState, RefusedEvent};
pub use readiness::Readiness;
pub use records::*;
pub use retention::Prunable;
use sending::claims::OpenClaim;
use sending::{answers, claims as attempts};
pub use webhooks::{Batch, Recording};

/// Longest time that a call may take, unless its caller has a limit of its own.
const LONGEST_CALL: Duration = Duration::from_secs(30);
/// Longest time that a call for webhooks may take. Longer than Telnyx waits, so that a slow database still gets on: what
/// is recorded after its requester gave up is a duplicate when Telnyx repeats it.
const LONGEST_WEBHOOK_CALL: Duration = Duration::from_secs(10);
/// Longest time that a call goes on once it is known that the database's server refuses connections.
const LONGEST_CALL_WHILE_AWAY: Duration = Duration::from_secs(1);
/// Connections that nobody but the webhooks may use.
const WEBHOOK_CONNECTIONS: u32 = 2;

/// `DATABASE_URL`.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Database")]
pub struct StoreOptions {
    /// `sqlite:<file>` or `postgres://user:password@host/database`
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_name = "URL")]
    pub database_url: SecretString,
    /// Connections to PostgreSQL for calls; webhook-ingest keeps two of them, or two more if there are fewer than three,
    /// for the webhooks alone, and the relay's lease has one of its own
    #[arg(long, env = "DATABASE_CONNECTIONS", default_value_t = 8, value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub database_connections: u32,
}

/// What connections are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    /// Requests, the relay, sweeps.
    Everything,
    /// Recording webhooks, which have little time.
    Webhooks,
}

/// The store of one database.
#[derive(Clone)]
pub struct Store {
    backend: Backend,
    /// Longest time that a call may take.
    limit: Duration,
    committed_at: LastCommit,
    /// Whether the database's server refused connections when it was last looked at.
    is_away: watch::Sender<bool>,
    announcements: Arc<Notify>,
    outage: Arc<Outage>,
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

impl Store {
    /// Prepares the store without connecting: the database may be away.
    ///
    /// # Errors
    /// `DATABASE_URL` names no database that we know, or none that can be there.
    pub fn new(options: &StoreOptions) -> Result<Self, ConfigError> {
        Self::with(options, options.database_connections, Use::Everything, LastCommit::default())
    }

    /// The same with a second handle, which records webhooks: nobody else uses its connections, and it waits only 200 ms
    /// for rows that another transaction has locked.
    ///
    /// # Errors
    /// As [`Store::new`].
    pub fn with_webhooks(options: &StoreOptions) -> Result<(Self, Self), ConfigError> {
        let others = options.database_connections.saturating_sub(WEBHOOK_CONNECTIONS).max(1);
        let all = Self::with(options, others, Use::Everything, LastCommit::default())?;
        let mut webhooks = Self::with(options, WEBHOOK_CONNECTIONS, Use::Webhooks, all.committed_at.clone())?;
        webhooks.limit = LONGEST_WEBHOOK_CALL;
        webhooks.announcements = all.announcements.clone();
        webhooks.is_away = all.is_away.clone();
        Ok((all, webhooks))
    }

    fn with(
        options: &StoreOptions,
        connections: u32,
        used: Use,
        committed_at: LastCommit,
    ) -> Result<Self, ConfigError> {
        let (url, commits) = (options.database_url.expose_secret(), committed_at.clone());
        url::check(url)?;
        let backend = if url.starts_with("sqlite:") {
            Backend::Sqlite(sqlite::Sqlite::new(url::sqlite_file(url), commits))
        } else {
            Backend::Postgres(postgres::Postgres::new(url, connections, used, commits)?)
        };
        Ok(Self {
            backend,
            limit: LONGEST_CALL,
            committed_at,
            is_away: watch::Sender::default(),
            announcements: Arc::default(),
            outage: Arc::new(Outage::new(url)),
            served: Arc::default(),
            open_claims: Arc::default(),
            limits: SendLimits::default(),
        })
    }

    /// A handle on the same connections, each of whose calls takes so long at most.
    pub fn within(&self, limit: Duration) -> Self {
        Self { limit, ..self.clone() }
    }

    /// Does a call within its limit. Nobody waits long for a server that is known to be away.
    async fn bounded<T>(&self, call: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        let mut is_away = self.is_away.subscribe();
        let away = async {
            if is_away.wait_for(|away| *away).await.is_err() {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(LONGEST_CALL_WHILE_AWAY).await;
        };
        within(self.limit, away, call).await
    }

    /// Replaces every connection before it is used again.
    fn renew(&self) {
        match &self.backend {
            Backend::Postgres(db) => db.renew(),
            Backend::Sqlite(db) => db.renew(),
        }
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

    /// Notified after each commit that put a row into the outbox.
    pub fn announcements(&self) -> Arc<Notify> {
        self.announcements.clone()
    }

    /// Logs what was committed, and tells the relay if anything is there to be announced.
    fn announce(&self, news: &News) {
        news.log();
        self.wake_relay(!news.is_empty());
    }

    /// Tells the relay, if anything is there to be announced.
    fn wake_relay(&self, has_events: bool) {
        if has_events {
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
        let recorded = dispatch!(self, db => db.record_message(message, key).await)?;
        self.wake_relay(matches!(recorded, Recorded::New(_)));
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

    /// A page of the recipients of one message of a church, in the order in which they were given.
    ///
    /// # Errors
    /// The database is away.
    pub async fn recipients(
        &self,
        church: &ChurchId,
        message: Uuid,
        query: &RecipientQuery,
    ) -> Result<Vec<Recipient>, StoreError> {
        dispatch!(self, db => db.recipients(church, message, query).await)
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
        dispatch!(self, db => attempts::publish_rate(db, self.limits.rate).await)
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
        dispatch!(self, db => attempts::next_at(db).await)
    }

    /// The senders that something waits for and that are held back.
    ///
    /// # Errors
    /// The database is away.
    pub async fn held_senders(&self, now: OffsetDateTime) -> Result<Vec<HeldSender>, StoreError> {
        dispatch!(self, db => attempts::held(db, now).await)
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
        let news = dispatch!(self, db => answers::record_answers(db, answers, now).await)?;
        self.announce(&news);
        Ok(())
    }

    /// Ends the waiting of recipients whose receipt is overdue. Returns how many.
    ///
    /// # Errors
    /// The database is away.
    pub async fn close_overdue(&self, overdue: &Overdue, now: OffsetDateTime) -> Result<usize, StoreError> {
        let (closed, news) = dispatch!(self, db => answers::close_overdue(db, overdue, now).await)?;
        self.announce(&news);
        Ok(closed)
    }

    /// Fails, as `not_sent`, up to `limit` recipients that were held back for longer than the limit of time. Returns
    /// how many.
    ///
    /// # Errors
    /// The database is away.
    pub async fn fail_unsent(&self, limit: u32, now: OffsetDateTime) -> Result<usize, StoreError> {
        let Some(within) = self.limits.within else { return Ok(0) };
        let (failed, news) = dispatch!(self, db => answers::fail_unsent(db, within, limit, now).await)?;
        self.announce(&news);
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

    /// Records a batch of webhooks in one transaction, if nothing stands against it. A body that the database refuses
    /// is split off and recorded as ignored; the others are not harmed. Of webhooks whose message another transaction
    /// has locked, those received before `park_before` are parked and the others left out. Afterwards, and after they
    /// are answered, the batch belongs to [`Store::claim_recorded`].
    ///
    /// # Errors
    /// The database is away ([`StoreError::is_temporary`]); if the batch was split, a part of it may be recorded.
    pub async fn record_batch(
        &self,
        batch: &[Webhook],
        park_before: OffsetDateTime,
    ) -> Result<Batch, StoreError> {
        let recorded = dispatch!(self, db => webhooks::record(db, batch, park_before).await)?;
        self.announce(&recorded.news);
        Ok(recorded)
    }

    /// Gives webhooks that were just parked their recipients, if those were committed meanwhile. The sweep stands
    /// behind it, so that nothing is wrong with the batch if this fails.
    ///
    /// # Errors
    /// The database is away.
    pub async fn claim_recorded(&self, batch: Batch) -> Result<(), StoreError> {
        if batch.parked.is_empty() {
            return Ok(());
        }
        let parked = &batch.parked;
        let (_, news) = dispatch!(self, db => webhooks::claim(db, parked.clone()).await)?;
        self.announce(&news);
        Ok(())
    }

    /// Records a batch and gives it its recipients: one outcome for each webhook, in the order given. What is locked is
    /// parked.
    ///
    /// # Errors
    /// The database is away ([`StoreError::is_temporary`]), or holds what this version can't read.
    pub async fn record_webhooks(&self, batch: &[Webhook]) -> Result<Vec<Outcome>, StoreError> {
        let everything = OffsetDateTime::now_utc() + time::Duration::DAY;
        let mut recorded = self.record_batch(batch, everything).await?;
        let recordings = std::mem::take(&mut recorded.recordings);
        if let Err(error) = self.claim_recorded(recorded).await {
            warn!(error = &error as &dyn std::error::Error, "parked webhooks wait for the sweep");
        }
        let outcome = |recording| match recording {
            Recording::Recorded(outcome) => Ok(outcome),
            Recording::Locked => Ok(Outcome::Parked),
            Recording::Unreadable => Err(StoreError::Unreadable("a newer version wrote it".into())),
        };
        recordings.into_iter().map(outcome).collect()
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
        let (claimed, next, news) = dispatch!(self, db => webhooks::sweep_parked(db, after, limit).await)?;
        self.announce(&news);
        Ok((claimed, next))
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    /// The places in the SQL of a folder where "all columns" are asked for.
    fn stars(folder: &Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                stars(&path, found);
                continue;
            }
            // Less what stands here.
            let text = std::fs::read_to_string(&path).unwrap().to_lowercase();
            let text = text.split("#[cfg(test)]").next().unwrap();
            for (number, line) in text.lines().enumerate() {
                let of_alias = |at: usize| line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
                // In Rust, a star before a name is no column.
                let of_name = |at: usize| line[at..].starts_with(|c: char| c.is_alphanumeric() || c == '_');
                let is_star = ["select *", "returning *"].iter().any(|star| line.contains(star))
                    || line.match_indices(", *").any(|(at, star)| !of_name(at + star.len()))
                    || line.match_indices(".*").any(|(at, _)| of_alias(at));
                if is_star {
                    found.push(format!("{}:{}: {line}", path.display(), number + 1));
                }
            }
        }
    }

    /// A column may be added while older binaries run; their prepared statements must not notice.
    #[test]
    fn no_statement_asks_for_all_columns() {
        let mut found = Vec::new();
        stars(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store"), &mut found);
        assert!(found.is_empty(), "name the columns:\n{}", found.join("\n"));
    }
}
