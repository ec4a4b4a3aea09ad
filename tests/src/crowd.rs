//! Many browsers at once: stock clients, several in each process. Of what they see only that is kept which says whether
//! anything is missing.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use deploy::watch::{Seen, Watcher};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::client::whole_event;
use crate::eventually;

/// Longest silence of a client.
const SILENCE: Duration = Duration::from_secs(600);

/// What one browser has seen.
#[derive(Debug, Clone, Default)]
pub struct Member {
    /// Its church.
    pub church: String,
    /// The events whose last packet it has seen, in order.
    pub events: Vec<Uuid>,
    /// What its connections were told, in order: whether it has all.
    pub recovered: Vec<bool>,
    /// Packets of another church.
    pub foreign: usize,
}

/// Browsers of one church that join together.
#[derive(Debug, Clone)]
pub struct Group {
    /// The church.
    pub church: String,
    /// A user's token.
    pub token: String,
    /// How many.
    pub count: usize,
}

/// A growing crowd. Dropping it ends its processes at once.
#[derive(Default)]
pub struct Crowd {
    members: Arc<Mutex<Vec<Member>>>,
    watching: JoinSet<()>,
}

impl Crowd {
    /// A group joins, in a process of its own, and is connected. `arguments` are further ones of the client.
    ///
    /// # Panics
    /// It is not let in.
    pub async fn join(&mut self, group: Group, url: &str, arguments: &[&str]) {
        let sockets = group.count.to_string();
        let arguments = [arguments, &["--sockets", &sockets]].concat();
        let mut watcher = Watcher::start(url, &group.token, &arguments).await.expect("the client starts");
        let first = self.members().len();
        let member = Member { church: group.church, ..Member::default() };
        self.members().extend(vec![member; group.count]);
        let members = self.members.clone();
        self.watching.spawn(async move {
            while let Ok(seen) = watcher.next(SILENCE).await {
                lock(&members)[first + seen.socket].see(&seen);
            }
        });
        eventually("all who joined are connected", async || {
            self.members()[first..].iter().all(|member| !member.recovered.is_empty()).then_some(())
        })
        .await;
    }

    /// What each has seen so far.
    pub fn members(&self) -> MutexGuard<'_, Vec<Member>> {
        lock(&self.members)
    }
}

impl Member {
    fn see(&mut self, seen: &Seen) {
        self.events.extend(whole_event(seen));
        self.recovered.extend(seen.data["recovered"].as_bool());
        let church = seen.data["churchId"].as_str();
        self.foreign += usize::from(church.is_some_and(|church| church != self.church));
    }
}

fn lock(members: &Mutex<Vec<Member>>) -> MutexGuard<'_, Vec<Member>> {
    members.lock().unwrap_or_else(PoisonError::into_inner)
}
