//! What a service manager, or a container's health check, learns of a service.

use std::os::unix::net::UnixDatagram;
use std::process::{Command, Output};
use std::time::Duration;

use deploy::scratch::Scratch;
use deploy::services::binary;
use deploy::stack::StackOptions;
use tests::databases::Kind;
use tests::stack::TestStack;

/// Service, the process in the stack, and the variable of its operators' address.
const SERVICES: [(&str, &str, &str); 3] = [
    ("message-api", "message-api", "API_OPS_LISTEN"),
    ("webhook-ingest", "webhook-ingest", "INGEST_OPS_LISTEN"),
    ("realtime-gateway", "realtime-gateway-1", "GATEWAY_OPS_LISTEN"),
];

/// A service manager's end of `NOTIFY_SOCKET`.
struct Manager {
    socket: UnixDatagram,
    told: Vec<String>,
}

impl Manager {
    fn at(path: &std::path::Path) -> Self {
        let socket = UnixDatagram::bind(path).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        Self { socket, told: Vec::new() }
    }

    /// Waits until it was told this.
    fn until(&mut self, line: &str) {
        let mut datagram = [0; 4096];
        while !self.has(line) {
            let length =
                self.socket.recv(&mut datagram).unwrap_or_else(|error| panic!("{error}: {:?}", self.told));
            let text = std::str::from_utf8(&datagram[..length]).unwrap();
            self.told.extend(text.lines().map(str::to_owned));
        }
    }

    fn has(&self, line: &str) -> bool {
        self.told.iter().any(|it| it == line)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_manager_is_told_when_a_service_is_ready_and_when_it_stops() {
    let folder = Scratch::new().unwrap();
    let path = |service: &str| folder.path().join(service);
    let mut managers = SERVICES.map(|(service, ..)| Manager::at(&path(service)));
    let choose = |options: &mut StackOptions| {
        options.environment.extend(SERVICES.map(|(service, ..)| {
            (service.to_owned(), "NOTIFY_SOCKET".to_owned(), path(service).display().to_string())
        }));
    };
    let mut stack = TestStack::start_with(Kind::Sqlite, choose).await;
    for (manager, (_, process, _)) in managers.iter_mut().zip(SERVICES) {
        manager.until("READY=1");
        manager.until("STATUS=ready");
        assert!(manager.told[0].starts_with("STATUS=not ready: "), "{:?}", manager.told);
        assert!(!manager.has("STOPPING=1"));
        stack.stack.terminate(process).await.unwrap();
        manager.until("STOPPING=1");
        assert_eq!(manager.told.iter().filter(|line| *line == "READY=1").count(), 1);
    }
}

/// Runs `SERVICE health` for the service whose operators' listener has this URL.
fn health(service: &str, variable: &str, url: &str) -> Output {
    let address = url.strip_prefix("http://").unwrap();
    Command::new(binary(service).unwrap()).arg("health").env(variable, address).output().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_asks_itself_whether_it_is_ready_and_needs_no_other_setting_for_it() {
    let mut stack = TestStack::start(Kind::Sqlite).await;
    let ops = stack.stack.file().ops.clone();
    let urls = [&ops.api, &ops.ingest, &ops.gateways[0]];
    for ((service, process, variable), url) in SERVICES.into_iter().zip(urls) {
        let asked = health(service, variable, url);
        // It may be ready and degraded.
        let said = String::from_utf8(asked.stdout).unwrap();
        assert!(
            asked.status.success() && !said.is_empty() && !said.contains("not ready"),
            "{service}: {said}"
        );
        stack.stack.terminate(process).await.unwrap();
        let asked = health(service, variable, url);
        let said = String::from_utf8(asked.stderr).unwrap();
        assert_eq!(asked.status.code(), Some(1), "{service}");
        assert!(said.contains("does the service run?"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_not_ready_says_why_and_fails_its_health_check() {
    let mut stack = TestStack::start(Kind::Sqlite).await;
    stack.stack.stop_broker().await.unwrap();
    stack.stack.terminate("realtime-gateway-1").await.unwrap();
    stack.stack.start_process("realtime-gateway-1").unwrap();
    let url = stack.stack.file().ops.gateways[0].clone();
    tests::eventually("the health check says what is missing", async || {
        let asked = health("realtime-gateway", "GATEWAY_OPS_LISTEN", &url);
        let said = String::from_utf8(asked.stderr).unwrap();
        (asked.status.code() == Some(1) && said.contains("not ready: stream")).then_some(())
    })
    .await;
}
