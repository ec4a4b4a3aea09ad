//! The state of a database, for operators.

/// The schema of a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SchemaState {
    /// The newest migration that was run there; `None` if there was none.
    pub found: Option<i64>,
    /// The newest migration that this program knows.
    pub known: i64,
}
