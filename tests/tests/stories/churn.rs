//! Hundreds of browsers through half a minute in which connections are cut at random and all processes without the
//! database are killed in turn.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use deploy::nats;
use tests::chance::Chance;
use tests::crowd::{Browser, Crowd, Group};
use tests::databases::Kind;
use tests::eventually;
use tests::proxy::Proxy;
use tests::stack::TestStack;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{AUTHOR, DELIVERED};

/// Number of churches. Every third one also has polling clients.
const CHURCHES: usize = 10;
/// Websocket clients of each church.
const WEBSOCKETS: usize = 26;
/// Polling clients of a church, which may upgrade.
const POLLING: usize = 10;
/// Proxies per church, so that a cut affects only some of its clients.
const ADDRESSES: usize = 3;
/// Duration of the cuts and kills.
const CHURN: Duration = Duration::from_secs(30);
/// Longest wait until the last client has everything.
const PATIENCE: Duration = Duration::from_secs(50);
/// Time between two cuts.
const CUTS: Duration = Duration::from_millis(150);

/// The random numbers of a run. The seed is printed, so that a run can be repeated.
#[expect(clippy::print_stdout, reason = "shown with a test that fails")]
fn fresh_chance() -> Chance {
    let given = std::env::var("CHURN_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| Uuid::now_v7().as_u64_pair().1);
    println!("CHURN_SEED={seed}");
    Chance::new(seed)
}

fn church(number: usize) -> String {
    format!("church-{number}")
}

/// The proxies to the gateways: websockets may go to either gateway, polling always to the same.
struct Ways {
    gateways: Vec<String>,
    free: Vec<Proxy>,
    bound: Vec<Proxy>,
}

impl Ways {
    /// Cuts the connections of one proxy, and sends a websocket proxy to a random gateway.
    fn cut(&self, chance: &mut Chance) {
        let number = chance.below(self.free.len() + self.bound.len());
        match self.free.get(number) {
            Some(way) => way.lead_to(&self.gateways[chance.below(self.gateways.len())]),
            None => self.bound[number - self.free.len()].cut(),
        }
    }
}

/// Connects all clients.
async fn gather(stack: &TestStack) -> (Crowd, Ways) {
    let gateways = stack.stack.file().gateways.clone();
    let (mut crowd, mut ways) = (Crowd::default(), Ways { gateways, free: Vec::new(), bound: Vec::new() });
    for number in 0..CHURCHES {
        let (church, gateway) = (church(number), &ways.gateways[number % 2]);
        let token = stack.token(&church, AUTHOR);
        let group = |count| Group { church: church.clone(), token: token.clone(), count };
        let mut addresses = Vec::new();
        for _ in 0..ADDRESSES {
            let way = Proxy::to(gateway).await;
            addresses.push(way.url());
            ways.free.push(way);
        }
        let arguments = ["--delay", "200", "--transports", "websocket"];
        crowd.join(group(WEBSOCKETS), &addresses.join(","), &arguments).await;
        if number % 3 == 0 {
            let way = Proxy::to(gateway).await;
            let arguments = ["--delay", "200", "--transports", "polling,websocket"];
            crowd.join(group(POLLING), &way.url(), &arguments).await;
            ways.bound.push(way);
        }
    }
    (crowd, ways)
}

/// Cuts at random until it is stopped.
async fn cut(ways: &Ways, mut chance: Chance, stop: CancellationToken) {
    while stop.run_until_cancelled(tokio::time::sleep(CUTS)).await.is_some() {
        ways.cut(&mut chance);
    }
}

/// Sends a message for each church in turn until it is stopped. Returns the messages.
async fn send(sender: Sender, stop: CancellationToken) -> Vec<(String, Uuid)> {
    let mut sent = Vec::new();
    for number in (0..CHURCHES).cycle() {
        if stop.is_cancelled() {
            break;
        }
        let church = church(number);
        let message = sender.send(&church).await;
        sent.push((church, message));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    sent
}

/// Kills and restarts both gateways and the broker in turn until [`CHURN`] is over.
async fn kill_in_turn(stack: &mut TestStack) {
    let begun = Instant::now();
    let parts = ["realtime-gateway-1", nats::NAME, "realtime-gateway-2"];
    for part in parts.into_iter().cycle() {
        stack.stack.kill(part).await.unwrap();
        stack.stack.start_process(part).unwrap();
        stack.stack.ready(part).await.unwrap();
        if begun.elapsed() > CHURN {
            return;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Sends for any church without borrowing the stack.
struct Sender {
    http: reqwest::Client,
    api: String,
    tokens: BTreeMap<String, String>,
}

impl Sender {
    fn new(stack: &TestStack) -> Self {
        let tokens = (0..CHURCHES).map(|number| (church(number), stack.token(&church(number), AUTHOR)));
        let api = stack.stack.file().api.clone();
        Self { http: stack.stack.http().clone(), api, tokens: tokens.collect() }
    }

    async fn send(&self, church: &str) -> Uuid {
        let token = &self.tokens[church];
        let sent = deploy::traffic::send(&self.http, &self.api, token, "Service at ten", &[DELIVERED]).await;
        tests::stack::id_of(&sent.unwrap())
    }
}

/// The problem of a client that lacks an event, has one twice, out of order or of another church, or was told of a
/// loss.
fn complaint(number: usize, browser: &Browser, events: &BTreeMap<String, Vec<Uuid>>) -> Option<String> {
    let whole = browser.events == events[&browser.church];
    let continuous = browser.recovered.iter().skip(1).all(|recovered| *recovered);
    if whole && continuous && browser.foreign == 0 {
        return None;
    }
    let (has, of) = (browser.events.len(), events[&browser.church].len());
    let Browser { church, foreign, recovered, .. } = browser;
    Some(format!("client {number} of {church} has {has} of {of}, {foreign} foreign, told {recovered:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn three_hundred_clients_get_every_event_once_despite_cuts_and_kills() {
    let mut stack = TestStack::start_with(Kind::Sqlite, |options| options.gateways = 2).await;
    let chance = fresh_chance();
    let (crowd, ways) = gather(&stack).await;
    assert_eq!(crowd.browsers().len(), 300);
    let stop = CancellationToken::new();
    let sending = tokio::spawn(send(Sender::new(&stack), stop.clone()));
    let killing = async {
        kill_in_turn(&mut stack).await;
        stop.cancel();
    };
    tokio::join!(cut(&ways, chance, stop.clone()), killing);

    for (church, message) in sending.await.unwrap() {
        stack.until_status(&church, message, "delivered").await;
    }
    stack.until_announced().await;
    let mut events = BTreeMap::new();
    for number in 0..CHURCHES {
        let stored = stack.stored(&church(number)).await;
        events.insert(church(number), stored.iter().map(|event| event.id).collect::<Vec<_>>());
    }
    let has_all =
        |browser: &Browser| events[&browser.church].iter().all(|event| browser.events.contains(event));
    let complaints = || {
        let browsers = crowd.browsers();
        let all = browsers.iter().enumerate();
        all.filter_map(|(number, browser)| complaint(number, browser, &events)).collect::<Vec<_>>()
    };
    let all_have_all = eventually("every client has every event", async || {
        crowd.browsers().iter().all(has_all).then_some(())
    });
    // The assertion below names the clients that lack events.
    let _ = tokio::time::timeout(PATIENCE, all_have_all).await;
    assert!(complaints().is_empty(), "{:#?}", complaints());
    let reconnects = crowd.browsers().iter().map(|browser| browser.recovered.len() - 1).sum::<usize>();
    assert!(reconnects > 300, "only {reconnects} reconnects");
}
