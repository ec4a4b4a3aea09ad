//! The compose file: by its schema, and each service's settings by the service.

use std::collections::BTreeMap;
use std::process::Command;

use anyhow::{Context as _, ensure};
use serde::Deserialize;

use super::{environment, sample};
use crate::programs::services::{API, INGEST};
use crate::programs::tools;

#[derive(Deserialize)]
struct Service {
    command: Vec<String>,
    environment: BTreeMap<String, String>,
}

/// Checks deploy/compose/compose.yaml.
pub(super) fn check() -> anyhow::Result<()> {
    let project = tools::project();
    let schema = tools::compose_schema()?;
    let mut program = Command::new("python3");
    program
        .arg(project.join("deploy/tools/compose/check.py"))
        .arg(project.join("deploy/compose/compose.yaml"));
    program.arg(schema).env("PYTHONPATH", tools::checkers()?).envs(sample::VALUES);
    let output = program.output().context("can't run python3")?;
    ensure!(output.status.success(), "compose.yaml: {}", String::from_utf8_lossy(&output.stderr).trim());
    let services: BTreeMap<String, Service> = serde_json::from_slice(&output.stdout)?;
    for (name, service) in &services {
        let Some(program) = service.command.first() else { continue };
        if [API, INGEST, "realtime-gateway"].contains(&program.as_str()) {
            environment::check(program, &service.environment).with_context(|| format!("service {name}"))?;
        }
    }
    Ok(())
}
