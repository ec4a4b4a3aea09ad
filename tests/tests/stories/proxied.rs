//! One host: nginx and Caddy as deploy/proxy configures them, in front of two gateways, message-api, webhook-ingest and
//! the product's own back end. Without nginx on this machine its stories are skipped, and `make check` says so.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use deploy::ports::Port;
use deploy::processes::Processes;
use deploy::proxies::{Addresses, caddy, caddyfile, certificate_in, nginx, nginx_conf};
use deploy::scratch::Scratch;
use deploy::stack::StackOptions;
use deploy::tools;
use deploy::watch::Seen;
use serde_json::{Value, json};
use tests::client::Client;
use tests::databases::Kind;
use tests::eventually;
use tests::load::http::address_of;
use tests::stack::TestStack;
use tokio::process::Command;

use super::{AUTHOR, CHURCH, DELIVERED};

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kit {
    Nginx,
    Caddy,
}

/// A stack with two gateways behind a proxy.
struct Site {
    stack: TestStack,
    kit: Kit,
    processes: Processes,
    conf: PathBuf,
    folder: Scratch,
    admin: SocketAddr,
    url: String,
    http: reqwest::Client,
    _ports: [Port; 2],
}

impl Site {
    /// Starts it. `change` may change the configuration. Returns nothing if nginx is not installed.
    async fn start(kit: Kit, change: impl FnOnce(String) -> String) -> Option<Self> {
        if kit == Kit::Nginx && tools::on_path("nginx").is_none() {
            return None;
        }
        let stack = TestStack::start_with(Kind::Sqlite, |options: &mut StackOptions| {
            options.gateways = 2;
            let trusted = ("realtime-gateway".into(), "TRUSTED_PROXIES".into(), "127.0.0.1".into());
            options.environment.push(trusted);
        })
        .await;
        let (folder, ports) = (Scratch::new().unwrap(), [Port::free().unwrap(), Port::free().unwrap()]);
        let [https, admin] = ports.each_ref().map(|port| (Ipv4Addr::LOCALHOST, port.number()).into());
        let addresses = addresses(&stack, https, admin);
        let write = move |folder: PathBuf| match kit {
            Kit::Nginx => nginx_conf(&folder, &addresses),
            Kit::Caddy => caddyfile(&folder, &addresses),
        };
        let path = folder.path().to_owned();
        let conf = tokio::task::spawn_blocking(move || write(path)).await.unwrap().unwrap();
        std::fs::write(&conf, change(std::fs::read_to_string(&conf).unwrap())).unwrap();
        let mut processes = Processes::new(&folder.path().join("logs")).unwrap();
        processes.start(if kit == Kit::Nginx { nginx(&conf) } else { caddy(&conf) }.unwrap()).unwrap();
        let http = trusting(&std::fs::read(certificate_in(folder.path())).unwrap());
        let url = format!("https://localhost:{}", https.port());
        let site = Self { stack, kit, processes, conf, folder, admin, url, http, _ports: ports };
        eventually("the proxy passes requests on", async || {
            let answer = site.http.get(format!("{}/api/messages/history", site.url)).send().await;
            answer.is_ok_and(|answer| answer.status() == 401).then_some(())
        })
        .await;
        Some(site)
    }

    /// A browser that is let in through the proxy.
    async fn client(&self, transports: &str) -> Client {
        let folder = tokio::task::spawn_blocking(tools::client).await.unwrap().unwrap();
        let mut program = Command::new("node");
        program.arg(folder.join("watch.mjs")).args([&self.url, "--json", "--until-eof", "--try-all"]);
        program.args(["--transports", transports]);
        program.env("TOKEN", self.stack.token(CHURCH, AUTHOR));
        program.env("NODE_EXTRA_CA_CERTS", certificate_in(self.folder.path()));
        let mut client = Client::run(program);
        client.until("connected").await;
        client
    }

    /// Sends a text through the proxy.
    async fn send(&self) {
        let body = json!({"content": "Service at ten", "recipients": [{"phone": DELIVERED}]});
        let url = format!("{}/api/messages/send", self.url);
        let request = self.http.post(url).bearer_auth(self.stack.token(CHURCH, AUTHOR)).json(&body);
        assert_eq!(request.send().await.unwrap().status(), 201);
    }

    /// Sends a text, which the client sees until it is delivered, without a new connection.
    async fn send_and_see(&self, client: &mut Client) {
        let before = client.seen().len();
        self.send().await;
        client.until("message:delivered").await;
        let left = |seen: &&Seen| seen.event == "disconnect";
        assert_eq!(client.seen()[before..].iter().find(left).map(|seen| &seen.data), None);
    }

    /// Makes the proxy read its configuration again.
    async fn reload(&mut self) {
        match self.kit {
            Kit::Nginx => {
                let id = self.processes.ids()[0].1.cast_signed();
                let id = rustix::process::Pid::from_raw(id).unwrap();
                rustix::process::kill_process(id, rustix::process::Signal::HUP).unwrap();
            }
            Kit::Caddy => {
                let mut reload = Command::new(caddy(&self.conf).unwrap().file);
                reload.args(["reload", "--force", "--adapter", "caddyfile", "--config"]).arg(&self.conf);
                reload.args(["--address", &self.admin.to_string()]);
                let output = reload.output().await.unwrap();
                assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            }
        }
    }

    /// Sockets at each gateway.
    async fn sockets(&self) -> Vec<f64> {
        let mut sockets = Vec::new();
        for ops in &self.stack.stack.file().ops.gateways {
            sockets.push(self.stack.metric(ops, "church_gateway_sockets").await);
        }
        sockets
    }
}

