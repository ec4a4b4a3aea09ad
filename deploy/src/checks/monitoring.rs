//! The files for Prometheus, by promtool: the configuration, the alerts, and the tests of the alerts.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::programs::program::complete;
use crate::programs::scratch::Scratch;
use crate::programs::tools;

/// Checks deploy/monitoring, and the compose project's own targets.
pub(super) fn check() -> anyhow::Result<()> {
    let monitoring = tools::project().join("deploy/monitoring");
    promtool(&["check", "config", "prometheus.yml"], &monitoring)?;
    promtool(&["check", "rules", "--lint=all", "--lint-fatal", "alerts.yaml"], &monitoring)?;
    promtool(&["test", "rules", "alerts_test.yaml"], &monitoring)?;
    let folder = Scratch::new()?;
    for name in ["prometheus.yml", "alerts.yaml"] {
        fs::copy(monitoring.join(name), folder.path().join(name))?;
    }
    let targets = tools::project().join("deploy/compose/targets.yaml");
    fs::copy(targets, folder.path().join("targets.yaml"))?;
    promtool(&["check", "config", "prometheus.yml"], folder.path())
}

fn promtool(arguments: &[&str], folder: &Path) -> anyhow::Result<()> {
    complete(Command::new("promtool").args(arguments).current_dir(folder))
}
