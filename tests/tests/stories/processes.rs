//! The binaries start with what the stack gives them, end in order when asked to, and refuse what is wrong.

use deploy::processes::Program;
use deploy::services::Wiring;
use tests::databases::Kind;
use tests::on_both_databases;
use tests::stack::TestStack;

use super::{AUTHOR, CHURCH, DELIVERED};

on_both_databases!(every_service_ends_with_0_when_asked_to_and_starts_again_where_it_was);

const SERVICES: [&str; 3] = ["message-api", "webhook-ingest", "realtime-gateway-1"];

async fn every_service_ends_with_0_when_asked_to_and_starts_again_where_it_was(kind: Kind) {
    let mut stack = TestStack::start(kind).await;
    let mut client = stack.client(CHURCH, AUTHOR).await;
    let message = stack.send(CHURCH, AUTHOR, &[DELIVERED]).await;
    stack.until_status(CHURCH, message, "delivered").await;
    client.until("message:delivered").await;
    for service in SERVICES {
        let status = stack.stack.terminate(service).await.unwrap();
        assert_eq!(status.code(), Some(0), "{service}: {status}");
        stack.stack.start_process(service).unwrap();
        stack.stack.ready(service).await.unwrap();
    }
    assert_eq!(stack.message(CHURCH, message).await["status"], "delivered");
    let connected = client.until("connected").await;
    assert_eq!(connected.data["recovered"], true, "the client came back by itself");
    let next = stack.send(CHURCH, AUTHOR, &[DELIVERED]).await;
    stack.until_status(CHURCH, next, "delivered").await;
    client.until("message:delivered").await;
    let sent = stack.stored(CHURCH).await.iter().map(|event| event.id).collect::<Vec<_>>();
    assert_eq!(client.whole_events(), sent);
}

/// The programs of a stack, with one variable set otherwise.
fn programs() -> [Program; 3] {
    let wiring = Wiring {
        database_url: "sqlite:/nowhere/church.db".into(),
        jwt_secret: "0123456789abcdef0123456789abcdef".into(),
        nats_url: "nats://127.0.0.1:1".into(),
        nats_passwords: Default::default(),
        telnyx_url: "http://127.0.0.1:1".into(),
        telnyx_api_key: "KEY".into(),
        telnyx_public_key: "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=".into(),
        ingest_url: "http://127.0.0.1:1".into(),
    };
    [
        wiring.message_api(0, 0).unwrap(),
        wiring.webhook_ingest(0, 0).unwrap(),
        wiring.gateway(1, 0, 0).unwrap(),
    ]
}

#[test]
fn a_wrong_setting_ends_every_service_with_2_and_is_named() {
    let [api, ingest, gateway] = programs();
    for (program, variable, value) in [
        (&api, "JWT_SECRET", "short"),
        (&api, "JWT_PUBLIC_KEY_FILE", "key.pem"),
        (&api, "DATABASE_URL", "mysql://localhost/church"),
        (&api, "SEND_RATE", "fast"),
        (&api, "NATS_URL", "http://127.0.0.1:1"),
        (&ingest, "TELNYX_PUBLIC_KEY", "none"),
        (&ingest, "DATABASE_URL", "church.db"),
        (&ingest, "INGEST_QUEUE", "0"),
        (&ingest, "INGEST_LISTEN", "8081"),
        (&gateway, "JWT_SECRET", ""),
        (&gateway, "JWT_PUBLIC_KEY_FILE", "key.pem"),
        (&gateway, "CORS_ORIGINS", "app.example.org"),
        (&gateway, "NATS_CA_FILE", "/nowhere/ca.pem"),
    ] {
        let output = program.command().env(variable, value).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{} with {variable}={value}: {said}", program.name);
        assert!(said.contains(variable), "{} with {variable}={value}: {said}", program.name);
    }
}

/// Leaves a process no file but those that it has.
#[cfg(target_os = "linux")]
fn exhaust_files(pid: u32) -> std::io::Result<()> {
    use rustix::process::{Pid, Resource, Rlimit, prlimit};
    let files = std::fs::read_dir(format!("/proc/{pid}/fd"))?;
    let numbers = files.filter_map(|file| file.ok()?.file_name().to_str()?.parse::<u64>().ok());
    let highest = numbers.max().unwrap_or(0);
    let limit = Rlimit { current: Some(highest + 1), maximum: Some(highest + 1) };
    prlimit(Pid::from_raw(pid.cast_signed()), Resource::Nofile, limit)?;
    Ok(())
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_service_without_a_file_left_still_answers_its_operators() {
    let stack = TestStack::start(Kind::Sqlite).await;
    let file = stack.stack.file();
    exhaust_files(file.processes["message-api"]).unwrap();
    // What is free below the limit is taken by connections that say nothing; the last of them wait to be accepted.
    let mut silent = Vec::new();
    for _ in 0..40 {
        silent.push(
            tokio::net::TcpStream::connect(tests::load::http::address_of(&file.api).unwrap()).await.unwrap(),
        );
    }
    let url = format!("{}/readyz", file.ops.api);
    // Each asks over a connection of its own.
    for _ in 0..20 {
        let answer = reqwest::Client::builder().no_proxy().build().unwrap().get(&url).send().await.unwrap();
        assert_eq!(answer.status(), 200);
    }
}
