//! Real sockets for tests.

use std::net::Ipv4Addr;
use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::http::Request;
use common::claims::{Claims, IdClaim};
use socketioxide::SocketIo;
use socketioxide::extract::SocketRef;
use tokio::sync::mpsc;
use tower::ServiceExt as _;

use crate::connections::Credit;
use crate::connections::credit::CreditLimit;
use crate::rooms::subscriber::{Client, Subscriber};
use crate::tokens::Term;

/// The service's handle and two sockets of one session: a client connects, leaves the namespace and connects again.
pub(crate) async fn two_of_one_session() -> (SocketIo, [SocketRef; 2]) {
    let (service, io) = SocketIo::new_svc();
    let (came, mut coming) = mpsc::unbounded_channel();
    io.ns("/", async move |socket: SocketRef| came.send(socket).unwrap());
    let ask = async |method: &str, session: &str, packet: &'static str| {
        let uri = format!("/socket.io/?EIO=4&transport=polling{session}");
        let request = Request::builder().method(method).uri(uri).body(Body::from(packet)).unwrap();
        let answer = service.clone().oneshot(request).await.unwrap();
        to_bytes(Body::new(answer.into_body()), usize::MAX).await.unwrap()
    };
    let opened = ask("GET", "", "").await;
    let opened: serde_json::Value = serde_json::from_slice(opened.strip_prefix(b"0").unwrap()).unwrap();
    let session = format!("&sid={}", opened["sid"].as_str().unwrap());
    ask("POST", &session, "40").await;
    let first = coming.recv().await.unwrap();
    ask("POST", &session, "41").await;
    ask("POST", &session, "40").await;
    (io, [first, coming.recv().await.unwrap()])
}

/// A subscriber of the church `grace`, and its term.
pub(crate) fn subscriber(socket: &SocketRef) -> (Subscriber, Term) {
    let (user_id, church_id) = ("ann".into(), "grace".parse().unwrap());
    let claims =
        Claims { user_id, claim: IdClaim::UserId, church_id, role: None, expires_at: 1_000, issued_at: None };
    let credit = Arc::new(Credit::new(CreditLimit { packets: 8, bytes: 1_000 }));
    let client = Client::new(&claims, Ipv4Addr::LOCALHOST.into(), credit);
    (Subscriber { socket: socket.clone(), client: Arc::new(client) }, Term::of(&claims))
}
