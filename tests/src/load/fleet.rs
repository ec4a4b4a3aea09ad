//! Many clients of the gateway at once, each noting what it gets.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde::Deserialize;
use serde_json::json;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::socketio::{Client, Event};

/// Clients that connect at the same time.
const CONNECTING: usize = 64;
/// The event that every change arrives as, once.
pub const UPDATE: &str = "message:status_update";

/// Changes that are about to happen, one for each of these messages, and when each began.
#[derive(Debug)]
pub struct Watched {
    numbers: HashMap<Uuid, usize>,
    epoch: Instant,
    /// Microseconds after the epoch, plus one; zero until it begins.
    begun: Vec<AtomicU64>,
    heard: AtomicU64,
    /// Microseconds after the epoch.
    last: AtomicU64,
}

/// Where a client connects, and as whom.
#[derive(Debug, Clone)]
pub struct Seat {
    /// The gateway.
    pub address: SocketAddr,
    /// Number of its church.
    pub church: usize,
    /// Its token.
    pub token: String,
}

/// What a client got.
#[derive(Debug, Default)]
pub struct Heard {
    /// Number of its church.
    pub church: usize,
    /// Numbers of the changes in the order of their arrival, repetitions included.
    pub changes: Vec<usize>,
    /// How long each took from its beginning.
    pub latencies: Vec<Duration>,
    /// All events, `connected` and second names included.
    pub packets: u64,
    /// Bytes of all packets.
    pub bytes: u64,
    /// How often it connected again.
    pub reconnects: u64,
    /// How often it was told that something may be missing.
    pub lost_continuity: u64,
    /// Its connection ended although nobody cut it.
    pub broken: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    message_id: Option<Uuid>,
    cursor: Option<String>,
    recovered: Option<bool>,
}

impl Watched {
    /// None has begun.
    pub fn new(messages: impl IntoIterator<Item = Uuid>) -> Arc<Self> {
        let numbers: HashMap<Uuid, usize> =
            messages.into_iter().enumerate().map(|(number, message)| (message, number)).collect();
        let begun = numbers.iter().map(|_| AtomicU64::new(0)).collect();
        Arc::new(Self {
            numbers,
            epoch: Instant::now(),
            begun,
            heard: AtomicU64::new(0),
            last: AtomicU64::new(0),
        })
    }

    /// A change begins.
    pub fn begins(&self, number: usize, at: Instant) {
        if let Some(begun) = self.begun.get(number) {
            let micros = at.saturating_duration_since(self.epoch).as_micros();
            begun.store(u64::try_from(micros).unwrap_or(u64::MAX - 1) + 1, Ordering::Release);
        }
    }

