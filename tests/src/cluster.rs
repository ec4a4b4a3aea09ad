//! Three nats-servers that share the stream, with `deploy/nats/cluster.conf`. A TCP proxy is on each way: between every
//! two servers, in each direction, and before each server's port for services.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::PathBuf;

use async_nats::jetstream;
use common::subject::STREAM;
use deploy::nats;
use deploy::ops::stream::{Limits, provision};
use deploy::ports::Port;
use deploy::processes::Processes;
use deploy::program::Program;
use deploy::scratch::Scratch;
use deploy::stack::NatsAccess;
use serde_json::Value;

use crate::broker::passwords;
use crate::certificates::{Authority, Certificate};
use crate::eventually;
use crate::proxy::Proxy;

/// How many servers there are.
const SERVERS: usize = 3;
/// The password between servers.
const ROUTE_PASSWORD: &str = "p0fedcba9876543210";

/// A running cluster. Dropping it ends its servers.
pub struct Cluster {
    processes: Processes,
    servers: Vec<Server>,
    /// The way from one server to another, by their numbers.
    routes: BTreeMap<(usize, usize), Proxy>,
    authority: Authority,
    http: reqwest::Client,
    folder: Scratch,
}

struct Server {
    client: Port,
    route: Port,
    monitor: Port,
    certificate: Certificate,
    /// The way from services to this server.
    way: Proxy,
}

impl Cluster {
    /// Starts the servers and makes the stream with three replicas.
    ///
    /// # Panics
    /// If they don't find each other.
    pub async fn start() -> Self {
        let folder = crate::databases::folder();
        let authority = Authority::new();
        let mut servers = Vec::new();
        for number in 0..SERVERS {
            servers.push(Server::prepare(number, &authority).await);
        }
        let mut routes = BTreeMap::new();
        for (from, to) in pairs() {
            routes.insert((from, to), Proxy::to(&local(&servers[to].route)).await);
        }
        let processes = Processes::new(&folder.path().join("logs")).expect("processes can be started");
        let http = reqwest::Client::builder().no_proxy().build().expect("an HTTP client");
        let mut cluster = Self { processes, servers, routes, authority, http, folder };
        for number in 0..SERVERS {
            let program = cluster.program(number);
            cluster.processes.start(program).expect("nats-server starts");
        }
        cluster.until_healthy().await;
        cluster.provision().await;
        cluster
    }

    /// How services reach it: all servers, each through its proxy.
    pub fn access(&self) -> NatsAccess {
        let urls: Vec<_> =
            self.servers.iter().map(|server| server.way.url().replace("http", "tls")).collect();
        NatsAccess {
            url: urls.join(","),
            ca_file: Some(self.authority.ca_file()),
            monitor: local(&self.servers[0].monitor),
            users: passwords(),
        }
    }

    /// Kills a server.
    ///
    /// # Panics
    /// If it does not run.
    pub async fn kill(&mut self, number: usize) {
        self.processes.kill(&name(number)).await.expect("it runs");
    }

    /// Stops a server as docs/runbook.md says: it hands its clients and its leadership over first.
    ///
    /// # Panics
    /// If it does not end.
    pub async fn retire(&mut self, number: usize) {
        let ids = self.processes.ids();
        let (_, id) = ids.iter().find(|(of, _)| *of == name(number)).expect("it runs");
        let pid = rustix::process::Pid::from_raw(i32::try_from(*id).expect("an id")).expect("an id");
        rustix::process::kill_process(pid, rustix::process::Signal::USR2).expect("it runs");
        let processes = RefCell::new(&mut self.processes);
        eventually("the server has ended", async || {
            (!processes.borrow_mut().is_running(&name(number))).then_some(())
        })
        .await;
    }

    /// Starts a server again with its data.
    ///
    /// # Panics
    /// If it does not start.
    pub fn restart(&mut self, number: usize) {
        self.processes.restart(&name(number)).expect("it starts");
    }

    /// Deletes the data of a server that does not run.
    ///
    /// # Panics
    /// If there is none.
    pub fn wipe(&self, number: usize) {
        std::fs::remove_dir_all(self.data(number)).expect("it has data");
    }

    /// Cuts a server off from services and from the other servers: no packet passes and nothing is closed. Or lets it join
    /// again.
    pub fn cut_off(&self, number: usize, is_cut_off: bool) {
        self.servers[number].way.swallow(is_cut_off);
        for ((from, to), route) in &self.routes {
            if [*from, *to].contains(&number) {
                route.swallow(is_cut_off);
            }
        }
    }

