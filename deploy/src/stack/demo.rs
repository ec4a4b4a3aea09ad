//! Sends one message through the whole suite and observes each step from outside.

use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use common::event::ChurchEvent;
use common::subject;
use futures_util::StreamExt as _;
use serde_json::json;
use time::OffsetDateTime;
use tokio::sync::mpsc;

use super::lock;
use super::options::StackOptions;
use super::running::Stack;
use crate::client::traffic;
use crate::client::watch::{Seen, Watcher};
use crate::programs::services;
use crate::simulator::Entry;

/// The church and the user of the demo.
pub(super) const CHURCH: &str = services::FROM_CHURCH;
/// See [`CHURCH`].
pub(super) const USER: &str = "pastor";
/// Time limit for all steps.
const LIMIT: Duration = Duration::from_secs(20);

/// An observed step.
#[derive(Debug)]
struct Step {
    at: OffsetDateTime,
    place: &'static str,
    what: String,
}

impl Step {
    fn new(at: OffsetDateTime, place: &'static str, what: impl Into<String>) -> Self {
        Self { at, place, what: what.into() }
    }
}

/// Starts a stack in a fresh folder, sends one message, and prints each step with its time.
///
/// # Errors
/// Something did not start, or a step was not observed.
pub(super) async fn run(state: &Path) -> anyhow::Result<()> {
    let mut out = std::io::stdout();
    // A demo that runs at the same time keeps its folder.
    let own = state.with_extension(std::process::id().to_string());
    let state = if lock::is_held(state) { own.as_path() } else { state };
    if state.exists() {
        std::fs::remove_dir_all(state).context("can't clear the demo's folder")?;
    }
    writeln!(out, "Starting nats-server, the Telnyx simulator and the three services …")?;
    let began = Instant::now();
    let stack = Stack::start(StackOptions::new(state)).await?;
    writeln!(
        out,
        "Ready after {:.1} s. Sending one text to a group and watching it.\n",
        began.elapsed().as_secs_f64()
    )?;
    let outcome = follow_one_message(&stack).await;
    stack.stop().await;
    let (sent_at, steps, missing) = outcome?;
    print(&mut out, sent_at, &steps)?;
    if !missing.is_empty() {
        bail!(
            "not seen within {} s: {}; logs are in {}",
            LIMIT.as_secs(),
            missing.join(", "),
            state.display()
        );
    }
    writeln!(out, "\nEvery step was seen. Next:")?;
    writeln!(
        out,
        "  make up                          run it and keep it running; prints addresses, and commands"
    )?;
    writeln!(out, "                                   to send and to watch with; stop it with Ctrl-C")?;
    writeln!(out, "  make up ARGS='--traffic'         the same with a little traffic")?;
    writeln!(out, "  make up ARGS='--state .state/pg --database postgres --gateways 2'")?;
    writeln!(out, "  make test                        the tests, with a real broker, databases and clients")?;
    Ok(())
}

