//! The broker: nats-server with the project's own `nats.conf`.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, bail};
use async_nats::{ConnectErrorKind, Event, ServerAddr, ServerError};
use common::certificate;
use common::config::ConfigError;

use super::processes::Processes;
use super::program::{Program, complete};
use super::tools;

/// The broker's name as a process.
pub const NAME: &str = "nats-server";
/// The users of `nats.conf`. Each one's password is the variable `NATS_<USER>_PASSWORD`.
pub const USERS: [&str; 6] = ["ingest", "message_api", "gateway", "ops", "provisioner", "sys"];
/// How long the broker may take to start.
const START_LIMIT: Duration = Duration::from_secs(30);

/// The project's configuration. Files in `deploy/nats` include it.
const CONFIGURATION: &str = "nats.conf";

/// nats-server on these ports, with its data in the folder.
///
/// # Errors
/// There is no nats-server, and it can't be fetched.
pub fn program(
    port: u16,
    monitor: u16,
    data: &Path,
    passwords: &BTreeMap<String, String>,
) -> anyhow::Result<Program> {
    program_of(CONFIGURATION, (port, monitor), data, passwords)
}

/// The same with a file that includes `nats.conf`, by its path in the project; the variables that this one needs besides the passwords are the caller's to set.
///
/// # Errors
/// As [`program`].
pub fn program_of(
    file: &str,
    (port, monitor): (u16, u16),
    data: &Path,
    passwords: &BTreeMap<String, String>,
) -> anyhow::Result<Program> {
    let mut program = Program::new(NAME, tools::nats_server()?);
    let conf = tools::project().join(file);
    program.arguments = [
        ("-c", conf.display().to_string()),
        ("-a", "127.0.0.1".into()),
        ("-p", port.to_string()),
        ("-m", monitor.to_string()),
        ("-sd", data.display().to_string()),
    ]
    .into_iter()
    .flat_map(|(flag, value)| [flag.to_owned(), value])
    .collect();
    program.environment = passwords
        .iter()
        .map(|(user, password)| (format!("NATS_{}_PASSWORD", user.to_uppercase()), password.clone()))
        .collect();
    Ok(program)
}

/// Lets nats-server check `nats.conf`. It would read the certificates of the other files, so the tests start these.
///
/// # Errors
/// nats-server refuses the file; the error has its message.
pub fn check() -> anyhow::Result<()> {
    let passwords = USERS.map(|user| (user.to_owned(), "p0".to_owned())).into();
    let mut program = program(4222, 8222, Path::new("unused"), &passwords)?;
    program.arguments.push("-t".into());
    complete(&mut program.command())
}

/// Waits until the broker and JetStream are healthy.
///
/// # Errors
/// It has ended, or is not healthy after 30 seconds.
pub async fn wait_until_healthy(
    processes: &mut Processes,
    http: &reqwest::Client,
    monitor_url: &str,
) -> anyhow::Result<()> {
    let healthy = async {
        loop {
            processes.check(NAME)?;
            let asked = http.get(format!("{monitor_url}/healthz")).send().await;
            if asked.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(START_LIMIT, healthy).await.context("nats-server is not healthy after 30 seconds")?
}

/// Connects as one of the users, without retries.
///
/// # Errors
/// The broker is away, or refuses the password.
pub async fn connect(url: &str, user: &str, password: &str) -> anyhow::Result<async_nats::Client> {
    connect_with(url, User { name: user, password, variable: "NATS_PASSWORD" }, None).await
}

/// One of the users of `nats.conf`.
#[derive(Clone, Copy)]
pub struct User<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its password.
    pub password: &'a str,
    /// The variable that the password came from, for errors.
    pub variable: &'static str,
}

/// Connects as one of the users; over TLS if a CA file is given.
///
/// # Errors
/// The broker is away or refuses the password, or its certificate is not signed by the CA.
pub async fn connect_with(
    url: &str,
    user: User<'_>,
    ca_file: Option<&Path>,
) -> anyhow::Result<async_nats::Client> {
    connect_and_note(url, user, ca_file, Denials::default()).await
}

/// What the broker denied on a connection. The caller of a denied operation gets no answer.
#[derive(Debug, Clone, Default)]
pub struct Denials(Arc<Mutex<Vec<String>>>);

impl Denials {
    /// The broker's words so far.
    pub fn so_far(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, event: Event) {
        if let Event::ServerError(ServerError::Other(text)) = event {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(text);
        }
    }
}

/// Connects as [`connect_with`], and notes what the broker denies.
///
/// # Errors
/// As [`connect_with`].
pub async fn connect_and_note(
    url: &str,
    User { name: user, password, variable }: User<'_>,
    ca_file: Option<&Path>,
    denials: Denials,
) -> anyhow::Result<async_nats::Client> {
    let inbox = if user == "ops" { "_INBOX".to_owned() } else { format!("_INBOX_{user}") };
    let mut options =
        async_nats::ConnectOptions::with_user_and_password(user.to_owned(), password.to_owned())
            .name(format!("{user}'s tools"))
            .custom_inbox_prefix(inbox)
            .event_callback(move |event| {
                denials.note(event);
                std::future::ready(())
            })
            .connection_timeout(Duration::from_secs(5));
    if let Some(file) = ca_file {
        if !file.is_file() {
            return Err(ConfigError::new("NATS_CA_FILE", format!("{} is not a file", file.display())).into());
        }
        options = options.require_tls(true).add_root_certificates(file.to_owned());
    }
    // The error does not repeat the URL, which may contain a password.
    let wrong = |_| ConfigError::new("NATS_URL", "write nats://host:port, several comma separated");
    let servers = url.split(',').map(|url| url.trim().parse::<ServerAddr>().map_err(wrong));
    let servers = servers.collect::<Result<Vec<_>, _>>()?;
    let shown: Vec<_> = servers.iter().map(|server| format!("{}:{}", server.host(), server.port())).collect();
    let failed = format!("can't connect to the broker at {} as {user}", shown.join(", "));
    match options.connect(servers).await {
        Err(error) if is_refusal(error.kind()) => {
            Err(ConfigError::new(variable, format!("{failed}: it refuses the password")).into())
        }
        Err(error) => {
            let cause = format!("{:#}", anyhow::Error::new(error));
            match certificate::NATS.advice(&cause) {
                Some(advice) => bail!("{failed}: {cause}; {advice}"),
                None => bail!("{failed}: {cause}"),
            }
        }
        Ok(client) => Ok(client),
    }
}

fn is_refusal(kind: ConnectErrorKind) -> bool {
    matches!(kind, ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_in_the_url_is_not_echoed() {
        for url in ["nats://ops:hidden@127.0.0.1:1", "nats://ops:hidden@127.0.0.1:none", "nats://ops:hidden@"]
        {
            let error = format!("{:#}", connect(url, "provisioner", "p").await.unwrap_err());
            assert!(!error.contains("hidden"), "{error}");
        }
        let error = connect("nats://ops:hidden@127.0.0.1:1", "provisioner", "p").await.unwrap_err();
        let said = format!("{error:#}");
        assert!(said.contains("127.0.0.1:1 as provisioner") && said.contains("refused"), "{said}");
    }
}
