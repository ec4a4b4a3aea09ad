//! `stack up`: in the foreground until Ctrl-C, or in the background until `stack down`.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::pin::Pin;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use common::service::next_signal;
use tokio::sync::mpsc;

use super::arguments::{StateFolder, command, quoted, unless_interrupted, unless_interrupted_by};
use super::demo;
use super::installation::Database;
use super::layout::own_address;
use super::ops_env;
use super::options::StackOptions;
use super::running::Stack;
use super::stack_file::{MovedPort, StackFile};
use crate::client::traffic;
use crate::page::{self, Fault};
use crate::programs::ports::Ports;
use crate::programs::{nats, services, tools};

/// Lifetime of the traffic's token: longer than a stack runs in practice.
const TRAFFIC_TOKEN: Duration = Duration::from_secs(30 * 24 * 3600);
/// How long the page's button keeps the broker away.
const BROKER_AWAY: Duration = Duration::from_secs(5);

#[derive(clap::Args)]
pub(super) struct Up {
    #[command(flatten)]
    folder: StateFolder,
    /// The database; by default the folder's, else sqlite
    #[arg(long)]
    database: Option<Database>,
    /// Number of gateways
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=16))]
    gateways: u8,
    /// Address of message-api and the gateways; 0.0.0.0 admits other devices in the network
    #[arg(long, default_value_t = Ipv4Addr::LOCALHOST.into(), value_name = "IP")]
    listen: IpAddr,
    /// Origins of web pages besides localhost, comma separated: http://192.168.1.5:3000
    #[arg(long, value_delimiter = ',', value_name = "ORIGIN")]
    cors: Vec<String>,
    /// Any free ports instead of the documented ones, for tests; the folder keeps them
    #[arg(long)]
    free_ports: bool,
    /// Run in the background; returns once everything is ready
    #[arg(long)]
    detach: bool,
    /// Send a few messages every two seconds
    #[arg(long)]
    traffic: bool,
    /// Marks the background process
    #[arg(long, hide = true)]
    detached: bool,
}

pub(super) async fn run(options: Up) -> anyhow::Result<()> {
    if options.detach && !options.detached {
        return detach(&options).await;
    }
    if options.detached {
        // A session of its own, so that closing the terminal does not end it.
        rustix::process::setsid().context("can't leave the terminal")?;
    }
    // One for all that follows: between two, a signal would be lost.
    let signal = next_signal();
    tokio::pin!(signal);
    let starting = Stack::start(StackOptions {
        database: options.database,
        gateways: usize::from(options.gateways),
        ports: if options.free_ports { Ports::Free } else { Ports::Default },
        listen: options.listen,
        cors: options.cors.clone(),
        ..StackOptions::new(&options.folder.state)
    });
    let mut stack = unless_interrupted_by(signal.as_mut(), starting).await?;
    if !options.detached {
        print_addresses(stack.file(), &options)?;
        writeln!(std::io::stdout(), "\nCtrl-C stops it; the data stays.")?;
    }
    let (faults, asked) = mpsc::channel(1);
    let page = stack.serve_page(faults).await?;
    let outcome = supervise(&mut stack, options.traffic, asked, signal).await;
    drop(page);
    tokio::select! {
        () = stack.stop() => outcome,
        _ = next_signal() => bail!("interrupted again; killed what was still running"),
    }
}

/// Until a signal: restarts processes that exit, sends traffic if asked to, and does what the page's buttons ask for.
async fn supervise(
    stack: &mut Stack,
    with_traffic: bool,
    mut asked: mpsc::Receiver<page::Request>,
    mut signal: Pin<&mut impl Future<Output = std::io::Result<()>>>,
) -> anyhow::Result<()> {
    let token = stack.token(demo::CHURCH, demo::USER, TRAFFIC_TOKEN)?;
    let flow = traffic::flow(stack.http().clone(), stack.file().api.clone(), token);
    tokio::pin!(flow);
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    let mut broker_away_until = None;
    loop {
        tokio::select! {
            heard = &mut signal => return Ok(heard?),
            () = &mut flow, if with_traffic => {}
            Some((fault, done)) = asked.recv() => {
                let outcome = cause(stack, fault).await;
                if fault == Fault::StopBroker && outcome.is_ok() {
                    broker_away_until = Some(Instant::now() + BROKER_AWAY);
                }
                // The page may be gone.
                let _ = done.send(outcome);
            }
            _ = tick.tick() => {
                broker_away_until = broker_away_until.filter(|until| Instant::now() < *until);
                for name in stack.restart_exited(broker_away_until.map(|_| nats::NAME))? {
                    let log = stack.log(&name);
                    tracing::warn!(name, log = %log.display(), "a process exited; restarted it");
                }
            }
        }
    }
}

/// Does what a button of the page asks for.
async fn cause(stack: &mut Stack, fault: Fault) -> anyhow::Result<()> {
    match fault {
        Fault::KillGateway => stack.kill(&services::gateway(1)).await,
        Fault::StopBroker => stack.stop_broker().await,
    }
}

