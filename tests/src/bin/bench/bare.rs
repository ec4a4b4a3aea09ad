//! What durable webhooks cost at least: a handler that verifies the signature and commits the body, in batches like
//! webhook-ingest's, to the same kind of database. No parsing, no matching, no outbox.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use axum::{Json, Router};
use bytes::Bytes;
use serde_json::{Value, json};
use sqlx::postgres::{PgPool, PgPoolOptions};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use time::OffsetDateTime;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use webhook_ingest::signature::{PublicKeys, SignatureHeaders};

/// As webhook-ingest's by default.
const QUEUE: usize = 2048;
/// As webhook-ingest's by default.
const BATCH: usize = 256;

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    #[arg(long)]
    listen: SocketAddr,
    #[arg(long)]
    database_url: String,
    #[arg(long)]
    public_key: String,
}

type Entry = (Bytes, oneshot::Sender<bool>);

struct Shared {
    keys: PublicKeys,
    queue: mpsc::Sender<Entry>,
}

/// A table of its own.
enum Table {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

/// Serves until it is ended by a signal.
pub(crate) async fn run(options: Options) -> anyhow::Result<()> {
    let table = Table::open(&options.database_url).await.context("can't open the bare database")?;
    let keys = PublicKeys::parse(&options.public_key)?;
    let (queue, waiting) = mpsc::channel(QUEUE);
    tokio::spawn(commit(table, waiting));
    let listener = TcpListener::bind(options.listen).await?;
    let router = Router::new()
        .route("/webhooks/telnyx/{recipient_id}", post(receive))
        .with_state(Arc::new(Shared { keys, queue }));
    Ok(axum::serve(listener, router).await?)
}

async fn receive(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, StatusCode> {
    let claim = SignatureHeaders::read(&headers, OffsetDateTime::now_utc());
    let verified =
        claim.and_then(|claim| claim.verify(body, &shared.keys)).map_err(|_| StatusCode::UNAUTHORIZED)?;
    let (answer, committed) = oneshot::channel();
    let entry = (verified.body().clone(), answer);
    shared.queue.try_send(entry).map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
    match committed.await {
        Ok(true) => Ok(Json(json!({"received": true}))),
        _ => Err(StatusCode::SERVICE_UNAVAILABLE),
    }
}

async fn commit(table: Table, mut waiting: mpsc::Receiver<Entry>) {
    let mut entries = Vec::with_capacity(BATCH);
    while waiting.recv_many(&mut entries, BATCH).await > 0 {
        let (bodies, answers): (Vec<_>, Vec<_>) = entries.drain(..).unzip();
        let committed = table.insert(&bodies).await.is_ok();
        for answer in answers {
            // Nobody listens any more if the requester gave up.
            let _ = answer.send(committed);
        }
    }
}

impl Table {
    async fn open(url: &str) -> sqlx::Result<Self> {
        if let Some(file) = url.strip_prefix("sqlite:") {
            let options = SqliteConnectOptions::new()
                .filename(file)
                .create_if_missing(true)
                .journal_mode(SqliteJournalMode::Wal)
                .synchronous(SqliteSynchronous::Full);
            let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options).await?;
            sqlx::query("create table bare (id integer primary key, body blob not null)")
                .execute(&pool)
                .await?;
            return Ok(Self::Sqlite(pool));
        }
        let pool = PgPoolOptions::new().max_connections(1).connect(url).await?;
        let table = "create table bare (id bigserial primary key, body bytea not null)";
        sqlx::query(table).execute(&pool).await?;
        Ok(Self::Postgres(pool))
    }

    async fn insert(&self, bodies: &[Bytes]) -> sqlx::Result<()> {
        match self {
            Self::Sqlite(pool) => {
                let mut transaction = pool.begin_with("BEGIN IMMEDIATE").await?;
                for body in bodies {
                    let insert = sqlx::query("insert into bare (body) values ($1)").bind(body.as_ref());
                    insert.execute(&mut *transaction).await?;
                }
                transaction.commit().await
            }
            Self::Postgres(pool) => {
                let bodies: Vec<&[u8]> = bodies.iter().map(AsRef::as_ref).collect();
                let insert =
                    sqlx::query("insert into bare (body) select * from unnest($1::bytea[])").bind(bodies);
                insert.execute(pool).await.map(drop)
            }
        }
    }
}
