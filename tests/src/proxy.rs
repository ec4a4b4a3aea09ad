//! A TCP proxy between two parts. It cuts connections, holds answers back or slows them down, and switches to another
//! target or rotates among several.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use deploy::ports::Port;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::eventually;
use crate::load::http::address_of;

/// A small receive buffer, so that data which the proxy does not pass on waits at the sender and not in our kernel.
const RECEIVE_BUFFER: u32 = 64 << 10;
/// Time between two writes of a slowed-down connection.
const DROP: Duration = Duration::from_millis(100);

/// A running proxy. Dropping it ends its connections.
pub struct Proxy {
    control: watch::Sender<Control>,
    port: Port,
    running: CancellationToken,
    _stops_when_dropped: DropGuard,
}

#[derive(Clone)]
struct Control {
    /// The targets. Each new connection goes to the next one.
    targets: Vec<SocketAddr>,
    answers_held: bool,
    /// Passes nothing in either direction and closes nothing.
    swallowing: bool,
    /// Bytes of answers per second that each connection passes on.
    trickle: Option<usize>,
    /// Cuts the connection when the target answers a request that contains this.
    lost: Option<&'static str>,
    /// Passes nothing any more after a request that contains this.
    last: Option<&'static str>,
    /// The current connections; cancelling it cuts them.
    connections: CancellationToken,
}

impl Proxy {
    /// Starts a proxy to a base URL such as `http://127.0.0.1:8082`.
    ///
    /// # Panics
    /// If the URL has no address, or no port is free.
    pub async fn to(url: &str) -> Self {
        Self::among(&[url]).await
    }

    /// Starts a proxy that sends each new connection to the next of several base URLs, as a load balancer without
    /// sticky sessions does.
    ///
    /// # Panics
    /// If there is no URL, one has no address, or no port is free.
    pub async fn among(urls: &[impl AsRef<str>]) -> Self {
        assert!(!urls.is_empty(), "a proxy has a target");
        let targets = urls.iter().map(|url| address(url.as_ref())).collect();
        let port = Port::free().expect("a free port");
        let listener = TcpListener::bind(("127.0.0.1", port.number())).await.expect("the port is free");
        let running = CancellationToken::new();
        let first = Control {
            targets,
            answers_held: false,
            swallowing: false,
            trickle: None,
            lost: None,
            last: None,
            connections: running.child_token(),
        };
        let control = watch::Sender::new(first);
        tokio::spawn(running.clone().run_until_cancelled_owned(accept(listener, control.clone())));
        Self { control, port, running: running.clone(), _stops_when_dropped: running.drop_guard() }
    }

    /// A proxy to the PostgreSQL server of a URL. Returns it, and the URL through it.
    ///
    /// # Panics
    /// If it is not a PostgreSQL URL with an address, or no port is free.
    pub async fn to_postgres(url: &str) -> (Self, String) {
        let (credentials, address, name) = parts_of_postgres_url(url);
        let proxy = Self::to(&format!("http://{address}")).await;
        let through = format!("{credentials}@127.0.0.1:{}/{name}", proxy.port.number());
        (proxy, through)
    }

    /// The proxy's own base URL.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port.number())
    }

    /// Cuts every connection. New ones are accepted.
    pub fn cut(&self) {
        self.control.send_modify(|control| {
            control.connections.cancel();
            control.connections = self.running.child_token();
        });
    }

    /// Sends new connections to another target, as a load balancer does.
    ///
    /// # Panics
    /// If the URL has no address.
    pub fn lead_new_to(&self, url: &str) {
        self.control.send_modify(|control| control.targets = vec![address(url)]);
    }

    /// Switches to another target and cuts the connections to the old one.
    ///
    /// # Panics
    /// If the URL has no address.
    pub fn lead_to(&self, url: &str) {
        self.lead_new_to(url);
        self.cut();
    }

    /// [`Proxy::lead_to`] for the PostgreSQL server of a URL.
    ///
    /// # Panics
    /// If it is not a PostgreSQL URL with an address.
    pub fn lead_to_postgres(&self, url: &str) {
        let (_, address, _) = parts_of_postgres_url(url);
        self.lead_to(&format!("http://{address}"));
    }

    /// Holds the target's answers back, or releases them.
    pub fn hold_answers(&self, held: bool) {
        self.control.send_modify(|control| control.answers_held = held);
    }

    /// Stops passing data in either direction without closing anything, as when a host vanishes; or resumes.
    pub fn swallow(&self, swallowing: bool) {
        self.control.send_modify(|control| control.swallowing = swallowing);
    }

    /// Passes on the next request that contains this text and loses its answer: cuts the connection when the answer
    /// comes.
    pub fn lose_the_answer_to(&self, text: &'static str) {
        self.control.send_modify(|control| control.lost = Some(text));
    }

    /// Passes the next request that contains this text, and swallows everything after it.
    pub fn swallow_after(&self, text: &'static str) {
        self.control.send_modify(|control| control.last = Some(text));
    }

    /// Waits until everything is swallowed.
    ///
    /// # Panics
    /// If it does not in time.
    pub async fn until_swallowing(&self) {
        eventually("the proxy swallows everything", async || self.control.borrow().swallowing.then_some(()))
            .await;
    }

    /// Limits the answers of each connection to this many bytes per second; `None` lifts the limit.
    pub fn trickle(&self, bytes_a_second: Option<usize>) {
        self.control.send_modify(|control| control.trickle = bytes_a_second);
    }
}

