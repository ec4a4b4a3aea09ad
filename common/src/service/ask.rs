//! The subcommand `health` of every service: asks the running service whether it is ready. A container without a shell
//! and without curl checks itself by it.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::{ArgMatches, Command};

use super::exit::fail;

const HEALTH: &str = "health";
/// How long the service may take to answer.
const LIMIT: Duration = Duration::from_secs(3);
/// Longest answer that is read.
const LONGEST: u64 = 64 << 10;

/// A service's command with the subcommand, which needs none of the service's settings.
pub(super) fn with_health(command: Command) -> Command {
    let about = "Ask the running service whether it is ready: exit code 0 if it is, 1 if not";
    let command = command.subcommand(Command::new(HEALTH).about(about));
    command.disable_help_subcommand(true).subcommand_negates_reqs(true)
}

/// Whether the command line has the subcommand.
pub(super) fn asks_for_health(matches: &ArgMatches) -> bool {
    matches.subcommand_name() == Some(HEALTH)
}

/// The operators' address: the setting with this variable.
pub(super) fn ops_listen(command: &Command, matches: &ArgMatches, variable: &str) -> Option<SocketAddr> {
    let setting = command.get_arguments().find(|it| it.get_env().is_some_and(|env| env == variable))?;
    matches.get_one(setting.get_id().as_str()).copied()
}

/// Asks the service at the operators' address. Prints what it answers.
#[expect(clippy::print_stdout, reason = "the answer is for the person or program that asks")]
pub(super) fn ask(name: &str, ops_listen: Option<SocketAddr>) -> ExitCode {
    let asked = ops_listen.context("there is no operators' address").and_then(readiness);
    match asked {
        Ok(report) => {
            print!("{report}");
            ExitCode::SUCCESS
        }
        Err(error) => fail(name, &error),
    }
}

/// What `/readyz` says, if the service is ready.
fn readiness(ops_listen: SocketAddr) -> anyhow::Result<String> {
    let address = reachable(ops_listen);
    let mut answer = String::new();
    let mut exchange = || {
        let mut stream = TcpStream::connect_timeout(&address, LIMIT)?;
        stream.set_read_timeout(Some(LIMIT))?;
        stream.write_all(b"GET /readyz HTTP/1.0\r\n\r\n")?;
        stream.take(LONGEST).read_to_string(&mut answer)
    };
    exchange().with_context(|| format!("no answer from {address}; does the service run?"))?;
    let (head, report) = answer.split_once("\r\n\r\n").context("the answer is no HTTP")?;
    if head.split(' ').nth(1) != Some("200") {
        bail!("{}", report.trim());
    }
    Ok(report.to_owned())
}

/// A service that listens on all addresses is asked on loopback.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}
