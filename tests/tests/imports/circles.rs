//! Circles of a graph.

use std::collections::{BTreeMap, BTreeSet};

/// Who uses whom.
pub(crate) type Edges = BTreeSet<(String, String)>;

/// The edges of each group of modules that reach each other, as `from -> to`.
pub(crate) fn of(edges: &Edges) -> Vec<Vec<String>> {
    let mut next = BTreeMap::<&str, Vec<&str>>::new();
    for (from, to) in edges {
        next.entry(from).or_default().push(to);
    }
    let reached: BTreeMap<&str, BTreeSet<&str>> =
        next.keys().map(|from| (*from, reachable(from, &next))).collect();
    let reaches = |from: &str, to: &str| reached.get(from).is_some_and(|all| all.contains(to));
    let mut groups = BTreeMap::<&str, Vec<String>>::new();
    for (from, to) in edges.iter().filter(|(from, to)| reaches(to, from)) {
        // Named by its first module.
        let first = next.keys().find(|one| reaches(one, from) && reaches(from, one));
        groups.entry(first.unwrap_or(&"")).or_default().push(format!("{from} -> {to}"));
    }
    groups.into_values().collect()
}

fn reachable<'g>(from: &str, next: &BTreeMap<&'g str, Vec<&'g str>>) -> BTreeSet<&'g str> {
    let mut reached = BTreeSet::new();
    let mut waiting: Vec<&str> = next.get(from).cloned().unwrap_or_default();
    while let Some(module) = waiting.pop() {
        if reached.insert(module) {
            waiting.extend(next.get(module).into_iter().flatten());
        }
    }
    reached
}
