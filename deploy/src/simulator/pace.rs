//! The simulator's timing.

use std::time::Duration;

/// The simulator's timing. The defaults are those of the examples in Telnyx's documentation.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// From acceptance to `message.sent`.
    pub sent: Duration,
    /// From `message.sent` to `message.finalized`.
    pub finalized: Duration,
    /// From `message.finalized` to `message.read`.
    pub read: Duration,
    /// Time limit for the answer to a webhook.
    pub timeout: Duration,
    /// Wait before the second attempt of a webhook; doubled before the third.
    pub back_off: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            sent: Duration::from_millis(44),
            finalized: Duration::from_millis(560),
            read: Duration::from_millis(800),
            timeout: Duration::from_secs(2),
            back_off: Duration::from_secs(1),
        }
    }
}
