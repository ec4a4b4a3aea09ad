//! A TCP proxy between two parts: cuts connections, holds answers back, leads to another place, or to several in turn.

use std::net::SocketAddr;

use deploy::ports::Port;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

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
        let first = Control { targets, answers_held: false, connections: running.child_token() };
        let control = watch::Sender::new(first);
        tokio::spawn(running.clone().run_until_cancelled_owned(accept(listener, control.subscribe())));
        Self { control, port, running: running.clone(), _stops_when_dropped: running.drop_guard() }
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

    /// Leads to another place, and cuts what led to the old one.
    ///
    /// # Panics
    /// The URL has no address.
    pub fn lead_to(&self, url: &str) {
        self.control.send_modify(|control| control.targets = vec![address(url)]);
        self.cut();
    }

    /// Keeps back what the other side answers, or lets it go.
    pub fn hold_answers(&self, held: bool) {
        self.control.send_modify(|control| control.answers_held = held);
    }
}

async fn accept(listener: TcpListener, control: watch::Receiver<Control>) {
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
async fn carry(mut client: TcpStream, target: SocketAddr, mut control: watch::Receiver<Control>) {
    let Ok(mut server) = TcpStream::connect(target).await else { return };
    // Small packets are not to wait for one another.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let ((mut client_in, mut client_out), (mut server_in, mut server_out)) = (client.split(), server.split());
    let answers = async {
        let mut buffer = vec![0; 16 << 10];
        while let Ok(read @ 1..) = server_in.read(&mut buffer).await {
            // The control lives as long as the proxy.
            let _ = control.wait_for(|control| !control.answers_held).await;
            if client_out.write_all(&buffer[..read]).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        _ = tokio::io::copy(&mut client_in, &mut server_out) => {}
        () = answers => {}
    }
}

fn address(url: &str) -> SocketAddr {
    url.trim_start_matches("http://").parse().expect("a URL of an address and a port")
}
