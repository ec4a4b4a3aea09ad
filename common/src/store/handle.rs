//! [`Store`]: the handle on one database, and the limits of its calls.

use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use tokio::sync::{Notify, watch};

use super::connections::{LastCommit, Purpose, within};
use super::failures::StoreError;
use super::new_events::NewEvents;
use super::outage::Outage;
use super::postgres::Postgres;
use super::records::SendLimits;
use super::sending::memory::ClaimMemory;
use super::sqlite::Sqlite;
use super::url;
use crate::service::ConfigError;

/// Calls the same function on whichever database it is.
macro_rules! on_either {
    ($store:expr, $db:ident => $call:expr) => {
        match &$store.backend {
            $crate::store::handle::Backend::Postgres($db) => async { $call }.await,
            $crate::store::handle::Backend::Sqlite($db) => async { $call }.await,
        }
    };
}
pub(super) use on_either;

/// The same, as long as the store's limit lets it. What the database took back because of a changed column or a
/// deadlock is done again, once; what may have been committed is not.
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
                                $crate::store::handle::on_either!($store, db => $crate::store::database::Database::renew(db));
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

/// Longest time that a call may take, unless its caller has a limit of its own.
const LONGEST_CALL: Duration = Duration::from_secs(30);
/// Longest time that a call for webhooks may take. Longer than Telnyx waits, so that a slow database still gets on: what
/// is recorded after its requester gave up is a duplicate when Telnyx repeats it.
const LONGEST_WEBHOOK_CALL: Duration = Duration::from_secs(10);
/// Longest time that a call goes on once it is known that the database's server refuses connections.
const LONGEST_CALL_WHILE_AWAY: Duration = Duration::from_secs(1);
/// Connections that only the webhooks use.
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

/// The store of one database.
#[derive(Clone)]
pub struct Store {
    pub(super) backend: Backend,
    /// Longest time that a call may take.
    limit: Duration,
    pub(super) committed_at: LastCommit,
    /// Whether the database's server refused connections when it was last looked at.
    pub(super) is_away: watch::Sender<bool>,
    announcements: Arc<Notify>,
    pub(super) outage: Arc<Outage>,
    pub(super) claims: Arc<ClaimMemory>,
    pub(super) limits: SendLimits,
}

#[derive(Clone)]
pub(super) enum Backend {
    Postgres(Postgres),
    Sqlite(Sqlite),
}

impl Store {
    /// Prepares the store without connecting: the database may be away.
    ///
    /// # Errors
    /// `DATABASE_URL` names no database that we know, or none that can be there.
    pub fn new(options: &StoreOptions) -> Result<Self, ConfigError> {
        Self::with(options, options.database_connections, Purpose::Everything, LastCommit::default())
    }

    /// The same with a second handle, which records webhooks: it has its own connections, and it waits only 200 ms for
    /// rows that another transaction has locked.
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
            claims: Arc::default(),
            limits: SendLimits::default(),
        })
    }

    /// A handle on the same connections, whose calls take no longer than the limit.
    pub fn within(&self, limit: Duration) -> Self {
        Self { limit, ..self.clone() }
    }

    /// Does a call within its limit. Once the server is known to be away, the call ends soon.
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
        within(self.limit, away, call).await
    }

    /// Brings the schema up to date. Several services may do so at the same time; newer schemas are left alone.
    ///
    /// # Errors
    /// The database is away, or a migration failed.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        on_either!(self, db => db.migrate().await)
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

    /// After a commit: logs its events and wakes the relay if there are any.
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
