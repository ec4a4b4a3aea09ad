//! How far a client has come in the stream, and what its cursor is worth.

/// How far a socket that catches up has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Progress {
    /// The stream's creation.
    pub(crate) created: u64,
    /// The generation of the memory that it belongs to.
    pub(crate) generation: u64,
    /// The client has everything up to this sequence.
    pub(crate) sequence: u64,
    /// How many packets of the next event it has.
    pub(crate) packets: usize,
}

/// Whether a cursor's position is in the stream that the gateway follows.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Proof {
    /// It is, and every later event of the church is in memory.
    Held(Progress),
    /// Memory begins above it, after this floor: the stream has to be read.
    Older(Progress, u64),
    /// It is beyond the last event here. Another gateway may have been quicker.
    Ahead,
    /// It is not in this stream.
    Refuted,
}
