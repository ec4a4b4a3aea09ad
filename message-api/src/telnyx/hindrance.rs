//! Why Telnyx did not accept a message that may be sent again.

/// Why Telnyx surely did not accept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hindrance {
    /// The sender sends too fast.
    Throttled,
    /// The sender's queue at Telnyx is full.
    QueueFull,
    /// The sender's number can't be used for a while.
    NumberUnusable,
    /// The money for today is spent.
    SpendLimit,
    /// The sender's number or profile may not be used.
    SenderRefused,
    /// No connection came about. Holds for every sender.
    Unreachable,
    /// Our API key is refused. Holds for every sender.
    KeyRefused,
}

impl Hindrance {
    /// The words of those that hold for one sender.
    pub(crate) const WORDS_OF_SENDERS: [&'static str; 5] = [
        Self::Throttled.word(),
        Self::QueueFull.word(),
        Self::NumberUnusable.word(),
        Self::SpendLimit.word(),
        Self::SenderRefused.word(),
    ];

    /// For operators.
    pub(crate) const fn word(self) -> &'static str {
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
