//! The peer's process.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::Command;

use anyhow::{Context as _, ensure};
use deploy::ports::Port;
use deploy::processes::Processes;
use deploy::program::Program;
use deploy::tools;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use tests::load::fleet::Login;

use crate::posting::until_it_listens;
use crate::server::Server;
use crate::stage::{POSTGRES, Stage};

/// The peer's process name.
pub(super) const PEER: &str = "peer";
/// Its database.
const DATABASE: &str = "peer";

/// Node's version.
///
/// # Errors
/// There is no Node.
pub(super) fn version() -> anyhow::Result<String> {
    let missing = "the peer needs Node 18 or newer with npm; see nodejs.org";
    let said = Command::new("node").arg("--version").output().context(missing)?;
    ensure!(said.status.success(), missing);
    Ok(format!("Node {}", String::from_utf8_lossy(&said.stdout).trim()))
}

/// A running peer.
pub(super) struct Node {
    processes: Processes,
    /// Its process, and PostgreSQL's.
    pub(super) ids: BTreeMap<String, u32>,
    pub(super) address: SocketAddr,
    /// Its database, with its tables.
    pub(super) database_url: String,
}

impl Node {
    /// Starts it with a new database on the stack's PostgreSQL.
    pub(super) async fn start(stage: &Stage, connections: u32) -> anyhow::Result<Self> {
        // npm may take a while, and waits without yielding.
        let folder = tokio::task::spawn_blocking(tools::peer).await??;
        let (file, port) = (stage.stack.file(), Port::free()?.number());
        let database_url = fresh_database(&file.database).await?;
        let mut program = Program::new(PEER, tools::on_path("node").context("there is no node")?);
        program.arguments = vec![folder.join("server.js").display().to_string()];
        program.environment = [
            ("NODE_ENV", "production".into()),
            ("DATABASE_URL", database_url.clone()),
            ("DATABASE_CONNECTIONS", connections.to_string()),
            ("JWT_SECRET", file.jwt_secret.clone()),
            ("TELNYX_PUBLIC_KEY", file.telnyx_key.public.clone()),
            ("PORT", port.to_string()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        let mut processes = Processes::new(&stage.stack.state().join("logs"))?;
        processes.start(program)?;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        until_it_listens(PEER, &mut processes, address).await?;
        let mut ids: BTreeMap<_, _> = processes.ids().into_iter().collect();
        ids.extend(file.processes.get_key_value(POSTGRES).map(|(name, id)| (name.clone(), *id)));
        Ok(Self { processes, ids, address, database_url })
    }

    /// It as a Socket.IO server, with these clients.
    pub(super) fn server(&self, mut logins: Vec<Login>) -> Server {
        logins.iter_mut().for_each(|login| login.gateways = vec![self.address]);
        Server { name: PEER, processes: self.ids.clone(), logins }
    }

    /// Ends it.
    pub(super) async fn stop(mut self) {
        self.processes.stop_all().await;
    }
}

/// The URL of a new database beside the suite's.
async fn fresh_database(suite: &str) -> anyhow::Result<String> {
    let mut connection = PgConnection::connect(suite).await?;
    for statement in ["drop database if exists", "create database"] {
        connection.execute(AssertSqlSafe(format!("{statement} {DATABASE}"))).await?;
    }
    connection.close().await?;
    let (server, _) = suite.rsplit_once('/').context("the database's URL names no database")?;
    Ok(format!("{server}/{DATABASE}"))
}
