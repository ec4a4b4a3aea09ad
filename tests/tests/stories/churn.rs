//! Hundreds of browsers through half a minute in which everything that can be cut is cut, and all but the record is
//! killed in turn.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use deploy::nats;
use tests::chance::Chance;
use tests::crowd::{Crowd, Group, Member};
use tests::databases::Kind;
use tests::eventually;
use tests::proxy::Proxy;
use tests::stack::TestStack;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{AUTHOR, DELIVERED};

/// Churches; every third one has clients on polling, too.
const CHURCHES: usize = 10;
/// Clients of each church on websockets.
const WEBSOCKETS: usize = 26;
/// Clients of a church on polling, which may upgrade.
const POLLING: usize = 10;
/// Addresses that a church's clients are spread over, so that a cut meets some of them.
const ADDRESSES: usize = 3;
/// How long all this goes on.
const CHURN: Duration = Duration::from_secs(30);
/// How long the last of them may take to have everything.
const PATIENCE: Duration = Duration::from_secs(50);
/// Between two cuts.
const CUTS: Duration = Duration::from_millis(150);

/// What is random here comes from a number that is printed, so that a run can be had again.
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

/// What leads to the gateways: websockets to either, polling always to the same.
struct Ways {
    gateways: Vec<String>,
    free: Vec<Proxy>,
    bound: Vec<Proxy>,
}

impl Ways {
    /// Cuts some connections; what may, goes to any gateway from then on.
    fn cut(&self, chance: &mut Chance) {
        let number = chance.below(self.free.len() + self.bound.len());
        match self.free.get(number) {
            Some(way) => way.lead_to(&self.gateways[chance.below(self.gateways.len())]),
            None => self.bound[number - self.free.len()].cut(),
        }
    }
}

/// Everybody is connected.
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

/// Cuts at random until it is told to stop.
async fn cut(ways: &Ways, mut chance: Chance, stop: CancellationToken) {
    while stop.run_until_cancelled(tokio::time::sleep(CUTS)).await.is_some() {
        ways.cut(&mut chance);
    }
}

/// Churches send, one after the other, until they are told to stop. Gives the messages.
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

/// Kills and restarts both gateways and the broker in turn, until the time is over.
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

/// Sends for any church without holding on to the stack.
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

/// Everybody has every event of its church once, in order, and nothing else; nobody was told that something is missing.
fn complaint(number: usize, member: &Member, events: &BTreeMap<String, Vec<Uuid>>) -> Option<String> {
    let whole = member.events == events[&member.church];
    let continuous = member.recovered.iter().skip(1).all(|recovered| *recovered);
    if whole && continuous && member.foreign == 0 {
        return None;
    }
    let (has, of) = (member.events.len(), events[&member.church].len());
    let Member { church, foreign, recovered, .. } = member;
    Some(format!("client {number} of {church} has {has} of {of}, {foreign} foreign, told {recovered:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn three_hundred_clients_get_every_event_once_despite_cuts_and_kills() {
    let mut stack = TestStack::start_with(Kind::Sqlite, |options| options.gateways = 2).await;
    let chance = fresh_chance();
    let (crowd, ways) = gather(&stack).await;
    assert_eq!(crowd.members().len(), 300);
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
    let has_all = |member: &Member| events[&member.church].iter().all(|event| member.events.contains(event));
    let complaints = || {
        let members = crowd.members();
        let all = members.iter().enumerate();
        all.filter_map(|(number, member)| complaint(number, member, &events)).collect::<Vec<_>>()
    };
    let all_have_all =
        eventually("everybody has every event", async || crowd.members().iter().all(has_all).then_some(()));
    // Who has not is named below.
    let _ = tokio::time::timeout(PATIENCE, all_have_all).await;
    assert!(complaints().is_empty(), "{:#?}", complaints());
    let reconnects = crowd.members().iter().map(|member| member.recovered.len() - 1).sum::<usize>();
    assert!(reconnects > 300, "only {reconnects} reconnects");
}
