//! Many clients of the gateway at once. Each records what it receives.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::task::JoinSet;
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;

mod backoff;
mod heard;
mod user;
mod watched;

pub use heard::{Heard, Return, Tally};
pub use user::{Conduct, Login};
pub use watched::Watched;

use user::User;

use super::socketio::Client;

/// Clients that connect at the same time.
const CONNECTING: usize = 64;

/// Connected clients.
pub struct Fleet {
    users: JoinSet<Heard>,
    stop: CancellationToken,
}

impl Fleet {
    /// Connects a client per login as fast as possible and waits until each has its `connected`.
    ///
    /// # Errors
    /// If a client is refused.
    pub async fn connect(
        logins: Vec<Login>,
        watched: &Arc<Watched>,
        conduct: Conduct,
    ) -> anyhow::Result<Self> {
        Self::connect_at(f64::INFINITY, logins, watched, conduct).await
    }

    /// The same with a maximum rate per second.
    ///
    /// # Errors
    /// If a client is refused.
    pub async fn connect_at(
        rate: f64,
        logins: Vec<Login>,
        watched: &Arc<Watched>,
        conduct: Conduct,
    ) -> anyhow::Result<Self> {
        let (begun, count) = (Instant::now(), logins.len());
        let users: Vec<(User, Client)> = stream::iter(logins.into_iter().enumerate())
            .map(|(number, login)| async move {
                sleep_until((begun + Duration::from_secs_f64(number as f64 / rate)).into()).await;
                User::connect(number, login, watched.clone()).await
            })
            .buffer_unordered(CONNECTING)
            .try_collect()
            .await
            .context("a client could not connect")?;
        let (stop, mut tasks) = (CancellationToken::new(), JoinSet::new());
        for (user, client) in users {
            let first = user.first_cut(conduct, count);
            tasks.spawn(user.run(client, conduct, first, stop.clone()));
        }
        Ok(Self { users: tasks, stop })
    }

    /// Disconnects all clients. Returns what they received.
    pub async fn leave(mut self) -> Vec<Heard> {
        self.stop.cancel();
        let mut all = Vec::new();
        while let Some(heard) = self.users.join_next().await {
            all.push(heard.unwrap_or_else(|error| Heard {
                broken: Some(format!("the client's task ended badly: {error}")),
                ..Heard::default()
            }));
        }
        all
    }
}
