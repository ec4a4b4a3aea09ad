//! Sending: which recipients are claimed and when, and what becomes of their attempts.

pub(super) mod answers;
pub(super) mod asking;
pub(super) mod claims;
pub(super) mod due;
pub(super) mod estimate;
pub(super) mod limits;
pub(super) mod memory;
pub(super) mod pace;
pub(super) mod paces;
