//! How a binary starts, tells that it is well, and stops. The same for all three services.
//!
//! A service is `run(settings, context)`: it binds its own listener, works until `context.shutdown` is cancelled,
//! finishes what it has begun and returns. Everything around that is here: configuration errors (exit code 2),
//! logging, the operators' listener, signals, the exit code.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

use crate::reserve::{Accepted, ReservedListener, outlive};
use crate::telemetry::{self, LogOptions, Metrics};

/// A wrong or missing setting: the process ends with exit code 2.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{variable}: {problem}")]
pub struct ConfigError {
    variable: &'static str,
    problem: String,
}

impl ConfigError {
    /// Names the environment variable and says what to do.
    pub fn new(variable: &'static str, problem: impl Into<String>) -> Self {
        Self { variable, problem: problem.into() }
    }
}

/// What every service's settings have in common.
pub trait Settings: clap::Parser {
    /// The service's name, as in its folder.
    const NAME: &'static str;
    /// The variable of [`Settings::ops_listen`].
    const OPS_LISTEN: &'static str;
    /// Where the operators' listener binds.
    fn ops_listen(&self) -> SocketAddr;
    /// How to log.
    fn log(&self) -> &LogOptions;
}

/// What a running service is given.
#[derive(Clone)]
pub struct Context {
    /// Cancelled when the service has to stop.
    pub shutdown: CancellationToken,
    /// Where it says whether it is ready.
    pub health: Health,
    /// Where it counts.
    pub metrics: Metrics,
}

impl Context {
    /// A context of its own, as a test or an embedding program uses it.
    pub fn new() -> Self {
        Self { shutdown: CancellationToken::new(), health: Health::default(), metrics: Metrics::default() }
    }
}

impl Context {
    /// Runs a part without which the service is of no use. If it panics, the service stops with exit code 1, and
    /// whoever watches over it starts it again.
    pub fn spawn_vital(
        &self,
        tasks: &TaskTracker,
        name: &'static str,
        part: impl Future<Output = ()> + Send + 'static,
    ) {
        let (health, shutdown, part) = (self.health.clone(), self.shutdown.clone(), tokio::spawn(part));
        tasks.spawn(async move {
            if part.await.is_err() {
                error!(part = name, "a vital part panicked; stopping");
                health.fail(name);
                shutdown.cancel();
            }
        });
    }
}

impl Default for Context {
    fn default() -> Self {
        Self::new()
    }
}

/// Runs a service from the command line and the environment until it is told to stop.
///
/// Exit codes: 0 after an orderly stop, 1 after a failure, 2 for a wrong configuration.
pub fn main<S, F, Fut>(run: F) -> ExitCode
where
    S: Settings,
    F: FnOnce(S, Context) -> Fut,
    Fut: Future<Output = anyhow::Result<()>>,
{
    let settings = match S::try_parse() {
        Ok(settings) => settings,
        Err(error) => return refuse::<S>(&error),
    };
    if let Err(error) = telemetry::init(S::NAME, settings.log()) {
        return fail(S::NAME, &error.into());
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(S::NAME, &error.into()),
    };
    match runtime.block_on(supervise(settings, run)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(S::NAME, &error),
    }
}

#[expect(
    clippy::print_stderr,
    reason = "whoever started it by hand must see why it ended, whatever the log's filter"
)]
fn fail(name: &str, error: &anyhow::Error) -> ExitCode {
    let code = if error.is::<ConfigError>() { 2 } else { 1 };
    eprintln!("{name}: {error:#}");
    ExitCode::from(code)
}

/// Ends with clap's own message and exit code, and the environment variables of the settings it complains of.
#[expect(clippy::print_stderr, reason = "the command line is wrong; there is no log yet")]
fn refuse<S: Settings>(error: &clap::Error) -> ExitCode {
    // Whoever closed our output does not want to read it.
    let _ = error.print();
    let variables = variables_of(error, &S::command());
    if !variables.is_empty() {
        eprintln!("\nin the environment: {}", variables.join(", "));
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

/// The environment variables of the arguments that clap complains of; it names the flags alone.
fn variables_of(error: &clap::Error, command: &clap::Command) -> Vec<String> {
    use clap::error::{ContextKind, ContextValue};
    let flags: Vec<&String> = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(flag)) => vec![flag],
        Some(ContextValue::Strings(flags)) => flags.iter().collect(),
        _ => Vec::new(),
    };
    let variable = |flag: &&String| {
        let name = flag.split_whitespace().next()?.strip_prefix("--")?;
        let argument = command.get_arguments().find(|argument| argument.get_long() == Some(name))?;
        Some(argument.get_env()?.to_string_lossy().into_owned())
    };
    flags.iter().filter_map(variable).collect()
}

