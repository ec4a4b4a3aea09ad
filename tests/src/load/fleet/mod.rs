//! Many clients of the gateway at once, each noting what it gets.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::task::JoinSet;
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;

mod backoff;
mod heard;
mod member;
mod watched;

pub use heard::{Heard, Return, Tally};
pub use member::{Conduct, Seat};
pub use watched::Watched;

use member::Member;

use super::socketio::Client;

/// Clients that connect at the same time.
const CONNECTING: usize = 64;

/// Connected clients.
pub struct Fleet {
    members: JoinSet<Heard>,
    stop: CancellationToken,
}

impl Fleet {
    /// Connects a client for each seat, as fast as it goes, and waits until every one has its place in its room.
    ///
    /// # Errors
    /// If a client is refused.
    pub async fn connect(seats: Vec<Seat>, watched: &Arc<Watched>, conduct: Conduct) -> anyhow::Result<Self> {
        Self::connect_at(f64::INFINITY, seats, watched, conduct).await
    }

    /// The same, with so many a second at the most.
    ///
    /// # Errors
    /// If a client is refused.
    pub async fn connect_at(
        rate: f64,
        seats: Vec<Seat>,
        watched: &Arc<Watched>,
        conduct: Conduct,
    ) -> anyhow::Result<Self> {
        let (begun, count) = (Instant::now(), seats.len());
        let members: Vec<(Member, Client)> = stream::iter(seats.into_iter().enumerate())
            .map(|(number, seat)| async move {
                sleep_until((begun + Duration::from_secs_f64(number as f64 / rate)).into()).await;
                Member::sit(number, seat, watched.clone()).await
            })
            .buffer_unordered(CONNECTING)
            .try_collect()
            .await
            .context("a client could not connect")?;
        let (stop, mut tasks) = (CancellationToken::new(), JoinSet::new());
        for (member, client) in members {
            let first = member.first_cut(conduct, count);
            tasks.spawn(member.attend(client, conduct, first, stop.clone()));
        }
        Ok(Self { members: tasks, stop })
    }

    /// Disconnects all and gathers what they got.
    pub async fn leave(mut self) -> Vec<Heard> {
        self.stop.cancel();
        let mut all = Vec::new();
        while let Some(heard) = self.members.join_next().await {
            all.push(heard.unwrap_or_else(|error| Heard {
                broken: Some(format!("the client's task ended badly: {error}")),
                ..Heard::default()
            }));
        }
        all
    }
}
