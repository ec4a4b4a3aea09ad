//! Sends what is due: claims recipients from the store in fair turns between churches, posts each once, and records
//! the answers.
//!
//! The attempt is committed before the POST. After that the recipient is posted again only if the answer proves that
//! Telnyx does not have the message. A crash, a lost answer and a database that is away leave the recipient
//! unresolved, until its webhook or the time limit ends it. An answer carries its attempt's id and changes no other
//! attempt.
//!
//! The store keeps each sender's rate for all processes; [`breaker`] stops what concerns every sender.

mod backlog;
mod backoff;
mod breaker;
mod dispatcher;
mod overdue;
mod poster;
mod readiness;
mod recorder;

pub(crate) use dispatcher::Dispatcher;
pub(crate) use overdue::close_overdue;