async fn supervise<S, F, Fut>(settings: S, run: F) -> anyhow::Result<()>
where
    S: Settings,
    F: FnOnce(S, Context) -> Fut,
    Fut: Future<Output = anyhow::Result<()>>,
{
    let context = Context::new();
    let ops = bind(S::OPS_LISTEN, settings.ops_listen()).await?;
    info!(version = env!("CARGO_PKG_VERSION"), "starting");
    info!(address = %ops.local_addr()?, "answering operators");
    let ops_done = CancellationToken::new();
    let ops = tokio::spawn(serve_ops(ops, context.clone(), ops_done.clone()));
    tokio::spawn(stop_on_signals(context.clone()));
    let health = context.health.clone();
    let outcome = run(settings, context).await;
    ops_done.cancel();
    ops.await.context("the operators' listener ended badly")?;
    outcome?;
    if let Some(part) = health.failed() {
        anyhow::bail!("{part} panicked; the log says where");
    }
    info!("stopped");
    Ok(())
}

/// Binds the listener of a setting; the error names its variable and its address, and says what to do. It is no
/// [`ConfigError`]: what uses the address may end, so that starting again may help.
///
/// # Errors
/// The address is taken or not ours.
pub async fn bind(variable: &'static str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!("{variable}: can't listen on {address}; choose another address, or stop what uses it")
    })
}

/// How long a stopping service waits for requests that are under way.
const STOP_GRACE: Duration = Duration::from_secs(10);
/// How long a connection may wait for a request, or for the rest of its headers.
const HEADER_TIMEOUT: Duration = Duration::from_secs(60);
/// The same for a connection that took the last file: the next one needs it.
const LAST_TIMEOUT: Duration = Duration::from_secs(2);
/// Connections to one listener at once; more wait to be accepted.
const MAX_CONNECTIONS: usize = 8_192;

/// Serves a router until the shutdown token is cancelled and its requests are finished, or the grace of ten seconds
/// is over. Sets TCP_NODELAY; a connection that sends no request for a minute is closed.
pub async fn serve_http(listener: TcpListener, router: Router, shutdown: CancellationToken) {
    let (http, last) = (http(HEADER_TIMEOUT, true), http(LAST_TIMEOUT, false));
    let (open, places) = (GracefulShutdown::new(), Arc::new(Semaphore::new(MAX_CONNECTIONS)));
    let listener = ReservedListener::new(listener);
    while let Some((accepted, place)) =
        shutdown.run_until_cancelled(next_connection(&listener, &places)).await
    {
        let Accepted { stream, last: taken } = accepted;
        let http = if taken.is_some() { &last } else { &http };
        // A stream that is closed already refuses; it is found out at the first read.
        let _ = stream.set_nodelay(true);
        let connection =
            http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router.clone()));
        let connection = open.watch(connection);
        tokio::spawn(async move {
            // How a connection ends is its client's business.
            let _ = connection.await;
            drop((taken, place));
        });
    }
    drop(listener);
    if tokio::time::timeout(STOP_GRACE, open.shutdown()).await.is_err() {
        warn!("stopping although requests are still under way");
    }
}

fn http(header_timeout: Duration, keep_alive: bool) -> hyper::server::conn::http1::Builder {
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(header_timeout).keep_alive(keep_alive);
    http
}

async fn next_connection(
    listener: &ReservedListener,
    places: &Arc<Semaphore>,
) -> (Accepted, OwnedSemaphorePermit) {
    let Ok(place) = places.clone().acquire_owned().await else { return std::future::pending().await };
    (listener.accept().await, place)
}

/// The next connection and its peer. Errors such as too many open files are outlived.
pub async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(error) => outlive(&error).await,
        }
    }
}

/// The first signal asks for an orderly stop, the second ends the process at once.
async fn stop_on_signals(context: Context) {
    if let Err(error) = next_signal().await {
        error!(%error, "signals can't be heard; stop the process by force if need be");
        return;
    }
    info!("stopping; a second signal ends at once");
    context.health.stop();
    context.shutdown.cancel();
    if next_signal().await.is_ok() {
        std::process::exit(1);
    }
}

/// Waits for SIGTERM or SIGINT.
///
/// # Errors
/// The signals can't be listened to.
#[cfg(unix)]
#[expect(clippy::disallowed_methods, reason = "this is the one place that hears signals")]
pub async fn next_signal() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// Waits for Ctrl-C.
///
/// # Errors
/// The signal can't be listened to.
#[cfg(not(unix))]
#[expect(clippy::disallowed_methods, reason = "this is the one place that hears signals")]
pub async fn next_signal() -> std::io::Result<()> {
    tokio::signal::ctrl_c().await
}

/// Whether the service is ready: the sum of named conditions, each with the reason while it does not hold.
#[derive(Clone, Default)]
pub struct Health(Arc<Mutex<HealthState>>);

