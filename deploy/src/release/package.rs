//! The archive: programs, `nats.conf`, what systemd, proxies and containers need, and the documents.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};
use aws_lc_rs::digest::{SHA256, digest};

use super::needs::oldest_glibc;
use crate::programs::program::complete;
use crate::programs::tools;

/// Our programs in the archive's `bin/`. nats-server is beside them.
pub const PROGRAMS: [&str; 4] = ["message-api", "webhook-ingest", "realtime-gateway", "ops"];

/// Files and folders of the project, in the archive at the same places, so that the documents' links work.
const FILES: [&str; 16] = [
    "LICENSE-MIT",
    "LICENSE-APACHE",
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "SECURITY.md",
    "nats.conf",
    "docs",
    "deploy/systemd",
    "deploy/proxy",
    "deploy/nats",
    "deploy/docker",
    "deploy/compose",
    "deploy/kubernetes",
    "deploy/monitoring",
];

/// What one release consists of.
#[derive(Debug)]
pub struct Package {
    programs: PathBuf,
    nats_server: PathBuf,
    nats_licence: PathBuf,
    version: String,
    commit: String,
    needs: String,
}

impl Package {
    /// The package of the programs in a folder.
    ///
    /// # Errors
    /// A program is missing or of another build, or nats-server can't be fetched.
    pub fn of(programs: &Path) -> anyhow::Result<Self> {
        let (version, commit) = build_of(programs)?;
        let fetched = tools::fetched_nats_server()?;
        let files: Vec<_> = PROGRAMS.iter().map(|name| programs.join(name)).collect();
        let needs = needs(oldest_glibc(files.iter().map(PathBuf::as_path))?);
        let (nats_server, nats_licence) = (fetched.program, fetched.licence);
        Ok(Self { programs: programs.to_owned(), nats_server, nats_licence, version, commit, needs })
    }

    /// What a machine needs to run it.
    pub fn needs(&self) -> &str {
        &self.needs
    }

    /// Packs it into this folder. Returns the archive, which has its checksum in a file beside it.
    ///
    /// # Errors
    /// A file can't be copied, or `tar` fails.
    pub fn pack(&self, into: &Path) -> anyhow::Result<PathBuf> {
        let name = format!("church-live-{}-{}", self.version, target());
        let folder = into.join(&name);
        let _ = fs::remove_dir_all(&folder);
        self.fill(&folder)?;
        let archive = format!("{name}.tar.gz");
        complete(
            Command::new("tar")
                .args(["--sort=name", "--owner=0", "--group=0", "--numeric-owner", "-czf", &archive, &name])
                .current_dir(into),
        )?;
        fs::write(into.join(format!("{archive}.sha256")), checksum(into, Path::new(&archive))?)?;
        Ok(into.join(archive))
    }

    fn fill(&self, folder: &Path) -> anyhow::Result<()> {
        let project = tools::project();
        for file in FILES {
            copy(&project.join(file), &folder.join(file))?;
        }
        for program in PROGRAMS {
            copy(&self.programs.join(program), &folder.join("bin").join(program))?;
        }
        copy(&self.nats_server, &folder.join("bin/nats-server"))?;
        copy(&self.nats_licence, &folder.join("licences/nats-server"))?;
        fs::write(folder.join("VERSION"), format!("{} ({})\n", self.version, self.commit))?;
        fs::write(folder.join("NEEDS"), &self.needs)?;
        let mut sums = String::new();
        for file in files_in(folder, Path::new(""))? {
            sums += &checksum(folder, &file)?;
        }
        fs::write(folder.join("SHA256SUMS"), sums)?;
        Ok(())
    }
}

/// Version and commit that all programs agree on.
fn build_of(programs: &Path) -> anyhow::Result<(String, String)> {
    let said = PROGRAMS.map(|name| {
        let file = programs.join(name);
        let output = Command::new(&file).arg("--version").output();
        let output = output.with_context(|| format!("can't run {}", file.display()))?;
        let said = String::from_utf8(output.stdout)?;
        anyhow::Ok(said.trim().trim_start_matches(name).trim().to_owned())
    });
    let said = said.into_iter().collect::<Result<Vec<_>, _>>()?;
    ensure!(said.windows(2).all(|two| two[0] == two[1]), "the programs are of different builds: {said:?}");
    let (version, commit) = said[0].split_once(" (").context("`--version` names no commit")?;
    Ok((version.to_owned(), commit.trim_end_matches(')').to_owned()))
}

/// The platform that this program runs on, which is the one that it builds for.
fn target() -> String {
    format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS)
}

fn needs(glibc: Option<u32>) -> String {
    let glibc = glibc.map_or_else(|| "any glibc".into(), |minor| format!("glibc 2.{minor} or newer"));
    format!(
        "Linux on {} with {glibc} (`ldd --version` shows it).\n\
         1 GB of RAM and 2 GB of disk for one church office; the services and nats-server take about 120 MB at rest. The \
         stream takes up to 4 GB more (`ops provision --max-mib`).\n",
        std::env::consts::ARCH
    )
}

/// Copies a file with its mode, or a folder with all that is in it.
fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    let copied = || -> anyhow::Result<()> {
        fs::create_dir_all(to.parent().context("no parent")?)?;
        if from.is_file() {
            fs::copy(from, to)?;
            let mode = if from.metadata()?.permissions().mode() & 0o100 == 0 { 0o644 } else { 0o755 };
            fs::set_permissions(to, fs::Permissions::from_mode(mode))?;
            return Ok(());
        }
        for entry in fs::read_dir(from)? {
            let name = entry?.file_name();
            copy(&from.join(&name), &to.join(&name))?;
        }
        Ok(())
    };
    copied().with_context(|| format!("can't copy {}", from.display()))
}

/// All files below a folder, sorted, as paths in it.
fn files_in(root: &Path, folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(root.join(folder))? {
        let path = folder.join(entry?.file_name());
        if root.join(&path).is_dir() {
            files.extend(files_in(root, &path)?);
        } else {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// A line as `sha256sum` writes it.
fn checksum(root: &Path, file: &Path) -> anyhow::Result<String> {
    let sum = digest(&SHA256, &fs::read(root.join(file))?);
    let hex: String = sum.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("{hex}  {}\n", file.display()))
}
