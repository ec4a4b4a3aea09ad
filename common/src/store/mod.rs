//! The record: messages, recipients, webhooks and the outbox, in SQLite or PostgreSQL.
//!
//! [`Store`] is the handle, and each of its uses has a file. Both databases run the same statements, written with
//! [`sql`]; `postgres` and `sqlite` hold what differs: dialect, connections, locks and the relay's lease. [`book`]
//! decides how reports change the record. Each change of a message puts its event into the outbox in the same
//! transaction, and [`Store::announcements`] wakes the relay.
//!
//! ```
//! use common::store::{NewMessage, NewRecipient, Recorded, Store, StoreOptions};
//! use time::OffsetDateTime;
//! use uuid::Uuid;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! let database_url = format!("sqlite:{}/church.db", folder.path().display());
//! let store = Store::new(&StoreOptions { database_url: database_url.into(), database_connections: 8 })?;
//! store.migrate().await?;
//!
//! let ann = NewRecipient {
//!     id: Uuid::now_v7(),
//!     phone: "+15551234567".into(),
//!     member_id: None,
//!     first_name: Some("Ann".into()),
//!     last_name: None,
//! };
//! let message = NewMessage {
//!     id: Uuid::now_v7(),
//!     church_id: "grace".parse()?,
//!     author_id: "userId:7".into(),
//!     conversation_id: None,
//!     content: "Service at ten".into(),
//!     target_type: "individual".into(),
//!     media_urls: vec![],
//!     from_number: Some("+15550000000".into()),
//!     messaging_profile_id: None,
//!     send_at: None,
//!     recipients: vec![ann],
//!     created_at: OffsetDateTime::now_utc(),
//!     trace_parent: None,
//! };
//! let recorded = store.record_message(&message, None).await?;
//! assert!(matches!(recorded, Recorded::New(_)));
//! assert_eq!(store.waiting_events(10).await?.len(), 1);
//! # Ok(())
//! # }
//! ```

mod audit;
mod backup;
mod book;
mod bulk;
mod cancelling;
mod churches;
mod columns;
mod connections;
mod copy;
mod database;
mod diagnosis;
mod erasure;
mod error_counts;
mod failing;
mod failures;
mod forwarding;
mod handle;
mod history;
mod inbound;
mod indexes;
mod kept;
mod lease;
mod ledger;
mod life;
mod messages;
mod new_events;
mod outage;
mod outbox;
mod outbox_entries;
mod parked;
mod pauses;
#[cfg(test)]
mod plans;
mod postgres;
mod readiness;
mod records;
mod restored;
mod retention;
mod retrying;
mod revocations;
mod rows;
mod senders;
mod sending;
mod session;
mod sql;
mod sqlite;
mod stuck;
mod transaction;
mod url;
mod wait;
mod webhooks;

pub use backup::BackupError;
pub use copy::{CopiedTable, CopyError};
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

    /// Finds the places in the SQL of a folder that ask for all columns.
    fn stars(folder: &Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                stars(&path, found);
                continue;
            }
            // Without this test.
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

    /// A column may be added while older binaries run. Their prepared statements must keep working.
    #[test]
    fn no_statement_asks_for_all_columns() {
        let mut found = Vec::new();
        stars(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store"), &mut found);
        assert!(found.is_empty(), "name the columns:\n{}", found.join("\n"));
    }
}
