//! The record: messages, recipients, webhooks and the outbox, in SQLite or PostgreSQL.
//!
//! [`Store`] is the handle; each use of it has a file. What both databases do alike stands once: a use writes its
//! statements with [`sql`], and [`book`] decides how reports change the record. `postgres` and `sqlite` connect, lock and
//! write rows, each in its own best SQL. Whatever changes a message puts the event into the outbox in the same
//! transaction, and [`Store::announcements`] wakes the relay.

mod audit;
mod book;
mod bulk;
mod columns;
mod connections;
mod database;
mod erasure;
mod failures;
mod handle;
mod lease;
mod ledger;
mod messages;
mod new_events;
mod outage;
mod outbox;
mod outbox_entries;
mod parked;
mod postgres;
mod readiness;
mod records;
mod retention;
mod revocations;
mod rows;
mod senders;
mod sending;
mod session;
mod sql;
mod sqlite;
mod transaction;
mod url;
mod wait;
mod webhooks;

pub use erasure::Erased;
pub use failures::StoreError;
pub use handle::{Store, StoreOptions};
pub use readiness::Readiness;
pub use records::*;
pub use retention::Prunable;
pub use wait::Wait;
pub use webhooks::{Batch, Recording};

#[cfg(test)]
mod tests {
    use std::path::Path;

    /// The places in the SQL of a folder where "all columns" are asked for.
    fn stars(folder: &Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                stars(&path, found);
                continue;
            }
            // Less what stands here.
            let text = std::fs::read_to_string(&path).unwrap().to_lowercase();
            let text = text.split("#[cfg(test)]").next().unwrap();
            for (number, line) in text.lines().enumerate() {
                let of_alias = |at: usize| line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
                // In Rust, a star before a name is no column.
                let of_name = |at: usize| line[at..].starts_with(|c: char| c.is_alphanumeric() || c == '_');
                let is_star = ["select *", "returning *"].iter().any(|star| line.contains(star))
                    || line.match_indices(", *").any(|(at, star)| !of_name(at + star.len()))
                    || line.match_indices(".*").any(|(at, _)| of_alias(at));
                if is_star {
                    found.push(format!("{}:{}: {line}", path.display(), number + 1));
                }
            }
        }
    }

    /// A column may be added while older binaries run; their prepared statements must not notice.
    #[test]
    fn no_statement_asks_for_all_columns() {
        let mut found = Vec::new();
        stars(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store"), &mut found);
        assert!(found.is_empty(), "name the columns:\n{}", found.join("\n"));
    }
}
