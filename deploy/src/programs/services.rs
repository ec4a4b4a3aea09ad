//! The three services: where their binaries are, how a stack configures them, and whether they are ready.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};

use super::program::Program;

/// message-api's name, as process and as folder.
pub const API: &str = "message-api";
/// webhook-ingest's name, as process and as folder.
pub const INGEST: &str = "webhook-ingest";

/// The process name of the gateway with this number, the first being 1.
pub fn gateway(number: usize) -> String {
    format!("realtime-gateway-{number}")
}

/// The binary of this workspace with this name, beside the running one.
///
/// # Errors
/// It was not built.
pub fn binary(name: &str) -> anyhow::Result<PathBuf> {
    let here = std::env::current_exe()?;
    // Tests run from `deps/`, one folder below the binaries.
    here.ancestors()
        .skip(1)
        .take(2)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
        .with_context(|| format!("the program {name} was not built; run `cargo build --workspace`"))
}

/// Addresses and secrets that configure the services.
#[derive(Debug, Clone)]
pub struct Wiring {
    /// `DATABASE_URL`.
    pub database_url: String,
    /// `JWT_SECRET`.
    pub jwt_secret: String,
    /// `NATS_URL`.
    pub nats_url: String,
    /// `NATS_CA_FILE`.
    pub nats_ca_file: Option<PathBuf>,
    /// Passwords of the broker's users.
    pub nats_passwords: std::collections::BTreeMap<String, String>,
    /// `TELNYX_BASE_URL`.
    pub telnyx_url: String,
    /// `TELNYX_API_KEY`.
    pub telnyx_api_key: String,
    /// `TELNYX_PUBLIC_KEY`.
    pub telnyx_public_key: String,
    /// `PUBLIC_WEBHOOK_URL`.
    pub ingest_url: String,
    /// `RECIPIENTS_URL`.
    pub recipients_url: String,
    /// `RECIPIENTS_SECRET`.
    pub recipients_secret: String,
    /// Where message-api and the gateways listen.
    pub listen: IpAddr,
    /// `CORS_ORIGINS`.
    pub cors_origins: Vec<String>,
}

/// The sender number of the stack's churches.
pub const FROM: &str = "+12025550100";
/// The church that gets the texts to that number.
pub const FROM_CHURCH: &str = "grace";

impl Wiring {
    /// message-api on these two ports.
    ///
    /// # Errors
    /// It was not built.
    pub fn message_api(&self, port: u16, ops_port: u16) -> anyhow::Result<Program> {
        let mut program =
            self.service(API, API, "message_api", ("API", SocketAddr::new(self.listen, port), ops_port))?;
        program.environment.extend(own([
            ("DATABASE_URL", &*self.database_url),
            ("JWT_SECRET", &self.jwt_secret),
            ("CORS_ORIGINS", &self.cors_origins.join(",")),
            ("TELNYX_API_KEY", &self.telnyx_api_key),
            ("TELNYX_BASE_URL", &self.telnyx_url),
            ("TELNYX_FROM", FROM),
            ("PUBLIC_WEBHOOK_URL", &self.ingest_url),
            ("RECIPIENTS_URL", &self.recipients_url),
            ("RECIPIENTS_SECRET", &self.recipients_secret),
        ]));
        Ok(program)
    }

    /// webhook-ingest on these two ports.
    ///
    /// # Errors
    /// It was not built.
    pub fn webhook_ingest(&self, port: u16, ops_port: u16) -> anyhow::Result<Program> {
        let mut program = self.service(INGEST, INGEST, "ingest", ("INGEST", loopback(port), ops_port))?;
        program.environment.extend(own([
            ("DATABASE_URL", &*self.database_url),
            ("TELNYX_PUBLIC_KEY", &self.telnyx_public_key),
            ("TELNYX_FROM", FROM),
            ("TELNYX_FROM_CHURCH", FROM_CHURCH),
        ]));
        Ok(program)
    }

    /// The gateway with this number on these two ports.
    ///
    /// # Errors
    /// It was not built.
    pub fn gateway(&self, number: usize, port: u16, ops_port: u16) -> anyhow::Result<Program> {
        let ports = ("GATEWAY", SocketAddr::new(self.listen, port), ops_port);
        let mut program = self.service(&gateway(number), "realtime-gateway", "gateway", ports)?;
        program
            .environment
            .extend(own([("JWT_SECRET", &*self.jwt_secret), ("CORS_ORIGINS", &self.cors_origins.join(","))]));
        Ok(program)
    }

    /// The common part of all three. The tuple is the prefix of its variables, its address, and its port for operators.
    fn service(
        &self,
        name: &str,
        binary_name: &str,
        user: &str,
        (prefix, listen, ops_port): (&str, SocketAddr, u16),
    ) -> anyhow::Result<Program> {
        let password = self.nats_passwords.get(user).map_or("", String::as_str);
        let mut program = Program::new(name, binary(binary_name)?);
        program.environment.extend(own([
            (&*format!("{prefix}_LISTEN"), &*listen.to_string()),
            (&format!("{prefix}_OPS_LISTEN"), &loopback(ops_port).to_string()),
            ("NATS_URL", &self.nats_url),
            ("NATS_USER", user),
            ("NATS_PASSWORD", password),
        ]));
        let ca_file = self.nats_ca_file.iter().map(|file| file.display().to_string());
        program.environment.extend(ca_file.map(|file| ("NATS_CA_FILE".to_owned(), file)));
        Ok(program)
    }
}

fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

fn own<const N: usize>(pairs: [(&str, &str); N]) -> impl Iterator<Item = (String, String)> {
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into_iter()
}

/// Asks a service's operators' listener whether the service is ready.
///
/// # Errors
/// It is not ready, with its reasons; or does not answer yet.
pub async fn ready(http: &reqwest::Client, ops_url: &str) -> anyhow::Result<()> {
    let request = http.get(format!("{ops_url}/readyz")).timeout(Duration::from_secs(2));
    let answer = request.send().await?;
    if answer.status().is_success() {
        return Ok(());
    }
    bail!("{}", answer.text().await?.trim())
}
