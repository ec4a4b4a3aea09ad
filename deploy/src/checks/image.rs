//! The container image, linted, and really built by buildah: without an engine, and with a base that is made here
//! instead of pulled.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context as _, ensure};

use crate::programs::program::complete;
use crate::programs::scratch::Scratch;
use crate::programs::tools;
use crate::release::PROGRAMS;

/// The Debian of the base, as in the Dockerfile.
const SUITE: &str = "bookworm";
const BASE: &str = "localhost/base";
const IMAGE: &str = "localhost/church-live";

fn dockerfile() -> PathBuf {
    tools::project().join("deploy/docker/Dockerfile")
}

/// Lets hadolint read the Dockerfile.
pub(super) fn lint() -> anyhow::Result<()> {
    let output = Command::new(tools::checkers()?.join("bin/hadolint")).arg(dockerfile()).output()?;
    ensure!(output.status.success(), "hadolint: {}", String::from_utf8_lossy(&output.stdout));
    Ok(())
}

/// Builds the image from the programs beside this one, and looks at what came out.
pub(super) fn build() -> anyhow::Result<()> {
    let folder = Scratch::new()?;
    let builder = Builder { folder: folder.path() };
    builder.base()?;
    let context = context(folder.path())?;
    let (file, base) = (dockerfile().display().to_string(), format!("BASE={BASE}"));
    builder.run(&["bud", "--pull-never", "--build-arg", &base, "-t", IMAGE, "-f", &file, &context])?;
    let config = builder.run(&["inspect", "--type", "image", "--format", "{{.OCIv1.Config.User}}", IMAGE])?;
    ensure!(config.trim() == "65532:65532", "the image runs as {config:?}");
    let container = builder.run(&["from", "--pull-never", IMAGE])?;
    for program in PROGRAMS.into_iter().chain(["nats-server"]) {
        let said = builder.run(&["run", container.trim(), "--", program, "--version"])?;
        ensure!(said.contains(program), "{program} --version says {said:?}");
    }
    let shell = builder.command(&["run", container.trim(), "--", "sh", "-c", "true"])?;
    ensure!(!shell.status.success(), "the image has a shell");
    Ok(())
}

/// buildah with its storage in this folder.
struct Builder<'a> {
    folder: &'a Path,
}

impl Builder<'_> {
    /// A small Debian, made once.
    fn base(&self) -> anyhow::Result<()> {
        let debian = tools::project().join(".tools").join(format!("debian-{SUITE}"));
        if !debian.is_dir() {
            let fresh = debian.with_extension("fresh");
            let _ = fs::remove_dir_all(&fresh);
            let packages = ["--variant=minbase", "--include=ca-certificates", SUITE];
            complete(Command::new("debootstrap").args(packages).arg(&fresh))?;
            fs::rename(fresh, &debian)?;
        }
        let container = self.run(&["from", "scratch"])?;
        self.run(&["copy", "--quiet", container.trim(), &debian.display().to_string(), "/"])?;
        self.run(&["commit", "--quiet", "--rm", container.trim(), BASE])?;
        Ok(())
    }

    fn run(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let output = self.command(arguments)?;
        let error = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "buildah {}: {}", arguments.join(" "), error.trim());
        Ok(String::from_utf8(output.stdout)?)
    }

    fn command(&self, arguments: &[&str]) -> anyhow::Result<Output> {
        let policy = self.folder.join("policy.json");
        fs::write(&policy, r#"{"default":[{"type":"insecureAcceptAnything"}]}"#)?;
        let mut buildah = Command::new("buildah");
        buildah.env("BUILDAH_ISOLATION", "chroot").args(["--storage-driver", "vfs", "--root"]);
        buildah.arg(self.folder.join("storage")).arg("--runroot").arg(self.folder.join("run"));
        let (action, rest) = arguments.split_first().context("no action")?;
        buildah.arg(action);
        if ["bud", "from", "commit"].contains(action) {
            buildah.arg("--signature-policy").arg(policy);
        }
        buildah.args(rest).output().context("can't run buildah")
    }
}

/// The part of an unpacked archive that the Dockerfile copies.
fn context(folder: &Path) -> anyhow::Result<String> {
    let (context, this) = (folder.join("context"), std::env::current_exe()?);
    let programs = this.parent().context("this program has no folder")?;
    fs::create_dir_all(context.join("bin"))?;
    for program in PROGRAMS {
        fs::copy(programs.join(program), context.join("bin").join(program))?;
    }
    fs::copy(tools::fetched_nats_server()?.program, context.join("bin/nats-server"))?;
    fs::copy(tools::project().join("nats.conf"), context.join("nats.conf"))?;
    Ok(context.display().to_string())
}
