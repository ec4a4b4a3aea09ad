//! Plans as PostgreSQL's `auto_explain` writes them to the server's log.

use serde::Deserialize;
use serde_json::Value;

/// Tables that no statement reads from one end to the other.
const LARGE: [&str; 5] = ["messages", "recipients", "webhooks", "outbox", "idempotency_keys"];

/// The plan of a statement that was run.
#[derive(Debug, Deserialize)]
pub(super) struct Plan {
    /// The statement.
    #[serde(rename = "Query Text")]
    pub(super) query: String,
    #[serde(rename = "Plan")]
    root: Value,
}

impl Plan {
    /// The plans in a part of a log, in order. Each follows a line that ends in `plan:`, and is indented by tabs.
    pub(super) fn all_in(log: &str) -> Vec<Self> {
        let plan = |after: &str| {
            let lines = after.lines().skip(1).take_while(|line| line.starts_with('\t'));
            let text: String = lines.map(|line| format!("{}\n", &line[1..])).collect();
            serde_json::from_str(&text).ok()
        };
        log.split("  plan:").skip(1).filter_map(plan).collect()
    }

    /// The rows that all its steps returned or left out.
    pub(super) fn rows(&self) -> u64 {
        self.steps().into_iter().map(rows_of).sum()
    }

    /// The large tables that it reads as a whole.
    pub(super) fn scanned(&self) -> Vec<&str> {
        let scans = self.steps().into_iter().filter(|step| step["Node Type"] == "Seq Scan");
        scans
            .filter_map(|step| step["Relation Name"].as_str())
            .filter(|table| LARGE.contains(table))
            .collect()
    }

    /// Its steps, one a line, indented, with the rows of each.
    pub(super) fn tree(&self) -> String {
        let mut lines = String::new();
        draw(&self.root, 1, &mut lines);
        lines
    }

    fn steps(&self) -> Vec<&Value> {
        let (mut steps, mut left) = (Vec::new(), vec![&self.root]);
        while let Some(step) = left.pop() {
            steps.push(step);
            left.extend(inputs(step));
        }
        steps
    }
}

fn inputs(step: &Value) -> impl DoubleEndedIterator<Item = &Value> {
    step["Plans"].as_array().into_iter().flatten()
}

fn rows_of(step: &Value) -> u64 {
    let number = |name| step[name].as_f64().unwrap_or(0.0);
    let of_loop = number("Actual Rows")
        + number("Rows Removed by Filter")
        + number("Rows Removed by Join Filter")
        + number("Rows Removed by Index Recheck");
    (of_loop * number("Actual Loops")) as u64
}

fn draw(step: &Value, depth: usize, lines: &mut String) {
    let text = |name| step[name].as_str().unwrap_or_default();
    let place = [text("Relation Name"), text("Index Name"), text("CTE Name")].join(" ");
    let conditions = [text("Index Cond"), text("Recheck Cond"), text("Filter")].join(" ");
    let indent = "    ".repeat(depth);
    let line = [text("Node Type"), place.trim(), conditions.trim()].join(" ");
    *lines += &format!("{indent}{}: {} rows\n", line.trim(), rows_of(step));
    inputs(step).for_each(|input| draw(input, depth + 1, lines));
}
