//! Why Telnyx did not accept a message, so that it may be sent again.

/// A reason that proves that Telnyx does not have the message. Its name in snake case stands in metrics, logs
/// and readiness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub(crate) enum RetryReason {
    /// The sender sends too fast.
    Throttled,
    /// The sender's queue at Telnyx is full.
    QueueFull,
    /// The sender's number can't be used for a while.
    NumberUnusable,
    /// The account's spend limit of the day is reached.
    SpendLimit,
    /// The sender's number or profile may not be used.
    SenderRefused,
    /// No connection came about. Concerns all senders.
    Unreachable,
    /// Our API key is refused. Concerns all senders.
    KeyRefused,
}

impl RetryReason {
    /// The reasons that concern one sender.
    pub(crate) const OF_A_SENDER: [Self; 5] =
        [Self::Throttled, Self::QueueFull, Self::NumberUnusable, Self::SpendLimit, Self::SenderRefused];
}
