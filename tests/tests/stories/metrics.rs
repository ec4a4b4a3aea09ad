//! The metrics that operators are told of are those that the services export.

use std::collections::{BTreeMap, BTreeSet};

use tests::databases::Kind;
use tests::eventually;
use tests::stack::TestStack;

use super::{AUTHOR, CHURCH, DELIVERED};

const METRICS: &str = include_str!("../../../docs/metrics.md");

/// The sections of the document, with the services that each concerns.
const SECTIONS: [(&str, &[&str]); 5] = [
    ("All services", &["ingest", "api", "gateway"]),
    ("webhook-ingest and message-api", &["ingest", "api"]),
    ("webhook-ingest", &["ingest"]),
    ("message-api", &["api"]),
    ("realtime-gateway", &["gateway"]),
];

#[tokio::test(flavor = "multi_thread")]
async fn the_documented_metrics_are_the_exported_ones() {
    let stack = TestStack::start(Kind::Sqlite).await;
    let ops = &stack.stack.file().ops;
    for (service, url) in [("ingest", &ops.ingest), ("api", &ops.api), ("gateway", &ops.gateways[0])] {
        let (documented, exported) = (documented(service), exported(&stack.metrics(url).await));
        let missing: Vec<_> = documented.difference(&exported).collect();
        let unlisted: Vec<_> = exported.difference(&documented).collect();
        assert!(
            missing.is_empty() && unlisted.is_empty(),
            "{service} and docs/metrics.md disagree; not exported: {missing:#?}; not listed: {unlisted:#?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_metrics_tell_what_has_happened() {
    let stack = TestStack::start(Kind::Sqlite).await;
    let (_browser, id) = (stack.client(CHURCH, AUTHOR).await, stack.send(CHURCH, AUTHOR, &[DELIVERED]).await);
    stack.until_status(CHURCH, id, "delivered").await;
    stack.until_announced().await;
    let last = stack.stream().await.len() as f64;
    let ops = &stack.stack.file().ops;
    let (ingest, api, gateway) = (&ops.ingest, &ops.api, &ops.gateways[0]);
    for (url, series, value) in [
        (api, "church_api_telnyx_answers_total{request=\"send\",class=\"2xx\"}", 1.0),
        (api, "church_api_telnyx_answers_total{request=\"send\",class=\"5xx\"}", 0.0),
        (api, "church_api_due", 0.0),
        (api, "church_api_unresolved", 0.0),
        (api, "church_panics_total", 0.0),
        (api, "church_condition_met{condition=\"database\",weight=\"required\"}", 1.0),
        // Sent and delivered.
        (ingest, "church_ingest_webhook_delay_seconds_count", 2.0),
        (ingest, "church_ingest_parked", 0.0),
        (ingest, "church_database_errors_total{kind=\"unavailable\"}", 0.0),
        (gateway, "church_gateway_stream_position", last),
        (gateway, "church_gateway_stream_behind", 0.0),
        (gateway, "church_gateway_connections_open", 1.0),
        (gateway, "church_ready", 1.0),
    ] {
        eventually(&format!("{series} is {value}"), async || {
            (stack.metric(url, series).await == value).then_some(())
        })
        .await;
    }
    let leaders =
        stack.metric(api, "church_relay_leader").await + stack.metric(ingest, "church_relay_leader").await;
    assert_eq!(leaders, 1.0);
    for url in [ingest, api, gateway] {
        for series in ["process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds"] {
            assert!(stack.metric(url, series).await > 0.0, "{series}");
        }
    }
}

/// What the document says of a service: `name type label: values`, a line each.
fn documented(service: &str) -> BTreeSet<String> {
    let sections = METRICS.split("\n## ").skip(1).map(|section| section.split_once('\n').unwrap());
    // Other sections list no series.
    let is_of = |title: &str| SECTIONS.iter().any(|(known, of)| *known == title && of.contains(&service));
    let sections = sections.filter(|(title, _)| is_of(title));
    let rows = sections.flat_map(|(_, text)| text.lines().filter_map(|line| line.strip_prefix("| `")));
    rows.map(|row| {
        let cells: Vec<_> = row.split('|').map(|cell| cell.trim().replace('`', "")).collect();
        let [name, kind, unit, labels, meaning, ..] = cells.as_slice() else { panic!("six cells: {row}") };
        assert!(!meaning.is_empty(), "{row}");
        for known in ["seconds", "bytes"] {
            let is_named = name.trim_end_matches("_total").ends_with(&format!("_{known}"));
            assert_eq!(is_named, unit.starts_with(known), "the unit of {name}");
        }
        format!("{name} {kind} {}", sorted(labels)).trim().to_owned()
    })
    .collect()
}

/// The label with its values, or the labels alone, in order.
fn sorted(labels: &str) -> String {
    let (label, values) = labels.split_once(": ").unwrap_or(("", labels));
    let mut values: Vec<_> = values.split(", ").collect();
    values.sort_unstable();
    let values = values.join(", ");
    if label.is_empty() { values } else { format!("{label}: {values}") }
}

/// The same of what a service exports. Of several labels the names are compared alone.
fn exported(metrics: &str) -> BTreeSet<String> {
    let families = metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    families
        .map(|(family, kind)| {
            let name = if kind == "counter" { format!("{family}_total") } else { family.to_owned() };
            let counted = if kind == "histogram" { format!("{name}_count") } else { name.clone() };
            let labels = labels(metrics, &counted);
            let labels = match labels.iter().next() {
                Some((label, values)) if labels.len() == 1 => format!("{label}: {}", joined(values)),
                _ => joined(labels.keys()),
            };
            format!("{name} {kind} {labels}").trim().to_owned()
        })
        .collect()
}

/// The labels of a series, with their values.
fn labels<'m>(metrics: &'m str, series: &str) -> BTreeMap<&'m str, BTreeSet<&'m str>> {
    let mut labels = BTreeMap::<_, BTreeSet<_>>::new();
    let sets =
        metrics.lines().filter_map(|line| line.strip_prefix(series)?.strip_prefix('{')?.split_once("\"}"));
    for pair in sets.flat_map(|(set, _)| set.split("\",")) {
        let (label, value) = pair.split_once("=\"").unwrap();
        labels.entry(label).or_default().insert(value);
    }
    labels
}

fn joined<'w>(words: impl IntoIterator<Item = &'w &'w str>) -> String {
    words.into_iter().copied().collect::<Vec<_>>().join(", ")
}
