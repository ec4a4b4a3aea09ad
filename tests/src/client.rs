//! A browser: the stock Socket.IO client in a process of its own, and what it has seen.

use std::time::{Duration, Instant};

use common::event::{ChurchEvent, EventType};
use deploy::watch::{Seen, Watcher};
use tokio::process::Command;
use uuid::Uuid;

/// Longest silence.
const LIMIT: Duration = Duration::from_secs(60);
/// Longest wait for something to be seen, while other things are.
const PATIENCE: Duration = Duration::from_secs(120);

/// A running client. Dropping it ends its process at once.
pub struct Client {
    watcher: Watcher,
    seen: Vec<Seen>,
}

impl Client {
    /// Starts one with further arguments of `deploy/client/watch.mjs`.
    ///
    /// # Panics
    /// Node can't be run.
    pub async fn start(url: &str, token: &str, arguments: &[&str]) -> Self {
        let watcher = Watcher::start(url, token, arguments).await.expect("the client starts");
        Self { watcher, seen: Vec::new() }
    }

    /// Runs a program of Node that says what it sees as `watch.mjs` does.
    ///
    /// # Panics
    /// Node can't be run.
    pub fn run(program: Command) -> Self {
        Self { watcher: Watcher::run(program).expect("the program starts"), seen: Vec::new() }
    }

    /// The next thing that it sees.
    ///
    /// # Panics
    /// It sees nothing more.
    pub async fn next(&mut self) -> &Seen {
        let next = self.watcher.next(LIMIT).await;
        let seen = next.unwrap_or_else(|error| panic!("{error:#} after {:#?}", self.tail()));
        self.seen.push(seen);
        &self.seen[self.seen.len() - 1]
    }

    /// Looks on until it sees something of this name.
    ///
    /// # Panics
    /// It does not.
    pub async fn until(&mut self, event: &str) -> Seen {
        self.until_one(|seen| seen.event == event).await
    }

    /// Looks on until it sees what is looked for.
    ///
    /// # Panics
    /// It does not.
    pub async fn until_one(&mut self, is_it: impl Fn(&Seen) -> bool) -> Seen {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            let seen = self.next().await;
            if is_it(seen) {
                return seen.clone();
            }
        }
        panic!("the client saw much, but not what was looked for; lately {:#?}", self.tail());
    }

    /// Looks on until it has seen an event of the stream whole.
    ///
    /// # Panics
    /// It does not.
    pub async fn until_event(&mut self, id: Uuid) {
        if !self.whole_events().contains(&id) {
            self.until_one(|seen| whole_event(seen) == Some(id)).await;
        }
    }

    /// What it has seen so far, in order.
    pub fn seen(&self) -> &[Seen] {
        &self.seen
    }

    /// What it has seen of the church's messages, notifications included.
    pub fn packets(&self) -> impl Iterator<Item = &Seen> {
        self.seen.iter().filter(|seen| seen.data["eventId"].is_string())
    }

    /// The newest cursor that it was given.
    pub fn cursor(&self) -> Option<String> {
        let mut newest_first = self.seen.iter().rev();
        newest_first.find_map(|seen| Some(seen.data["cursor"].as_str()?.to_owned()))
    }

    /// Ids of the events whose last packet it has seen, in order.
    pub fn whole_events(&self) -> Vec<Uuid> {
        self.seen.iter().filter_map(whole_event).collect()
    }

    /// What its connections were told, in order: whether it has all.
    pub fn recovered(&self) -> Vec<bool> {
        let connected = self.seen.iter().filter(|seen| seen.event == "connected");
        connected.filter_map(|seen| seen.data["recovered"].as_bool()).collect()
    }

    /// Says goodbye.
    ///
    /// # Panics
    /// Its process can't be waited for.
    pub async fn stop(self) {
        self.watcher.stop().await.expect("the client ends");
    }

    fn tail(&self) -> &[Seen] {
        &self.seen[self.seen.len().saturating_sub(8)..]
    }
}

/// The event whose last packet this is.
pub fn whole_event(seen: &Seen) -> Option<Uuid> {
    seen.data["cursor"].as_str()?;
    seen.data["eventId"].as_str()?.parse().ok()
}

/// The packets that a church's user sees of an event: name and whether it carries the cursor. The author's
/// notification is not among them.
pub fn packets_of(event: &ChurchEvent) -> Vec<(&'static str, bool)> {
    match event.kind {
        EventType::Sent | EventType::StatusUpdate => vec![(event.kind.as_str(), true)],
        kind => vec![(EventType::StatusUpdate.as_str(), false), (kind.as_str(), true)],
    }
}
