//! nats.conf: each user has the permissions that it needs, and no others.

#![expect(clippy::unwrap_used, reason = "what fails here fails a test")]

use std::time::Duration;

use async_nats::{Client, ConnectOptions, Event};
use deploy::nats;
use deploy::ports::Port;
use deploy::processes::Processes;
use deploy::scratch::Scratch;
use tokio::sync::mpsc;

const LIMIT: Duration = Duration::from_secs(20);
/// A subject that no user may use. Its refusal marks the end of the earlier ones.
const END: &str = "no.user.may";

const PUBLISH: [&str; 33] = [
    "church.grace.sent",
    "church.grace.status",
    "church.grace.received",
    "live.church.grace.sent",
    "relay.wake",
    "replay.church",
    "_INBOX_gateway.x",
    "_INBOX_ingest.x",
    "$JS.API.DIRECT.GET.CHURCH",
    "$JS.API.STREAM.INFO.CHURCH",
    "$JS.API.STREAM.INFO.OTHER",
    "$JS.API.STREAM.CREATE.CHURCH",
    "$JS.API.STREAM.CREATE.OTHER",
    "$JS.API.STREAM.UPDATE.CHURCH",
    "$JS.API.STREAM.DELETE.CHURCH",
    "$JS.API.STREAM.PURGE.CHURCH",
    "$JS.API.STREAM.MSG.GET.CHURCH",
    "$JS.API.STREAM.MSG.DELETE.CHURCH",
    "$JS.API.STREAM.SNAPSHOT.CHURCH",
    "$JS.API.CONSUMER.CREATE.CHURCH.one.church.grace.status",
    "$JS.API.CONSUMER.DELETE.CHURCH.one",
    "$JS.API.CONSUMER.MSG.NEXT.CHURCH.one",
    "$JS.API.CONSUMER.PAUSE.CHURCH.one",
    "$JS.API.CONSUMER.RESET.CHURCH.one",
    "$JS.API.CONSUMER.LEADER.STEPDOWN.CHURCH.one",
    "$JS.API.STREAM.LEADER.STEPDOWN.CHURCH",
    "$JS.ACK.CHURCH.one.1.1.1.1.1",
    "_INBOX.x",
    "$SYS.REQ.USER.INFO",
    "$SYS.REQ.ACCOUNT.PING.CONNZ",
    "$SYS.REQ.ACCOUNT.PING.STATZ",
    "$SYS.REQ.SERVER.PING",
    "$SYS.REQ.SERVER.PING.CONNZ",
];

const SUBSCRIBE: [&str; 10] = [
    ">",
    "church.>",
    "live.church.>",
    "relay.wake",
    "replay.church",
    "_INBOX.x.>",
    "_INBOX_ingest.x.>",
    "_INBOX_message_api.x.>",
    "_INBOX_gateway.x.>",
    "$JS.API.>",
];

