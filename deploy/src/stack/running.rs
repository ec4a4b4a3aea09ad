//! A running stack: starts everything, controls single processes, stops everything in order.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tracing::debug;

use super::installation::Installation;
use super::layout::{self, local};
use super::lock;
use super::ops_env;
use super::options::StackOptions;
use super::stack_file::StackFile;
use crate::back_end::BackEnd;
use crate::client::token;
use crate::ops::stream::{Limits, provision};
use crate::page::{self, Page, Site};
use crate::programs::nats;
use crate::programs::ports::Port;
use crate::programs::postgres::Postgres;
use crate::programs::processes::Processes;
use crate::programs::program::Program;
use crate::programs::services::{self, API, INGEST, Wiring};
use crate::programs::tools;
use crate::simulator::{Settings, Simulator};

/// How long a service may take until it is ready.
const READY_LIMIT: Duration = Duration::from_secs(60);
/// How often to ask whether it is ready.
const READY_TICK: Duration = Duration::from_millis(20);

/// A running stack. [`Stack::stop`] stops it in order; dropping it kills its processes.
pub struct Stack {
    options: StackOptions,
    installation: Installation,
    ports: BTreeMap<String, Port>,
    processes: Processes,
    postgres: Option<Postgres>,
    simulator: Option<Simulator>,
    back_end: Option<BackEnd>,
    http: reqwest::Client,
    file: StackFile,
    _lock: File,
}