/// A reverse proxy with the usual minimal configuration: it drops hop-by-hop headers, so no websocket handshake gets
/// through. Dropping it ends it.
pub struct PlainProxy {
    port: Port,
    _stops_when_dropped: DropGuard,
}

/// Hop-by-hop headers.
const OF_ONE_CONNECTION: [&str; 3] = ["connection", "upgrade", "keep-alive"];

impl PlainProxy {
    /// Starts a proxy to a base URL.
    ///
    /// # Panics
    /// If the URL has no address, or no port is free.
    pub async fn to(url: &str) -> Self {
        let (port, target) = (Port::free().expect("a free port"), address(url));
        let listener = TcpListener::bind(("127.0.0.1", port.number())).await.expect("the port is free");
        let running = CancellationToken::new();
        let (stops, connections) = (running.clone(), running.clone());
        tokio::spawn(stops.run_until_cancelled_owned(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(connections.clone().run_until_cancelled_owned(carry_plainly(client, target)));
            }
        }));
        Self { port, _stops_when_dropped: running.drop_guard() }
    }

    /// The proxy's own base URL.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port.number())
    }
}

/// Ends when either side ends, with or without an error.
async fn carry_plainly(mut client: TcpStream, target: SocketAddr) {
    let Ok(mut server) = connect(target).await else { return };
    let ((client_in, mut client_out), (mut server_in, mut server_out)) = (client.split(), server.split());
    let mut requests = BufReader::new(client_in);
    tokio::select! {
        _ = tokio::io::copy(&mut server_in, &mut client_out) => {}
        _ = async { while pass_request(&mut requests, &mut server_out).await? {}; io::Result::Ok(()) } => {}
    }
}

/// Passes on one request. Returns `false` if the client sent none.
async fn pass_request(from: &mut BufReader<ReadHalf<'_>>, to: &mut WriteHalf<'_>) -> io::Result<bool> {
    let (mut head, mut body) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if from.read_line(&mut line).await? == 0 {
            return Ok(false);
        }
        let (name, value) = line.split_once(':').unwrap_or_default();
        if name.eq_ignore_ascii_case("content-length") {
            body = value.trim().parse().map_err(io::Error::other)?;
        }
        if !OF_ONE_CONNECTION.iter().any(|dropped| name.eq_ignore_ascii_case(dropped)) {
            head += &line;
        }
        if line == "\r\n" {
            break;
        }
    }
    to.write_all(head.as_bytes()).await?;
    tokio::io::copy(&mut from.take(body), to).await?;
    Ok(true)
}

async fn accept(listener: TcpListener, control: watch::Sender<Control>) {
    let mut turn = 0;
    while let Ok((stream, _)) = listener.accept().await {
        let now = control.borrow().clone();
        let target = now.targets[turn % now.targets.len()];
        turn += 1;
        let carrying = carry(stream, target, control.clone(), now.connections.clone());
        tokio::spawn(now.connections.run_until_cancelled_owned(carrying));
    }
}

/// Ends when either side ends, with or without an error.
async fn carry(
    mut client: TcpStream,
    target: SocketAddr,
    control: watch::Sender<Control>,
    cut: CancellationToken,
) {
    let Ok(mut server) = connect(target).await else { return };
    // Small packets must not wait for one another.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let ((client_in, client_out), (server_in, server_out)) = (client.split(), server.split());
    let is_lost = AtomicBool::new(false);
    tokio::select! {
        () = ask(client_in, server_out, &control, &is_lost) => {}
        () = answer(server_in, client_out, control.subscribe(), (&is_lost, &cut)) => {}
    }
}

async fn ask(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    control: &watch::Sender<Control>,
    is_lost: &AtomicBool,
) {
    let mut passing = control.subscribe();
    let mut buffer = vec![0; 16 << 10];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        let holds = |text: &str| buffer[..read].windows(text.len()).any(|part| part == text.as_bytes());
        let found = control.send_if_modified(|control| control.lost.take_if(|text| holds(text)).is_some());
        is_lost.fetch_or(found, Ordering::Relaxed);
        // The control lives as long as the proxy.
        let _ = passing.wait_for(|control| !control.swallowing).await;
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
        control.send_if_modified(|control| {
            control.swallowing |= control.last.take_if(|text| holds(text)).is_some();
            control.swallowing
        });
    }
}

async fn connect(target: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    socket.connect(target).await
}

async fn answer(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    mut control: watch::Receiver<Control>,
    (is_lost, cut): (&AtomicBool, &CancellationToken),
) {
    let mut buffer = vec![0; 16 << 10];
    loop {
        let drop = control.borrow().trickle.map(|bytes_a_second| bytes_a_second.div_ceil(10));
        let most = drop.map_or(buffer.len(), |drop| drop.min(buffer.len()));
        let Ok(read @ 1..) = from.read(&mut buffer[..most]).await else { return };
        // This task may run only now, after the connection was cut and the answer came.
        if is_lost.load(Ordering::Relaxed) || cut.is_cancelled() {
            return;
        }
        // The control lives as long as the proxy.
        let _ = control.wait_for(|control| !control.answers_held && !control.swallowing).await;
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
        if drop.is_some() {
            tokio::time::sleep(DROP).await;
        }
    }
}

/// Scheme and credentials, address, and database.
fn parts_of_postgres_url(url: &str) -> (&str, &str, &str) {
    let (credentials, rest) = url.split_once('@').expect("a URL with a user");
    let (address, name) = rest.split_once('/').expect("a URL with a database");
    (credentials, address, name)
}

fn address(url: &str) -> SocketAddr {
    address_of(url).expect("a URL of an address and a port")
}