    /// Hears when each change begins.
    pub fn starter(self: &Arc<Self>) -> impl Fn(usize, Instant) + Send + Sync + 'static {
        let watched = self.clone();
        move |number, at| watched.begins(number, at)
    }

    /// How many changes all clients together have heard, repetitions included.
    pub fn heard(&self) -> u64 {
        self.heard.load(Ordering::Relaxed)
    }

    /// When the last one was heard.
    pub fn last_heard(&self) -> Instant {
        self.epoch + Duration::from_micros(self.last.load(Ordering::Relaxed))
    }

    /// Waits until so many were heard, or the limit is over.
    pub async fn wait(&self, expected: u64, limit: Duration) {
        let until = Instant::now() + limit;
        while self.heard() < expected && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    fn hear(&self, message: Uuid, heard: &mut Heard) {
        let Some(number) = self.numbers.get(&message) else { return };
        let begun = self.begun[*number].load(Ordering::Acquire);
        if begun > 0 {
            let since = self.epoch.elapsed().saturating_sub(Duration::from_micros(begun - 1));
            heard.latencies.push(since);
        }
        heard.changes.push(*number);
        let now = u64::try_from(self.epoch.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.last.fetch_max(now, Ordering::Relaxed);
        self.heard.fetch_add(1, Ordering::Relaxed);
    }
}

/// Connected clients.
pub struct Fleet {
    members: JoinSet<Heard>,
    stop: CancellationToken,
    /// How long it took until all were connected.
    pub connected_in: Duration,
}

impl Fleet {
    /// Connects a client for each seat and waits until every one has its place in its room. With `cut_every`, each
    /// drops its connection that often and resumes with its cursor.
    ///
    /// # Errors
    /// A client is refused.
    pub async fn connect(
        seats: Vec<Seat>,
        watched: &Arc<Watched>,
        cut_every: Option<Duration>,
    ) -> anyhow::Result<Self> {
        let begun = Instant::now();
        let count = seats.len();
        let members: Vec<Member> = stream::iter(seats)
            .map(|seat| Member::sit(seat, watched.clone()))
            .buffer_unordered(CONNECTING)
            .try_collect()
            .await
            .context("a client could not connect")?;
        let connected_in = begun.elapsed();
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        for (number, member) in members.into_iter().enumerate() {
            // Spread over the interval, as browsers would be.
            let first = cut_every.map(|every| every.mul_f64((number + 1) as f64 / count as f64));
            tasks.spawn(member.attend(stop.clone(), first.zip(cut_every)));
        }
        Ok(Self { members: tasks, stop, connected_in })
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

/// One client.
struct Member {
    seat: Seat,
    client: Client,
    watched: Arc<Watched>,
    cursor: Option<String>,
    heard: Heard,
}

impl Member {
    async fn sit(seat: Seat, watched: Arc<Watched>) -> anyhow::Result<Self> {
        let mut client = Client::connect(seat.address, &json!({"token": seat.token})).await?;
        let welcome = client.next().await?.context("the connection ended before the welcome")?;
        let body: Body = welcome.read().context("the welcome has another form")?;
        let heard = Heard { church: seat.church, packets: 1, ..Heard::default() };
        Ok(Self { seat, client, watched, cursor: body.cursor, heard })
    }

    async fn attend(mut self, stop: CancellationToken, cuts: Option<(Duration, Duration)>) -> Heard {
        let mut cut = cuts.map(|(first, _)| Instant::now() + first);
        loop {
            let due = cut.unwrap_or_else(|| Instant::now() + Duration::from_secs(3_600));
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep_until(due.into()) => {
                    cut = cuts.map(|(_, every)| due + every);
                    self.heard.bytes += self.client.received();
                    if let Err(error) = self.resume().await {
                        self.heard.broken = Some(format!("could not come back: {error:#}"));
                        return self.heard;
                    }
                }
                event = self.client.next() => match event {
                    Ok(Some(event)) => self.take(&event),
                    Ok(None) => { self.heard.broken = Some("the server closed".into()); break }
                    Err(error) => { self.heard.broken = Some(format!("{error:#}")); break }
                },
            }
        }
        self.heard.bytes += self.client.received();
        self.heard
    }

    fn take(&mut self, event: &Event) {
        self.heard.packets += 1;
        let Ok(body) = event.read::<Body>() else { return };
        if let Some(message) = body.message_id.filter(|_| event.name == UPDATE) {
            self.watched.hear(message, &mut self.heard);
        }
        if body.recovered == Some(false) {
            self.heard.lost_continuity += 1;
        }
        if body.cursor.is_some() {
            self.cursor = body.cursor;
        }
    }

    /// Drops the connection without a word, as a train in a tunnel does, and comes back with the cursor.
    async fn resume(&mut self) -> anyhow::Result<()> {
        self.heard.reconnects += 1;
        let auth = json!({"token": self.seat.token, "cursor": self.cursor});
        self.client = Client::connect(self.seat.address, &auth).await?;
        Ok(())
    }
}

/// What all clients together missed and got twice, if each should have heard the changes of its church.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    /// Changes that should have been heard, over all clients.
    pub expected: u64,
    /// Of these, heard.
    pub got: u64,
    /// Heard once more.
    pub repeated: u64,
}

impl Tally {
    /// Counts. `church_of` says whose each change is, by its number.
    pub fn of(all: &[Heard], church_of: &[usize]) -> Self {
        let mut tally = Self::default();
        for heard in all {
            let mut times = vec![0_u64; church_of.len()];
            heard.changes.iter().for_each(|number| times[*number] += 1);
            for (times, church) in times.iter().zip(church_of) {
                let due = *church == heard.church;
                tally.expected += u64::from(due);
                tally.got += u64::from(due && *times > 0);
                // What is another church's is counted here, too: it is one too many.
                tally.repeated += times.saturating_sub(u64::from(due));
            }
        }
        tally
    }

    /// How many were missed.
    pub fn missing(&self) -> u64 {
        self.expected - self.got
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missed_or_repeated_or_heard_by_another_church_is_counted() {
        let heard =
            |church, changes: &[usize]| Heard { church, changes: changes.to_vec(), ..Heard::default() };
        let all = [heard(0, &[0, 2, 2]), heard(1, &[0])];
        let tally = Tally::of(&all, &[0, 1, 0]);
        assert_eq!(tally, Tally { expected: 3, got: 2, repeated: 2 });
        assert_eq!(tally.missing(), 1);
    }
}
