//! `stack release`: builds the programs and packs everything that an installation needs into one archive.

mod needs;
mod package;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

pub use needs::oldest_glibc;
pub use package::{PROGRAMS, Package};

use crate::programs::program::complete;
use crate::programs::tools;

/// Builds and packs. Prints where the archive is and what its programs need.
pub(crate) fn run() -> anyhow::Result<()> {
    let project = tools::project();
    let mut out = std::io::stdout();
    if has_changes(&project) {
        writeln!(out, "This checkout has uncommitted changes. They go into the archive.")?;
    }
    build(&project)?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| project.join("target"), Into::into);
    let package = Package::of(&target.join("release"))?;
    let folder = target.join("release-package");
    let archive = package.pack(&folder)?;
    let client = pack_client(&folder)?;
    writeln!(out, "{}\n{}\n\n{}", archive.display(), client.display(), package.needs())?;
    Ok(())
}

/// Packs the front ends' package. Returns the file that they install.
fn pack_client(folder: &Path) -> anyhow::Result<PathBuf> {
    let mut npm = Command::new("npm");
    npm.args(["pack", "--silent", "--pack-destination"]).arg(folder).current_dir(tools::client_package()?);
    let packed = npm.output().context("can't run npm")?;
    anyhow::ensure!(packed.status.success(), "npm pack failed:\n{}", String::from_utf8_lossy(&packed.stderr));
    let name = String::from_utf8_lossy(&packed.stdout);
    Ok(folder.join(name.lines().last().unwrap_or_default().trim()))
}

fn build(project: &Path) -> anyhow::Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let arguments = ["build", "--release", "--locked", "--workspace", "--bins"];
    let status = Command::new(cargo).args(arguments).current_dir(project).status();
    anyhow::ensure!(status.context("can't run cargo")?.success(), "the build failed; its messages are above");
    Ok(())
}

/// Whether git knows of changes. Without git there is nothing to warn of.
fn has_changes(project: &Path) -> bool {
    complete(Command::new("git").args(["rev-parse", "HEAD"]).current_dir(project)).is_ok()
        && complete(Command::new("git").args(["diff", "--quiet", "HEAD"]).current_dir(project)).is_err()
}