/// A user, and the subjects of the above that it may publish to and subscribe to.
type Allowed = (&'static str, &'static [&'static str], &'static [&'static str]);

const USERS: [Allowed; 5] = [
    (
        "ingest",
        &["church.grace.sent", "church.grace.status", "church.grace.received", "relay.wake"],
        &["relay.wake", "_INBOX_ingest.x.>"],
    ),
    (
        "message_api",
        &["church.grace.sent", "church.grace.status", "church.grace.received", "relay.wake"],
        &["relay.wake", "_INBOX_message_api.x.>"],
    ),
    (
        "gateway",
        &["$JS.API.DIRECT.GET.CHURCH", "$JS.API.STREAM.INFO.CHURCH"],
        &["live.church.>", "replay.church", "_INBOX_gateway.x.>"],
    ),
    (
        "ops",
        &[
            "$JS.API.DIRECT.GET.CHURCH",
            "$JS.API.STREAM.INFO.CHURCH",
            "$JS.API.STREAM.INFO.OTHER",
            "$JS.API.STREAM.MSG.GET.CHURCH",
            "$JS.API.CONSUMER.CREATE.CHURCH.one.church.grace.status",
            "$JS.API.CONSUMER.DELETE.CHURCH.one",
            "$JS.API.CONSUMER.MSG.NEXT.CHURCH.one",
            "$JS.API.CONSUMER.PAUSE.CHURCH.one",
            "$JS.API.CONSUMER.RESET.CHURCH.one",
            "$JS.ACK.CHURCH.one.1.1.1.1.1",
            "_INBOX.x",
            "$SYS.REQ.USER.INFO",
            "$SYS.REQ.ACCOUNT.PING.CONNZ",
            "$SYS.REQ.ACCOUNT.PING.STATZ",
        ],
        &["church.>", "live.church.>", "replay.church", "_INBOX.x.>"],
    ),
    (
        "provisioner",
        &["$JS.API.STREAM.INFO.CHURCH", "$JS.API.STREAM.CREATE.CHURCH", "$JS.API.STREAM.UPDATE.CHURCH"],
        &[],
    ),
];

/// Starts a broker.
async fn broker(folder: &std::path::Path) -> (Processes, String, [Port; 2]) {
    let ports = [Port::free().unwrap(), Port::free().unwrap()];
    let passwords = nats::USERS.map(|user| (user.to_owned(), format!("p{user}"))).into();
    let mut processes = Processes::new(&folder.join("logs")).unwrap();
    let program = nats::program(ports[0].number(), ports[1].number(), &folder.join("nats"), &passwords);
    processes.start(program.unwrap()).unwrap();
    let monitor = format!("http://127.0.0.1:{}", ports[1].number());
    nats::wait_until_healthy(&mut processes, &reqwest::Client::new(), &monitor).await.unwrap();
    (processes, format!("nats://127.0.0.1:{}", ports[0].number()), ports)
}

/// Connects, and collects refusals.
async fn connect(url: &str, user: &str) -> (Client, mpsc::UnboundedReceiver<String>) {
    let (refused, refusals) = mpsc::unbounded_channel();
    let client = ConnectOptions::with_user_and_password(user.into(), format!("p{user}"))
        .event_callback(move |event| {
            if let Event::ServerError(error) = event {
                let _ = refused.send(error.to_string());
            }
            async {}
        })
        .connect(url)
        .await
        .unwrap();
    (client, refusals)
}

/// The refused subjects, in order, up to [`END`].
async fn until_end(refusals: &mut mpsc::UnboundedReceiver<String>) -> Vec<String> {
    let mut refused = Vec::new();
    loop {
        let refusal = tokio::time::timeout(LIMIT, refusals.recv()).await.unwrap().unwrap();
        let subject = refusal.split('"').nth(1).unwrap().to_owned();
        if subject == END {
            return refused;
        }
        refused.push(subject);
    }
}

fn others(all: &[&str], allowed: &[&str]) -> Vec<String> {
    // The server quotes subjects as sent; the client's error text is lower case.
    all.iter().filter(|subject| !allowed.contains(subject)).map(|subject| subject.to_lowercase()).collect()
}

#[tokio::test]
async fn each_user_has_exactly_the_permissions_it_needs() {
    let folder = Scratch::new().unwrap();
    let (_broker, url, _ports) = broker(folder.path()).await;
    for (user, may_publish, may_hear) in USERS {
        let (client, mut refusals) = connect(&url, user).await;
        for subject in PUBLISH.into_iter().chain([END]) {
            client.publish(subject, "".into()).await.unwrap();
        }
        let refused: Vec<_> = until_end(&mut refusals).await.iter().map(|s| s.to_lowercase()).collect();
        assert_eq!(refused, others(&PUBLISH, may_publish), "{user} publishes");

        let mut subscriptions = Vec::new();
        for subject in SUBSCRIBE.into_iter().chain([END]) {
            subscriptions.push(client.subscribe(subject).await.unwrap());
        }
        let refused: Vec<_> = until_end(&mut refusals).await.iter().map(|s| s.to_lowercase()).collect();
        assert_eq!(refused, others(&SUBSCRIBE, may_hear), "{user} hears");
    }
}
