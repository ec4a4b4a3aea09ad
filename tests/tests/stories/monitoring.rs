//! The files of `deploy/monitoring` fit the running services and the documents.

use std::collections::BTreeSet;

use deploy::services::API;
use serde_json::Value;
use tests::databases::Kind;
use tests::eventually;
use tests::prometheus::Prometheus;
use tests::stack::TestStack;

use super::{AUTHOR, CHURCH, DELIVERED};

const ALERTS: &str = include_str!("../../../deploy/monitoring/alerts.yaml");
const ALERT_TESTS: &str = include_str!("../../../deploy/monitoring/alerts_test.yaml");
const DASHBOARD: &str = include_str!("../../../deploy/monitoring/dashboard.json");
const ENTRIES: &str = include_str!("../../../docs/alerts.md");
const METRICS: &str = include_str!("../../../docs/metrics.md");

/// What stands behind this word in the lines of a text.
fn behind<'t>(text: &'t str, word: &str) -> Vec<&'t str> {
    text.lines().filter_map(|line| line.trim_start().strip_prefix(word)).map(str::trim).collect()
}

#[test]
fn each_alert_has_its_entry_and_its_test() {
    let alerts = behind(ALERTS, "- alert:");
    let entries = behind(ENTRIES, "## ");
    assert_eq!(alerts, entries, "the alerts and the entries of docs/alerts.md, in the same order");
    let runbooks: Vec<_> =
        alerts.iter().map(|alert| format!("docs/alerts.md#{}", alert.to_lowercase())).collect();
    assert_eq!(behind(ALERTS, "runbook:"), runbooks);
    let severities: Vec<_> = behind(ALERTS, "labels: { severity:").into_iter().collect();
    for (alert, severity) in alerts.iter().zip(severities) {
        let entry = ENTRIES.split("\n## ").find(|entry| entry.lines().next() == Some(alert)).unwrap();
        let severity = severity.trim_end_matches([' ', '}']);
        assert!(entry.contains(&format!("\n`{severity}`. ")), "{alert} is a {severity}");
        assert!(ALERT_TESTS.contains(&format!("#{}\n", alert.to_lowercase())), "{alert} fires in no test");
        assert!(
            ALERT_TESTS.contains(&format!("alertname: {alert}, exp_alerts: []")),
            "{alert} is quiet in no test"
        );
    }
}

/// The queries of the dashboard, with a span of time in the place of Grafana's.
fn queries() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.filter_map(|panel| panel["targets"].as_array()).flatten();
    targets.map(|target| target["expr"].as_str().unwrap().replace("$__rate_interval", "30s")).collect()
}

/// The series of a query, with their matchers.
fn series(query: &str) -> BTreeSet<String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut found = BTreeSet::new();
    for prefix in ["church_", "process_"] {
        for (at, _) in query.match_indices(prefix) {
            if query[..at].ends_with(is_name) {
                continue;
            }
            let rest = &query[at..];
            let end = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
            let matchers = rest[end..].strip_prefix('{').and_then(|rest| rest.split_once('}'));
            let matchers = matchers.map(|(matchers, _)| format!("{{{matchers}}}")).unwrap_or_default();
            found.insert(format!("{}{matchers}", &rest[..end]));
        }
    }
    found
}

#[test]
fn each_series_of_the_dashboard_and_the_alerts_is_documented() {
    let queries = queries();
    assert!(queries.len() > 40, "{}", queries.len());
    let of_alerts = series(ALERTS);
    assert!(of_alerts.len() > 20, "{of_alerts:?}");
    let all = queries.iter().flat_map(|query| series(query)).chain(of_alerts);
    for series in all {
        let name = series.split('{').next().unwrap();
        let is_part = |part: &str| METRICS.contains(&format!("| `{}` |", name.trim_end_matches(part)));
        assert!(
            ["", "_bucket", "_count", "_sum"].into_iter().any(is_part),
            "{name} is not in docs/metrics.md"
        );
    }
}

/// Whether a sample is a number.
fn is_number(sample: &Value) -> bool {
    sample["value"][1].as_str().is_some_and(|value| value.parse::<f64>().is_ok_and(f64::is_finite))
}

async fn send_and_read(stack: &TestStack) {
    let id = stack.send(CHURCH, AUTHOR, &[DELIVERED]).await;
    stack.until_status(CHURCH, id, "delivered").await;
    assert_eq!(stack.get(CHURCH, AUTHOR, "/api/messages/history").await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Prometheus; `make check` runs it"]
async fn on_a_stack_with_traffic_each_query_has_a_result_and_no_alert_fires() {
    let stack = TestStack::start(Kind::Sqlite).await;
    let prometheus = Prometheus::watching(&stack).await;
    let _browser = stack.client(CHURCH, AUTHOR).await;
    for query in queries() {
        eventually(&format!("{query} has a result"), async || {
            let found = prometheus.query(&query).await.iter().any(is_number);
            if !found {
                send_and_read(&stack).await;
            }
            found.then_some(())
        })
        .await;
    }
    let alerts = prometheus.alerts().await;
    assert_eq!(alerts.len(), behind(ALERTS, "- alert:").len());
    for alert in &alerts {
        // The outbox and the backlog are never old here, and nothing is wrong.
        assert_eq!((&alert["health"], &alert["state"]), (&"ok".into(), &"inactive".into()), "{alert}");
        for series in series(alert["query"].as_str().unwrap()) {
            assert!(!prometheus.query(&series).await.is_empty(), "{}: no {series}", alert["name"]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Prometheus; `make check` runs it"]
async fn planted_faults_are_alerted() {
    let mut stack = TestStack::start_with(Kind::Sqlite, |options| {
        options.environment.push((API.into(), "TELNYX_FROM".into(), String::new()));
    })
    .await;
    let prometheus = Prometheus::watching(&stack).await;
    eventually("Prometheus has seen the services", async || {
        (prometheus.query("church_ready == 1").await.len() == 3).then_some(())
    })
    .await;
    // A church without a sender.
    let url = format!("{}/api/messages/send", stack.stack.file().api);
    let body = serde_json::json!({"content": "Service at ten", "recipients": [{"phone": DELIVERED}]});
    let request = stack.stack.http().post(url).bearer_auth(stack.token(CHURCH, AUTHOR)).json(&body);
    assert_eq!(request.send().await.unwrap().status(), 422);
    prometheus.until_alerted("ChurchWithoutSender").await;
    let log = std::fs::read_to_string(stack.stack.log(API)).unwrap();
    assert!(
        log.lines().any(|line| line.contains("no number to send from") && line.contains("church.id=grace"))
    );
    // Paused sending.
    stack.ops(&["pause", "sending"]).await;
    prometheus.until_alerted("SendingHeld").await;
    // A process that is gone.
    stack.stack.kill(API).await.unwrap();
    prometheus.until_alerted("ProcessDown").await;
    prometheus.until_alerted("NoReadyProcess").await;
}
