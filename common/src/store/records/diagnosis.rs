//! The state of a database, for operators.

/// The schema of a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SchemaState {
    /// The newest migration that was run there; `None` if there was none.
    pub found: Option<i64>,
    /// The newest migration that this program knows.
    pub known: i64,
}

/// What was done to a database that was restored from a backup.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Restored {
    /// Messages whose version was raised.
    pub messages: u64,
    /// Recipients that were due and not attempted by the time of the backup.
    pub doubtful: u64,
    /// Recipients closed as unresolved: those, and attempts that had no answer yet.
    pub unresolved: u64,
}

/// A large index of PostgreSQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LargeIndex {
    /// Its name.
    pub name: &'static str,
    /// Its table and columns, as in `create index`.
    pub on: &'static str,
    /// The query that is slow without it.
    pub finds: &'static str,
}