#[derive(Default)]
struct HealthState {
    stopping: bool,
    failed: Option<&'static str>,
    conditions: BTreeMap<&'static str, (Weight, Option<String>)>,
}

/// What an unmet condition means for the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weight {
    /// Without it the service is not ready (503).
    Required,
    /// Without it the service is ready and says `degraded: <name>` (200).
    Degrading,
}

/// One condition of a service's health. Unmet until [`Condition::met`] is called.
#[derive(Clone)]
pub struct Condition {
    health: Health,
    name: &'static str,
}

impl Condition {
    /// It holds.
    pub fn met(&self) {
        self.set(None);
    }

    /// It does not hold, because of `reason`.
    pub fn unmet(&self, reason: impl Into<String>) {
        self.set(Some(reason.into()));
    }

    fn set(&self, reason: Option<String>) {
        let mut state = self.health.lock();
        if let Some((_, unmet)) = state.conditions.get_mut(self.name) {
            *unmet = reason;
        }
    }
}

impl Health {
    /// Adds a condition, unmet at first.
    pub fn condition(&self, name: &'static str, weight: Weight) -> Condition {
        self.lock().conditions.insert(name, (weight, Some("starting".into())));
        Condition { health: self.clone(), name }
    }

    /// Whether `GET /readyz` answers 200, and what it says.
    pub fn report(&self) -> (bool, String) {
        let state = self.lock();
        if state.stopping {
            return (false, "stopping\n".into());
        }
        let unmet = |weight| {
            let of_weight = state.conditions.iter().filter(move |(_, (w, _))| *w == weight);
            of_weight.filter_map(|(name, (_, reason))| reason.as_ref().map(|reason| (*name, reason)))
        };
        let missing: Vec<_> =
            unmet(Weight::Required).map(|(name, why)| format!("not ready: {name} ({why})\n")).collect();
        let degraded = unmet(Weight::Degrading).map(|(name, why)| format!("degraded: {name} ({why})\n"));
        // Before a service has said what it needs, nobody knows that it has it.
        if !state.conditions.values().any(|(weight, _)| *weight == Weight::Required) {
            return (false, "not ready: starting\n".into());
        }
        let ready = missing.is_empty();
        let lines: String = missing.into_iter().chain(degraded).collect();
        (ready, if lines.is_empty() { "ready\n".into() } else { lines })
    }

    /// From now on not ready, for good.
    pub fn stop(&self) {
        self.lock().stopping = true;
    }

    /// A vital part is gone.
    fn fail(&self, part: &'static str) {
        let mut state = self.lock();
        state.stopping = true;
        state.failed = Some(part);
    }

    fn failed(&self) -> Option<&'static str> {
        self.lock().failed
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HealthState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The operators' listener: `/livez`, `/readyz`, `/metrics`.
async fn serve_ops(listener: TcpListener, context: Context, done: CancellationToken) {
    let router = Router::new()
        .route("/livez", get(|| async { "alive\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(context);
    serve_http(listener, router, done).await
}

async fn readyz(State(context): State<Context>) -> impl IntoResponse {
    let (ready, report) = context.health.report();
    (if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, report)
}

async fn metrics(State(context): State<Context>) -> impl IntoResponse {
    (
        [(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")],
        context.metrics.encode(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Two {
        #[arg(long, env = "SERVICE_TEST_ONE_VALUE")]
        one_value: u16,
        #[arg(long, env = "SERVICE_TEST_OTHER")]
        other: String,
    }

    #[test]
    fn a_wrong_or_missing_setting_is_named_by_its_variable() {
        use clap::{CommandFactory as _, Parser as _};
        let named =
            |arguments: &[&str]| variables_of(&Two::try_parse_from(arguments).unwrap_err(), &Two::command());
        assert_eq!(named(&["two"]), ["SERVICE_TEST_ONE_VALUE", "SERVICE_TEST_OTHER"]);
        assert_eq!(named(&["two", "--one-value", "x", "--other", "y"]), ["SERVICE_TEST_ONE_VALUE"]);
    }

    #[test]
    fn a_missing_requirement_makes_a_service_not_ready_and_a_degradation_does_not() {
        let health = Health::default();
        assert!(!health.report().0, "before it said what it needs");
        let (database, nats) =
            (health.condition("database", Weight::Required), health.condition("nats", Weight::Degrading));
        assert_eq!(
            health.report(),
            (false, "not ready: database (starting)\ndegraded: nats (starting)\n".into())
        );
        database.met();
        assert_eq!(health.report(), (true, "degraded: nats (starting)\n".into()));
        nats.met();
        assert_eq!(health.report(), (true, "ready\n".into()));
        health.stop();
        assert!(!health.report().0);
    }
}
