//! A browser: the stock Socket.IO client in a process of its own, with a record of everything that it received.

use std::time::{Duration, Instant};

use common::event::{ChurchEvent, EventType};
use deploy::watch::{Seen, Watcher};
use tokio::process::Command;
use uuid::Uuid;

/// Longest wait for the next line of the client.
const LIMIT: Duration = Duration::from_secs(60);
/// Longest wait for one event while others arrive.
const PATIENCE: Duration = Duration::from_secs(120);

/// A running client. Dropping it kills its process.
pub struct Client {
    watcher: Watcher,
    seen: Vec<Seen>,
}

impl Client {
    /// Starts a client with further arguments for `deploy/client/watch.mjs`.
    ///
    /// # Panics
    /// If Node can't be run.
    pub async fn start(url: &str, token: &str, arguments: &[&str]) -> Self {
        let watcher = Watcher::start(url, token, arguments).await.expect("the client starts");
        Self { watcher, seen: Vec::new() }
    }

    /// Runs a Node program that prints what it receives in the format of `watch.mjs`.
    ///
    /// # Panics
    /// If Node can't be run.
    pub fn run(program: Command) -> Self {
        Self { watcher: Watcher::run(program).expect("the program starts"), seen: Vec::new() }
    }

    /// Waits for the next entry.
    ///
    /// # Panics
    /// If nothing comes in time.
    pub async fn next(&mut self) -> &Seen {
        let next = self.watcher.next(LIMIT).await;
        let seen = next.unwrap_or_else(|error| panic!("{error:#} after {:#?}", self.tail()));
        self.seen.push(seen);
        &self.seen[self.seen.len() - 1]
    }

    /// Waits for an event of this name.
    ///
    /// # Panics
    /// If it does not come in time.
    pub async fn until(&mut self, event: &str) -> Seen {
        self.until_one(|seen| seen.event == event).await
    }

    /// Waits for an entry that matches.
    ///
    /// # Panics
    /// If it does not come in time.
    pub async fn until_one(&mut self, is_it: impl Fn(&Seen) -> bool) -> Seen {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            let seen = self.next().await;
            if is_it(seen) {
                return seen.clone();
            }
        }
        panic!("the client received only other events; the last ones: {:#?}", self.tail());
    }

    /// Waits until the client has received the last packet of a stream event.
    ///
    /// # Panics
    /// If it does not come in time.
    pub async fn until_event(&mut self, id: Uuid) {
        if !self.whole_events().contains(&id) {
            self.until_one(|seen| whole_event(seen) == Some(id)).await;
        }
    }

    /// All entries so far, in order.
    pub fn seen(&self) -> &[Seen] {
        &self.seen
    }

    /// All packets about messages, notifications included.
    pub fn packets(&self) -> impl Iterator<Item = &Seen> {
        self.seen.iter().filter(|seen| seen.data["eventId"].is_string())
    }

    /// The newest cursor that the client received.
    pub fn cursor(&self) -> Option<String> {
        let mut newest_first = self.seen.iter().rev();
        newest_first.find_map(|seen| Some(seen.data["cursor"].as_str()?.to_owned()))
    }

    /// Ids of the events whose last packet the client received, in order.
    pub fn whole_events(&self) -> Vec<Uuid> {
        self.seen.iter().filter_map(whole_event).collect()
    }

    /// The `recovered` of each connection, in order.
    pub fn recovered(&self) -> Vec<bool> {
        let connected = self.seen.iter().filter(|seen| seen.event == "connected");
        connected.filter_map(|seen| seen.data["recovered"].as_bool()).collect()
    }

    /// Disconnects and waits for the process to end.
    ///
    /// # Panics
    /// If its process can't be waited for.
    pub async fn stop(self) {
        self.watcher.stop().await.expect("the client ends");
    }

    fn tail(&self) -> &[Seen] {
        &self.seen[self.seen.len().saturating_sub(8)..]
    }
}

/// The id of the event, if this is the event's last packet.
pub fn whole_event(seen: &Seen) -> Option<Uuid> {
    seen.data["cursor"].as_str()?;
    seen.data["eventId"].as_str()?.parse().ok()
}

/// The packets of an event that a user of the church receives: the name, and whether it has the cursor. The author's
/// notification is left out.
pub fn packets_of(event: &ChurchEvent) -> Vec<(&'static str, bool)> {
    match event.kind {
        EventType::Sent | EventType::StatusUpdate => vec![(event.kind.as_str(), true)],
        kind => vec![(EventType::StatusUpdate.as_str(), false), (kind.as_str(), true)],
    }
}
