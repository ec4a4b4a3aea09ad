//! A Telnyx to try the suite against: it takes messages, answers as Telnyx does, and calls back with signed webhooks.
//!
//! What becomes of a message follows from the end of the phone number ([`Outcome::of`]), or from a [`Rule`] that says
//! otherwise: delay, hold, repeat, reorder, fail, throttle, lose the answer, stay silent. Everything that was asked and
//! every webhook attempt stands in the [`Book`]. Memory is bounded: the book keeps the newest [`book::CAPACITY`]
//! messages, and beyond [`MAX_UNFINISHED`] messages with outstanding webhooks new ones are throttled.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

mod api;
mod behaviour;
mod book;
mod callbacks;
mod connection;
mod control;
mod hold;
mod payload;
mod signer;

pub use behaviour::{Answer, Hold, Outcome, Request, Rule};
pub use book::{Attempt, Book, CAPACITY, Entry, Retrieval};
pub use signer::Signer;

/// At most so many messages have webhooks outstanding.
pub const MAX_UNFINISHED: usize = 10_000;

/// How a simulator is set up.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The key that senders must show.
    pub api_key: String,
    /// Base64 of the 32-byte seed that webhooks are signed with.
    pub seed: String,
    /// How long things take.
    pub pace: Pace,
    /// The file that the book is kept in, so that it outlives the simulator; only in memory if there is none.
    pub book: Option<PathBuf>,
}

/// How long things take. The defaults are what Telnyx's documentation shows.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// From acceptance to `message.sent`.
    pub sent: Duration,
    /// From `message.sent` to `message.finalized`.
    pub finalized: Duration,
    /// From `message.finalized` to `message.read`.
    pub read: Duration,
    /// How long a webhook may take to be answered.
    pub timeout: Duration,
    /// Before the second attempt of a webhook; before the third it is twice as long.
    pub back_off: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            sent: Duration::from_millis(44),
            finalized: Duration::from_millis(560),
            read: Duration::from_millis(800),
            timeout: Duration::from_secs(2),
            back_off: Duration::from_secs(1),
        }
    }
}

/// What all requests and webhooks share.
struct Telnyx {
    api_key: String,
    signer: Signer,
    pace: Pace,
    http: reqwest::Client,
    state: Mutex<State>,
    held: watch::Sender<bool>,
    requests: hold::Held,
    posts: tokio::sync::Semaphore,
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

#[derive(Default)]
struct State {
    book: Book,
    rules: Vec<Rule>,
    /// Messages with webhooks outstanding, and how to stop these.
    unfinished: std::collections::HashMap<Uuid, CancellationToken>,
}

impl Telnyx {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
    /// The seed is none, or the listener broke.
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
            held: watch::Sender::new(false),
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

    /// What signs the webhooks; tests sign their own with it.
    pub fn signer(&self) -> &Signer {
        &self.telnyx.signer
    }

    /// What it was asked so far, the oldest first, and what it called back with.
    pub fn entries(&self) -> Vec<Entry> {
        self.telnyx.state().book.entries().cloned().collect()
    }

    /// How many messages it was asked to send, and how many of them it took.
    pub fn totals(&self) -> (u64, u64) {
        let state = self.telnyx.state();
        (state.book.asked(), state.book.accepted())
    }

    /// Adds a rule before the others: the first that fits a message applies to it.
    pub fn add_rule(&self, rule: Rule) {
        self.telnyx.state().rules.insert(0, rule);
    }

    /// Forgets all rules.
    pub fn clear_rules(&self) {
        self.telnyx.state().rules.clear();
    }

    /// Holds all webhooks back, or lets them go.
    pub fn hold(&self, held: bool) {
        self.telnyx.held.send_replace(held);
    }

    /// How many requests wait now because a rule holds them.
    pub fn held_requests(&self) -> usize {
        self.telnyx.requests.count()
    }

    /// Lets all requests go that a rule holds now.
    pub fn release_requests(&self) {
        self.telnyx.requests.release();
    }

    /// Ends a message with an outcome, instead of what would have become of it. `id` is Telnyx's id of the message,
    /// or the recipient's id from its webhook address. Says whether it knows the message.
    pub fn trigger(&self, id: Uuid, outcome: Outcome) -> bool {
        callbacks::trigger(&self.telnyx, id, outcome)
    }

    /// Stops: takes no more messages, and sends no more webhooks.
    pub async fn stop(mut self) {
        self.telnyx.shutdown.cancel();
        self.telnyx.tasks.close();
        self.telnyx.tasks.wait().await;
        // It can only have been cancelled.
        let _ = (&mut self.serving).await;
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.telnyx.shutdown.cancel();
    }
}
