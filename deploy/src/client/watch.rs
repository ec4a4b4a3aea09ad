//! The stock Socket.IO client, run by Node, as a stream of the events that it gets.

use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use serde::Deserialize;
use serde_json::Value;
use time::OffsetDateTime;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;

use crate::programs::tools;

/// Events that may wait to be read. If there are more, the client's output waits.
const WAITING: usize = 10_000;

/// An event as the client got it.
#[derive(Debug, Clone)]
pub struct Seen {
    /// When, by the client's clock.
    pub at: OffsetDateTime,
    /// The number of the client's socket that got it, from 0.
    pub socket: usize,
    /// Its name; `open`, `upgrade`, `connect`, `disconnect` and `connect_error` are the client's own.
    pub event: String,
    /// Its payload.
    pub data: Value,
}

/// A running client. It ends when this is dropped or we end.
pub struct Watcher {
    events: mpsc::Receiver<Seen>,
    process: Child,
}

impl Watcher {
    /// Connects to a gateway. `arguments` are further ones of `deploy/client/watch.mjs`. As there, address and token
    /// may be lists, comma separated.
    ///
    /// # Errors
    /// Node or the client's packages are missing and can't be fetched.
    pub async fn start(url: &str, token: &str, arguments: &[&str]) -> anyhow::Result<Self> {
        let folder = tokio::task::spawn_blocking(tools::client).await??;
        let mut program = Command::new("node");
        program.arg(folder.join("watch.mjs")).args([url, "--json", "--until-eof"]).args(arguments);
        program.env("TOKEN", token);
        Self::run(program)
    }

    /// Runs a Node program that prints events as `watch.mjs --json` does, until its standard input ends.
    ///
    /// # Errors
    /// Node is missing.
    pub fn run(mut program: Command) -> anyhow::Result<Self> {
        let mut process = program
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("can't run node; Node 18 or newer is needed")?;
        let out = process.stdout.take().context("the client has no output")?;
        let (sender, events) = mpsc::channel(WAITING);
        tokio::spawn(async move {
            let mut lines = BufReader::new(out).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                let Some(seen) = parse(&line) else { continue };
                if sender.send(seen).await.is_err() {
                    return;
                }
            }
        });
        Ok(Self { events, process })
    }

    /// The next event.
    ///
    /// # Errors
    /// None came within the limit, or the client ended.
    pub async fn next(&mut self, limit: Duration) -> anyhow::Result<Seen> {
        let event = tokio::time::timeout(limit, self.events.recv()).await;
        event.context("the client saw nothing more")?.context("the client ended")
    }

    /// Skips events until one of this name.
    ///
    /// # Errors
    /// None came within the limit, or the client ended.
    pub async fn until(&mut self, event: &str, limit: Duration) -> anyhow::Result<Seen> {
        let wanted = async {
            loop {
                let seen = self.next(limit).await?;
                if seen.event == event {
                    return Ok(seen);
                }
            }
        };
        tokio::time::timeout(limit, wanted).await.with_context(|| format!("the client saw no {event}"))?
    }

    /// Lets the client disconnect and exit. Dropping it kills it.
    ///
    /// # Errors
    /// Its process can't be waited for.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        drop(self.process.stdin.take());
        self.process.wait().await?;
        Ok(())
    }
}

fn parse(line: &str) -> Option<Seen> {
    #[derive(Deserialize)]
    struct Line {
        at: f64,
        #[serde(default)]
        socket: usize,
        event: String,
        #[serde(default)]
        data: Value,
    }
    let line: Line = serde_json::from_str(line).ok()?;
    let at = OffsetDateTime::from_unix_timestamp_nanos((line.at * 1e6) as i128).ok()?;
    Some(Seen { at, socket: line.socket, event: line.event, data: line.data })
}
