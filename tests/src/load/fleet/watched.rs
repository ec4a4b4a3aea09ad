//! The changes that clients should receive.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::load::post::Observer;

/// The expected changes, one per message, and when each began.
#[derive(Debug)]
pub struct Watched {
    numbers: HashMap<Uuid, usize>,
    /// The changes of each church, by the church's number.
    of_church: HashMap<usize, Vec<usize>>,
    epoch: Instant,
    /// Microseconds after the epoch, plus one; zero until it begins.
    begun: Vec<AtomicU64>,
    recorded: Vec<AtomicBool>,
    heard: AtomicU64,
    /// Microseconds after the epoch.
    last: AtomicU64,
    returns: AtomicU64,
}

impl Observer for Watched {
    fn begins(&self, number: usize, at: Instant) {
        self.begins(number, at);
    }

    fn done(&self, number: usize) {
        if let Some(recorded) = self.recorded.get(number) {
            recorded.store(true, Ordering::Release);
        }
    }
}

impl Watched {
    /// One change for each message of a church. None has begun.
    pub fn new(messages: impl IntoIterator<Item = (usize, Uuid)>) -> Arc<Self> {
        let (mut numbers, mut of_church) = (HashMap::new(), HashMap::<usize, Vec<usize>>::new());
        for (number, (church, message)) in messages.into_iter().enumerate() {
            numbers.insert(message, number);
            of_church.entry(church).or_default().push(number);
        }
        Arc::new(Self {
            begun: numbers.iter().map(|_| AtomicU64::new(0)).collect(),
            recorded: numbers.iter().map(|_| AtomicBool::new(false)).collect(),
            numbers,
            of_church,
            epoch: Instant::now(),
            heard: AtomicU64::new(0),
            last: AtomicU64::new(0),
            returns: AtomicU64::new(0),
        })
    }

    /// Notes that a change begins.
    pub fn begins(&self, number: usize, at: Instant) {
        if let Some(begun) = self.begun.get(number) {
            begun.store(self.micros(at) + 1, Ordering::Release);
        }
    }

    /// The changes of a church.
    pub fn of_church(&self, church: usize) -> &[usize] {
        self.of_church.get(&church).map_or(&[], Vec::as_slice)
    }

    /// The changes of a church that are recorded and not among those received.
    pub fn missing(&self, church: usize, heard: &[usize]) -> Vec<usize> {
        let is_owed =
            |number: &usize| self.recorded[*number].load(Ordering::Acquire) && !heard.contains(number);
        self.of_church(church).iter().copied().filter(is_owed).collect()
    }

    /// The number of changes that all clients have received, without repetitions after a reconnect.
    pub fn heard(&self) -> u64 {
        self.heard.load(Ordering::Relaxed)
    }

    /// The number of reconnects after which the client has everything that it missed.
    pub fn returns(&self) -> u64 {
        self.returns.load(Ordering::Relaxed)
    }

    /// The time of the last received change.
    pub fn last_heard(&self) -> Instant {
        self.epoch + Duration::from_micros(self.last.load(Ordering::Relaxed))
    }

    /// Waits until this many changes were received, at most for the limit.
    pub async fn wait(&self, expected: u64, limit: Duration) {
        self.wait_until(|| self.heard() >= expected, limit).await;
    }

    /// Waits until this many clients are back, at most for the limit.
    pub async fn wait_for_returns(&self, expected: u64, limit: Duration) {
        self.wait_until(|| self.returns() >= expected, limit).await;
    }

    async fn wait_until(&self, done: impl Fn() -> bool, limit: Duration) {
        let until = Instant::now() + limit;
        while !done() && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// The number of a message's change.
    pub(super) fn number(&self, message: &str) -> Option<usize> {
        self.numbers.get(&message.parse().ok()?).copied()
    }

    /// Notes that a client received a change for the first time. Returns the time since its beginning.
    pub(super) fn hear(&self, number: usize) -> Option<Duration> {
        let now = Instant::now();
        self.last.fetch_max(self.micros(now), Ordering::Relaxed);
        self.heard.fetch_add(1, Ordering::Relaxed);
        Some(now.saturating_duration_since(self.began(number)?))
    }

    /// Notes that a client has everything that it missed.
    pub(super) fn returned(&self) {
        self.returns.fetch_add(1, Ordering::Relaxed);
    }

    fn began(&self, number: usize) -> Option<Instant> {
        let micros = self.begun[number].load(Ordering::Acquire).checked_sub(1)?;
        Some(self.epoch + Duration::from_micros(micros))
    }

    fn micros(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.epoch).as_micros()).unwrap_or(u64::MAX - 1)
    }
}
