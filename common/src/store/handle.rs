//! [`Store`], the handle on one database, and the time limits of its calls.

use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use tokio::sync::{Notify, watch};

use super::connections::{LastCommit, Purpose, within};
use super::database::Database as _;
use super::error_counts::ErrorCounts;
use super::failures::StoreError;
use super::new_events::NewEvents;
use super::outage::Outage;
use super::postgres::Postgres;
use super::records::SendLimits;
use super::sending::memory::ClaimMemory;
use super::sqlite::Sqlite;
use super::url;
use crate::config::ConfigError;
use crate::telemetry::Metrics;

/// Evaluates a call on the store's database, whichever it is.
macro_rules! on_either {
    ($store:expr, $db:ident => $call:expr) => {
        match &$store.backend {
            $crate::store::handle::Backend::Postgres($db) => async { $call }.await,
            $crate::store::handle::Backend::Sqlite($db) => async { $call }.await,
        }
    };
}
pub(super) use on_either;

/// The same within the store's time limit. Repeats the call once if the database rolled it back because of a changed
/// column or a deadlock; never if it may have been committed.
macro_rules! dispatch {
    ($store:expr, $db:ident => $call:expr) => {
        $store
            .bounded(async {
                let mut again = true;
                loop {
                    match $crate::store::handle::on_either!($store, $db => $call) {
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
pub(super) use dispatch;

/// Time limit of a call, unless its caller sets one.
const LONGEST_CALL: Duration = Duration::from_secs(30);
/// Time limit of a call for webhooks. It is longer than Telnyx waits, so that a slow database makes progress: a webhook
/// that is recorded after Telnyx gave up is a duplicate when Telnyx repeats it.
const LONGEST_WEBHOOK_CALL: Duration = Duration::from_secs(10);
/// How long a call continues once the database's server is known to refuse connections.
const LONGEST_CALL_WHILE_AWAY: Duration = Duration::from_secs(1);
/// Connections reserved for webhooks.
const WEBHOOK_CONNECTIONS: u32 = 2;

/// `DATABASE_URL`.
#[derive(Debug, Clone, clap::Args)]
pub struct StoreOptions {
    /// `sqlite:<file>` or `postgres://user:password@host/database`
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_name = "URL", help_heading = "Database")]
    pub database_url: SecretString,
    /// Connections to PostgreSQL for calls; webhook-ingest keeps two of them, or two more if there are fewer than
    /// three, for the webhooks alone, and the relay's lease has one of its own
    #[arg(long, env = "DATABASE_CONNECTIONS", default_value_t = 8, value_name = "N", help_heading = "Database",
        value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub database_connections: u32,
}

/// The store of one database.
#[derive(Clone)]
pub struct Store {
    pub(super) backend: Backend,
    /// Time limit of a call.
    limit: Duration,
    pub(super) committed_at: LastCommit,
    /// Whether the database's server refused connections when it was last looked at.
    pub(super) is_away: watch::Sender<bool>,
    announcements: Arc<Notify>,
    pub(super) outage: Arc<Outage>,
    pub(super) errors: ErrorCounts,
    pub(super) claims: Arc<ClaimMemory>,
    pub(super) limits: SendLimits,
}

#[derive(Clone)]
pub(super) enum Backend {
    Postgres(Postgres),
    Sqlite(Sqlite),
}

impl Store {
    /// Prepares the store without connecting, because the database may be away.
    ///
    /// # Errors
    /// `DATABASE_URL` is malformed, or its folder does not exist.
    pub fn new(options: &StoreOptions) -> Result<Self, ConfigError> {
        Self::with(options, options.database_connections, Purpose::Everything, LastCommit::default())
    }

    /// Also prepares a second handle to record webhooks. It has its own connections, and waits only 200 ms for rows
    /// that another transaction has locked.
    ///
    /// # Errors
    /// As [`Store::new`].
    pub fn with_webhooks(options: &StoreOptions) -> Result<(Self, Self), ConfigError> {
        let others = options.database_connections.saturating_sub(WEBHOOK_CONNECTIONS).max(1);
        let all = Self::with(options, others, Purpose::Everything, LastCommit::default())?;
        let mut webhooks =
            Self::with(options, WEBHOOK_CONNECTIONS, Purpose::Webhooks, all.committed_at.clone())?;
        webhooks.limit = LONGEST_WEBHOOK_CALL;
        webhooks.announcements = all.announcements.clone();
        webhooks.is_away = all.is_away.clone();
        webhooks.errors = all.errors.clone();
        Ok((all, webhooks))
    }

    fn with(
        options: &StoreOptions,
        connections: u32,
        purpose: Purpose,
        committed_at: LastCommit,
    ) -> Result<Self, ConfigError> {
        let (url, commits) = (options.database_url.expose_secret(), committed_at.clone());
        url::check(url)?;
        let backend = if url.starts_with("sqlite:") {
            Backend::Sqlite(Sqlite::new(url::sqlite_file(url), commits))
        } else {
            Backend::Postgres(Postgres::new(url, connections, purpose, commits)?)
        };
        Ok(Self {
            backend,
            limit: LONGEST_CALL,
            committed_at,
            is_away: watch::Sender::default(),
            announcements: Arc::default(),
            outage: Arc::new(Outage::new(url)),
            errors: ErrorCounts::default(),
            claims: Arc::default(),
            limits: SendLimits::default(),
        })
    }

    /// Shows the failed calls of this store, and of all handles made from it, among these metrics.
    #[must_use]
    pub fn showing_errors(self, metrics: &Metrics) -> Self {
        self.errors.show(metrics);
        self
    }

    /// Returns a handle on the same connections with another time limit for its calls.
    pub fn within(&self, limit: Duration) -> Self {
        Self { limit, ..self.clone() }
    }

    /// Runs a call within its limit. Ends it soon once the server is known to be away.
    pub(super) async fn bounded<T>(
        &self,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let mut is_away = self.is_away.subscribe();
        let away = async {
            if is_away.wait_for(|away| *away).await.is_err() {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(LONGEST_CALL_WHILE_AWAY).await;
        };
        within(self.limit, away, call).await.inspect_err(|error| self.errors.note(error))
    }

    /// Replaces every connection before it is used again.
    pub(super) fn renew(&self) {
        match &self.backend {
            Backend::Postgres(db) => db.renew(),
            Backend::Sqlite(db) => db.renew(),
        }
    }

    /// Runs pending migrations. Several services may do so at the same time; a newer schema is left alone.
    ///
    /// # Errors
    /// The database is away, or a migration failed.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        on_either!(self, db => db.migrate().await)
    }

    /// Checks that the database answers.
    ///
    /// # Errors
    /// It does not.
    pub async fn ping(&self) -> Result<(), StoreError> {
        dispatch!(self, db => db.ping().await)
    }

    /// Notified after each commit that put a row into the outbox.
    pub fn announcements(&self) -> Arc<Notify> {
        self.announcements.clone()
    }

    /// Logs the events of a commit, and wakes the relay if there are any.
    pub(super) fn committed(&self, events: &NewEvents) {
        events.log();
        self.wake_relay(!events.is_empty());
    }

    /// Wakes the relay if there are events.
    pub(super) fn wake_relay(&self, has_events: bool) {
        if has_events {
            self.announcements.notify_one();
        }
    }
}
