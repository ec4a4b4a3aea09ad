//! A private PostgreSQL server on loopback, with its data in the given folder and fsync on, as in production.
//! PostgreSQL refuses to run as root; if we are root, it runs as `postgres` or `nobody`.

use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;

use super::ports::Port;
use super::private_file::write_private;
use super::processes::Processes;
use super::program::{Program, complete};
use super::tools;

/// The server's name as a process.
pub const NAME: &str = "postgres";
/// The owner of all databases.
const USER: &str = "church";
/// How long the server may take to start.
const START_LIMIT: Duration = Duration::from_secs(60);

/// The data folder, programs and address of a private server.
#[derive(Debug, Clone)]
pub struct Postgres {
    programs: PathBuf,
    data: PathBuf,
    user: Option<(u32, u32)>,
    port: u16,
    password: String,
    speaks_tls: bool,
}

/// A running private server for tests, with a database for each test.
#[derive(Debug)]
pub struct PrivateServer {
    postgres: Postgres,
    processes: Processes,
    _port: Port,
}

impl PrivateServer {
    /// Starts a server on a free port with its data in the folder. It ends when this is dropped or we end.
    ///
    /// # Errors
    /// There is no PostgreSQL and it can't be fetched, or it does not start.
    pub async fn start(folder: &Path) -> anyhow::Result<Self> {
        let port = Port::free()?;
        let mut processes = Processes::new(&folder.join("logs"))?;
        let postgres = Postgres::prepare(folder, port.number(), "private")?;
        postgres.start(&mut processes).await?;
        Ok(Self { postgres, processes, _port: port })
    }

    /// Starts a server whose folder is removed when this is dropped or we end. For tests that share a server in a
    /// `static`, which is never dropped.
    ///
    /// # Errors
    /// As [`PrivateServer::start`].
    pub async fn start_disposable(folder: &Path) -> anyhow::Result<Self> {
        let mut server = Self::start(folder).await?;
        server.processes.remove_at_exit(&server.postgres.data)?;
        server.processes.remove_at_exit(folder)?;
        Ok(server)
    }

    /// Starts a server that speaks TLS with this certificate and key, both PEM files.
    ///
    /// # Errors
    /// As [`PrivateServer::start`], or the files can't be copied.
    pub async fn start_with_tls(folder: &Path, certificate: &Path, key: &Path) -> anyhow::Result<Self> {
        let port = Port::free()?;
        let mut processes = Processes::new(&folder.join("logs"))?;
        let mut postgres = Postgres::prepare(folder, port.number(), "private")?;
        postgres.use_certificate(certificate, key)?;
        postgres.start(&mut processes).await?;
        Ok(Self { postgres, processes, _port: port })
    }

    /// Creates the database if it does not exist, and returns its URL.
    ///
    /// # Errors
    /// The server refuses.
    pub fn database(&self, name: &str) -> anyhow::Result<String> {
        self.postgres.create_database(name)?;
        Ok(self.postgres.url(name))
    }

    /// Kills the server, as a crash would end it.
    ///
    /// # Errors
    /// It does not run.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        self.processes.kill(NAME).await
    }

    /// Starts the server again on the same port, with the same data.
    ///
    /// # Errors
    /// It does not start.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        self.postgres.start(&mut self.processes).await
    }
}

impl Postgres {
    /// Creates the data folder if it does not exist.
    ///
    /// # Errors
    /// There is no PostgreSQL and it can't be fetched, or `initdb` fails.
    pub fn prepare(folder: &Path, port: u16, password: &str) -> anyhow::Result<Self> {
        let user = other_user()?;
        let (programs, data) = match user {
            None => (tools::postgres()?, folder.join("postgres")),
            Some(_) => (reachable_programs(&tools::postgres()?)?, reachable_data(folder)?),
        };
        let postgres = Self { programs, data, user, port, password: password.into(), speaks_tls: false };
        if !postgres.data.join("PG_VERSION").is_file() {
            postgres.init().context("can't make PostgreSQL's data folder")?;
        }
        Ok(postgres)
    }

