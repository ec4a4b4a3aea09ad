//! The stack starts, continues with its data, and leaves nothing running.

#![expect(clippy::unwrap_used, clippy::panic, reason = "what fails here fails a test")]

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use deploy::ops::stream::{Limits, Outcome, provision};
use deploy::ports::Ports;
use deploy::scratch::Scratch;
use deploy::stack::{Database, Stack, StackFile, StackOptions, stop_running};
use deploy::traffic;
use deploy::watch::Watcher;

const LIMIT: Duration = Duration::from_secs(30);
const PHONE: &str = "+12025550101";

fn options(state: &Path) -> StackOptions {
    StackOptions { ports: Ports::Free, ..StackOptions::new(state) }
}

/// The processes of `stack.json` that still run.
fn running(file: &StackFile) -> Vec<&String> {
    let runs = |pid: &u32| {
        let pid = rustix::process::Pid::from_raw(i32::try_from(*pid).unwrap()).unwrap();
        rustix::process::test_kill_process(pid).is_ok()
    };
    file.processes.iter().filter(|(_, pid)| runs(pid)).map(|(name, _)| name).collect()
}

async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let met = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LIMIT, met).await.unwrap_or_else(|_| panic!("{what}"));
}

#[tokio::test]
async fn a_restarted_stack_keeps_its_data_ports_and_secrets() {
    let state = Scratch::new().unwrap();
    let first = Stack::start(options(state.path())).await.unwrap();
    let token = first.token("grace", "pastor", LIMIT).unwrap();
    let sent = traffic::send(first.http(), &first.file().api, &token, "Hello", &[PHONE]).await.unwrap();
    let before = StackFile::read(state.path()).unwrap();
    first.stop().await;
    let mut left = running(&before);
    left.retain(|name| *name != "stack");
    assert!(left.is_empty(), "{left:?}");
    assert!(!StackFile::path(state.path()).exists());

    let second = Stack::start(options(state.path())).await.unwrap();
    let after = second.file();
    assert_eq!((&before.api, &before.gateways), (&after.api, &after.gateways));
    assert_eq!(
        (&before.jwt_secret, &before.telnyx_key.public),
        (&after.jwt_secret, &after.telnyx_key.public)
    );
    let url = format!("{}/api/messages/{}", after.api, sent["id"].as_str().unwrap());
    let found = second.http().get(url).bearer_auth(&token).send().await.unwrap();
    assert_eq!(found.status(), 200);
    second.stop().await;
}

#[tokio::test]
async fn with_postgres_and_two_gateways_clients_of_both_get_the_message() {
    let state = Scratch::new().unwrap();
    let options = StackOptions { database: Some(Database::Postgres), gateways: 2, ..options(state.path()) };
    let stack = Stack::start(options).await.unwrap();
    let token = stack.token("grace", "pastor", Duration::from_secs(600)).unwrap();
    let mut watchers = Vec::new();
    for gateway in &stack.file().gateways {
        let mut watcher = Watcher::start(gateway, &token, &[]).await.unwrap();
        watcher.until("connected", LIMIT).await.unwrap();
        watchers.push(watcher);
    }
    let sent = traffic::send(stack.http(), &stack.file().api, &token, "Hello", &[PHONE]).await.unwrap();
    for mut watcher in watchers {
        let delivered = watcher.until("message:delivered", LIMIT).await.unwrap();
        assert_eq!(delivered.data["messageId"], sent["id"]);
    }
    stack.stop().await;
}

#[tokio::test]
async fn a_killed_process_is_restarted_on_its_port() {
    let state = Scratch::new().unwrap();
    let mut stack = Stack::start(options(state.path())).await.unwrap();
    stack.kill("message-api").await.unwrap();
    assert!(stack.ready("message-api").await.unwrap_err().to_string().contains("signal 9"));
    assert_eq!(stack.restart_exited(None).unwrap(), ["message-api"]);
    stack.ready("message-api").await.unwrap();
    stack.stop_broker().await.unwrap();
    stack.start_broker().await.unwrap();
    stack.ready("realtime-gateway-1").await.unwrap();
    stack.stop().await;
}

#[tokio::test]
async fn the_stream_is_created_once_and_updated_in_place() {
    let state = Scratch::new().unwrap();
    let stack = Stack::start(options(state.path())).await.unwrap();
    let again = provision(stack.nats("provisioner").await.unwrap(), &Limits::default()).await.unwrap();
    assert_eq!(again, Outcome::UpToDate);
    let shorter = Limits { max_age_days: 3, ..Limits::default() };
    let updated = provision(stack.nats("provisioner").await.unwrap(), &shorter).await.unwrap();
    assert_eq!(updated, Outcome::Updated(vec!["max_age: 604800 s → 259200 s".into()]));
    stack.stop().await;
}

#[tokio::test]
async fn a_second_stack_in_the_same_folder_is_refused() {
    let state = Scratch::new().unwrap();
    let stack = Stack::start(options(state.path())).await.unwrap();
    let refused = Stack::start(options(state.path())).await.err().unwrap();
    assert!(refused.to_string().contains("runs in"), "{refused}");
    stack.stop().await;
}

