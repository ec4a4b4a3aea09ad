//! The one place that handles signals.

use tracing::{error, info};

use super::context::Context;

/// The first signal asks for an orderly stop, the second ends the process at once.
pub(super) async fn stop_on_signals(context: Context) {
    if let Err(error) = next_signal().await {
        error!(%error, "can't listen for signals; stop the process by SIGKILL");
        return;
    }
    info!("stopping; a second signal ends the process at once");
    context.health.stop();
    context.shutdown.cancel();
    if next_signal().await.is_ok() {
        std::process::exit(1);
    }
}

/// Waits for SIGTERM or SIGINT, from the call on: one that comes before the first poll counts. One that comes while nothing
/// waits is lost.
///
/// # Errors
/// The signals can't be listened to.
#[cfg(unix)]
#[expect(clippy::disallowed_methods, reason = "this is the one place that handles signals")]
pub fn next_signal() -> impl Future<Output = std::io::Result<()>> + Send + use<> {
    use tokio::signal::unix::{SignalKind, signal};
    let listening = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    async {
        let (mut terminate, mut interrupt) = (listening.0?, listening.1?);
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        Ok(())
    }
}

/// Waits for Ctrl-C.
///
/// # Errors
/// The signal can't be listened to.
#[cfg(not(unix))]
#[expect(clippy::disallowed_methods, reason = "this is the one place that handles signals")]
pub async fn next_signal() -> std::io::Result<()> {
    tokio::signal::ctrl_c().await
}
