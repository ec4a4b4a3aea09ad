//! Posting prepared requests: as fast as the connections allow, all at once, or at a steady rate.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use super::http::Connection;
use super::report::Latencies;

/// Longest wait for one answer, far above the promise, so that a late answer counts as late and not as missing.
const LIMIT: Duration = Duration::from_secs(15);
/// Time after which Telnyx gives up.
pub const PROMISE: Duration = Duration::from_secs(2);
/// Connections opened at the same time. More could overflow a listener's backlog.
const OPENING: usize = 64;

/// The outcome of a series of requests.
#[derive(Debug, Default)]
pub struct Posted {
    /// Number of answers by status.
    pub statuses: BTreeMap<u16, u64>,
    /// Requests without an answer.
    pub unanswered: u64,
    /// Time from sending to the answer, for answered requests.
    pub latencies: Latencies,
    /// Time from the first request to the last answer.
    pub wall: Duration,
    /// Bytes of all answers.
    pub bytes: u64,
    /// Answers that took longer than [`PROMISE`].
    pub late: u64,
    /// Indexes of the requests that were not answered 200.
    pub refused: Vec<usize>,
}

/// The outcome of one request.
struct Outcome {
    number: usize,
    answer: Option<(u16, usize)>,
    took: Duration,
}

impl Posted {
    /// The number of answers with this status.
    pub fn count(&self, status: u16) -> u64 {
        self.statuses.get(&status).copied().unwrap_or(0)
    }

    fn add(&mut self, outcome: &Outcome) {
        let Some((status, bytes)) = outcome.answer else {
            self.unanswered += 1;
            self.refused.push(outcome.number);
            return;
        };
        *self.statuses.entry(status).or_default() += 1;
        self.bytes += bytes as u64;
        self.latencies.record(outcome.took);
        self.late += u64::from(outcome.took > PROMISE);
        if status != 200 {
            self.refused.push(outcome.number);
        }
    }

    fn merge(&mut self, other: Self) {
        for (status, count) in other.statuses {
            *self.statuses.entry(status).or_default() += count;
        }
        self.unanswered += other.unanswered;
        self.latencies.add(&other.latencies);
        self.bytes += other.bytes;
        self.late += other.late;
        self.refused.extend(other.refused);
    }
}

/// Opens connections.
///
/// # Errors
/// If no server listens, or the limit of open files is too low.
pub async fn open(address: SocketAddr, count: usize) -> anyhow::Result<Vec<Connection>> {
    let opening = stream::iter(0..count).map(|_| Connection::open(address));
    opening.buffer_unordered(OPENING).try_collect().await.context("can't open the connections")
}

/// Posts all requests over this many kept connections. Each connection sends its next request as soon as it has an
/// answer.
///
/// # Errors
/// If the connections can't be opened.
pub async fn all(address: SocketAddr, requests: &Arc<[Bytes]>, connections: usize) -> anyhow::Result<Posted> {
    let connections = open(address, connections).await?;
    let next = Arc::new(AtomicUsize::new(0));
    let mut workers = JoinSet::new();
    let begun = Instant::now();
    for mut connection in connections {
        let (requests, next) = (requests.clone(), next.clone());
        workers.spawn(async move {
            let mut posted = Posted::default();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let Some(request) = requests.get(number) else { return posted };
                let outcome = exchange(&mut connection, address, number, request, Instant::now()).await;
                posted.add(&outcome);
            }
        });
    }
    Ok(gather(workers, begun).await)
}

/// Posts all requests at the same moment, each over its own open connection.
///
/// # Errors
/// If the connections can't be opened.
pub async fn at_once(address: SocketAddr, requests: &Arc<[Bytes]>) -> anyhow::Result<Posted> {
    let connections = open(address, requests.len()).await?;
    let start = Arc::new(Barrier::new(requests.len() + 1));
    let mut workers = JoinSet::new();
    for (number, mut connection) in connections.into_iter().enumerate() {
        let (requests, start) = (requests.clone(), start.clone());
        workers.spawn(async move {
            start.wait().await;
            let mut posted = Posted::default();
            let begun = Instant::now();
            posted.add(&exchange(&mut connection, address, number, &requests[number], begun).await);
            posted
        });
    }
    start.wait().await;
    Ok(gather(workers, Instant::now()).await)
}

/// Observes requests while they are posted.
pub trait Observer: Send + Sync + 'static {
    /// A request begins. If it had to wait for a connection, its beginning is the time when it was due.
    fn begins(&self, number: usize, at: Instant);
    /// A request was answered 200.
    fn done(&self, number: usize);
}

/// An observer that ignores everything.
impl Observer for () {
    fn begins(&self, _: usize, _: Instant) {}
    fn done(&self, _: usize) {}
}

/// Posts this many requests per second, however long the answers take.
///
/// # Errors
/// If the connections can't be opened.
pub async fn at_rate<O: Observer>(
    address: SocketAddr,
    requests: &Arc<[Bytes]>,
    rate: f64,
    observer: &Arc<O>,
) -> anyhow::Result<Posted> {
    let connections = open(address, OPENING).await?;
    let next = Arc::new(AtomicUsize::new(0));
    let mut workers = JoinSet::new();
    let begun = Instant::now();
    for mut connection in connections {
        let (requests, next, observer) = (requests.clone(), next.clone(), observer.clone());
        workers.spawn(async move {
            let mut posted = Posted::default();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let Some(request) = requests.get(number) else { return posted };
                let begins_at = wait_until(begun + Duration::from_secs_f64(number as f64 / rate)).await;
                observer.begins(number, begins_at);
                let outcome = exchange(&mut connection, address, number, request, begins_at).await;
                if outcome.answer.is_some_and(|(status, _)| status == 200) {
                    observer.done(number);
                }
                posted.add(&outcome);
            }
        });
    }
    Ok(gather(workers, begun).await)
}

/// Waits until a time. Returns the current time, or the given time if it has passed, so that lateness counts.
async fn wait_until(due: Instant) -> Instant {
    if due < Instant::now() {
        return due;
    }
    tokio::time::sleep_until(due.into()).await;
    Instant::now()
}

async fn exchange(
    connection: &mut Connection,
    address: SocketAddr,
    number: usize,
    request: &Bytes,
    begun: Instant,
) -> Outcome {
    let exchanged = tokio::time::timeout(LIMIT, connection.exchange(request)).await;
    let answer = exchanged.ok().and_then(Result::ok).map(|answer| (answer.status, answer.bytes));
    if answer.is_none()
        && let Ok(fresh) = Connection::open(address).await
    {
        *connection = fresh;
    }
    Outcome { number, answer, took: begun.elapsed() }
}

async fn gather(mut workers: JoinSet<Posted>, begun: Instant) -> Posted {
    let mut sum = Posted::default();
    while let Some(posted) = workers.join_next().await {
        match posted {
            Ok(posted) => sum.merge(posted),
            // A worker does not panic. If one did, its requests would count as missing.
            Err(_) => sum.unanswered += 1,
        }
    }
    sum.wall = begun.elapsed();
    sum
}
