//! A simulated Telnyx: it accepts messages, answers as Telnyx does, and sends signed webhooks.
//!
//! The end of the phone number decides the outcome of a message ([`Outcome::of`]), unless a [`Rule`] changes it: delay,
//! hold, repeat, reorder, fail, throttle, lose the answer, stay silent. The [`Book`] records every request and every webhook
//! attempt. Memory is bounded: the book keeps the newest [`CAPACITY`] messages, and with more than [`MAX_UNFINISHED`]
//! messages whose webhooks are outstanding, new ones are throttled.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

mod account;
mod api;
mod behaviour;
mod book;
mod callbacks;
mod connection;
mod control;
mod hold;
mod inbound;
mod pace;
mod payload;
mod refusal;
mod signer;
mod state;

pub use account::{UNKNOWN_NUMBER, UNKNOWN_PROFILE};
pub use behaviour::{Answer, Hold, Outcome, Request, Rule};
pub use book::{Attempt, Book, CAPACITY, Entry, Retrieval};
pub use inbound::{InboundDelivery, InboundText};
pub use pace::Pace;
pub use signer::Signer;
pub use state::MAX_UNFINISHED;
use state::{State, Telnyx};

/// The simulator's settings.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The API key that senders must send.
    pub api_key: String,
    /// Base64 of the 32-byte seed that webhooks are signed with.
    pub seed: String,
    /// The timing.
    pub pace: Pace,
    /// The file of the book, so that it outlives the simulator; without one it is only in memory.
    pub book: Option<PathBuf>,
}

/// A running simulator. It stops when it is dropped.
pub struct Simulator {
    telnyx: Arc<Telnyx>,
    address: SocketAddr,
    serving: JoinHandle<()>,
}

impl Simulator {
    /// Starts on a listener.
    ///
    /// # Errors
    /// The seed is malformed, or the book can't be opened.
    pub fn start(listener: TcpListener, settings: Settings) -> anyhow::Result<Self> {
        let address = listener.local_addr()?;
        let http = reqwest::Client::builder()
            .timeout(settings.pace.timeout)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .context("can't make an HTTP client")?;
        let book = settings.book.as_deref().map(Book::kept_in).transpose().context("can't keep the book")?;
        let book = book.unwrap_or_default();
        let telnyx = Arc::new(Telnyx {
            api_key: settings.api_key,
            signer: Signer::from_seed(&settings.seed)?,
            pace: settings.pace,
            http,
            state: Mutex::new(State { book, ..State::default() }),
            webhooks: hold::Gate::default(),
            repetitions: hold::Gate::default(),
            requests: hold::Held::default(),
            posts: tokio::sync::Semaphore::new(callbacks::MAX_POSTS),
            tasks: TaskTracker::new(),
            shutdown: CancellationToken::new(),
        });
        let router = api::router(telnyx.clone()).merge(control::router(telnyx.clone()));
        let serving = tokio::spawn(connection::serve(listener, router, telnyx.shutdown.clone()));
        Ok(Self { telnyx, address, serving })
    }

    /// `TELNYX_BASE_URL`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Signs the webhooks; tests sign their own with it.
    pub fn signer(&self) -> &Signer {
        &self.telnyx.signer
    }

    /// All kept requests with their webhook attempts, the oldest first.
    pub fn entries(&self) -> Vec<Entry> {
        self.telnyx.state().book.entries().cloned().collect()
    }

    /// The number of send requests, and how many of them were accepted.
    pub fn totals(&self) -> (u64, u64) {
        let state = self.telnyx.state();
        (state.book.asked(), state.book.accepted())
    }

    /// Adds a rule before the others. The first rule that matches a message applies.
    pub fn add_rule(&self, rule: Rule) {
        self.telnyx.state().rules.insert(0, rule);
    }

    /// Removes all rules.
    pub fn clear_rules(&self) {
        self.telnyx.state().rules.clear();
    }

    /// Holds back all webhooks, or releases them.
    pub fn hold(&self, held: bool) {
        self.telnyx.webhooks.close(held);
    }

    /// Holds back the repetitions of webhooks that were not answered with success, or releases them. Telnyx does not
    /// publish its intervals; an outage that is longer than all three attempts loses the webhook.
    pub fn hold_repetitions(&self, held: bool) {
        self.telnyx.repetitions.close(held);
    }

    /// Moves the date of its answers about the account: seconds ahead of the time.
    pub fn move_clock(&self, seconds: i64) {
        self.telnyx.state().clock_ahead = seconds;
    }

    /// The number of requests that a rule holds now.
    pub fn held_requests(&self) -> usize {
        self.telnyx.requests.count()
    }

    /// Releases all requests that a rule holds now.
    pub fn release_requests(&self) {
        self.telnyx.requests.release();
    }

    /// Ends a message with another outcome than the planned one. `id` is Telnyx's id of the message, or the recipient's
    /// id in its webhook URL. Returns whether there is such a message.
    pub fn trigger(&self, id: Uuid, outcome: Outcome) -> bool {
        callbacks::trigger(&self.telnyx, id, outcome)
    }

    /// Somebody sends a text. Returns once its webhook was answered, or given up.
    pub async fn receive(&self, text: InboundText) -> InboundDelivery {
        inbound::receive(&self.telnyx, text).await
    }

    /// Stops accepting messages and sending webhooks.
    pub async fn stop(mut self) {
        self.telnyx.shutdown.cancel();
        self.telnyx.tasks.close();
        self.telnyx.tasks.wait().await;
        // It fails only if it was cancelled.
        let _ = (&mut self.serving).await;
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.telnyx.shutdown.cancel();
    }
}
