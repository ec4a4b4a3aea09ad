//! The Kubernetes objects: rendered by kustomize, validated strictly, and their settings given to the services.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};
use serde::Deserialize;

use super::{environment, sample};
use crate::programs::program::complete;
use crate::programs::scratch::Scratch;
use crate::programs::tools;

/// The Kubernetes whose schemas judge.
const VERSION: &str = "1.34.0";
/// Longest that a service takes to finish its requests and its background work.
const FINISHING: u64 = 20;

#[derive(Deserialize)]
struct Pod {
    program: String,
    environment: BTreeMap<String, String>,
    grace: u64,
    pause: u64,
}

/// Checks deploy/kubernetes/base and production.
pub(super) fn check() -> anyhow::Result<()> {
    let folder = Scratch::new()?;
    let kustomize = folder.path().join("kustomize");
    let source = tools::project().join("deploy/tools/kustomize");
    let mut go = Command::new("go");
    complete(go.args(["build", "-mod=readonly", "-o"]).arg(&kustomize).arg(".").current_dir(source))?;
    for name in ["base", "production"] {
        let rendered = folder.path().join(name);
        render(&kustomize, name, &rendered).context(name)?;
        validate(&rendered).context(name)?;
        for pod in pods(&rendered)? {
            pod.check().with_context(|| format!("{name}, {}", pod.program))?;
        }
    }
    Ok(())
}

fn render(kustomize: &Path, name: &str, into: &Path) -> anyhow::Result<()> {
    let overlay = tools::project().join("deploy/kubernetes").join(name);
    let output = Command::new(kustomize).arg(overlay).output()?;
    ensure!(output.status.success(), "kustomize: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(fs::write(into, output.stdout)?)
}

fn validate(rendered: &Path) -> anyhow::Result<()> {
    let checkers = tools::checkers()?;
    let mut program = Command::new(checkers.join("bin/kubernetes-validate"));
    program.args(["-k", VERSION, "--strict"]).arg(rendered).env("PYTHONPATH", &checkers);
    let output = program.output().context("can't run kubernetes-validate")?;
    let said = [output.stdout, output.stderr].concat();
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&said).trim());
    Ok(())
}

fn pods(rendered: &Path) -> anyhow::Result<Vec<Pod>> {
    let mut program = Command::new("python3");
    program
        .arg(tools::project().join("deploy/tools/kubernetes.py"))
        .stdin(Stdio::from(fs::File::open(rendered)?));
    program.env("PYTHONPATH", tools::checkers()?).envs(sample::VALUES);
    let output = program.output().context("can't run python3")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(serde_json::from_slice(&output.stdout)?)
}

impl Pod {
    fn check(&self) -> anyhow::Result<()> {
        let drain = self.environment.get("GATEWAY_DRAIN").map_or(Ok(0), |seconds| seconds.parse::<u64>())?;
        let needed = self.pause + drain + FINISHING;
        ensure!(self.grace > needed, "it may need {needed} s to stop, and is killed after {} s", self.grace);
        environment::check(&self.program, &self.environment)
    }
}