    /// Waits until every server is healthy: it knows the others and has all of the stream.
    ///
    /// # Panics
    /// If one is not in time.
    pub async fn until_healthy(&self) {
        for number in 0..SERVERS {
            self.until_healthy_at(number).await;
        }
    }

    /// Waits until a server is healthy.
    ///
    /// # Panics
    /// If it is not in time.
    pub async fn until_healthy_at(&self, number: usize) {
        eventually(&format!("{} is healthy", name(number)), async || {
            let url = format!("{}/healthz", local(&self.servers[number].monitor));
            self.http.get(url).send().await.ok().filter(|answer| answer.status().is_success()).map(drop)
        })
        .await;
    }

    /// The number of the server that leads the stream.
    ///
    /// # Panics
    /// If none does in time.
    pub async fn leader(&self) -> usize {
        eventually("the stream has a leader", async || {
            let jetstream = jetstream::new(self.client("ops").await?);
            let stream = jetstream.get_stream(STREAM).await.ok()?;
            let leader = stream.cached_info().cluster.as_ref()?.leader.clone()?;
            (0..SERVERS).find(|number| name(*number) == leader)
        })
        .await
    }

    /// The names of the clients of a server.
    ///
    /// # Panics
    /// If it does not answer.
    pub async fn clients(&self, number: usize) -> Vec<String> {
        let url = format!("{}/connz", local(&self.servers[number].monitor));
        let answer = self.http.get(url).send().await.expect("the server answers");
        let said: Value = answer.json().await.expect("the answer is JSON");
        let connections = said["connections"].as_array().expect("it lists connections");
        connections.iter().filter_map(|it| Some(it["name"].as_str()?.to_owned())).collect()
    }

    /// Makes the stream, once the servers have chosen a leader among them.
    ///
    /// # Panics
    /// If they refuse.
    pub async fn provision(&self) {
        let limits = Limits { max_age_days: 7, max_mib: 64, replicas: SERVERS, ..Limits::default() };
        eventually("the stream is made", async || {
            provision(self.client("provisioner").await?, &limits).await.ok()
        })
        .await;
    }

    async fn client(&self, user: &str) -> Option<async_nats::Client> {
        let NatsAccess { url, ca_file, users, .. } = self.access();
        let user = nats::User { name: user, password: &users[user], variable: "NATS_PASSWORD" };
        nats::connect_with(&url, user, ca_file.as_deref()).await.ok()
    }

    fn program(&self, number: usize) -> Program {
        let server = &self.servers[number];
        let ports = (server.client.number(), server.monitor.number());
        let program = nats::program_of("deploy/nats/cluster.conf", ports, &self.data(number), &passwords());
        let mut program = program.expect("there is a nats-server");
        program.name = name(number);
        // Servers tell each other where more servers are. Here every way is one of the proxies.
        program.arguments.extend(["-cluster_advertise".into(), "127.0.0.1:1".into()]);
        let ways = self.routes.iter().filter(|((from, _), _)| *from == number);
        let routes: Vec<_> = ways.map(|(_, way)| route_url(way)).collect();
        let files = &server.certificate;
        for (variable, value) in [
            ("NATS_SERVER_NAME", name(number)),
            ("NATS_ROUTE_LISTEN", format!("127.0.0.1:{}", server.route.number())),
            ("NATS_ROUTE_PASSWORD", ROUTE_PASSWORD.into()),
            ("NATS_ROUTES", format!("[{}]", routes.join(", "))),
            ("NATS_CERT_FILE", files.certificate.display().to_string()),
            ("NATS_KEY_FILE", files.key.display().to_string()),
            ("NATS_CA_FILE", self.authority.ca_file().display().to_string()),
        ] {
            program.environment.push((variable.into(), value));
        }
        program
    }

    fn data(&self, number: usize) -> PathBuf {
        self.folder.path().join(name(number))
    }
}

impl Server {
    async fn prepare(number: usize, authority: &Authority) -> Self {
        let port = || Port::free().expect("a free port");
        let client = port();
        Self {
            way: Proxy::to(&local(&client)).await,
            client,
            route: port(),
            monitor: port(),
            certificate: authority.certificate(&name(number), "IP:127.0.0.1"),
        }
    }
}

fn name(number: usize) -> String {
    format!("church-{}", number + 1)
}

fn pairs() -> impl Iterator<Item = (usize, usize)> {
    (0..SERVERS).flat_map(|from| (0..SERVERS).map(move |to| (from, to))).filter(|(from, to)| from != to)
}

fn route_url(way: &Proxy) -> String {
    let address = way.url().replace("http://", "");
    format!("\"tls://route:{ROUTE_PASSWORD}@{address}\"")
}

fn local(port: &Port) -> String {
    format!("http://127.0.0.1:{}", port.number())
}
