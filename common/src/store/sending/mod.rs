//! Sending: which recipients are claimed and when, and what becomes of their attempts.

pub(super) mod answers;
pub(super) mod claims;
pub(super) mod estimate;
pub(super) mod pace;
