//! What a command says: text for people, or one JSON value for programs with `--json`.

use std::fmt::{self, Display};
use std::io::Write as _;

use common::event::timestamp;
use serde::{Serialize, Serializer};
use time::OffsetDateTime;

/// Where a command's report goes, and in which form.
#[derive(Debug, Clone, Copy)]
pub(super) struct Output {
    json: bool,
}

/// A report of one sentence.
#[derive(Serialize)]
struct Sentence {
    message: String,
}

impl Display for Sentence {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "{}", self.message)
    }
}

impl Output {
    /// With `json`, reports are JSON.
    pub(super) fn new(json: bool) -> Self {
        Self { json }
    }

    /// Prints the report of a command. Its text is whole lines.
    pub(super) fn report(self, report: &(impl Display + Serialize)) -> anyhow::Result<()> {
        let mut out = std::io::stdout();
        if self.json {
            writeln!(out, "{}", serde_json::to_string_pretty(report)?)?;
        } else {
            write!(out, "{report}")?;
        }
        Ok(())
    }

    /// Prints a report of one sentence.
    pub(super) fn say(self, message: impl Into<String>) -> anyhow::Result<()> {
        self.report(&Sentence { message: message.into() })
    }

    /// Tells how far a command is, beside its report.
    pub(super) fn progress(self, message: &str) {
        // Standard error may be closed.
        let _ = writeln!(std::io::stderr(), "{message}");
    }
}

/// Rows as lines, each column as wide as its widest text.
pub(super) fn table<const N: usize>(out: &mut fmt::Formatter<'_>, rows: &[[String; N]]) -> fmt::Result {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..N).map(width).collect();
    for row in rows {
        let cells = row.iter().zip(&widths).map(|(text, width)| format!("{text:width$}"));
        writeln!(out, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
    }
    Ok(())
}

/// A number of things: `1 event`, `2 events`.
pub(super) fn counted(number: i64, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}

/// A moment as text; `-` if there is none.
pub(super) fn moment(at: impl Into<Option<OffsetDateTime>>) -> String {
    at.into().map_or_else(|| "-".into(), timestamp::to_text)
}

/// For `#[serde(serialize_with)]`: a moment, or null.
pub(super) fn serialize_moment<S: Serializer>(at: &Option<OffsetDateTime>, to: S) -> Result<S::Ok, S::Error> {
    at.map(timestamp::to_text).serialize(to)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Rows;

    impl Display for Rows {
        fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
            table(out, &[["a".into(), "bb".into()], ["ccc".into(), String::new()]])
        }
    }

    #[test]
    fn a_table_aligns_its_columns_and_ends_no_line_with_blanks() {
        assert_eq!(Rows.to_string(), "a    bb\nccc\n");
    }
}
