//! The view "Now": each process, and what the services and the database count.

use std::collections::HashMap;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use common::store::{Store, StoreError};
use futures_util::future::join_all;
use serde::Deserialize;
use time::OffsetDateTime;
use tokio::time::{MissedTickBehavior, interval};

use super::answer::answer;
use super::command;
use super::samples::{HELD, Process, Reading};
use super::scrape::Scrape;
use super::site::Site;
use crate::ops::check_services::ServiceOptions;
use crate::ops::pauses;

/// Time between two samples.
const PAUSE: Duration = Duration::from_secs(2);
/// Longest wait for a service.
const ANSWER: Duration = Duration::from_millis(1_500);
/// Longest wait for the database.
const READ: Duration = Duration::from_secs(3);
/// What waits is counted up to this.
const COUNTED: u32 = 10_000;

/// What a process says about itself.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct About {
    version: String,
    started_at: String,
}

/// `GET /api/now`.
pub(super) async fn now(State(site): State<Site>, headers: HeaderMap) -> Response {
    answer(&headers, &command::ops(&["doctor"]), Ok(site.samples.shown()))
}

/// Samples until the console ends.
pub(super) async fn sample(site: Site) {
    let Ok(http) = reqwest::Client::builder().timeout(ANSWER).no_proxy().build() else { return };
    let store = site.store.within(READ);
    let mut ticks = interval(PAUSE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let mut reading = read_database(&store).await;
        (reading.processes, reading.scrapes) = ask_services(&http, &site.options.services).await;
        site.samples.add(reading, OffsetDateTime::now_utc());
    }
}

async fn read_database(store: &Store) -> Reading {
    match held(store).await {
        Ok((held, pauses)) => Reading { held, pauses, ..Reading::default() },
        Err(error) => Reading { database: Some(format!("{error:#}")), ..Reading::default() },
    }
}

async fn held(store: &Store) -> anyhow::Result<(Vec<(&'static str, f64)>, serde_json::Value)> {
    let numbers = numbers(store).await?;
    Ok((HELD.into_iter().zip(numbers).collect(), serde_json::to_value(pauses::read(store).await?)?))
}

async fn numbers(store: &Store) -> Result<[f64; 6], StoreError> {
    let outbox = store.outbox_state().await?;
    let backlog = store.backlog(OffsetDateTime::now_utc(), COUNTED).await?;
    let parked = store.parked_webhooks(COUNTED).await?;
    let [waiting, refused, due, unanswered, parked] =
        [outbox.waiting, outbox.refused, backlog.due, backlog.unanswered, parked].map(|count| count as f64);
    Ok([waiting, outbox.oldest.as_secs_f64(), refused, due, unanswered, parked])
}

async fn ask_services(
    http: &reqwest::Client,
    services: &ServiceOptions,
) -> (Vec<Process>, HashMap<String, Scrape>) {
    let asked = services.all().into_iter().map(|(service, url)| ask(http, service, url));
    let answers = join_all(asked).await;
    let scrapes = answers.iter().filter_map(|(process, scrape)| Some((process.url.clone(), scrape.clone()?)));
    let scrapes = scrapes.collect();
    (answers.into_iter().map(|(process, _)| process).collect(), scrapes)
}

async fn ask(http: &reqwest::Client, service: &'static str, url: &str) -> (Process, Option<Scrape>) {
    let process = Process {
        service,
        url: url.to_owned(),
        state: "away",
        says: Vec::new(),
        version: None,
        started_at: None,
    };
    let said = match text(http, &format!("{url}/readyz")).await {
        Ok(said) => said,
        Err(error) => return (Process { says: vec![format!("no answer: {error}")], ..process }, None),
    };
    let about = text(http, &format!("{url}/about")).await.ok();
    let about: Option<About> = about.and_then(|about| serde_json::from_str(&about).ok());
    let (version, started_at) = about.map(|about| (about.version, about.started_at)).unzip();
    let metrics = text(http, &format!("{url}/metrics")).await.ok();
    let (state, says) = readiness(&said);
    (Process { state, says, version, started_at, ..process }, metrics.map(|text| Scrape::read(&text)))
}

async fn text(http: &reqwest::Client, url: &str) -> reqwest::Result<String> {
    http.get(url).send().await.map_err(reqwest::Error::without_url)?.text().await
}

/// The state, and each failing condition.
fn readiness(said: &str) -> (&'static str, Vec<String>) {
    let lines: Vec<&str> = said.trim().lines().filter(|line| *line != "ready").collect();
    let state = if lines.is_empty() {
        "ready"
    } else if lines.iter().all(|line| line.starts_with("degraded: ")) {
        "degraded"
    } else {
        "not ready"
    };
    (state, lines.into_iter().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readiness_is_told_with_its_conditions() {
        assert_eq!(readiness("ready\n"), ("ready", Vec::new()));
        assert_eq!(readiness("degraded: nats (away)\n").0, "degraded");
        assert_eq!(readiness("not ready: database (away)\ndegraded: nats (away)\n").0, "not ready");
        assert_eq!(readiness("stopping\n"), ("not ready", vec!["stopping".into()]));
    }
}
