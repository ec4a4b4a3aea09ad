//! Stops PostgreSQL in the middle of one kind of commit, so that a test decides what becomes of it.

use sqlx::{Connection as _, PgConnection};
use tokio::sync::Mutex;

use crate::eventually;

/// A kind of transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A message is recorded.
    Message,
    /// Recipients are claimed for sending.
    Claim,
    /// Telnyx's id of a recipient becomes known.
    Accepted,
    /// An attempt is taken back, because Telnyx did not accept it.
    TakenBack,
    /// A report that Telnyx was asked for is recorded.
    Report,
}

impl Step {
    /// Which change of which rows it is known by.
    fn event(self) -> &'static str {
        match self {
            Self::Message => "insert on messages",
            Self::Claim | Self::Accepted | Self::TakenBack => "update on recipients",
            Self::Report => "insert on webhooks",
        }
    }

    fn condition(self) -> &'static str {
        match self {
            Self::Message => "true",
            Self::Claim => "old.attempted_at is null and new.attempted_at is not null",
            Self::Accepted => "old.provider_id is null and new.provider_id is not null",
            Self::TakenBack => "old.attempted_at is not null and new.attempted_at is null",
            Self::Report => "new.event_type = 'asked'",
        }
    }
}

/// The sessions that wait for a step's lock.
macro_rules! stopped {
    () => {
        "pg_locks where locktype = 'advisory' and classid = 815 and objid::bigint = $1 and not granted
             and database = (select oid from pg_database where datname = current_database())"
    };
}

/// Holds every commit of one kind from now on. Open for good once it is opened.
pub struct Gate {
    step: Step,
    connection: PgConnection,
}

impl Gate {
    /// Closes it in the database of a URL.
    ///
    /// # Panics
    /// The database can't be changed.
    pub async fn close(url: &str, step: Step) -> Self {
        let name = format!("gate_{step:?}").to_lowercase();
        let (event, condition, key) = (step.event(), step.condition(), step as i32);
        // The commit waits inside the server, like one whose disk is slow.
        let sql = format!(
            "create or replace function {name}() returns trigger language plpgsql as $$ begin
                 perform set_config('lock_timeout', '60s', true), pg_advisory_xact_lock_shared(815, {key});
                 return null;
             end $$;
             drop trigger if exists {name} on {table};
             create constraint trigger {name} after {event} deferrable initially deferred
                 for each row when ({condition}) execute function {name}();
             select pg_advisory_lock(815, {key})",
            table = event.rsplit(' ').next().unwrap_or_default(),
        );
        let mut connection = PgConnection::connect(url).await.expect("the server can be reached");
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut connection).await.expect("the gate is made");
        Self { step, connection }
    }

    /// Waits until a commit is stopped.
    ///
    /// # Panics
    /// None comes.
    pub async fn until_reached(&mut self) {
        const STOPPED: &str = concat!("select count(*) from ", stopped!());
        let (step, connection) = (self.step, Mutex::new(&mut self.connection));
        eventually(&format!("a commit is stopped: {step:?}"), async || {
            let mut connection = connection.lock().await;
            let count = sqlx::query_scalar::<_, i64>(STOPPED).bind(step as i64).fetch_one(&mut **connection);
            (count.await.expect("PostgreSQL tells its locks") > 0).then_some(())
        })
        .await;
    }

    /// Lets the commits be done.
    ///
    /// # Panics
    /// The server is away.
    pub async fn open(self) {
        self.connection.close().await.expect("the lock is given back");
    }

    /// Ends the sessions whose commits are stopped, so that nothing of them stands, and lets later ones pass.
    ///
    /// # Panics
    /// The server is away.
    pub async fn undo(mut self) {
        const END: &str = concat!("select pg_terminate_backend(pid, 10000) from ", stopped!());
        let ended = sqlx::query(END).bind(self.step as i64).fetch_all(&mut self.connection).await;
        ended.expect("the sessions are ended");
        self.open().await;
    }
}
