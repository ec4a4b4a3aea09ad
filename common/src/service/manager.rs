//! Tells the service manager how the service is: systemd's `Type=notify`. Without `NOTIFY_SOCKET` nothing happens.

use sd_notify::NotifyState;
use tracing::warn;

use super::context::Context;

/// Says READY once the service is ready, its condition at each change, and STOPPING at its stop.
pub(super) async fn tell_manager(context: Context) {
    let mut changes = context.health.changes();
    let mut announced = false;
    loop {
        let (ready, report) = context.health.report();
        if ready && !announced {
            announced = true;
            tell(&[NotifyState::Ready]);
        }
        tell(&[NotifyState::Status(&one_line(&report))]);
        let changed = context.shutdown.run_until_cancelled(changes.changed()).await;
        if !matches!(changed, Some(Ok(()))) {
            return tell(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
        }
    }
}

fn one_line(report: &str) -> String {
    report.trim_end().replace('\n', "; ")
}

fn tell(news: &[NotifyState]) {
    if let Err(error) = sd_notify::notify(news) {
        warn!(%error, "can't tell the service manager");
    }
}
