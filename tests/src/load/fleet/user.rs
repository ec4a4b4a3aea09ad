//! One client.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::{Value, json};
use tokio::time::{sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::backoff::Backoff;
use super::heard::{Heard, Return};
use super::watched::Watched;
use crate::load::socketio::{Client, Event};

/// The event that arrives once per change.
const UPDATE: &str = "message:status_update";
/// The first event of a connection.
const CONNECTED: &str = "connected";
/// Time after which the stock client gives up an attempt.
const ATTEMPT: Duration = Duration::from_secs(20);
/// Longer than any measurement: the first cut of a client that is not cut.
const NEVER: Duration = Duration::from_secs(86_400);

/// Where a client connects and with which token.
#[derive(Debug, Clone)]
pub struct Login {
    /// All gateways, beginning with the client's first one. When it loses a gateway, it tries the next.
    pub gateways: Vec<SocketAddr>,
    /// Number of the client's church.
    pub church: usize,
    /// The token.
    pub token: String,
}

/// How a client treats its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conduct {
    /// Keeps it. An end is a fault.
    Stay,
    /// Cuts it at this interval without a close packet and reconnects. An end by the server is a fault.
    Cut(Duration),
    /// Reconnects when the server ends it.
    Return,
}

/// A client and its state.
pub(super) struct User {
    number: usize,
    login: Login,
    watched: Arc<Watched>,
    backoff: Backoff,
    cursor: Option<String>,
    heard: Heard,
    catch_up: Option<CatchUp>,
}

/// A client that reconnected and may still miss changes.
struct CatchUp {
    lost: Instant,
    begun: Instant,
    connected: Instant,
    /// The number of missed changes. `missing` has those that are still missing.
    missed: usize,
    missing: Vec<usize>,
    got_connected: bool,
}

/// Why a connection ended.
enum End {
    /// The measurement is over.
    Stopped,
    /// The client cut it.
    Cut,
    /// The server ended it, or it failed.
    Lost(String),
}

impl User {
    /// Connects and waits for `connected`.
    pub(super) async fn connect(
        number: usize,
        login: Login,
        watched: Arc<Watched>,
    ) -> anyhow::Result<(Self, Client)> {
        let address = *login.gateways.first().context("there is no gateway")?;
        let mut client = Client::connect(address, &json!({"token": login.token})).await?;
        let welcome = client.next().await?.context("the connection ended before the welcome")?;
        let heard = Heard { church: login.church, ..Heard::default() };
        let cursor = welcome.field("cursor").map(str::to_owned);
        let backoff = Backoff::new(number);
        Ok((Self { number, login, watched, backoff, cursor, heard, catch_up: None }, client))
    }

    /// Listens until the measurement is over. The first cut comes after `first`.
    pub(super) async fn run(
        mut self,
        mut client: Client,
        conduct: Conduct,
        first: Duration,
        stop: CancellationToken,
    ) -> Heard {
        let mut cut = Instant::now() + first;
        loop {
            let end = self.listen(&mut client, cut, &stop).await;
            self.heard.count(&client);
            drop(client);
            match (end, conduct) {
                (End::Cut, Conduct::Cut(every)) => cut += every,
                (End::Lost(_), Conduct::Return) => {}
                (End::Lost(why), _) => {
                    self.heard.broken = Some(why);
                    break;
                }
                _ => break,
            }
            self.heard.ends += 1;
            tokio::select! {
                fresh = self.reconnect() => client = fresh,
                () = stop.cancelled() => break,
            }
        }
        self.heard
    }

    async fn listen(&mut self, client: &mut Client, cut: Instant, stop: &CancellationToken) -> End {
        let (stopped, cut) = (stop.cancelled(), sleep_until(cut.into()));
        tokio::pin!(stopped, cut);
        loop {
            tokio::select! {
                biased;
                event = client.next() => match event {
                    Ok(Some(event)) => self.take(&event),
                    Ok(None) => return End::Lost("the server closed".into()),
                    Err(error) => return End::Lost(format!("{error:#}")),
                },
                () = &mut stopped => return End::Stopped,
                () = &mut cut => return End::Cut,
            }
        }
    }

    /// Reconnects with the cursor as the stock client does: after a wait, and after a longer one for each failed
    /// attempt.
    async fn reconnect(&mut self) -> Client {
        let lost = Instant::now();
        loop {
            sleep(self.backoff.next()).await;
            self.login.gateways.rotate_left(1);
            let auth = json!({"token": self.login.token, "cursor": self.cursor});
            let missing = self.watched.missing(self.login.church, &self.heard.changes);
            let begun = Instant::now();
            match attempt(self.login.gateways[0], &auth).await {
                Ok(client) => {
                    self.backoff.reset();
                    self.heard.seams.push(self.heard.changes.len());
                    let (connected, missed) = (Instant::now(), missing.len());
                    self.catch_up =
                        Some(CatchUp { lost, begun, connected, missed, missing, got_connected: false });
                    return client;
                }
                Err(error) => {
                    self.heard.refused += 1;
                    self.heard.refusal.get_or_insert_with(|| format!("{error:#}"));
                }
            }
        }
    }

    fn take(&mut self, event: &Event) {
        match event.name() {
            UPDATE => self.take_change(event),
            CONNECTED => {
                self.heard.lost_continuity += u64::from(event.denies("recovered"));
                if let Some(catch_up) = &mut self.catch_up {
                    catch_up.got_connected = true;
                }
            }
            _ => {}
        }
        if let Some(cursor) = event.field("cursor") {
            let kept = self.cursor.get_or_insert_default();
            kept.clear();
            kept.push_str(cursor);
        }
        self.arrive();
    }

    fn take_change(&mut self, event: &Event) {
        let Some(number) = event.field("messageId").and_then(|message| self.watched.number(message)) else {
            return;
        };
        // Only after a reconnect may a known change come again.
        if self.heard.seams.is_empty() || !self.heard.changes.contains(&number) {
            self.heard.latencies.extend(self.watched.hear(number));
        }
        self.heard.changes.push(number);
        if let Some(catch_up) = &mut self.catch_up {
            catch_up.missing.retain(|missing| *missing != number);
        }
    }

    /// Notes the reconnect once nothing is missing.
    fn arrive(&mut self) {
        let has_arrived = |catch_up: &mut CatchUp| catch_up.got_connected && catch_up.missing.is_empty();
        if let Some(CatchUp { lost, begun, connected, missed, .. }) = self.catch_up.take_if(has_arrived) {
            self.heard.returns.push(Return { lost, begun, connected, caught_up: Instant::now(), missed });
            self.watched.returned();
        }
    }

    /// Time of the first cut. The first cuts of all clients are spread over the interval, as browsers' would be.
    pub(super) fn first_cut(&self, conduct: Conduct, count: usize) -> Duration {
        match conduct {
            Conduct::Cut(every) => every.mul_f64((self.number + 1) as f64 / count as f64),
            _ => NEVER,
        }
    }
}

async fn attempt(gateway: SocketAddr, auth: &Value) -> anyhow::Result<Client> {
    timeout(ATTEMPT, Client::connect(gateway, auth)).await.context("no answer")?
}

impl Heard {
    fn count(&mut self, client: &Client) {
        let traffic = client.traffic();
        self.traffic.received += traffic.received;
        self.traffic.sent += traffic.sent;
        self.traffic.pings += traffic.pings;
    }
}