impl Stack {
    /// Starts everything and waits until it is ready.
    ///
    /// # Errors
    /// Something is missing or did not start; the error has the end of its log.
    pub async fn start(mut options: StackOptions) -> anyhow::Result<Self> {
        fs::create_dir_all(&options.state)
            .with_context(|| format!("can't make the folder {}", options.state.display()))?;
        // It contains members' phone numbers and texts.
        fs::set_permissions(&options.state, fs::Permissions::from_mode(0o700))?;
        options.state = options.state.canonicalize()?;
        let lock = lock::acquire(&options.state)?;
        let _ = fs::remove_file(StackFile::path(&options.state));
        let mut installation = Installation::open(&options.state, options.database)?;
        let (ports, moved) = layout::reserve_ports(&options, &mut installation)?;
        installation.save(&options.state)?;
        let postgres = layout::prepare_postgres(&options.state, &installation, &ports)?;
        let mut stack = Self {
            file: layout::stack_file(&options, &installation, (&ports, moved), postgres.as_ref())?,
            processes: Processes::new(&options.state.join("logs"))?,
            http: reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(5)).build()?,
            simulator: None,
            back_end: None,
            options,
            installation,
            ports,
            postgres,
            _lock: lock,
        };
        stack.start_all().await?;
        stack.write_file()?;
        Ok(stack)
    }

    async fn start_all(&mut self) -> anyhow::Result<()> {
        if self.options.broker.is_none() {
            self.start_own_broker()?;
        }
        if let Some(postgres) = &self.postgres {
            postgres.start(&mut self.processes).await?;
            postgres.create_database("church")?;
        }
        self.start_telnyx().await?;
        self.start_back_end().await?;
        if self.options.broker.is_none() {
            self.broker_ready().await?;
            let provisioned = provision(self.nats("provisioner").await?, &Limits::default()).await?;
            debug!(?provisioned, "the stream is there");
        }
        let programs = self.services()?;
        let names: Vec<_> = programs.iter().map(|program| program.name.clone()).collect();
        for program in programs {
            self.processes.start(program)?;
        }
        for name in names {
            self.ready(&name).await?;
        }
        Ok(())
    }

    fn start_own_broker(&mut self) -> anyhow::Result<()> {
        let data = self.options.state.join("nats");
        let (port, monitor) = (self.port("nats")?, self.port("nats-monitor")?);
        self.processes.start(nats::program(port, monitor, &data, &self.file.nats.users)?)
    }

    /// Stops everything in order. Nothing writes into the state folder after that.
    pub async fn stop(mut self) {
        let _ = fs::remove_file(StackFile::path(&self.options.state));
        if let Some(simulator) = self.simulator.take() {
            simulator.stop().await;
        }
        self.processes.stop_all().await;
    }

    /// Addresses, passwords, keys and process ids: the content of `stack.json`.
    pub fn file(&self) -> &StackFile {
        &self.file
    }

    /// The folder of its data and logs.
    pub fn state(&self) -> &Path {
        &self.options.state
    }

    /// An HTTP client for the stack's addresses.
    pub fn http(&self) -> &reqwest::Client {
        &self.http
    }

    /// The Telnyx simulator.
    ///
    /// # Errors
    /// It was stopped.
    pub fn simulator(&self) -> anyhow::Result<&Simulator> {
        self.simulator.as_ref().context("the simulator was stopped")
    }

    /// A token for a front end.
    ///
    /// # Errors
    /// The church id is malformed.
    pub fn token(&self, church: &str, user: &str, expires_in: Duration) -> anyhow::Result<String> {
        token::mint(&self.file.jwt_secret, church, user, expires_in)
    }

    /// A connection to the broker as one of its users.
    ///
    /// # Errors
    /// The broker is away.
    pub async fn nats(&self, user: &str) -> anyhow::Result<async_nats::Client> {
        let password =
            self.file.nats.users.get(user).with_context(|| format!("nats.conf has no user {user}"))?;
        let user = nats::User { name: user, password, variable: "NATS_PASSWORD" };
        nats::connect_with(&self.file.nats.url, user, self.file.nats.ca_file.as_deref()).await
    }

    /// The log file of a process.
    pub fn log(&self, process: &str) -> PathBuf {
        self.processes.log(process)
    }

    /// Whether a process runs.
    pub fn is_running(&mut self, process: &str) -> bool {
        self.processes.is_running(process)
    }

    /// Kills a process (SIGKILL).
    ///
    /// # Errors
    /// It does not run.
    pub async fn kill(&mut self, process: &str) -> anyhow::Result<()> {
        self.processes.kill(process).await
    }

    /// Asks a process to stop and waits for its end.
    ///
    /// # Errors
    /// It does not run.
    pub async fn terminate(&mut self, process: &str) -> anyhow::Result<ExitStatus> {
        self.processes.terminate(process).await
    }

    /// Restarts a process that has ended, on the same port, without waiting until it is ready.
    ///
    /// # Errors
    /// It never ran, runs already, or can't be started.
    pub fn start_process(&mut self, process: &str) -> anyhow::Result<()> {
        self.processes.restart(process)?;
        self.write_file()
    }

    /// Changes a variable of a process, for its next start.
    ///
    /// # Errors
    /// It never ran.
    pub fn set(&mut self, process: &str, variable: &str, value: &str) -> anyhow::Result<()> {
        self.processes.set(process, variable, value)
    }

    /// Waits until a service is ready by its `/readyz`, or the broker is healthy.
    ///
    /// # Errors
    /// It has ended, or is not ready after a minute; the error has its reasons.
    pub async fn ready(&mut self, process: &str) -> anyhow::Result<()> {
        if process == nats::NAME {
            return self.broker_ready().await;
        }
        let ops_url = self.ops_url(process)?;
        let mut missing = anyhow::anyhow!("it was not asked");
        let ready = async {
            loop {
                self.processes.check(process)?;
                match services::ready(&self.http, &ops_url).await {
                    Ok(()) => return Ok(()),
                    Err(error) => missing = error,
                }
                tokio::time::sleep(READY_TICK).await;
            }
        };
        match tokio::time::timeout(READY_LIMIT, ready).await {
            Ok(outcome) => outcome,
            Err(_) => bail!("{process} is not ready after a minute: {missing:#}"),
        }
    }

    /// Stops the broker in order.
    ///
    /// # Errors
    /// It does not run.
    pub async fn stop_broker(&mut self) -> anyhow::Result<()> {
        self.terminate(nats::NAME).await.map(drop)
    }

    /// Restarts the broker with its data, and waits until it is healthy.
    ///
    /// # Errors
    /// It runs already, or does not become healthy.
    pub async fn start_broker(&mut self) -> anyhow::Result<()> {
        self.start_process(nats::NAME)?;
        self.broker_ready().await
    }

    /// Stops the simulator, so that Telnyx can't be reached.
    pub async fn stop_telnyx(&mut self) {
        if let Some(simulator) = self.simulator.take() {
            simulator.stop().await;
        }
    }

    async fn start_back_end(&mut self) -> anyhow::Result<()> {
        let port = self.port("back-end")?;
        let listener = TcpListener::bind(("127.0.0.1", port))
            .await
            .with_context(|| format!("can't listen on port {port}"))?;
        self.back_end = Some(BackEnd::start(listener, &self.installation.secrets.back_end));
        Ok(())
    }

    /// Stops the product's back end, so that nobody can be asked for recipients.
    pub fn stop_back_end(&mut self) {
        self.back_end = None;
    }

    /// Starts the simulator with its kept book, on its port.
    ///
    /// # Errors
    /// The port is taken.
    pub async fn start_telnyx(&mut self) -> anyhow::Result<()> {
        let port = self.port("telnyx")?;
        let listener = TcpListener::bind(("127.0.0.1", port))
            .await
            .with_context(|| format!("can't listen on port {port}"))?;
        let secrets = &self.installation.secrets;
        let settings = Settings {
            api_key: secrets.telnyx_api_key.clone(),
            seed: secrets.telnyx_seed.clone(),
            pace: self.options.pace,
            book: Some(self.options.state.join("telnyx.jsonl")),
        };
        self.simulator = Some(Simulator::start(listener, settings)?);
        Ok(())
    }

    /// Restarts any process that exited, as a service manager would, but for one that is stopped on purpose. Returns their
    /// names.
    ///
    /// # Errors
    /// A process can't be started.
    pub fn restart_exited(&mut self, stopped: Option<&str>) -> anyhow::Result<Vec<String>> {
        let is_wanted = |name: &&String| *name != "stack" && stopped != Some(name);
        let ended: Vec<String> = self.file.processes.keys().filter(is_wanted).cloned().collect();
        let ended: Vec<_> = ended.into_iter().filter(|name| !self.processes.is_running(name)).collect();
        for name in &ended {
            self.start_process(name)?;
        }
        Ok(ended)
    }

    async fn broker_ready(&mut self) -> anyhow::Result<()> {
        nats::wait_until_healthy(&mut self.processes, &self.http, &self.file.nats.monitor).await
    }

    /// Serves the page to try it on, for as long as the returned value is held. Faults that its buttons ask for are sent
    /// to `faults`.
    ///
    /// # Errors
    /// The port is taken, or the Socket.IO client can't be fetched.
    pub async fn serve_page(&self, faults: mpsc::Sender<page::Request>) -> anyhow::Result<Page> {
        let port = self.port("page")?;
        let listener = TcpListener::bind((self.options.listen, port))
            .await
            .with_context(|| format!("can't listen on port {port}"))?;
        let (file, secrets) = (&self.file, &self.installation.secrets);
        let site = Site::new(page::Parts {
            secret: secrets.page.clone(),
            view_secret: secrets.page_view.clone(),
            api: file.api.clone(),
            gateway: file.gateways.first().cloned().unwrap_or_default(),
            telnyx: file.telnyx.clone(),
            jwt_secret: file.jwt_secret.clone(),
            nats_url: file.nats.url.clone(),
            nats_password: file.nats.users.get("ops").cloned().unwrap_or_default(),
            fetched: tools::client()?.join("node_modules"),
            http: self.http.clone(),
            faults,
        });
        Ok(Page::start(listener, site))
    }

    fn port(&self, name: &str) -> anyhow::Result<u16> {
        layout::port(&self.ports, name)
    }

    fn ops_url(&self, process: &str) -> anyhow::Result<String> {
        let name = match process {
            API => "api-ops".into(),
            INGEST => "ingest-ops".into(),
            gateway => format!("{}-ops", gateway.trim_start_matches("realtime-")),
        };
        Ok(local(self.port(&name).with_context(|| format!("{process} is no service"))?))
    }

    /// The settings that all services of this stack share.
    pub fn wiring(&self) -> Wiring {
        let (file, secrets) = (&self.file, &self.installation.secrets);
        Wiring {
            database_url: file.database.clone(),
            jwt_secret: file.jwt_secret.clone(),
            nats_url: file.nats.url.clone(),
            nats_ca_file: file.nats.ca_file.clone(),
            nats_passwords: file.nats.users.clone(),
            telnyx_url: file.telnyx.clone(),
            telnyx_api_key: secrets.telnyx_api_key.clone(),
            telnyx_public_key: file.telnyx_key.public.clone(),
            ingest_url: file.ingest.clone(),
            recipients_url: format!("{}/recipients", file.back_end),
            recipients_secret: secrets.back_end.clone(),
            listen: self.options.listen,
            cors_origins: std::iter::once("localhost".to_owned())
                .chain(self.port("page").ok().and_then(|page| layout::outside_origin(&self.options, page)))
                .chain(self.options.cors.clone())
                .collect(),
        }
    }

    fn services(&self) -> anyhow::Result<Vec<Program>> {
        let wiring = self.wiring();
        let mut programs = vec![
            wiring.webhook_ingest(self.port("ingest")?, self.port("ingest-ops")?)?,
            wiring.message_api(self.port("api")?, self.port("api-ops")?)?,
        ];
        for number in 1..=self.options.gateways {
            let (port, ops_port) = (format!("gateway-{number}"), format!("gateway-{number}-ops"));
            programs.push(wiring.gateway(number, self.port(&port)?, self.port(&ops_port)?)?);
        }
        for program in &mut programs {
            let more = self.options.environment.iter().filter(|(of, ..)| program.name.starts_with(of));
            program.environment.extend(more.map(|(_, name, value)| (name.clone(), value.clone())));
        }
        Ok(programs)
    }

    fn write_file(&mut self) -> anyhow::Result<()> {
        self.file.processes = self.processes.ids().into_iter().collect();
        self.file.processes.insert("stack".into(), std::process::id());
        ops_env::write(&self.options.state, &self.wiring(), &self.file.ops)?;
        self.file.write(&self.options.state)
    }
}
