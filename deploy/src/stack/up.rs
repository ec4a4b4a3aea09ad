//! `stack up`: in the foreground until Ctrl-C, or in the background until `stack down`.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use common::service::next_signal;

use super::arguments::{At, or_signal};
use super::demo;
use super::installation::Database;
use super::options::StackOptions;
use super::running::Stack;
use super::stack_file::{MovedPort, StackFile};
use crate::client::traffic;
use crate::programs::tools;

/// How long the traffic's token is valid: longer than anybody lets it run.
const TRAFFIC_TOKEN: Duration = Duration::from_secs(30 * 24 * 3600);

#[derive(clap::Args)]
pub(super) struct Up {
    #[command(flatten)]
    at: At,
    /// The database; what the folder has, else sqlite
    #[arg(long)]
    database: Option<Database>,
    /// How many gateways
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=16))]
    gateways: u8,
    /// Where message-api and the gateways listen; 0.0.0.0 for other devices in the network
    #[arg(long, default_value_t = Ipv4Addr::LOCALHOST.into(), value_name = "IP")]
    listen: IpAddr,
    /// Origins of web pages besides localhost, comma separated: http://192.168.1.5:3000
    #[arg(long, value_delimiter = ',', value_name = "ORIGIN")]
    cors: Vec<String>,
    /// Go to the background once all is ready
    #[arg(long)]
    detach: bool,
    /// Send a little traffic
    #[arg(long)]
    traffic: bool,
    /// This is the process in the background
    #[arg(long, hide = true)]
    detached: bool,
}

pub(super) async fn run(options: Up) -> anyhow::Result<()> {
    if options.detach && !options.detached {
        return detach(&options).await;
    }
    if options.detached {
        // A session of its own: closing the terminal does not end it.
        rustix::process::setsid().context("can't leave the terminal")?;
    }
    let mut stack = or_signal(Stack::start(StackOptions {
        database: options.database,
        gateways: usize::from(options.gateways),
        listen: options.listen,
        cors: options.cors.clone(),
        ..StackOptions::new(&options.at.state)
    }))
    .await?;
    if !options.detached {
        introduce(stack.file(), &options)?;
        writeln!(std::io::stdout(), "\nCtrl-C stops it; the data stays.")?;
    }
    let outcome = tend(&mut stack, options.traffic).await;
    tokio::select! {
        () = stack.stop() => outcome,
        _ = next_signal() => bail!("interrupted again; what was still running is killed"),
    }
}

/// Until a signal: starts again what ends by itself, and sends a little traffic if wished.
async fn tend(stack: &mut Stack, with_traffic: bool) -> anyhow::Result<()> {
    let token = stack.token(demo::CHURCH, demo::USER, TRAFFIC_TOKEN)?;
    let flow = traffic::flow(stack.http().clone(), stack.file().api.clone(), token);
    let signal = next_signal();
    tokio::pin!(signal, flow);
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            heard = &mut signal => return Ok(heard?),
            () = &mut flow, if with_traffic => {}
            _ = tick.tick() => {
                for name in stack.tend()? {
                    let log = stack.log(&name);
                    tracing::warn!(name, log = %log.display(), "ended by itself; started again");
                }
            }
        }
    }
}

/// Starts the same command in the background and waits until it is ready.
async fn detach(options: &Up) -> anyhow::Result<()> {
    let logs = options.at.state.join("logs");
    std::fs::create_dir_all(&logs)?;
    let log = logs.join("stack.log");
    let out = std::fs::File::create(&log)?;
    let mut child = std::process::Command::new(std::env::current_exe()?)
        .args(std::env::args_os().skip(1))
        .arg("--detached")
        .stdin(Stdio::null())
        .stdout(out.try_clone()?)
        .stderr(out)
        .spawn()?;
    let started = or_signal(wait_until_ready(&mut child, &options.at.state)).await;
    let file = match started {
        Ok(file) => file,
        Err(error) => {
            let _ = child.kill();
            let said = std::fs::read_to_string(&log).unwrap_or_default();
            bail!("{error:#}\n{}", said.trim());
        }
    };
    introduce(&file, options)?;
    let (stack, state) = (std::env::current_exe()?, options.at.state.canonicalize()?);
    let (stack, state) = (stack.display(), state.display());
    writeln!(std::io::stdout(), "\nIt runs in the background. This stops it, the data stays:")?;
    writeln!(std::io::stdout(), "  {stack} down --state {state}")?;
    Ok(())
}

