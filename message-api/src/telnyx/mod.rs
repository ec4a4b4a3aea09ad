//! Telnyx: one POST for one recipient, never repeated here, and what the answer means; and the question what became
//! of a message.

mod answer;
mod ask;
mod client;
mod codes;
mod hindrance;

pub(crate) use answer::Verdict;
pub(crate) use ask::Asked;
pub(crate) use client::Telnyx;
pub(crate) use hindrance::Hindrance;
