//! Many browsers at once: stock clients, several per process. Only the data that shows whether anything is missing is
//! kept.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use deploy::watch::{Seen, Watcher};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::client::whole_event;
use crate::eventually;

/// Longest wait for the next line of a client.
const SILENCE: Duration = Duration::from_secs(600);

/// What one browser has received.
#[derive(Debug, Clone, Default)]
pub struct Browser {
    /// The browser's church.
    pub church: String,
    /// The events whose last packet it received, in order.
    pub events: Vec<Uuid>,
    /// The `recovered` of each connection, in order.
    pub recovered: Vec<bool>,
    /// Number of packets of another church.
    pub foreign: usize,
}

/// Browsers of one church that connect together.
#[derive(Debug, Clone)]
pub struct Group {
    /// The church id.
    pub church: String,
    /// A user's token.
    pub token: String,
    /// Number of browsers.
    pub count: usize,
}

/// A growing number of browsers. Dropping it kills their processes.
#[derive(Default)]
pub struct Crowd {
    browsers: Arc<Mutex<Vec<Browser>>>,
    watching: JoinSet<()>,
}

impl Crowd {
    /// Starts a group in a process of its own and waits until all are connected. `arguments` are further arguments of
    /// the client.
    ///
    /// # Panics
    /// If it is not let in.
    pub async fn join(&mut self, group: Group, url: &str, arguments: &[&str]) {
        let sockets = group.count.to_string();
        let arguments = [arguments, &["--sockets", &sockets]].concat();
        let mut watcher = Watcher::start(url, &group.token, &arguments).await.expect("the client starts");
        let first = self.browsers().len();
        let browser = Browser { church: group.church, ..Browser::default() };
        self.browsers().extend(vec![browser; group.count]);
        let browsers = self.browsers.clone();
        self.watching.spawn(async move {
            while let Ok(seen) = watcher.next(SILENCE).await {
                lock(&browsers)[first + seen.socket].see(&seen);
            }
        });
        eventually("all who joined are connected", async || {
            self.browsers()[first..].iter().all(|browser| !browser.recovered.is_empty()).then_some(())
        })
        .await;
    }

    /// What each browser has received so far.
    pub fn browsers(&self) -> MutexGuard<'_, Vec<Browser>> {
        lock(&self.browsers)
    }
}

impl Browser {
    fn see(&mut self, seen: &Seen) {
        self.events.extend(whole_event(seen));
        self.recovered.extend(seen.data["recovered"].as_bool());
        let church = seen.data["churchId"].as_str();
        self.foreign += usize::from(church.is_some_and(|church| church != self.church));
    }
}

fn lock(browsers: &Mutex<Vec<Browser>>) -> MutexGuard<'_, Vec<Browser>> {
    browsers.lock().unwrap_or_else(PoisonError::into_inner)
}
