//! A PostgreSQL server of its own that writes the plan of each statement to its log.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;

use common::store::{Store, StoreOptions};
use deploy::postgres::{NAME, PrivateServer};
use deploy::scratch::Scratch;
use sqlx::{Connection as _, Executor as _, PgConnection};
use tests::databases::{self, Database};
use tests::eventually;
use tests::load::filling::{Amount, fill};

use super::plan::Plan;

/// How often each call is made. After five times PostgreSQL may plan a prepared statement once for all values.
const TIMES: usize = 7;
/// Rows that a statement may read for each row that it concerns: every step of its plan counts them.
const STEPS: u64 = 12;
/// Rows that any statement may read besides.
const BESIDES: u64 = 250;
/// What only a page of the history says, and its limit: it counts up to 10,000 messages, in two steps.
const COUNTED: (&str, u64) = ("as counted from messages", 25_000);
/// The statement whose plan shows that all before it are in the log.
const MARK: &str = "select 1";

const EXPLAIN: &str = "
    alter database plans set session_preload_libraries = 'auto_explain';
    alter database plans set auto_explain.log_min_duration = 0;
    alter database plans set auto_explain.log_analyze = on;
    alter database plans set auto_explain.log_timing = off;
    alter database plans set auto_explain.log_format = json;
    alter database plans set auto_explain.log_nested_statements = on";

/// The server with its filled database, and what was found wrong.
pub(super) struct Explained {
    store: Store,
    url: String,
    log: PathBuf,
    read_to: u64,
    wrong: Vec<String>,
    _server: PrivateServer,
    _folder: Scratch,
}

impl Explained {
    /// Starts a server with a database that is filled, also by these statements, and has all its indexes.
    pub(super) async fn start(amount: Amount, more: &str) -> Self {
        let folder = databases::folder();
        let server = PrivateServer::start(folder.path()).await.unwrap();
        let url = server.database("plans").unwrap();
        let store = Database::named(&url);
        eventually("the schema is made", async || store.migrate().await.ok()).await;
        fill(&url, amount).await.unwrap();
        store.build_indexes().await.unwrap();
        for sql in [more, "vacuum analyze"] {
            databases::execute(&url, sql).await;
        }
        explain_from_now_on(&url).await;
        // One connection, so that the plans come in the order of the statements.
        let options = StoreOptions { database_url: url.clone().into(), database_connections: 1 };
        Self {
            store: Store::new(&options).unwrap(),
            url,
            log: folder.path().join("logs").join(NAME).with_extension("log"),
            read_to: 0,
            wrong: Vec::new(),
            _server: server,
            _folder: folder,
        }
    }

    /// Runs statements whose plans do not matter.
    pub(super) async fn execute(&self, sql: &str) {
        databases::execute(&self.url, &format!("set auto_explain.log_min_duration = -1; {sql}")).await;
    }

    /// Makes a call whose plans do not matter.
    pub(super) async fn once<T>(&self, call: impl AsyncFn(&Store) -> T) -> T {
        call(&self.store).await
    }

    /// Makes a call whose statements concern at most so many rows. They must read no large table as a whole, and few rows
    /// of others.
    pub(super) async fn check<T>(&mut self, name: &str, about: u64, call: impl AsyncFn(&Store) -> T) -> T {
        // What was done before.
        self.plans().await;
        for _ in 1..TIMES {
            call(&self.store).await;
        }
        let done = call(&self.store).await;
        let plans = self.plans().await;
        assert!(plans.len() >= TIMES, "{name}: {} plans are in the log", plans.len());
        let faults = plans.iter().filter_map(|plan| Some((&plan.query, fault(name, about, plan)?)));
        self.wrong.extend(faults.collect::<BTreeMap<_, _>>().into_values());
        done
    }

    /// The plans of the statements since the last call.
    async fn plans(&mut self) -> Vec<Plan> {
        self.store.ping().await.unwrap();
        let (log, from) = (&self.log, self.read_to);
        let (mut plans, read_to) = eventually("the plans are in the log", async || {
            let mut text = String::new();
            let mut file = File::open(log).unwrap();
            file.seek(SeekFrom::Start(from)).unwrap();
            file.read_to_string(&mut text).unwrap();
            let plans = Plan::all_in(&text);
            plans.last().is_some_and(|plan| plan.query == MARK).then_some((plans, from + text.len() as u64))
        })
        .await;
        self.read_to = read_to;
        plans.pop();
        plans
    }

    /// Fails with all that was found wrong.
    pub(super) fn end(self) {
        assert!(self.wrong.is_empty(), "{}", self.wrong.join("\n"));
    }
}

async fn explain_from_now_on(url: &str) {
    let mut connection = PgConnection::connect(url).await.unwrap();
    if let Err(error) = connection.execute("load 'auto_explain'").await {
        panic!("install PostgreSQL's additional modules (postgresql-contrib); auto_explain is one: {error}");
    }
    connection.execute(EXPLAIN).await.unwrap();
}

/// What is wrong with a plan.
fn fault(name: &str, about: u64, plan: &Plan) -> Option<String> {
    let limit = if plan.query.contains(COUNTED.0) { COUNTED.1 } else { STEPS * about + BESIDES };
    let (rows, scanned) = (plan.rows(), plan.scanned());
    let fault = match scanned.as_slice() {
        [] if rows <= limit => return None,
        [] => format!("its steps read {rows} rows, more than {limit}"),
        tables => format!("it reads all of {}", tables.join(", ")),
    };
    Some(format!("{name}: {fault}:\n{}\n{}", plan.query, plan.tree()))
}
