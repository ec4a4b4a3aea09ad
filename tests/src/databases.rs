//! A database for each test: a SQLite file, or a database on the test run's private PostgreSQL server.

use std::sync::atomic::{AtomicU32, Ordering};

use common::store::{Store, StoreOptions};
use deploy::postgres::PrivateServer;
use deploy::scratch::Scratch;
use secrecy::SecretString;
use sqlx::{ConnectOptions as _, Executor as _};
use tokio::sync::OnceCell;

/// The kind of database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A SQLite file.
    Sqlite,
    /// A database on the private PostgreSQL server.
    Postgres,
}

/// A new database, removed when dropped.
pub struct Database {
    /// The value for `DATABASE_URL`.
    pub url: String,
    _folder: Scratch,
}

/// One server for all tests of a process. A guard process ends it and removes its folder when this process ends.
static SERVER: OnceCell<(PrivateServer, Scratch)> = OnceCell::const_new();
static NEXT: AtomicU32 = AtomicU32::new(0);

impl Database {
    /// Creates an empty database.
    ///
    /// # Panics
    /// If it can't be made.
    pub async fn fresh(kind: Kind) -> Self {
        let folder = folder();
        let url = match kind {
            Kind::Sqlite => format!("sqlite:{}", folder.path().join("church.db").display()),
            Kind::Postgres => {
                let (server, _) = SERVER.get_or_init(start_server).await;
                let name = format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed));
                server.database(&name).expect("the private PostgreSQL makes a database")
            }
        };
        Self { url, _folder: folder }
    }

    /// A store on this database, without a schema.
    ///
    /// # Panics
    /// If the URL is wrong.
    pub fn store(&self) -> Store {
        Self::named(&self.url)
    }

    /// A store on the database with this URL.
    ///
    /// # Panics
    /// If the URL is wrong.
    pub fn named(url: &str) -> Store {
        let options = StoreOptions { database_url: SecretString::from(url), database_connections: 4 };
        Store::new(&options).expect("the URL names a database")
    }

    /// Runs a statement directly. `$EPOCH` stands for the beginning of 1970 in the database's format.
    ///
    /// # Panics
    /// If the database refuses it.
    pub async fn execute(&self, sql: &str) {
        execute(&self.url, sql).await;
    }

    /// A store on this database with an up-to-date schema; in PostgreSQL without its large indexes, so that tests show that
    /// all is right without them.
    ///
    /// # Panics
    /// If the schema can't be made.
    pub async fn migrated(&self) -> Store {
        let store = self.store();
        // On a busy machine the first connection may take longer than a call's limit.
        crate::eventually("the schema is made", async || store.migrate().await.ok()).await;
        store
    }
}

/// Runs a statement on the database with this URL; see [`Database::execute`].
///
/// # Panics
/// If the database refuses it.
pub async fn execute(url: &str, sql: &str) {
    if url.starts_with("sqlite") {
        let an_hour_ago = "(unixepoch() - 3600) * 1000";
        let sql = sql.replace("$EPOCH", "0").replace("$AN_HOUR_AGO", an_hour_ago);
        let options = url.parse::<sqlx::sqlite::SqliteConnectOptions>().expect("a URL of SQLite");
        let options = options.busy_timeout(std::time::Duration::from_secs(30));
        let mut connection = options.connect().await.expect("the file can be opened");
        connection.execute(sqlx::AssertSqlSafe(sql)).await.expect("SQLite accepts the statement");
    } else {
        let sql = sql.replace("$EPOCH", "'epoch'").replace("$AN_HOUR_AGO", "now() - interval '1 hour'");
        let options = url.parse::<sqlx::postgres::PgConnectOptions>().expect("a URL of PostgreSQL");
        let mut connection = options.connect().await.expect("the server can be reached");
        connection.execute(sqlx::AssertSqlSafe(sql)).await.expect("PostgreSQL accepts the statement");
    }
}

/// The number that a query of one row and column returns, from the database with this URL.
///
/// # Panics
/// If the database refuses it.
pub async fn number(url: &str, sql: &str) -> i64 {
    let sql = sqlx::AssertSqlSafe(sql.to_owned());
    if url.starts_with("sqlite") {
        let options = url.parse::<sqlx::sqlite::SqliteConnectOptions>().expect("a URL of SQLite");
        let mut connection = options.read_only(true).connect().await.expect("the file can be opened");
        sqlx::query_scalar(sql).fetch_one(&mut connection).await.expect("SQLite accepts the query")
    } else {
        let options = url.parse::<sqlx::postgres::PgConnectOptions>().expect("a URL of PostgreSQL");
        let mut connection = options.connect().await.expect("the server can be reached");
        sqlx::query_scalar(sql).fetch_one(&mut connection).await.expect("PostgreSQL accepts the query")
    }
}

async fn start_server() -> (PrivateServer, Scratch) {
    let folder = folder();
    let server = PrivateServer::start_disposable(folder.path()).await.expect("a private PostgreSQL starts");
    (server, folder)
}

/// A folder that is removed when dropped. A failing test keeps it and prints the ends of its logs.
///
/// # Panics
/// If it can't be made.
pub fn folder() -> Scratch {
    Scratch::new().expect("a folder is made")
}

/// Runs each test on both databases: `async fn name(kind: Kind)` becomes `sqlite::name` and `postgres::name`.
#[macro_export]
macro_rules! on_both_databases {
    ($($name:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::$name($crate::databases::Kind::Sqlite).await;
            })+
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::$name($crate::databases::Kind::Postgres).await;
            })+
        }
    };
}
