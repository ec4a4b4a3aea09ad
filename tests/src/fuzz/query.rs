//! The query strings and cursors of message-api, asked of its real router. The first byte chooses the route, and whether
//! the rest is the query string or what a cursor says.

use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::Parser as _;
use common::event::timestamp;
use common::service::Context;
use common::store::{NewMessage, NewRecipient};
use message_api::Settings;
use time::OffsetDateTime;
use tokio::net::TcpListener;
use uuid::Uuid;

use super::service;
use crate::databases::{Database, Kind};
use crate::eventually;

/// A message-api on each database, with the same message.
struct Apis {
    ports: Vec<u16>,
    message: Uuid,
    _databases: Vec<Database>,
}

static APIS: OnceLock<Apis> = OnceLock::new();

/// Whatever is asked, the answer is no error of the service, and both databases give the same.
pub(super) fn ask(data: &[u8]) {
    let apis = APIS.get_or_init(|| service::run(start()));
    let Some(request) = request(data, apis.message) else { return };
    let answers: Vec<Vec<u8>> =
        apis.ports.iter().map(|port| service::run(service::answer(*port, &request))).collect();
    let statuses: Vec<_> = answers.iter().map(|answer| service::status(answer)).collect();
    let told = || answers.iter().map(|answer| String::from_utf8_lossy(answer)).collect::<Vec<_>>();
    assert!(!statuses.contains(&Some(500)), "{:#?}", told());
    // A busy machine answers 503.
    let same = statuses.iter().all(|status| *status == statuses[0]);
    assert!(same || statuses.contains(&Some(503)), "{:#?}", told());
}

fn request(data: &[u8], message: Uuid) -> Option<Vec<u8>> {
    let (choice, rest) = data.split_first()?;
    let route = match choice % 3 {
        0 => "/api/messages/history?".to_owned(),
        1 => "/api/messages/inbound?".to_owned(),
        _ => format!("/api/messages/{message}/recipients?"),
    };
    let query = match choice & 0x10 {
        0 => rest.to_vec(),
        _ => [b"cursor=", URL_SAFE_NO_PAD.encode(rest).as_bytes()].concat(),
    };
    let token = service::token();
    let tail =
        format!(" HTTP/1.1\r\nHost: api\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\r\n");
    Some([b"GET ", route.as_bytes(), &without_line_ends(query), tail.as_bytes()].concat())
}

/// A line end would begin another header, which is hyper's concern.
fn without_line_ends(query: Vec<u8>) -> Vec<u8> {
    query.into_iter().filter(|byte| !matches!(byte, b' ' | b'\r' | b'\n')).collect()
}

async fn start() -> Apis {
    let (mut ports, mut databases, message) = (Vec::new(), Vec::new(), message());
    for kind in [Kind::Sqlite, Kind::Postgres] {
        let database = Database::fresh(kind).await;
        let store = database.migrated().await;
        eventually("a message is recorded", async || store.record_message(&message, None).await.ok()).await;
        ports.push(serve(&database.url).await);
        databases.push(database);
    }
    Apis { ports, message: message.id, _databases: databases }
}

/// Starts a message-api and waits until it serves. Returns its port.
async fn serve(database: &str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    let settings = Settings::try_parse_from([
        "message-api",
        "--telnyx-api-key=none",
        "--telnyx-base-url=http://127.0.0.1:1",
        "--public-webhook-url=https://hooks.example.org",
        "--nats-url=nats://127.0.0.1:1",
        "--nats-user=message_api",
        "--nats-password=none",
        "--cors-origins=localhost",
        &format!("--database-url={database}"),
        &format!("--jwt-secret={}", service::SECRET),
    ]);
    let settings = settings.expect("the settings are right");
    tokio::spawn(message_api::serve(settings, listener, Context::new()));
    let request = request(&[0], Uuid::nil()).expect("a route");
    eventually("it serves", async || {
        (service::status(&service::answer(port, &request).await) == Some(200)).then_some(())
    })
    .await;
    port
}

/// A message that is not sent, with a few recipients.
fn message() -> NewMessage {
    let now = timestamp::millis(OffsetDateTime::now_utc());
    let recipient = |number| NewRecipient {
        id: Uuid::now_v7(),
        phone: format!("+1555000000{number}"),
        member_id: None,
        first_name: None,
        last_name: None,
    };
    NewMessage {
        id: Uuid::now_v7(),
        church_id: "grace".parse().expect("a church id"),
        author_id: "ann".into(),
        conversation_id: None,
        content: "Service at ten".into(),
        target_type: "individual".into(),
        media_urls: Vec::new(),
        from_number: None,
        messaging_profile_id: None,
        send_at: Some(now + time::Duration::days(80)),
        recipients: (0..3).map(recipient).collect(),
        created_at: now,
        trace_parent: None,
    }
}
