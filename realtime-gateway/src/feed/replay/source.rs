//! Where a replayed message comes from: the acknowledgement that the server expects names the consumer, and counts what
//! that consumer has sent.

use std::collections::HashMap;

/// Consumers whose numbers are remembered; more at once is nothing that operators do.
const MOST: usize = 256;

/// What an acknowledgement's subject says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Source<'a> {
    /// The stream that the message was read from.
    pub(super) stream: &'a str,
    consumer: &'a str,
    /// How many messages the consumer has sent, this one included.
    number: u64,
}

impl<'a> Source<'a> {
    /// Reads `$JS.ACK.<stream>.<consumer>.<deliveries>.<sequence>.<number>.<time>.<pending>`, or the same with a domain
    /// and an account before the stream and anything after the end.
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

/// How far each consumer is.
#[derive(Debug, Default)]
pub(super) struct Consumers(HashMap<String, u64>);

impl Consumers {
    /// How many messages a consumer has sent between the one before and this one, that did not reach us. One that was
    /// made anew under the same name begins at one again.
    pub(super) fn missed(&mut self, source: &Source<'_>) -> u64 {
        let Source { consumer, number, .. } = *source;
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
    fn both_forms_of_acknowledgement_name_the_consumer_and_its_number() {
        let long = "$JS.ACK._.hash.CHURCH.replay-42.1.7.3.1700000000000000000.0";
        let source = Source { stream: "CHURCH", consumer: "replay-42", number: 3 };
        for reply in ["$JS.ACK.CHURCH.replay-42.1.7.3.1700000000000000000.0", long, &format!("{long}.token")]
        {
            assert_eq!(Source::parse(reply).as_ref(), Some(&source), "{reply}");
        }
        for other in ["_INBOX.x", "$JS.ACK.CHURCH", "church.42.status", "", "$JS.ACK.CHURCH.c.1.7.x.1.0"] {
            assert_eq!(Source::parse(other), None, "{other}");
        }
    }

    #[test]
    fn what_did_not_reach_us_is_counted_for_each_consumer() {
        let mut consumers = Consumers::default();
        let mut missed = |consumer, number| consumers.missed(&Source { stream: "CHURCH", consumer, number });
        assert_eq!([missed("a", 5), missed("a", 6), missed("b", 1)], [0, 0, 0]);
        assert_eq!([missed("a", 10), missed("b", 2)], [3, 0]);
        assert_eq!([missed("a", 1), missed("a", 3)], [0, 1], "it was made anew");
    }

    #[test]
    fn consumers_are_not_remembered_without_bound() {
        let mut consumers = Consumers::default();
        for number in 0..2 * MOST {
            consumers.missed(&Source { stream: "CHURCH", consumer: &number.to_string(), number: 1 });
        }
        assert!(consumers.0.len() <= MOST);
    }
}