/// Starts the same command in the background and waits until the stack is ready.
async fn detach(options: &Up) -> anyhow::Result<()> {
    let logs = options.folder.state.join("logs");
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
    let started = unless_interrupted(wait_until_ready(&mut child, &options.folder.state)).await;
    let file = match started {
        Ok(file) => file,
        Err(error) => {
            let _ = child.kill();
            let said = std::fs::read_to_string(&log).unwrap_or_default();
            bail!("{error:#}\n{}", said.trim());
        }
    };
    print_addresses(&file, options)?;
    writeln!(std::io::stdout(), "\nIt runs in the background. This command stops it; the data stays:")?;
    writeln!(std::io::stdout(), "  {}", command("down", &options.folder.state))?;
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

/// Prints the addresses and what to try.
fn print_addresses(file: &StackFile, options: &Up) -> anyhow::Result<()> {
    let mut out = std::io::stdout();
    let state = options.folder.state.canonicalize()?;
    writeln!(out, "message-api       {}   (operators: {})", file.api, file.ops.api)?;
    writeln!(out, "webhook-ingest    {}   (operators: {})", file.ingest, file.ops.ingest)?;
    let gateways = file.gateways.join("  ");
    writeln!(out, "realtime-gateway  {gateways}   (operators: {})", file.ops.gateways.join("  "))?;
    writeln!(out, "Telnyx simulator  {}   (its book: {}/simulator/book)", file.telnyx, file.telnyx)?;
    writeln!(
        out,
        "demo's back end   {}   (groups choir, ushers, youth; branches north, south)",
        file.back_end
    )?;
    writeln!(out, "NATS              {}   (monitor: {})", file.nats.url, file.nats.monitor)?;
    writeln!(out, "passwords, keys   {}", StackFile::path(&state).display())?;
    writeln!(out, "logs              {}", state.join("logs").display())?;
    if !options.free_ports {
        print_moved_ports(&mut out, file)?;
    }
    if options.listen.is_unspecified() {
        print_network_addresses(&mut out, file)?;
    }
    writeln!(out, "\nTry it in a browser:  {}", file.page)?;
    suggest(&mut out, file, &state)
}

/// Pages and scripts that use the documented ports do not work then.
fn print_moved_ports(out: &mut impl Write, file: &StackFile) -> anyhow::Result<()> {
    for MovedPort { name, port, instead_of } in &file.moved_ports {
        writeln!(out, "! {name} uses port {port}, because {instead_of} was taken")?;
    }
    Ok(())
}

fn print_network_addresses(out: &mut impl Write, file: &StackFile) -> anyhow::Result<()> {
    let Some(address) = own_address() else {
        writeln!(out, "\nThis machine has no network address that other devices could use.")?;
        return Ok(());
    };
    let from_outside = |url: &String| url.replace("127.0.0.1", &address.to_string());
    let gateways: Vec<_> = file.gateways.iter().map(from_outside).collect();
    writeln!(out, "\nFrom other devices in the network, without encryption:")?;
    writeln!(out, "message-api       {}", from_outside(&file.api))?;
    writeln!(out, "realtime-gateway  {}", gateways.join("  "))?;
    writeln!(out, "page to try it    {}   (without the buttons)", from_outside(&file.page_view))?;
    Ok(())
}

fn suggest(out: &mut impl Write, file: &StackFile, state: &Path) -> anyhow::Result<()> {
    let watch = quoted(&tools::project().join("deploy/client/watch.mjs"));
    let ops = quoted(&std::env::current_exe()?.with_file_name("ops"));
    writeln!(
        out,
        "\nSend a text (numbers ending in 0101 are delivered, 0102 blocked, 0103 silent, 0104 read, 0105 unconfirmed):"
    )?;
    writeln!(out, "  export TOKEN=$({})", command("token", state))?;
    writeln!(out, "  curl -sS {}/api/messages/send -H \"Authorization: Bearer $TOKEN\" \\", file.api)?;
    writeln!(out, "    -H 'Content-Type: application/json' \\")?;
    writeln!(out, "    -d '{{\"content\":\"Hello\",\"recipients\":[{{\"phone\":\"+12025550101\"}}]}}'")?;
    writeln!(out, "Watch it live, with the same TOKEN:")?;
    writeln!(out, "  node {watch} {}", file.gateways.first().map_or("", String::as_str))?;
    writeln!(out, "Answer it as a member:")?;
    writeln!(out, "  {} --text 'Thank you'", command("trigger reply", state))?;
    writeln!(out, "Check everything as an operator does; --help lists the other commands:")?;
    writeln!(out, "  {ops} --env-file {} doctor", quoted(&ops_env::path(state)))?;
    writeln!(out, "See it all in a browser as an operator does:")?;
    writeln!(out, "  {ops} --env-file {} console --allow-changes", quoted(&ops_env::path(state)))?;
    Ok(())
}
