//! Start, stop and exhaustion of the real binaries.

use tests::databases::Kind;
use tests::on_both_databases;
use tests::stack::TestStack;

use super::{AUTHOR, CHURCH, DELIVERED};

on_both_databases!(every_service_exits_with_0_on_sigterm_and_resumes_after_a_restart);

const SERVICES: [&str; 3] = ["message-api", "webhook-ingest", "realtime-gateway-1"];

async fn every_service_exits_with_0_on_sigterm_and_resumes_after_a_restart(kind: Kind) {
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
    assert_eq!(connected.data["recovered"], true, "the client reconnected by itself");
    let next = stack.send(CHURCH, AUTHOR, &[DELIVERED]).await;
    stack.until_status(CHURCH, next, "delivered").await;
    client.until("message:delivered").await;
    let sent = stack.stored(CHURCH).await.iter().map(|event| event.id).collect::<Vec<_>>();
    assert_eq!(client.whole_events(), sent);
}

/// Lowers a process's limit of open files to the files that it has open.
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
async fn a_service_out_of_file_descriptors_still_answers_its_operators() {
    let stack = TestStack::start(Kind::Sqlite).await;
    let file = stack.stack.file();
    exhaust_files(file.processes["message-api"]).unwrap();
    // Silent connections use up the descriptors that are free below the limit. The last of them wait to be accepted.
    let mut silent = Vec::new();
    for _ in 0..40 {
        silent.push(
            tokio::net::TcpStream::connect(tests::load::http::address_of(&file.api).unwrap()).await.unwrap(),
        );
    }
    let url = format!("{}/readyz", file.ops.api);
    // Each request uses a connection of its own.
    for _ in 0..20 {
        let answer = reqwest::Client::builder().no_proxy().build().unwrap().get(&url).send().await.unwrap();
        assert_eq!(answer.status(), 200);
    }
}
