//! Retrieves from Telnyx what its webhooks did not tell: messages that were accepted and have no final status after a
//! while.
//!
//! An answer becomes an ordinary delivery report, kept like a webhook and marked as asked for. A message that Telnyx
//! no longer has is left to the rule that closes overdue recipients. An attempt without Telnyx's id can't be
//! retrieved.

mod receipts;
mod reconciler;
mod report;
mod schedule;

pub(crate) use receipts::watch_receipts;
pub(crate) use reconciler::Reconciler;
