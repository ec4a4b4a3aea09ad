//! The broker's subject mapping of docs/scaling.md: it divides churches into streams as the simulation does, and each
//! stream is a fence of its own. No gateway takes part.

use std::time::Duration;

use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::{Config, Republish};
use async_nats::jetstream::{self, Context};
use async_nats::{Client, ConnectOptions};
use deploy::ports::Port;
use deploy::processes::Processes;
use deploy::program::Program;
use deploy::scratch::Scratch;
use deploy::{nats, tools};
use futures_util::StreamExt as _;
use tests::databases;
use tests::frontend::{Block, document};
use tests::load::partition::part_of;
use tokio::time::timeout;

/// Longest wait for an event.
const LIMIT: Duration = Duration::from_secs(60);
/// The number of parts in the document.
const PARTS: u32 = 4;

/// A broker with the configuration of the document.
struct Broker {
    _processes: Processes,
    _folder: Scratch,
    client: Client,
}

impl Broker {
    async fn start() -> Self {
        let folder = databases::folder();
        let blocks = Block::all(&document("scaling.md"));
        let conf = blocks.iter().find(|block| block.file == "parts.conf").unwrap();
        let file = folder.path().join("parts.conf");
        std::fs::write(&file, &conf.text).unwrap();
        let (port, monitor) = (Port::free().unwrap().number(), Port::free().unwrap().number());
        let mut program = Program::new(nats::NAME, tools::nats_server().unwrap());
        let (port_text, monitor_text) = (port.to_string(), monitor.to_string());
        let (file, store) = (file.display().to_string(), folder.path().join("nats").display().to_string());
        let arguments =
            ["-c", &file, "-a", "127.0.0.1", "-p", &port_text, "-m", &monitor_text, "-sd", &store];
        program.arguments = arguments.map(str::to_owned).into();
        let mut processes = Processes::new(&folder.path().join("logs")).unwrap();
        processes.start(program).unwrap();
        let monitor = format!("http://127.0.0.1:{monitor}");
        nats::wait_until_healthy(&mut processes, &reqwest::Client::new(), &monitor).await.unwrap();
        let options = ConnectOptions::with_user_and_password("relay".into(), "relay".into());
        let client = options.connect(format!("nats://127.0.0.1:{port}")).await.unwrap();
        Self { _processes: processes, _folder: folder, client }
    }

    /// The streams of all parts.
    async fn streams(&self) -> Context {
        let jetstream = jetstream::new(self.client.clone());
        for part in 0..PARTS {
            let (source, destination) = (format!("part.{part}.>"), format!("live.part.{part}.>"));
            let republish = Some(Republish { source: source.clone(), destination, headers_only: false });
            let (name, subjects) = (format!("CHURCH_{part}"), vec![source]);
            let config = Config { name, subjects, republish, ..Config::default() };
            jetstream.create_stream(config).await.unwrap();
        }
        jetstream
    }
}

/// Publishes an event of a church. Returns the stream's name, or nothing if it is refused.
async fn publish(jetstream: &Context, church: &str, id: &str, after: Option<&str>) -> Option<String> {
    let publish = PublishMessage::build().message_id(id).payload(id.to_owned().into());
    let publish = match after {
        Some(after) => publish.expected_last_message_id(after),
        None => publish,
    };
    let sent = jetstream.send_publish(format!("church.{church}.status"), publish).await.unwrap();
    sent.await.ok().map(|stored| stored.stream)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_broker_puts_each_church_into_the_part_of_its_hash() {
    let broker = Broker::start().await;
    let jetstream = broker.streams().await;
    let mut of_part_one = broker.client.subscribe("live.part.1.>").await.unwrap();
    broker.client.flush().await.unwrap();
    let mut expected = Vec::new();
    for number in 0..40 {
        let church = format!("church-{number}");
        let part = part_of(&church, PARTS);
        let stream = publish(&jetstream, &church, &church, None).await.unwrap();
        assert_eq!(stream, format!("CHURCH_{part}"), "{church}");
        expected.extend((part == 1).then_some(church));
    }
    assert!(!expected.is_empty());
    for church in expected {
        let live = timeout(LIMIT, of_part_one.next()).await.unwrap().unwrap();
        assert_eq!(live.subject.as_str(), format!("live.part.1.church.{church}.status"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_part_is_a_fence_of_its_own() {
    let broker = Broker::start().await;
    let jetstream = broker.streams().await;
    let of = |part| (0..).map(|n| format!("church-{n}")).find(move |it| part_of(it, PARTS) == part).unwrap();
    let (first, second) = (of(0), of(1));
    publish(&jetstream, &first, "a", None).await.unwrap();
    publish(&jetstream, &second, "b", None).await.unwrap();
    // What is last in another part is not last here.
    assert_eq!(publish(&jetstream, &first, "c", Some("b")).await, None);
    assert!(publish(&jetstream, &first, "c", Some("a")).await.is_some());
    assert!(publish(&jetstream, &second, "d", Some("b")).await.is_some());
}
