//! What `ops doctor` found out.

use std::fmt::{self, Display};

use serde::Serialize;

use super::output::table;

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
enum State {
    Ok,
    Wrong,
    Skipped,
}

/// The end of one check.
#[derive(Debug, Serialize)]
struct Finding {
    check: &'static str,
    state: State,
    says: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    todo: Option<String>,
}

/// The ends of all checks so far.
#[derive(Debug, Default, Serialize)]
#[serde(transparent)]
pub(super) struct Diagnosis(Vec<Finding>);

impl Diagnosis {
    /// All is well.
    pub(super) fn ok(&mut self, check: &'static str, says: impl Into<String>) {
        self.0.push(Finding { check, state: State::Ok, says: says.into(), todo: None });
    }

    /// Something is wrong: what, and what to do.
    pub(super) fn wrong(&mut self, check: &'static str, says: impl Into<String>, todo: impl Into<String>) {
        self.0.push(Finding { check, state: State::Wrong, says: says.into(), todo: Some(todo.into()) });
    }

    /// A check that could not be made: why.
    pub(super) fn skipped(&mut self, check: &'static str, says: impl Into<String>) {
        self.0.push(Finding { check, state: State::Skipped, says: says.into(), todo: None });
    }

    /// Whether no check found anything wrong.
    pub(super) fn is_well(&self) -> bool {
        self.0.iter().all(|finding| finding.state != State::Wrong)
    }
}

impl Finding {
    fn row(&self) -> [String; 3] {
        let state = match self.state {
            State::Ok => "ok",
            State::Wrong => "WRONG",
            State::Skipped => "skipped",
        };
        let todo = self.todo.as_ref().map(|todo| format!("; {todo}")).unwrap_or_default();
        [state.into(), self.check.into(), format!("{}{todo}", self.says)]
    }
}

impl Display for Diagnosis {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        table(out, &self.0.iter().map(Finding::row).collect::<Vec<_>>())
    }
}