    /// Starts the server and waits until it answers.
    ///
    /// # Errors
    /// It ends, or does not answer within a minute.
    pub async fn start(&self, processes: &mut Processes) -> anyhow::Result<()> {
        processes.start(self.server())?;
        let answers = async {
            loop {
                processes.check(NAME)?;
                if self.run("psql", &["-d", "postgres", "-qAtc", "select 1"]).is_ok() {
                    return Ok(());
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(START_LIMIT, answers).await.context("PostgreSQL does not answer")?
    }

    /// Creates the database if it does not exist.
    ///
    /// # Errors
    /// The server refuses.
    pub fn create_database(&self, name: &str) -> anyhow::Result<()> {
        match self.run("createdb", &[name]) {
            Err(error) if !error.to_string().contains("already exists") => Err(error),
            _ => Ok(()),
        }
    }

    /// The URL of a database.
    pub fn url(&self, name: &str) -> String {
        format!("postgres://{USER}:{}@127.0.0.1:{}/{name}", self.password, self.port)
    }

    /// The server reads its certificate and its key from its data folder.
    fn use_certificate(&mut self, certificate: &Path, key: &Path) -> anyhow::Result<()> {
        for (from, name) in [(certificate, "server.crt"), (key, "server.key")] {
            let to = self.data.join(name);
            fs::copy(from, &to)?;
            fs::set_permissions(&to, fs::Permissions::from_mode(0o600))?;
            if let Some((user, group)) = self.user {
                chown(&to, Some(user), Some(group))?;
            }
        }
        self.speaks_tls = true;
        Ok(())
    }

    fn server(&self) -> Program {
        let port = self.port.to_string();
        let data = self.data.display().to_string();
        let mut program = Program::new(NAME, self.programs.join("postgres"));
        program.arguments =
            ["-D", &data, "-p", &port, "-h", "127.0.0.1", "-c", "unix_socket_directories=", "-c"]
                .map(String::from)
                .into();
        program.arguments.push("max_connections=200".into());
        if self.speaks_tls {
            program.arguments.extend(["-c".into(), "ssl=on".into()]);
        }
        program.user = self.user;
        program.stops_on_interrupt = true;
        program
    }

    fn init(&self) -> anyhow::Result<()> {
        let parent = self.data.parent().context("the data folder has no parent")?;
        let password_file = parent.join("postgres-password");
        write_private(&password_file, self.password.as_bytes())?;
        fs::create_dir_all(&self.data)?;
        fs::set_permissions(&self.data, fs::Permissions::from_mode(0o700))?;
        if let Some((user, group)) = self.user {
            chown(&self.data, Some(user), Some(group))?;
            chown(&password_file, Some(user), Some(group))?;
        }
        let mut initdb = Program::new("initdb", self.programs.join("initdb"));
        initdb.user = self.user;
        initdb.arguments =
            ["-A", "scram-sha-256", "-U", USER, "-E", "UTF8", "--locale=C", "-D"].map(String::from).into();
        initdb.arguments.push(self.data.display().to_string());
        initdb.arguments.push(format!("--pwfile={}", password_file.display()));
        let made = complete(initdb.command().current_dir("/"));
        fs::remove_file(&password_file)?;
        made
    }

    /// Runs one of PostgreSQL's clients against the server.
    fn run(&self, client: &str, arguments: &[&str]) -> anyhow::Result<()> {
        let mut program = Program::new(client, self.programs.join(client));
        let port = self.port.to_string();
        program.arguments = ["-h", "127.0.0.1", "-p", &port, "-U", USER].map(String::from).into();
        program.arguments.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        program.environment = vec![
            ("PGPASSWORD".into(), self.password.clone()),
            ("PGCONNECT_TIMEOUT".into(), "3".into()),
            ("LC_ALL".into(), "C".into()),
        ];
        complete(&mut program.command())
    }
}

/// The user to run PostgreSQL as if we are root.
fn other_user() -> anyhow::Result<Option<(u32, u32)>> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let users = fs::read_to_string("/etc/passwd").context("can't read the machine's users")?;
    let id = |name: &str| {
        let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2).map(str::parse);
        Some((fields.next()?.ok()?, fields.next()?.ok()?))
    };
    let found = id("postgres").or_else(|| id("nobody"));
    found
        .map(Some)
        .context("PostgreSQL refuses to run as root, and there is neither a user postgres nor nobody")
}

/// A data folder that the other user can reach: in the state folder, else under `/var/tmp`.
fn reachable_data(folder: &Path) -> anyhow::Result<PathBuf> {
    fs::create_dir_all(folder)?;
    let folder = folder.canonicalize()?;
    // Others may pass through the state folder; files with secrets in it are readable by us alone.
    let mode = folder.metadata()?.permissions().mode();
    fs::set_permissions(&folder, fs::Permissions::from_mode(mode | 0o011))?;
    if is_reachable(&folder) {
        return Ok(folder.join("postgres"));
    }
    elsewhere("church-stack-postgres", &folder).map(|elsewhere| elsewhere.join("postgres"))
}

/// Programs that the other user can reach; copied if the project's folder is out of reach.
fn reachable_programs(programs: &Path) -> anyhow::Result<PathBuf> {
    if is_reachable(programs) {
        return Ok(programs.to_owned());
    }
    // Fetched programs have their libraries beside their folder, so the whole package is copied.
    let is_fetched = |folder: &&Path| folder.parent().is_some_and(|parent| parent.ends_with(".tools"));
    let whole = programs.ancestors().find(is_fetched).or(programs.parent());
    let whole = whole.context("the programs have no folder")?;
    let folder = elsewhere("church-stack-tools", whole)?;
    let (copy, fresh) = (folder.join("copy"), folder.join(format!("fresh-{}", std::process::id())));
    if !copy.is_dir() {
        complete(Command::new("cp").arg("-R").arg(whole).arg(&fresh))?;
        // Another process may have been faster.
        if fs::rename(&fresh, &copy).is_err() {
            fs::remove_dir_all(&fresh)?;
        }
    }
    Ok(copy.join(programs.strip_prefix(whole)?))
}

/// A folder under `/var/tmp`, which survives a reboot; one for each path that it replaces.
fn elsewhere(name: &str, place: &Path) -> anyhow::Result<PathBuf> {
    let mut hasher = DefaultHasher::new();
    place.hash(&mut hasher);
    let folder = PathBuf::from(format!("/var/tmp/{name}-{:016x}", hasher.finish()));
    fs::create_dir_all(&folder)?;
    anyhow::ensure!(folder.metadata()?.uid() == 0, "{} belongs to another user; remove it", folder.display());
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o711))?;
    Ok(folder)
}

fn is_reachable(path: &Path) -> bool {
    let open = |folder: &Path| folder.metadata().is_ok_and(|it| it.permissions().mode() & 0o001 != 0);
    path.ancestors().all(open)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_disposable_server_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap().keep();
        let server = PrivateServer::start_disposable(&folder).await.unwrap();
        server.database("one").unwrap();
        drop(server);
        assert!(!folder.exists());
    }

    #[tokio::test]
    async fn a_private_server_keeps_its_databases_over_a_crash() {
        let folder = tempfile::tempdir().unwrap();
        let mut server = PrivateServer::start(folder.path()).await.unwrap();
        let url = server.database("one").unwrap();
        assert!(url.starts_with("postgres://church:private@127.0.0.1:"), "{url}");
        server.kill().await.unwrap();
        server.restart().await.unwrap();
        assert_eq!(server.database("one").unwrap(), url);
        server.postgres.run("psql", &["-d", "one", "-qc", "select 1"]).unwrap();
    }
}
