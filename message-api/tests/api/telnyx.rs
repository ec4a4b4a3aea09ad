//! A stand-in for Telnyx on plain TCP, so that answers can be lost, cut or late.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// A received request.
#[derive(Debug, Clone)]
pub(crate) struct Posted {
    pub head: String,
    pub body: Value,
}

impl Posted {
    pub(crate) fn to(&self) -> &str {
        self.body["to"].as_str().unwrap()
    }
}

/// The reply to a request.
#[derive(Clone)]
pub(crate) enum Reply {
    /// Accepts it under a new id.
    Accept,
    /// Accepts it once the gate is open.
    AcceptBehind(watch::Receiver<bool>),
    /// An error with a status, header lines and a code.
    Refuse(u16, &'static str, &'static str),
    /// Closes the connection after reading the request.
    Lose,
    /// Answers 200 and breaks off.
    Cut,
    /// Never answers.
    Silence,
}

type Plan = dyn FnMut(&Posted) -> Reply + Send;

/// The stand-in for Telnyx.
#[derive(Clone)]
pub(crate) struct Telnyx {
    pub url: String,
    book: Arc<Mutex<Vec<Posted>>>,
    plan: Arc<Mutex<Box<Plan>>>,
}

impl Telnyx {
    /// Starts it; it accepts everything.
    pub(crate) async fn start() -> Self {
        Self::listen(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    pub(crate) fn listen(listener: TcpListener) -> Self {
        let telnyx = Self {
            url: format!("http://{}", listener.local_addr().unwrap()),
            book: Arc::default(),
            plan: Arc::new(Mutex::new(Box::new(|_| Reply::Accept))),
        };
        tokio::spawn(telnyx.clone().accept(listener));
        telnyx
    }

    /// Replies by a plan from now on.
    pub(crate) fn plan(&self, plan: impl FnMut(&Posted) -> Reply + Send + 'static) {
        *self.plan.lock().unwrap() = Box::new(plan);
    }

    pub(crate) fn book(&self) -> Vec<Posted> {
        self.book.lock().unwrap().clone()
    }

    pub(crate) fn posts_to(&self, phone: &str) -> usize {
        self.book().iter().filter(|posted| posted.to() == phone).count()
    }

    async fn accept(self, listener: TcpListener) {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(self.clone().serve(stream));
        }
    }

    async fn serve(self, mut stream: TcpStream) {
        while let Some(posted) = read(&mut stream).await {
            // GET: the message does not exist any more.
            if posted.head.starts_with("get ") {
                write(&mut stream, 404, "", &json!({"errors": [{"code": "10005"}]}).to_string()).await;
                continue;
            }
            let reply = (self.plan.lock().unwrap())(&posted);
            self.book.lock().unwrap().push(posted);
            match reply {
                Reply::Accept => write(&mut stream, 200, "", &accepted()).await,
                Reply::AcceptBehind(mut gate) => {
                    gate.wait_for(|open| *open).await.unwrap();
                    write(&mut stream, 200, "", &accepted()).await;
                }
                Reply::Refuse(status, headers, code) => {
                    let body = json!({"errors": [{"code": code, "title": "Refused", "detail": "refused"}]});
                    write(&mut stream, status, headers, &body.to_string()).await;
                }
                Reply::Lose => return,
                Reply::Cut => {
                    let _ =
                        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{\"data\":").await;
                    return;
                }
                Reply::Silence => std::future::pending().await,
            }
        }
    }
}

fn accepted() -> String {
    json!({"data": {"id": uuid::Uuid::now_v7(), "to": [{"status": "queued"}], "errors": []}}).to_string()
}

async fn read(stream: &mut TcpStream) -> Option<Posted> {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8(bytes[..end].to_vec()).unwrap().to_lowercase();
            let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
            let length: usize = length.map_or(0, |length| length.parse().unwrap());
            if bytes.len() >= end + 4 + length {
                let body = serde_json::from_slice(&bytes[end + 4..]).unwrap_or_default();
                return Some(Posted { head, body });
            }
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}

async fn write(stream: &mut TcpStream, status: u16, headers: &str, body: &str) {
    let length = body.len();
    let answer = format!("HTTP/1.1 {status} X\r\n{headers}content-length: {length}\r\n\r\n{body}");
    // In some tests the client has closed the connection.
    let _ = stream.write_all(answer.as_bytes()).await;
}
