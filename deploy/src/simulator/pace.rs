//! How fast the simulator is.

use std::time::Duration;

/// How long things take. The defaults are what Telnyx's documentation shows.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// From acceptance to `message.sent`.
    pub sent: Duration,
    /// From `message.sent` to `message.finalized`.
    pub finalized: Duration,
    /// From `message.finalized` to `message.read`.
    pub read: Duration,
    /// How long a webhook may take to be answered.
    pub timeout: Duration,
    /// Before the second attempt of a webhook; before the third it is twice as long.
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
