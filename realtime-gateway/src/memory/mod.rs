//! What the gateway remembers of the stream, and what it reads again for clients that were away for longer.

mod fingerprints;
mod history;
mod progress;
mod recent;
mod ring;

pub(crate) use history::{History, Key, Page};
pub(crate) use progress::{Progress, Proof};
pub(crate) use recent::{Recent, RecentLimits};
