//! Each of ten faults is named by `ops doctor`, by the readiness or by an alert. Here are those that need a part of their
//! own. The others are planted where their part is:
//!
//! | fault | planted in |
//! |---|---|
//! | wrong Telnyx key | `operators_doctor` (doctor), `holding` (readiness of the running service) |
//! | full disk | `databases` (readiness, doctor) |
//! | stuck consumer | `operators_doctor` (a replay that nobody ends) |
//! | paused sending | `operators_doctor`; `monitoring` (alert) |
//! | wrong webhook URL | `operators_doctor` |
//! | a church without a sender | here (metric and log); `monitoring` (alert); `operators_doctor` (a number that is gone) |
//! | lagging replica, clock skew, refused publish, blocked port | here |

use std::net::SocketAddr;

use deploy::nats;
use deploy::ops::stream::{Limits, provision};
use deploy::ports::Port;
use deploy::processes::Processes;
use deploy::scratch::Scratch;
use deploy::services::{API, INGEST};
use deploy::tools;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tests::broker::TestBroker;
use tests::databases::{self, Kind};
use tests::eventually;
use tests::stack::TestStack;
use tokio::net::TcpListener;

use super::operators_doctor::{doctor, findings};
use super::{AUTHOR, CHURCH, DELIVERED};

/// Waits until the doctor says something that begins so.
async fn until_named(stack: &TestStack, settings: &[(String, String)], beginning: &str) {
    let settings: Vec<_> = settings.iter().map(|(name, value)| (&**name, &**value)).collect();
    eventually(&format!("the doctor says: {beginning}"), async || {
        let wrong = findings(&doctor(stack, &settings).await, "wrong");
        wrong.iter().any(|finding| finding.starts_with(beginning)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_publish_is_named_by_the_readiness_and_the_doctor() {
    let broker = TestBroker::start_changed(|conf| {
        let allowed = r#"{ allow: ["church.*.*", "relay.wake"] }"#;
        assert!(conf.contains(allowed));
        conf.replacen(allowed, r#"{ allow: ["relay.wake"] }"#, 1)
    })
    .await;
    let settings = broker.ops_settings();
    let password = settings.iter().find(|(name, _)| name == "NATS_INGEST_PASSWORD").unwrap().1.clone();
    let stack = TestStack::start_with(Kind::Sqlite, |options| {
        for (name, value) in [("NATS_URL", broker.url()), ("NATS_PASSWORD", password)] {
            options.environment.push((INGEST.into(), name.into(), value));
        }
    })
    .await;
    let ingest = &stack.stack.file().ops.ingest;
    eventually("webhook-ingest says that it is denied", async || {
        let (status, said) = stack.readiness(ingest).await;
        assert_eq!(status, 200, "webhooks are recorded all the same: {said}");
        said.contains("degraded: nats (the broker denies: ").then_some(())
    })
    .await;
    assert!(stack.metric(ingest, "church_nats_denials_total").await > 0.0);
    until_named(&stack, &settings, "broker user: ingest is denied what it needs: ").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_differs_from_telnyx_is_named() {
    let stack = TestStack::start(Kind::Sqlite).await;
    stack.telnyx().move_clock(3_600);
    until_named(&stack, &[], "telnyx clock: ours is -3").await;
    stack.telnyx().move_clock(-3_600);
    until_named(&stack, &[], "telnyx clock: ours is 3").await;
    stack.telnyx().move_clock(0);
    let wrong = findings(&doctor(&stack, &[]).await, "wrong");
    assert!(!wrong.iter().any(|finding| finding.contains("clock")), "{wrong:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_another_program_has_is_named() {
    let mut stack = TestStack::start(Kind::Sqlite).await;
    let url = stack.stack.file().ops.api.clone();
    let address: SocketAddr = url.trim_start_matches("http://").parse().unwrap();
    stack.stack.kill(API).await.unwrap();
    // It listens, and answers nothing.
    let _other = eventually("the port is free", async || TcpListener::bind(address).await.ok()).await;
    stack.stack.start_process(API).unwrap();
    eventually("the log names the variable and the port", async || {
        let log = std::fs::read_to_string(stack.stack.log(API)).unwrap();
        log.contains(&format!("API_OPS_LISTEN: can't listen on {address}")).then_some(())
    })
    .await;
    until_named(&stack, &[], &format!("message-api: {url} does not answer")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_church_without_a_sender_is_counted_and_its_log_line_names_it() {
    let stack = TestStack::start_with(Kind::Sqlite, |options| {
        options.environment.push((API.into(), "TELNYX_FROM".into(), String::new()));
    })
    .await;
    let counted = "church_api_errors_total{code=\"no_sender\"}";
    let api = stack.stack.file().ops.api.clone();
    assert_eq!(stack.metric(&api, counted).await, 0.0);
    let body = json!({"content": "Service at ten", "recipients": [{"phone": DELIVERED}]});
    let url = format!("{}/api/messages/send", stack.stack.file().api);
    let send = stack.stack.http().post(url).bearer_auth(stack.token(CHURCH, AUTHOR)).json(&body);
    assert_eq!(send.send().await.unwrap().status(), 422);
    assert_eq!(stack.metric(&api, counted).await, 1.0);
    let log = std::fs::read_to_string(stack.stack.log(API)).unwrap();
    let names =
        |line: &str| line.contains("a church has no number to send from") && line.contains("church.id=grace");
    assert!(log.lines().any(names), "{log}");
}

/// Three nats-servers that share the stream, ended when dropped.
struct Trio {
    processes: Processes,
    url: String,
    folder: Scratch,
}

impl Trio {
    async fn start() -> Self {
        let folder = databases::folder();
        let ports = || [0; 3].map(|_| Port::free().unwrap());
        let (clients, monitors, routes) = (ports(), ports(), ports());
        let url: Vec<_> = clients.iter().map(|port| format!("nats://127.0.0.1:{}", port.number())).collect();
        let all: Vec<_> =
            routes.iter().map(|port| format!("nats-route://127.0.0.1:{}", port.number())).collect();
        std::fs::copy(tools::project().join("nats.conf"), folder.path().join("nats.conf")).unwrap();
        let processes = Processes::new(&folder.path().join("logs")).unwrap();
        let mut trio = Self { processes, url: url.join(","), folder };
        for (number, route) in routes.iter().enumerate() {
            let conf = format!(
                "include nats.conf\nserver_name: {}\ncluster {{ name: church, listen: \"127.0.0.1:{}\", routes: [{}] }}\n",
                name(number),
                route.number(),
                all.join(", ")
            );
            trio.run(number, (&clients[number], &monitors[number]), &conf);
        }
        trio.provision().await;
        trio
    }

    fn run(&mut self, number: usize, (client, monitor): (&Port, &Port), conf: &str) {
        let (file, data) =
            (self.folder.path().join(format!("{number}.conf")), self.folder.path().join(name(number)));
        std::fs::write(&file, conf).unwrap();
        let passwords = nats::USERS.map(|user| (user.to_owned(), "p0123456789abcdef".to_owned())).into();
        let mut program = nats::program(client.number(), monitor.number(), &data, &passwords).unwrap();
        program.name = name(number);
        program.arguments.extend(["-c".into(), file.display().to_string()]);
        self.processes.start(program).unwrap();
    }

    async fn provision(&self) {
        let limits = Limits { max_age_days: 7, max_mib: 64, replicas: 3, ..Limits::default() };
        eventually("the stream is made", async || {
            let client = nats::connect(&self.url, "provisioner", "p0123456789abcdef").await.ok()?;
            provision(client, &limits).await.ok()
        })
        .await;
    }

    /// Stops a server in the middle of its work, as a machine that hangs.
    fn freeze(&mut self, number: usize) {
        let (_, id) = self.processes.ids().into_iter().find(|(of, _)| *of == name(number)).unwrap();
        let pid = Pid::from_raw(i32::try_from(id).unwrap()).unwrap();
        kill_process(pid, Signal::STOP).unwrap();
    }
}

fn name(number: usize) -> String {
    format!("church-{}", number + 1)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_lags_is_named() {
    let stack = TestStack::start(Kind::Sqlite).await;
    let mut trio = Trio::start().await;
    // The doctor asks the two others.
    let others: Vec<_> = trio.url.split(',').take(2).collect();
    let settings = [
        ("NATS_URL".to_owned(), others.join(",")),
        ("NATS_OPS_PASSWORD".to_owned(), "p0123456789abcdef".to_owned()),
    ];
    let said = [("NATS_URL", &*settings[0].1), ("NATS_OPS_PASSWORD", &*settings[1].1)];
    eventually("all replicas are well", async || {
        let wrong = findings(&doctor(&stack, &said).await, "wrong");
        (!wrong.iter().any(|finding| finding.starts_with("stream: "))).then_some(())
    })
    .await;
    trio.freeze(2);
    until_named(&stack, &settings, "stream: the replica church-3 ").await;
}
