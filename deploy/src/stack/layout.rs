//! The ports, the database and the addresses of a stack.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;

use anyhow::Context as _;

use super::installation::{Database, Installation};
use super::options::StackOptions;
use super::stack_file::{MovedPort, NatsAccess, OpsUrls, StackFile, TelnyxKey};
use crate::programs::ports::{Port, Ports};
use crate::programs::postgres::Postgres;
use crate::simulator::Signer;

/// Reserves a port for each name, the kept one if it is free. Also returns those that differ from the documented ports.
pub(super) fn reserve_ports(
    options: &StackOptions,
    installation: &mut Installation,
) -> anyhow::Result<(BTreeMap<String, Port>, Vec<MovedPort>)> {
    let mut wishes = vec![
        ("api".to_owned(), 8080),
        ("ingest".into(), 8081),
        ("api-ops".into(), 9080),
        ("ingest-ops".into(), 9081),
        ("telnyx".into(), 8090),
        ("back-end".into(), 8091),
        ("page".into(), 8093),
    ];
    if options.broker.is_none() {
        wishes.extend([("nats".into(), 4222), ("nats-monitor".into(), 8222)]);
    }
    if installation.database == Database::Postgres {
        wishes.push(("postgres".into(), 15432));
    }
    for number in 1..=options.gateways {
        let above = u16::try_from(number).context("too many gateways")?;
        wishes.push((format!("gateway-{number}"), 8081 + above));
        wishes.push((format!("gateway-{number}-ops"), 9081 + above));
    }
    let (mut ports, mut moved) = (BTreeMap::new(), Vec::new());
    for (name, documented) in wishes {
        let port = match (installation.ports.get(&name), options.ports) {
            (Some(kept), _) => Port::at(address(options, &name), *kept)?,
            (None, Ports::Default) => Port::at(address(options, &name), documented)?,
            (None, Ports::Free) => Port::free()?,
        };
        if port.number() != documented {
            moved.push(MovedPort { name: name.clone(), port: port.number(), instead_of: documented });
        }
        installation.ports.insert(name.clone(), port.number());
        ports.insert(name, port);
    }
    Ok((ports, moved))
}

/// The listen address of a part. Front ends on other machines need message-api, the gateways and the page; the others
/// stay on loopback.
fn address(options: &StackOptions, name: &str) -> IpAddr {
    let is_for_front_ends =
        ["api", "page"].contains(&name) || name.starts_with("gateway-") && !name.ends_with("-ops");
    if is_for_front_ends { options.listen } else { Ipv4Addr::LOCALHOST.into() }
}

/// This machine's address in its network. Sends nothing.
pub(super) fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    // An address reserved for documentation; the default route applies to it.
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    socket.local_addr().ok().map(|address| address.ip()).filter(|address| !address.is_unspecified())
}

/// The origin of the page for other devices, if they may use it.
pub(super) fn outside_origin(options: &StackOptions, page: u16) -> Option<String> {
    let address = if options.listen.is_unspecified() { own_address()? } else { options.listen };
    (!address.is_loopback()).then(|| format!("http://{}", SocketAddr::new(address, page)))
}

/// A part's base URL on this machine.
fn base_url(options: &StackOptions, name: &str, port: u16) -> String {
    match address(options, name) {
        address if address.is_unspecified() => local(port),
        address => format!("http://{}", SocketAddr::new(address, port)),
    }
}

pub(super) fn port(ports: &BTreeMap<String, Port>, name: &str) -> anyhow::Result<u16> {
    ports.get(name).map(Port::number).with_context(|| format!("there is no port of the name {name}"))
}

pub(super) fn local(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

pub(super) fn prepare_postgres(
    state: &Path,
    installation: &Installation,
    ports: &BTreeMap<String, Port>,
) -> anyhow::Result<Option<Postgres>> {
    match installation.database {
        Database::Sqlite => Ok(None),
        Database::Postgres => {
            let password = &installation.secrets.postgres;
            Postgres::prepare(state, port(ports, "postgres")?, password).map(Some)
        }
    }
}

pub(super) fn stack_file(
    options: &StackOptions,
    installation: &Installation,
    (ports, moved): (&BTreeMap<String, Port>, Vec<MovedPort>),
    postgres: Option<&Postgres>,
) -> anyhow::Result<StackFile> {
    let url = |name: &str| port(ports, name).map(|port| base_url(options, name, port));
    let gateways = |suffix: &str| -> anyhow::Result<Vec<String>> {
        (1..=options.gateways).map(|number| url(&format!("gateway-{number}{suffix}"))).collect()
    };
    let secrets = &installation.secrets;
    let sqlite = || format!("sqlite:{}", options.state.join("church.db").display());
    let nats = match &options.broker {
        Some(broker) => broker.clone(),
        None => NatsAccess {
            url: format!("nats://127.0.0.1:{}", port(ports, "nats")?),
            ca_file: None,
            monitor: url("nats-monitor")?,
            users: secrets.nats.clone(),
        },
    };
    Ok(StackFile {
        api: url("api")?,
        ingest: url("ingest")?,
        gateways: gateways("")?,
        telnyx: url("telnyx")?,
        back_end: url("back-end")?,
        page: format!("{}/#{}", url("page")?, secrets.page),
        page_view: format!("{}/#{}", url("page")?, secrets.page_view),
        ops: OpsUrls { api: url("api-ops")?, ingest: url("ingest-ops")?, gateways: gateways("-ops")? },
        nats,
        database: postgres.map_or_else(sqlite, |postgres| postgres.url("church")),
        jwt_secret: secrets.jwt_secret.clone(),
        telnyx_key: TelnyxKey {
            private: secrets.telnyx_seed.clone(),
            public: Signer::from_seed(&secrets.telnyx_seed)?.public_key(),
        },
        processes: BTreeMap::new(),
        moved_ports: moved,
    })
}
