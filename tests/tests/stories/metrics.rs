//! The metrics that operators are told of are those that the services export.

use std::collections::{BTreeMap, BTreeSet};

use tests::databases::Kind;
use tests::stack::TestStack;

const OPERATIONS: &str = include_str!("../../../docs/operations.md");

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
            "{service} and docs/operations.md disagree; not exported: {missing:#?}; not listed: {unlisted:#?}"
        );
    }
}

/// What the section "Metrics" says of a service: `name type label: values`, a line each.
fn documented(service: &str) -> BTreeSet<String> {
    let section = OPERATIONS.split("\n## ").find(|section| section.starts_with("Metrics\n")).unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `")).map(|row| {
        let cells: Vec<_> = row.split('|').map(|cell| cell.trim().replace('`', "")).collect();
        let [name, of, kind, labels, ..] = cells.as_slice() else { panic!("a row has five cells: {row}") };
        let is_of = of == "all" || of.split(", ").any(|one| one == service);
        (is_of, format!("{name} {kind} {}", sorted(labels)).trim().to_owned())
    });
    rows.filter(|(is_of, _)| *is_of).map(|(_, line)| line).collect()
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
            let labels = if kind == "histogram" { BTreeMap::new() } else { labels(metrics, &name) };
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
