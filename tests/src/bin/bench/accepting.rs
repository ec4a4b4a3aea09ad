//! One church sends to ten thousand recipients while others send to one: the time until the large message is accepted,
//! and the time from each small message's answer until Telnyx has it.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::json;
use tests::load::report::Table;
use time::OffsetDateTime;

use crate::environment::{Complaints, Environment};
use crate::stage::{self, Stage};

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Recipients of the large message
    #[arg(long, default_value_t = 10_000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    recipients: u32,
    /// Other churches, which send meanwhile one after the other
    #[arg(long, default_value_t = 20, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    others: u32,
}

const HEADS: [&str; 6] = [
    "database",
    "accepted after ms",
    "others answered after ms (median)",
    "(longest)",
    "others at Telnyx ms after their answer (median)",
    "(longest)",
];
/// Time between two small messages.
const PAUSE: Duration = Duration::from_millis(100);
/// Longest wait for the last message.
const LIMIT: Duration = Duration::from_secs(60);

pub(crate) async fn run(options: &Options, environment: &Environment) -> anyhow::Result<Complaints> {
    let title = format!("accepting: {} recipients at once", options.recipients);
    let (mut table, mut runs) = (Table::new(title, &HEADS), Vec::new());
    for database in &environment.databases {
        let stage = Box::pin(Stage::start(environment, *database)).await?;
        let meter = stage.meter();
        let phones: Vec<_> = (0..options.recipients).map(|number| format!("+1202{number:07}")).collect();
        let (accepted, _) = send(&stage, "large", &phones).await?;
        let mut others = Vec::new();
        for number in 0..options.others {
            let phone = format!("+1303{number:07}");
            let (took, answered_at) =
                send(&stage, &format!("small-{number}"), std::slice::from_ref(&phone)).await?;
            others.push((phone, took, answered_at));
            tokio::time::sleep(PAUSE).await;
        }
        let mut waits = waits(&stage, &others).await?;
        let mut answers: Vec<_> = others.iter().map(|(_, took, _)| *took).collect();
        let [accepted] = [accepted].map(|ms| format!("{ms:.0}"));
        let (answered, reached) = (spread(&mut answers), spread(&mut waits));
        table.row(vec![stage::name(*database), accepted, answered.0, answered.1, reached.0, reached.1]);
        runs.push(meter.stop());
        stage.stop().await;
    }
    table.print(&runs.iter().collect::<Vec<_>>());
    Ok(Complaints::new())
}

/// Sends a text. Returns the milliseconds until the answer, and its time.
async fn send(stage: &Stage, church: &str, phones: &[String]) -> anyhow::Result<(f64, OffsetDateTime)> {
    let token = stage.stack.token(church, "author", Duration::from_secs(600))?;
    let recipients: Vec<_> = phones.iter().map(|phone| json!({"phone": phone})).collect();
    let body = json!({"content": "Service at ten", "recipients": recipients}).to_string();
    let url = format!("{}/api/messages/send", stage.stack.file().api);
    let request = stage.stack.http().post(url).bearer_auth(token).header("content-type", "application/json");
    let began = Instant::now();
    let answer = request.body(body).send().await?;
    let took = began.elapsed().as_secs_f64() * 1_000.0;
    ensure!(answer.status() == 201, "message-api answers {}", answer.status());
    Ok((took, OffsetDateTime::now_utc()))
}

/// Milliseconds from each answer until the request to Telnyx.
async fn waits(stage: &Stage, others: &[(String, f64, OffsetDateTime)]) -> anyhow::Result<Vec<f64>> {
    let end = Instant::now() + LIMIT;
    loop {
        let entries = stage.stack.simulator()?.entries();
        let wait = |(phone, _, answered_at): &(String, f64, OffsetDateTime)| {
            let entry = entries.iter().find(|entry| entry.to == *phone)?;
            Some((entry.at - *answered_at).as_seconds_f64().max(0.0) * 1_000.0)
        };
        match others.iter().map(wait).collect::<Option<Vec<_>>>() {
            Some(waits) => return Ok(waits),
            None if Instant::now() > end => return None.context("a small message was never sent"),
            None => tokio::time::sleep(PAUSE).await,
        }
    }
}

/// Median and longest.
fn spread(values: &mut [f64]) -> (String, String) {
    values.sort_by(f64::total_cmp);
    let text = |value: Option<&f64>| value.map_or_else(String::new, |ms| format!("{ms:.0}"));
    (text(values.get(values.len() / 2)), text(values.last()))
}