type Followed = (OffsetDateTime, Vec<Step>, Vec<&'static str>);

async fn follow_one_message(stack: &Stack) -> anyhow::Result<Followed> {
    let token = stack.token(CHURCH, USER, Duration::from_secs(600))?;
    let gateway = stack.file().gateways.first().context("there is no gateway")?;
    let mut watcher = Watcher::start(gateway, &token, &[]).await?;
    watcher.until("connected", LIMIT).await.context("the Socket.IO client was not let in")?;
    let mut stream = listen(stack).await?;

    let sent_at = OffsetDateTime::now_utc();
    let text = "Service begins at ten this Sunday";
    let to_ushers = json!({ "targetType": "groups", "targetIds": ["ushers"] });
    let data = traffic::send_to(stack.http(), &stack.file().api, &token, text, to_ushers).await?;
    let answered_at = OffsetDateTime::now_utc();
    let message_id = data["id"].as_str().context("message-api named no id")?.to_owned();

    let (mut events, mut seen) = (Vec::new(), Vec::new());
    let end = tokio::time::Instant::now() + LIMIT;
    while !missing(stack, &events, &seen)?.is_empty() {
        tokio::select! {
            Some((at, event)) = stream.recv() => events.push((at, event)),
            Ok(packet) = watcher.next(LIMIT) => seen.push(packet),
            // The simulator's book can only be polled.
            () = tokio::time::sleep(Duration::from_millis(20)) => {}
            () = tokio::time::sleep_until(end) => break,
        }
    }
    seen.retain(|packet: &Seen| packet.data["messageId"] == *message_id);
    let mut steps = vec![
        Step::new(sent_at, "front end", "POST /api/messages/send"),
        Step::new(answered_at, "message-api", "answers 201, after the commit"),
    ];
    steps.extend(events.iter().map(|(at, event)| stream_step(*at, event)));
    // The book may contain messages of an earlier run.
    let entries = stack.simulator()?.entries();
    steps.extend(entries.iter().filter(|entry| entry.at >= sent_at).flat_map(telnyx_steps));
    steps.extend(seen.iter().map(client_step));
    steps.sort_by_key(|step| step.at);
    Ok((sent_at, steps, missing(stack, &events, &seen)?))
}

/// Subscribes to the republished stream as the broker's user `ops`.
async fn listen(stack: &Stack) -> anyhow::Result<mpsc::Receiver<(OffsetDateTime, ChurchEvent)>> {
    let client = stack.nats("ops").await?;
    let mut live = client.subscribe(subject::LIVE).await?;
    // An answer on the same connection proves that the server has the subscription; a flush does not.
    client.request("$JS.API.INFO", "".into()).await.context("the broker does not answer")?;
    let (sender, events) = mpsc::channel(100);
    tokio::spawn(async move {
        // Moved in, to keep the connection open as long as its subscription.
        let _client = client;
        while let Some(message) = live.next().await {
            let at = OffsetDateTime::now_utc();
            let Ok(event) = serde_json::from_slice(&message.payload) else { continue };
            if sender.send((at, event)).await.is_err() {
                return;
            }
        }
    });
    Ok(events)
}

fn stream_step(at: OffsetDateTime, event: &ChurchEvent) -> Step {
    let (status, version) = (event.status.as_str(), event.version);
    Step::new(at, "NATS", format!("{} is stored: {status}, version {version}", event.subject()))
}

fn telnyx_steps(entry: &Entry) -> Vec<Step> {
    let answer = entry.answer.unwrap_or_default();
    let mut steps = vec![Step::new(entry.at, "Telnyx", format!("is asked to send; answers {answer}"))];
    for webhook in &entry.webhooks {
        let (kind, answer) = (&webhook.event_type, webhook.answer.unwrap_or_default());
        steps.push(Step::new(webhook.at, "Telnyx", format!("sends the signed webhook {kind}")));
        let what = format!("answers {answer} to {kind}, after the commit");
        steps.push(Step::new(webhook.ended_at, "webhook-ingest", what));
    }
    steps
}

fn client_step(seen: &Seen) -> Step {
    let detail = match seen.data["version"].as_i64() {
        Some(version) => format!(", version {version}"),
        None => String::new(),
    };
    let status = seen.data["status"].as_str().unwrap_or_default();
    Step::new(seen.at, "browser", format!("{}: {status}{detail}", seen.event))
}

/// The required steps that were not observed.
fn missing(
    stack: &Stack,
    events: &[(OffsetDateTime, ChurchEvent)],
    seen: &[Seen],
) -> anyhow::Result<Vec<&'static str>> {
    let entries = stack.simulator()?.entries();
    let event = |kind: &str| events.iter().any(|(_, event)| event.kind.as_str() == kind);
    let packet = |name: &str| seen.iter().any(|packet| packet.event == name);
    let webhook = |kind: &str| {
        let mut webhooks = entries.iter().flat_map(|entry| &entry.webhooks);
        webhooks.any(|webhook| webhook.event_type == kind && webhook.answer == Some(200))
    };
    let steps = [
        ("church.<id>.sent in the stream", event("message:sent")),
        ("the request to Telnyx", entries.iter().any(|entry| entry.accepted)),
        ("the webhook message.sent, answered 200", webhook("message.sent")),
        ("the webhook message.finalized, answered 200", webhook("message.finalized")),
        ("church.<id>.status in the stream", event("message:delivered")),
        ("message:sent in the browser", packet("message:sent")),
        ("message:status_update in the browser", packet("message:status_update")),
        ("message:delivered in the browser", packet("message:delivered")),
    ];
    Ok(steps.into_iter().filter(|(_, was_seen)| !was_seen).map(|(name, _)| name).collect())
}

fn print(out: &mut impl std::io::Write, sent_at: OffsetDateTime, steps: &[Step]) -> std::io::Result<()> {
    writeln!(out, "      time  where           what")?;
    for step in steps {
        let after = (step.at - sent_at).as_seconds_f64() * 1_000.0;
        writeln!(out, "{after:>7.1} ms  {:<14}  {}", step.place, step.what)?;
    }
    Ok(())
}
