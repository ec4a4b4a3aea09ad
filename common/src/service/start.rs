//! Starts a service and runs it to its end.

use std::net::SocketAddr;
use std::process::ExitCode;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::info;

use super::ask::{ask, asks_for_health, ops_listen, with_health};
use super::context::Context;
use super::exit::{fail, refuse};
use super::listener::bind;
use super::manager::tell_manager;
use super::ops::serve_ops;
use super::signals::stop_on_signals;
use crate::telemetry::{self, LogOptions};
use crate::version::VERSION;

/// The settings that every service has.
pub trait Settings: clap::Parser {
    /// The service's name, as in its folder.
    const NAME: &'static str;
    /// The variable of [`Settings::ops_listen`].
    const OPS_LISTEN: &'static str;
    /// The address of the operators' listener.
    fn ops_listen(&self) -> SocketAddr;
    /// The log's options.
    fn log(&self) -> &LogOptions;
}

/// Runs a service from the command line and the environment until a signal stops it.
///
/// Exit codes: 0 after an orderly stop, 1 after a failure, 2 for a wrong configuration.
pub fn main<S, F, Fut>(run: F) -> ExitCode
where
    S: Settings,
    F: FnOnce(S, Context) -> Fut,
    Fut: Future<Output = anyhow::Result<()>>,
{
    let mut command = with_health(S::command());
    let matches = match command.try_get_matches_from_mut(std::env::args_os()) {
        Ok(matches) => matches,
        Err(error) => return refuse(&error, &command),
    };
    if asks_for_health(&matches) {
        return ask(S::NAME, ops_listen(&command, &matches, S::OPS_LISTEN));
    }
    let settings = match S::from_arg_matches(&matches) {
        Ok(settings) => settings,
        Err(error) => return refuse(&error, &command),
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

async fn supervise<S, F, Fut>(settings: S, run: F) -> anyhow::Result<()>
where
    S: Settings,
    F: FnOnce(S, Context) -> Fut,
    Fut: Future<Output = anyhow::Result<()>>,
{
    let context = Context::new();
    telemetry::log_panics(context.metrics.counter("panics", "Panics caught; each is a fault of the program"));
    let ops = bind(S::OPS_LISTEN, settings.ops_listen()).await?;
    info!(version = VERSION, "starting");
    info!(address = %ops.local_addr()?, "answering operators");
    let ops_done = CancellationToken::new();
    let serving = serve_ops(S::NAME, ops, context.clone(), ops_done.clone());
    let serving = context.spawn_vital(&TaskTracker::new(), "operators' listener", serving);
    tokio::spawn(stop_on_signals(context.clone()));
    let told = tokio::spawn(tell_manager(context.clone()));
    let outcome = run(settings, context.clone()).await;
    context.shutdown.cancel();
    ops_done.cancel();
    serving.await?;
    told.await?;
    outcome?;
    if let Some(failure) = context.health.failure() {
        return Err(failure);
    }
    info!("stopped");
    Ok(())
}
