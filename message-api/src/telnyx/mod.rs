//! The client of Telnyx: posts a message to one recipient, without retries, and tells what the answer means; retrieves
//! what became of a message.

mod answer;
mod classes;
mod client;
mod codes;
mod retrieve;
mod retry_reason;

pub(crate) use answer::Verdict;
pub(crate) use classes::CLASSES;
pub(crate) use client::Telnyx;
pub(crate) use retrieve::Retrieved;
pub(crate) use retry_reason::RetryReason;
