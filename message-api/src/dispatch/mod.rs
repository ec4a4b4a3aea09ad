//! Sends what is due: takes recipients from the store in fair turns between churches, posts each once, and records
//! what became of it.
//!
//! The attempt is committed before the POST. From then on the recipient is never posted again, unless the answer
//! surely means that Telnyx does not have it; a crash, a lost answer and a database that is away all leave it
//! unresolved, for its webhook or the time limit to end. An answer carries its attempt and changes no other one.
//!
//! How fast each sender goes is kept by the store, for all processes; `pause` stops what concerns every sender.

mod answers;
mod dispatcher;
mod limits;
mod overdue;
mod pause;
mod post;
mod setback;
mod standing;

pub(crate) use dispatcher::Dispatcher;
pub(crate) use limits::limits;
pub(crate) use overdue::close_overdue;
