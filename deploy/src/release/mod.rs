//! `stack release`: builds the programs and packs everything that an installation needs into one archive.

mod needs;
mod package;

use std::io::Write as _;
use std::path::Path;
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
    let archive = package.pack(&target.join("release-package"))?;
    writeln!(out, "{}\n\n{}", archive.display(), package.needs())?;
    Ok(())
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
