//! What a command says: text for people, or one JSON value for programs with `--json`.

use std::fmt::{self, Display};
use std::io::{ErrorKind, Write as _};

use common::event::timestamp;
use serde::{Serialize, Serializer};
use time::OffsetDateTime;

/// Where a command's report goes, and in which form.
#[derive(Debug, Clone, Copy)]
pub(super) struct Output {
    json: bool,
}

/// The rows of a list, which may have more than were asked for. JSON has the rows alone.
#[derive(Serialize)]
#[serde(transparent)]
pub(super) struct Listed<T> {
    pub(super) rows: Vec<T>,
    /// As many rows as were asked for: there may be more.
    #[serde(skip)]
    is_full: bool,
}

impl<T> Listed<T> {
    /// The rows, at most `limit`.
    pub(super) fn new(rows: Vec<T>, limit: u32) -> Self {
        let is_full = u32::try_from(rows.len()).is_ok_and(|rows| rows >= limit);
        Self { rows, is_full }
    }

    /// Prints the rows as a table, or says that there are none.
    pub(super) fn table<const N: usize>(
        &self,
        out: &mut fmt::Formatter<'_>,
        none: &str,
        row: impl Fn(&T) -> [String; N],
    ) -> fmt::Result {
        if self.rows.is_empty() {
            return writeln!(out, "{none}");
        }
        table(out, &self.rows.iter().map(row).collect::<Vec<_>>())?;
        if self.is_full {
            writeln!(out, "there may be more; --limit lists them")?;
        }
        Ok(())
    }
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

    /// Prints the report of a command. Its text is whole lines. A reader that has read enough, as `head`, is no error:
    /// the exit code stays that of what was found.
    pub(super) fn report(self, report: &(impl Display + Serialize)) -> anyhow::Result<()> {
        let text = if self.json {
            format!("{}\n", serde_json::to_string_pretty(report)?)
        } else {
            report.to_string()
        };
        match std::io::stdout().write_all(text.as_bytes()) {
            Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
            _ => Ok(()),
        }
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