async fn wait_until_ready(child: &mut Child, state: &Path) -> anyhow::Result<StackFile> {
    loop {
        if let Some(status) = child.try_wait()? {
            let signal = status.signal().map(|signal| format!(" (signal {signal})")).unwrap_or_default();
            bail!("the stack did not start{signal}:");
        }
        if let Ok(file) = StackFile::read(state)
            && file.processes.get("stack") == Some(&child.id())
        {
            return Ok(file);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Says where everything is and what to try.
fn introduce(file: &StackFile, options: &Up) -> anyhow::Result<()> {
    let mut out = std::io::stdout();
    let state = options.at.state.canonicalize()?;
    writeln!(out, "message-api       {}   (operators: {})", file.api, file.ops.api)?;
    writeln!(out, "webhook-ingest    {}   (operators: {})", file.ingest, file.ops.ingest)?;
    let gateways = file.gateways.join("  ");
    writeln!(out, "realtime-gateway  {gateways}   (operators: {})", file.ops.gateways.join("  "))?;
    writeln!(out, "Telnyx simulator  {}   (its book: {}/simulator/book)", file.telnyx, file.telnyx)?;
    writeln!(out, "NATS              {}   (monitor: {})", file.nats.url, file.nats.monitor)?;
    writeln!(out, "passwords, keys   {}", StackFile::path(&state).display())?;
    writeln!(out, "logs              {}", state.join("logs").display())?;
    tell_of_moved_ports(&mut out, file)?;
    if options.listen.is_unspecified() {
        tell_of_the_network(&mut out, file)?;
    }
    suggest(&mut out, file, &state)
}

/// A page or a script that was written for the documented ports does not work then.
fn tell_of_moved_ports(out: &mut impl Write, file: &StackFile) -> anyhow::Result<()> {
    for MovedPort { name, port, instead_of } in &file.moved_ports {
        writeln!(out, "! the port of {name} is {port} and not {instead_of}, which was taken")?;
    }
    Ok(())
}

fn tell_of_the_network(out: &mut impl Write, file: &StackFile) -> anyhow::Result<()> {
    let Some(address) = own_address() else {
        writeln!(out, "\nThis machine is in no network that other devices could reach it by.")?;
        return Ok(());
    };
    let from_outside = |url: &String| url.replace("127.0.0.1", &address.to_string());
    let gateways: Vec<_> = file.gateways.iter().map(from_outside).collect();
    writeln!(out, "\nFrom other devices in the network, without encryption:")?;
    writeln!(out, "message-api       {}", from_outside(&file.api))?;
    writeln!(out, "realtime-gateway  {}", gateways.join("  "))?;
    Ok(())
}

/// The address by which this machine would speak to others. Nothing is sent.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    // An address of documentation: it leads where all others lead.
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    socket.local_addr().ok().map(|address| address.ip()).filter(|address| !address.is_unspecified())
}

fn suggest(out: &mut impl Write, file: &StackFile, state: &Path) -> anyhow::Result<()> {
    let (stack, watch) = (std::env::current_exe()?, tools::project().join("deploy/client/watch.mjs"));
    let (stack, watch, state) = (stack.display(), watch.display(), state.display());
    writeln!(
        out,
        "\nSend a text (numbers ending 0101 are delivered, 0102 blocked, 0103 silent, 0104 read, 0105 unconfirmed):"
    )?;
    writeln!(out, "  export TOKEN=$({stack} token --state {state})")?;
    writeln!(out, "  curl -sS {}/api/messages/send -H \"Authorization: Bearer $TOKEN\" \\", file.api)?;
    writeln!(out, "    -H 'Content-Type: application/json' \\")?;
    writeln!(out, "    -d '{{\"content\":\"Hello\",\"recipients\":[{{\"phone\":\"+12025550101\"}}]}}'")?;
    writeln!(out, "Watch it live, with the same TOKEN:")?;
    writeln!(out, "  node {watch} {}", file.gateways.first().map_or("", String::as_str))?;
    Ok(())
}