/// Runs `stack up --detach` in a folder with free ports. Returns its output, too.
async fn up_in_background(state: &Path) -> (StackFile, String) {
    // The first start chooses the ports, the second keeps them.
    Stack::start(options(state)).await.unwrap().stop().await;
    let up = Command::new(env!("CARGO_BIN_EXE_stack"))
        .args(["up", "--detach", "--state"])
        .arg(state)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(up.status.success(), "{}", String::from_utf8_lossy(&up.stderr));
    (StackFile::read(state).unwrap(), String::from_utf8(up.stdout).unwrap())
}

#[tokio::test]
async fn a_detached_stack_prints_its_stop_command_and_moved_ports() {
    let state = Scratch::new().unwrap();
    let (file, said) = up_in_background(state.path()).await;
    assert_eq!(running(&file).len(), file.processes.len());
    let port = file.api.rsplit_once(':').unwrap().1;
    assert!(said.contains(&format!("! api uses port {port}, because 8080 was taken")), "{said}");
    let line = said.lines().find(|line| line.contains(" down ")).unwrap();
    let down = Command::new("sh").args(["-c", line]).output().unwrap();
    assert!(down.status.success(), "{line}: {}", String::from_utf8_lossy(&down.stderr));
    eventually("something is still running", || running(&file).is_empty()).await;
    assert!(!stop_running(state.path()).await.unwrap());
}

/// Linux answers at all of 127.0.0.0/8; 127.0.0.2 stands for the network here.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn with_listen_other_devices_reach_only_message_api_and_the_gateways() {
    let state = Scratch::new().unwrap();
    let origin = "http://192.168.1.5:3000";
    let stack = Stack::start(StackOptions {
        listen: std::net::Ipv4Addr::UNSPECIFIED.into(),
        cors: vec![origin.into()],
        ..options(state.path())
    })
    .await
    .unwrap();
    let ask = async |url: &str| {
        let url = url.replace("127.0.0.1", "127.0.0.2");
        stack.http().get(url).header("origin", origin).send().await
    };
    let file = stack.file();
    let polling = format!("{}/socket.io/?EIO=4&transport=polling", file.gateways[0]);
    for url in [format!("{}/api/messages/history", file.api), polling] {
        let answer = ask(&url).await.unwrap();
        assert_eq!(answer.headers()["access-control-allow-origin"], origin, "{url}");
    }
    for url in [&file.ingest, &file.telnyx, &file.ops.api, &file.ops.gateways[0], &file.nats.monitor] {
        assert!(ask(url).await.is_err(), "{url}");
    }
    stack.stop().await;
}

#[tokio::test]
async fn killing_the_stack_stops_all_its_processes() {
    let state = Scratch::new().unwrap();
    let (file, _) = up_in_background(state.path()).await;
    let stack = rustix::process::Pid::from_raw(file.processes["stack"] as i32).unwrap();
    rustix::process::kill_process(stack, rustix::process::Signal::KILL).unwrap();
    eventually("something is still running", || running(&file).is_empty()).await;
}

/// Runs a command on the stack in a folder, to its end.
fn run(state: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_stack")).args(arguments).arg("--state").arg(state).output().unwrap()
}

#[tokio::test]
async fn trigger_reply_sends_a_text_to_the_church_of_the_stack() {
    let state = Scratch::new().unwrap();
    let (file, _) = up_in_background(state.path()).await;
    let stack = |arguments: &[&str]| {
        let output = run(state.path(), arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let said = stack(&["trigger", "reply", "--text", "STOP", "--media", "https://example.org/1.jpg"]);
    assert!(said.contains("recorded"), "{said}");
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let request =
        http.get(format!("{}/api/messages/inbound", file.api)).bearer_auth(stack(&["token"]).trim());
    let answer: serde_json::Value = request.send().await.unwrap().json().await.unwrap();
    let text = &answer["data"][0];
    assert_eq!((&text["text"], &text["optOut"]), (&"STOP".into(), &"stop".into()), "{answer}");
    assert_eq!(text["mediaCount"], 1);
    stack(&["down"]);
}

#[tokio::test]
async fn trigger_ends_a_message_that_telnyx_is_silent_about() {
    let state = Scratch::new().unwrap();
    let (file, _) = up_in_background(state.path()).await;
    let stack = |arguments: &[&str]| run(state.path(), arguments);
    let token = String::from_utf8(stack(&["token", "--church", "hope"]).stdout).unwrap();
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let message = deploy::traffic::send(&http, &file.api, token.trim(), "Service at ten", &["+12025550103"])
        .await
        .unwrap();
    let id = message["id"].as_str().unwrap();
    eventually("the message was not ended", || {
        stack(&["trigger", "delivered", id, "--church", "hope"]).status.success()
    })
    .await;
    let unsaid = stack(&["trigger", "delivered"]);
    assert!(String::from_utf8_lossy(&unsaid.stderr).contains("<MESSAGE>"), "{unsaid:?}");
    stack(&["down"]);
}
