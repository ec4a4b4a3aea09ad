//! A real nats-server with the project's `nats.conf`, for tests that need no service.

use std::collections::BTreeMap;
use std::path::PathBuf;

use async_nats::jetstream;
use common::broker::NatsOptions;
use common::subject::{STREAM, STREAM_SUBJECTS};
use deploy::nats;
use deploy::ops::stream::{Limits, provision};
use deploy::ports::Port;
use deploy::processes::Processes;
use deploy::scratch::Scratch;
use deploy::stack::NatsAccess;
use deploy::tools;
use secrecy::SecretString;

use crate::certificates::Certificate;

/// Every user's password.
pub(crate) const PASSWORD: &str = "p0123456789abcdef";

/// The environment variables with all users' passwords.
pub(crate) fn passwords() -> BTreeMap<String, String> {
    nats::USERS.iter().map(|user| (user.to_string(), PASSWORD.into())).collect()
}

/// A running broker with its stream, ended when dropped.
pub struct TestBroker {
    pub(crate) processes: Processes,
    port: Port,
    monitor: Port,
    http: reqwest::Client,
    ca_file: Option<PathBuf>,
    pub(crate) folder: Scratch,
}

impl TestBroker {
    /// Starts a broker and creates the stream.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn start() -> Self {
        Self::start_with(crate::databases::folder(), "nats.conf", Vec::new(), None).await
    }

    /// Starts a broker whose `nats.conf` somebody has changed, and creates the stream.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn start_changed(change: impl FnOnce(String) -> String) -> Self {
        let folder = crate::databases::folder();
        let conf = std::fs::read_to_string(tools::project().join("nats.conf")).expect("nats.conf is there");
        let changed = folder.path().join("nats.conf");
        std::fs::write(&changed, change(conf)).expect("it is written");
        Self::start_with(folder, &changed.display().to_string(), Vec::new(), None).await
    }

    /// Starts a broker that speaks TLS with this certificate, by `deploy/nats/tls.conf`.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn start_with_tls(certificate: &Certificate, ca_file: PathBuf) -> Self {
        let files = [("NATS_CERT_FILE", &certificate.certificate), ("NATS_KEY_FILE", &certificate.key)];
        let environment = files.map(|(name, file)| (name.to_owned(), file.display().to_string()));
        let folder = crate::databases::folder();
        Self::start_with(folder, "deploy/nats/tls.conf", environment.into(), Some(ca_file)).await
    }

    async fn start_with(
        folder: Scratch,
        file: &str,
        environment: Vec<(String, String)>,
        ca_file: Option<PathBuf>,
    ) -> Self {
        let mut processes = Processes::new(&folder.path().join("logs")).expect("processes can be started");
        let (port, monitor) = (Port::free().expect("a free port"), Port::free().expect("a free port"));
        let data = folder.path().join("nats");
        let program = nats::program_of(file, (port.number(), monitor.number()), &data, &passwords());
        let mut program = program.expect("there is a nats-server");
        program.environment.extend(environment);
        processes.start(program).expect("nats-server starts");
        let mut broker = Self { processes, port, monitor, http: reqwest::Client::new(), ca_file, folder };
        broker.wait().await;
        broker.provision().await;
        broker
    }

    /// How services reach it, by this host name or address.
    pub fn access(&self, host: &str) -> NatsAccess {
        let scheme = if self.ca_file.is_some() { "tls" } else { "nats" };
        NatsAccess {
            url: format!("{scheme}://{host}:{}", self.port.number()),
            ca_file: self.ca_file.clone(),
            monitor: format!("http://127.0.0.1:{}", self.monitor.number()),
            users: passwords(),
        }
    }

    /// The broker's URL.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port.number())
    }

    /// The settings of a service that connects as one of the users in `nats.conf`.
    pub fn options(&self, user: &str) -> NatsOptions {
        NatsOptions {
            nats_url: vec![self.url()],
            nats_user: user.into(),
            nats_password: SecretString::from(PASSWORD),
            nats_ca_file: None,
        }
    }

    /// The settings with which `ops` finds it.
    pub fn ops_settings(&self) -> Vec<(String, String)> {
        let password = |user: &&str| (format!("NATS_{}_PASSWORD", user.to_uppercase()), PASSWORD.to_owned());
        nats::USERS.iter().map(password).chain([("NATS_URL".into(), self.url())]).collect()
    }

    /// A connection as one of the users in `nats.conf`.
    ///
    /// # Panics
    /// If it is refused.
    pub async fn client(&self, user: &str) -> async_nats::Client {
        let user = nats::User { name: user, password: PASSWORD, variable: "NATS_PASSWORD" };
        let connected = nats::connect_with(&self.url(), user, self.ca_file.as_deref()).await;
        connected.expect("the broker accepts the user")
    }

    /// Creates or updates the stream.
    ///
    /// # Panics
    /// If the broker refuses.
    pub async fn provision(&self) {
        let limits = Limits { max_age_days: 7, max_mib: 64, ..Limits::default() };
        provision(self.client("provisioner").await, &limits).await.expect("the stream is made");
    }

    /// Changes the stream's configuration.
    ///
    /// # Panics
    /// If the broker refuses.
    pub async fn reconfigure(&self, change: impl FnOnce(&mut jetstream::stream::Config)) {
        let jetstream = jetstream::new(self.client("provisioner").await);
        let stream = jetstream.get_stream(STREAM).await.expect("there is a stream");
        let mut config = stream.cached_info().config.clone();
        change(&mut config);
        jetstream.update_stream(config).await.expect("the stream is changed");
    }

    /// Kills the broker.
    ///
    /// # Panics
    /// If it does not run.
    pub async fn kill(&mut self) {
        self.processes.kill(nats::NAME).await.expect("nats-server runs");
    }

    /// Starts the broker again on the same port with the same data.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn restart(&mut self) {
        self.processes.restart(nats::NAME).expect("nats-server starts");
        self.wait().await;
    }

    /// The folder with the broker's data, to copy or delete while it does not run.
    pub fn data(&self) -> std::path::PathBuf {
        self.folder.path().join("nats")
    }

    /// Every event in the stream, oldest first, as sequence, id and payload.
    ///
    /// # Panics
    /// If the stream can't be read.
    pub async fn stored(&self) -> Vec<(u64, String, serde_json::Value)> {
        let jetstream = jetstream::new(self.client("ops").await);
        let stream = jetstream.get_stream(STREAM).await.expect("there is a stream");
        let state = &stream.cached_info().state;
        let mut events = Vec::new();
        for sequence in state.first_sequence..=state.last_sequence {
            let Ok(message) = stream.get_raw_message(sequence).await else { continue };
            let id = message.headers.get("Nats-Msg-Id").map(|id| id.to_string()).unwrap_or_default();
            assert!(message.subject.starts_with("church."), "{STREAM_SUBJECTS}");
            events.push((sequence, id, serde_json::from_slice(&message.payload).expect("an event is JSON")));
        }
        events
    }

    async fn wait(&mut self) {
        let monitor = format!("http://127.0.0.1:{}", self.monitor.number());
        nats::wait_until_healthy(&mut self.processes, &self.http, &monitor)
            .await
            .expect("nats-server becomes healthy");
    }
}
