//! Connections from many addresses of this machine.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU8, Ordering};

use anyhow::Context as _;
use tokio::net::{TcpSocket, TcpStream};

/// Loopback addresses to connect from. One address has about 28 000 ports, and each is blocked for a minute after its
/// connection has ended: too few for ten thousand connections that are cut every few seconds. On Linux the whole block
/// 127.0.0.0/8 is local.
const SOURCES: u8 = 8;

/// Connects to a server. If the server is local and the system has many loopback addresses, it uses them in turn.
///
/// # Errors
/// If no server listens there.
pub async fn connect(address: SocketAddr) -> anyhow::Result<TcpStream> {
    let stream = match source(address.ip()) {
        Some(source) => {
            let socket = TcpSocket::new_v4()?;
            socket.bind((source, 0).into()).with_context(|| format!("can't connect from {source}"))?;
            socket.connect(address).await
        }
        None => TcpStream::connect(address).await,
    };
    let stream = stream.with_context(|| format!("can't connect to {address}"))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn source(target: IpAddr) -> Option<IpAddr> {
    static NEXT: AtomicU8 = AtomicU8::new(0);
    let is_ours = cfg!(target_os = "linux") && target == IpAddr::V4(Ipv4Addr::LOCALHOST);
    is_ours.then(|| Ipv4Addr::new(127, 0, 0, 2 + NEXT.fetch_add(1, Ordering::Relaxed) % SOURCES).into())
}
