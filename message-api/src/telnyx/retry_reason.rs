//! Why Telnyx did not accept a message, so that it may be sent again.

/// A reason that proves that Telnyx does not have the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
    /// The labels of the reasons that concern one sender.
    pub(crate) const SENDER_LABELS: [&'static str; 5] = [
        Self::Throttled.label(),
        Self::QueueFull.label(),
        Self::NumberUnusable.label(),
        Self::SpendLimit.label(),
        Self::SenderRefused.label(),
    ];

    /// The name in metrics, logs and readiness.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Throttled => "throttled",
            Self::QueueFull => "queue_full",
            Self::NumberUnusable => "number_unusable",
            Self::SpendLimit => "spend_limit",
            Self::SenderRefused => "sender_refused",
            Self::Unreachable => "unreachable",
            Self::KeyRefused => "key_refused",
        }
    }
}
