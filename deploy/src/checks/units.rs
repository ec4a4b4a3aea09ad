//! The systemd units, in a root folder that looks as an installation does.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Context as _;

use crate::programs::program::complete;
use crate::programs::scratch::Scratch;
use crate::programs::tools;

/// The services, as they are started.
const SERVICES: [&str; 4] = [
    "church-nats.service",
    "church-message-api.service",
    "church-webhook-ingest.service",
    "church-realtime-gateway@2.service",
];
/// Most exposure that is allowed, in tenths: systemd calls 2.0 well protected.
const EXPOSURE: &str = "--threshold=20";
/// Where systemd keeps its own units.
const SYSTEM_UNITS: &str = "/usr/lib/systemd/system";

/// Lets systemd read every unit, and judge how much a service could do to the machine.
pub(super) fn check() -> anyhow::Result<()> {
    let root = Scratch::new()?;
    let units = tools::project().join("deploy/systemd");
    install(&units, root.path())?;
    analyze(root.path(), &["verify", "church-live.target"], &SERVICES)?;
    for service in SERVICES {
        analyze(root.path(), &["security", "--offline=true", "--no-pager", EXPOSURE], &[service])?;
    }
    let sysusers = units.join("sysusers.conf");
    complete(Command::new("systemd-sysusers").arg("--dry-run").arg(sysusers))?;
    Ok(())
}

fn install(units: &Path, root: &Path) -> anyhow::Result<()> {
    let installed = root.join("etc/systemd/system");
    fs::create_dir_all(&installed)?;
    for folder in ["usr/lib/systemd", "opt/church-live/bin", "bin"] {
        fs::create_dir_all(root.join(folder))?;
    }
    complete(Command::new("cp").arg("-r").arg(units.join(".")).arg(&installed))?;
    // Our units wait for the system's own targets.
    complete(Command::new("cp").arg("-r").arg(SYSTEM_UNITS).arg(root.join("usr/lib/systemd")))?;
    // systemd only asks whether a program is there and may be run.
    let programs = ["message-api", "webhook-ingest", "realtime-gateway", "nats-server"];
    let programs = programs.map(|name| format!("opt/church-live/bin/{name}"));
    for program in programs.iter().map(String::as_str).chain(["bin/kill"]) {
        fs::copy("/bin/true", root.join(program))?;
    }
    Ok(())
}

fn analyze(root: &Path, arguments: &[&str], units: &[&str]) -> anyhow::Result<()> {
    let root = format!("--root={}", root.display());
    let mut command = Command::new("systemd-analyze");
    let output =
        command.arg(root).args(arguments).args(units).output().context("can't run systemd-analyze")?;
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    // What `verify` only warns of, such as a key that it does not know, is a mistake, too.
    let is_right = output.status.success() && (arguments[0] != "verify" || said.is_empty());
    anyhow::ensure!(is_right, "systemd-analyze {}: {}", arguments[0], said.trim());
    Ok(())
}
