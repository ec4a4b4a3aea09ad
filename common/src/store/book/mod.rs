//! The locked rows of one transaction, and how reports and answers change them. Only [`Book::open`] and [`Book::close`]
//! read or write the database.

mod attempts;
mod locked;
mod reports;
mod saving;
mod versions;

pub(super) use attempts::{AnsweredAttempt, Verdict};
pub(super) use locked::{Book, FIND, FoundRecipient};
