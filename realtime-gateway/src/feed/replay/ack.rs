//! The subject for a message's acknowledgement. It names the stream and the consumer that a replayed message comes
//! from, and counts what that consumer has sent.

use std::collections::HashMap;

/// Consumers that are remembered. Operators do not run more at once.
const MOST: usize = 256;

/// What the subject of an acknowledgement tells.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ack<'a> {
    /// The stream that the message was read from.
    pub(super) stream: &'a str,
    consumer: &'a str,
    /// How many messages the consumer has sent, including this one.
    number: u64,
}

impl<'a> Ack<'a> {
    /// Parses `$JS.ACK.<stream>.<consumer>.<deliveries>.<sequence>.<number>.<time>.<pending>`, or the same with a
    /// domain and an account before the stream and more tokens at the end.
    pub(super) fn parse(reply: &'a str) -> Option<Self> {
        let tokens: Vec<&str> = reply.strip_prefix("$JS.ACK.")?.split('.').collect();
        let tokens = match tokens.len() {
            7 => &tokens[..],
            9.. => tokens.get(2..)?,
            _ => return None,
        };
        let [stream, consumer, _, _, number, ..] = tokens else { return None };
        Some(Self { stream, consumer, number: number.parse().ok()? })
    }
}

/// The last number of each consumer.
#[derive(Debug, Default)]
pub(super) struct Consumers(HashMap<String, u64>);

impl Consumers {
    /// How many messages a consumer has sent since the last one that are missing here. A consumer that was created anew
    /// under the same name begins at one again.
    pub(super) fn missed(&mut self, ack: &Ack<'_>) -> u64 {
        let Ack { consumer, number, .. } = *ack;
        if let Some(last) = self.0.get_mut(consumer) {
            let before = std::mem::replace(last, number);
            return number.saturating_sub(before.saturating_add(1));
        }
        if self.0.len() >= MOST {
            self.0.clear();
        }
        self.0.insert(consumer.to_owned(), number);
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_the_subject_name_the_consumer_and_its_number() {
        let long = "$JS.ACK._.hash.CHURCH.replay-42.1.7.3.1700000000000000000.0";
        let ack = Ack { stream: "CHURCH", consumer: "replay-42", number: 3 };
        for reply in ["$JS.ACK.CHURCH.replay-42.1.7.3.1700000000000000000.0", long, &format!("{long}.token")]
        {
            assert_eq!(Ack::parse(reply).as_ref(), Some(&ack), "{reply}");
        }
        for other in ["_INBOX.x", "$JS.ACK.CHURCH", "church.42.status", "", "$JS.ACK.CHURCH.c.1.7.x.1.0"] {
            assert_eq!(Ack::parse(other), None, "{other}");
        }
    }

    #[test]
    fn missing_messages_are_counted_by_consumer() {
        let mut consumers = Consumers::default();
        let mut missed = |consumer, number| consumers.missed(&Ack { stream: "CHURCH", consumer, number });
        assert_eq!([missed("a", 5), missed("a", 6), missed("b", 1)], [0, 0, 0]);
        assert_eq!([missed("a", 10), missed("b", 2)], [3, 0]);
        assert_eq!([missed("a", 1), missed("a", 3)], [0, 1], "it was created anew");
    }

    #[test]
    fn the_number_of_remembered_consumers_is_bounded() {
        let mut consumers = Consumers::default();
        for number in 0..2 * MOST {
            consumers.missed(&Ack { stream: "CHURCH", consumer: &number.to_string(), number: 1 });
        }
        assert!(consumers.0.len() <= MOST);
    }
}
