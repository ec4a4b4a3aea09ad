//! The state that the simulator's parts share.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::behaviour::Rule;
use super::book::Book;
use super::hold::{Gate, Held};
use super::pace::Pace;
use super::signer::Signer;

/// Most messages with outstanding webhooks.
pub const MAX_UNFINISHED: usize = 10_000;

/// The state that all requests and webhooks share.
pub(super) struct Telnyx {
    pub(super) api_key: String,
    pub(super) signer: Signer,
    pub(super) pace: Pace,
    pub(super) http: reqwest::Client,
    pub(super) state: Mutex<State>,
    /// All attempts of webhooks wait here.
    pub(super) webhooks: Gate,
    /// Repeated attempts wait here, too.
    pub(super) repetitions: Gate,
    pub(super) requests: Held,
    pub(super) posts: Semaphore,
    pub(super) tasks: TaskTracker,
    pub(super) shutdown: CancellationToken,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) book: Book,
    pub(super) rules: Vec<Rule>,
    /// Seconds that the date of its answers about the account is ahead.
    pub(super) clock_ahead: i64,
    /// Who sent STOP to which number: the number, and the person.
    pub(super) opted_out: HashSet<(String, String)>,
    /// Messages with outstanding webhooks, and how to cancel those.
    pub(super) unfinished: HashMap<Uuid, CancellationToken>,
}

impl Telnyx {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits between an attempt of a webhook and the next one.
    pub(super) async fn back_off(&self, attempt: u32) {
        tokio::time::sleep(self.pace.back_off * attempt).await;
        self.repetitions.pass().await;
    }
}