fn addresses(stack: &TestStack, https: SocketAddr, second: SocketAddr) -> Addresses {
    let file = stack.stack.file();
    let of = |url: &str| address_of(url).unwrap();
    Addresses {
        https,
        second,
        api: of(&file.api),
        ingest: of(&file.ingest),
        gateways: [stack.gateway_address(0), stack.gateway_address(1)],
        back_end: of(&file.back_end),
    }
}

fn trusting(certificate: &[u8]) -> reqwest::Client {
    let root = reqwest::Certificate::from_pem(certificate).unwrap();
    let http = reqwest::Client::builder().no_proxy().tls_certs_only([root]);
    http.redirect(reqwest::redirect::Policy::none()).timeout(Duration::from_secs(30)).build().unwrap()
}

/// The transport of the last opened connection.
fn transport(client: &Client) -> &Value {
    let is_opened = |seen: &&Seen| seen.event == "open" || seen.event == "upgrade";
    &client.seen().iter().rev().find(is_opened).unwrap().data["transport"]
}

/// Makes a story of both proxies from a function.
macro_rules! behind_both {
    ($($name:ident),* $(,)?) => {
        mod behind_nginx {
            $(#[tokio::test(flavor = "multi_thread")] async fn $name() { super::$name(super::Kit::Nginx).await; })*
        }
        mod behind_caddy {
            $(#[tokio::test(flavor = "multi_thread")] async fn $name() { super::$name(super::Kit::Caddy).await; })*
        }
    };
}

behind_both!(
    each_path_reaches_its_part,
    a_browser_sees_a_delivery_by_websocket_and_by_polling,
    a_browser_falls_back_to_polling_where_the_upgrade_header_is_dropped,
    a_reload_keeps_the_open_connections,
    a_browser_goes_on_at_the_other_gateway_when_its_own_is_killed,
);

async fn each_path_reaches_its_part(kit: Kit) {
    let Some(site) = Site::start(kit, |conf| conf).await else { return };
    let status = async |path: &str| {
        let answer = site.http.post(format!("{}{path}", site.url)).body("{}").send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    // Each part has its own words for a request without its credentials.
    let (code, said) = status("/api/messages/send").await;
    assert!(code == 401 && said.contains("\"success\":false"), "{code} {said}");
    let (code, said) = status("/webhooks/telnyx").await;
    assert!(code == 401 && said.contains("signature"), "{code} {said}");
    let (code, said) = status("/socket.io/?EIO=4&transport=polling&sid=none").await;
    assert!(code == 400 && said.contains("code"), "{code} {said}");
    assert_eq!(status("/recipients").await.0, 415, "the product's own back end wants JSON");
    for path in ["/api/members", "/api/messages-of-old"] {
        let (code, said) = status(path).await;
        assert!(
            code == 404 && !said.contains("\"success\""),
            "the product's own back end has no {path}: {code} {said}"
        );
    }
}

async fn a_browser_sees_a_delivery_by_websocket_and_by_polling(kit: Kit) {
    let Some(site) = Site::start(kit, |conf| conf).await else { return };
    for (transports, used) in
        [("websocket", "websocket"), ("polling", "polling"), ("polling,websocket", "websocket")]
    {
        let mut client = site.client(transports).await;
        if transports.contains(',') && transport(&client) != used {
            client.until("upgrade").await;
        }
        site.send_and_see(&mut client).await;
        assert_eq!(transport(&client), used, "{transports}");
        client.stop().await;
    }
}

async fn a_browser_falls_back_to_polling_where_the_upgrade_header_is_dropped(kit: Kit) {
    let change = |conf: String| match kit {
        Kit::Nginx => conf.replace("proxy_set_header Upgrade $http_upgrade;", "proxy_set_header Upgrade '';"),
        Kit::Caddy => conf.replace(
            "flush_interval -1",
            "flush_interval -1\n\t\t\theader_up -Upgrade\n\t\t\theader_up -Connection",
        ),
    };
    let Some(site) = Site::start(kit, change).await else { return };
    let mut client = site.client("websocket,polling").await;
    site.send_and_see(&mut client).await;
    assert_eq!(transport(&client), "polling");
}

async fn a_reload_keeps_the_open_connections(kit: Kit) {
    let Some(mut site) = Site::start(kit, |conf| conf).await else { return };
    let (mut socket, mut polling) = (site.client("websocket").await, site.client("polling").await);
    for _ in 0..3 {
        site.reload().await;
        site.send_and_see(&mut socket).await;
        polling.until("message:delivered").await;
    }
    assert_eq!(socket.recovered().len(), 1, "the websocket was never opened again");
    assert!(polling.recovered().iter().skip(1).all(|recovered| *recovered));
}

async fn a_browser_goes_on_at_the_other_gateway_when_its_own_is_killed(kit: Kit) {
    let Some(mut site) = Site::start(kit, |conf| conf).await else { return };
    let mut clients = [site.client("websocket").await, site.client("polling").await];
    let sockets = site.sockets().await;
    let used = sockets.iter().position(|sockets| *sockets == 2.0);
    let used = used.unwrap_or_else(|| panic!("one address has one gateway: {sockets:?}"));
    site.stack.stack.kill(&format!("realtime-gateway-{}", used + 1)).await.unwrap();
    site.send().await;
    for client in &mut clients {
        client.until("message:delivered").await;
        assert!(client.recovered().iter().skip(1).all(|recovered| *recovered), "{:?}", client.recovered());
    }
}
