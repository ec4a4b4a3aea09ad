//! Asks Telnyx for what its webhooks never told: a message that was accepted and has no end after a while.
//!
//! The answer becomes an ordinary report, kept like a webhook's and marked as asked for. Only what Telnyx itself does
//! not know any more is left to the rule that closes it. An attempt without Telnyx's id can't be asked for.

mod reconciler;
mod report;
mod schedule;
mod unheard;

pub(crate) use reconciler::Reconciler;
pub(crate) use unheard::watch_receipts;
