//! A TCP proxy between two parts: cuts connections, holds answers back or lets them trickle, leads to another place, or
//! to several in turn.

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

/// What the other side has sent and we have not passed on is to wait at the other side, not in our kernel.
const RECEIVE_BUFFER: u32 = 64 << 10;
/// Between two drops of a trickle.
const DROP: Duration = Duration::from_millis(100);

/// A running proxy; its connections end when it is dropped.
pub struct Proxy {
    control: watch::Sender<Control>,
    port: Port,
    running: CancellationToken,
    _stops_when_dropped: DropGuard,
}

#[derive(Clone)]
struct Control {
    /// The next connection goes to the next of them.
    targets: Vec<SocketAddr>,
    answers_held: bool,
    /// Nothing passes in either direction, and nobody is told.
    swallowing: bool,
    /// Bytes of answers that each connection passes on in a second.
    trickle: Option<usize>,
    /// The connection is cut once the other side answers a request that holds this.
    lost: Option<&'static str>,
    /// After a request that holds this, nothing passes any more.
    last: Option<&'static str>,
    /// Connections of now; cancelled to cut them.
    connections: CancellationToken,
}

impl Proxy {
    /// Leads to a base URL such as `http://127.0.0.1:8082`.
    ///
    /// # Panics
    /// The URL has no address, or no port is free.
    pub async fn to(url: &str) -> Self {
        Self::among(&[url]).await
    }

    /// Leads each new connection to the next of several base URLs, as a load balancer without sticky sessions does.
    ///
    /// # Panics
    /// There is no URL, one has no address, or no port is free.
    pub async fn among(urls: &[impl AsRef<str>]) -> Self {
        assert!(!urls.is_empty(), "a proxy leads somewhere");
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

    /// Leads to the PostgreSQL of a URL; gives the URL that leads through the proxy.
    ///
    /// # Panics
    /// It is no URL of PostgreSQL with an address, or no port is free.
    pub async fn to_postgres(url: &str) -> (Self, String) {
        let (credentials, rest) = url.split_once('@').expect("a URL with a user");
        let (address, name) = rest.split_once('/').expect("a URL with a database");
        let proxy = Self::to(&format!("http://{address}")).await;
        let through = format!("{credentials}@127.0.0.1:{}/{name}", proxy.port.number());
        (proxy, through)
    }

    /// Its own base URL.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port.number())
    }

    /// Cuts every connection; new ones are taken.
    pub fn cut(&self) {
        self.control.send_modify(|control| {
            control.connections.cancel();
            control.connections = self.running.child_token();
        });
    }

    /// Leads new connections to another place, as a load balancer does.
    ///
    /// # Panics
    /// The URL has no address.
    pub fn lead_new_to(&self, url: &str) {
        self.control.send_modify(|control| control.targets = vec![address(url)]);
    }

    /// Leads to another place, and cuts what led to the old one.
    ///
    /// # Panics
    /// The URL has no address.
    pub fn lead_to(&self, url: &str) {
        self.lead_new_to(url);
        self.cut();
    }

    /// Keeps back what the other side answers, or lets it go.
    pub fn hold_answers(&self, held: bool) {
        self.control.send_modify(|control| control.answers_held = held);
    }

    /// Passes nothing on in either direction and cuts nothing, as when a host vanishes; or lets all of it go.
    pub fn swallow(&self, swallowing: bool) {
        self.control.send_modify(|control| control.swallowing = swallowing);
    }

    /// Lets the next request that holds this text through, and loses its answer: the connection is cut when it comes.
    pub fn lose_the_answer_to(&self, text: &'static str) {
        self.control.send_modify(|control| control.lost = Some(text));
    }

    /// Lets the next request that holds this text through, and swallows all that comes after it.
    pub fn swallow_after(&self, text: &'static str) {
        self.control.send_modify(|control| control.last = Some(text));
    }

    /// Waits until everything is swallowed.
    ///
    /// # Panics
    /// It is not.
    pub async fn until_swallowing(&self) {
        eventually("the proxy swallows everything", async || self.control.borrow().swallowing.then_some(()))
            .await;
    }

    /// Passes on no more than so many bytes a second of what the other side answers, in each connection.
    pub fn trickle(&self, bytes_a_second: Option<usize>) {
        self.control.send_modify(|control| control.trickle = bytes_a_second);
    }
}

/// A reverse proxy as it is often set up first: what concerns a single connection it does not pass on, and so no
/// handshake of a websocket. It ends when it is dropped.
pub struct PlainProxy {
    port: Port,
    _stops_when_dropped: DropGuard,
}

/// Headers that concern a single connection.
const OF_ONE_CONNECTION: [&str; 3] = ["connection", "upgrade", "keep-alive"];

impl PlainProxy {
    /// Leads to a base URL.
    ///
    /// # Panics
    /// The URL has no address, or no port is free.
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

    /// Its own base URL.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port.number())
    }
}

/// Ends with either side, whether it ended well or not.
async fn carry_plainly(mut client: TcpStream, target: SocketAddr) {
    let Ok(mut server) = connect(target).await else { return };
    let ((client_in, mut client_out), (mut server_in, mut server_out)) = (client.split(), server.split());
    let mut requests = BufReader::new(client_in);
    tokio::select! {
        _ = tokio::io::copy(&mut server_in, &mut client_out) => {}
        _ = async { while pass_request(&mut requests, &mut server_out).await? {}; io::Result::Ok(()) } => {}
    }
}

/// Passes on one request; `false` if there is none.
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
        let carrying = carry(stream, target, control.clone());
        tokio::spawn(now.connections.run_until_cancelled_owned(carrying));
    }
}

/// Ends with either side, whether it ended well or not.
async fn carry(mut client: TcpStream, target: SocketAddr, control: watch::Sender<Control>) {
    let Ok(mut server) = connect(target).await else { return };
    // Small packets are not to wait for one another.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let ((client_in, client_out), (server_in, server_out)) = (client.split(), server.split());
    let is_lost = AtomicBool::new(false);
    tokio::select! {
        () = ask(client_in, server_out, &control, &is_lost) => {}
        () = answer(server_in, client_out, control.subscribe(), &is_lost) => {}
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
    is_lost: &AtomicBool,
) {
    let mut buffer = vec![0; 16 << 10];
    loop {
        let drop = control.borrow().trickle.map(|bytes_a_second| bytes_a_second.div_ceil(10));
        let most = drop.map_or(buffer.len(), |drop| drop.min(buffer.len()));
        let Ok(read @ 1..) = from.read(&mut buffer[..most]).await else { return };
        if is_lost.load(Ordering::Relaxed) {
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

fn address(url: &str) -> SocketAddr {
    address_of(url).expect("a URL of an address and a port")
}
