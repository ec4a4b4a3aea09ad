//! The outcome of a message: by the end of the phone number, or by a rule.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::pace::Pace;

/// The outcome of an accepted message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Sent, then delivered.
    Delivered,
    /// Sent, then undeliverable (40008).
    Failed,
    /// Sent, delivered and read (RCS).
    Read,
    /// Sent, and the carrier gives no receipt.
    Unconfirmed,
    /// No webhook ever comes.
    Silent,
}

impl Outcome {
    /// By the last four digits: 0103 silent, 0104 read, 0105 unconfirmed, all others delivered.
    pub fn of(phone: &str) -> Self {
        match last_four(phone) {
            "0103" => Self::Silent,
            "0104" => Self::Read,
            "0105" => Self::Unconfirmed,
            _ => Self::Delivered,
        }
    }

    /// Its webhooks, each with the pause before it.
    pub(super) fn steps(self, pace: &Pace) -> Vec<Step> {
        let sent = Step::new(pace.sent, "message.sent", "sent");
        let finalized = |status| Step::new(pace.finalized, "message.finalized", status);
        match self {
            Self::Delivered => vec![sent, finalized("delivered")],
            Self::Failed => vec![sent, finalized("delivery_failed")],
            Self::Read => {
                vec![sent, finalized("delivered"), Step::new(pace.read, "message.read", "read")]
            }
            Self::Unconfirmed => vec![sent, finalized("delivery_unconfirmed")],
            Self::Silent => vec![],
        }
    }
}

/// Whether the recipient has answered STOP: the last four digits are 0102.
pub(super) fn is_blocked(phone: &str) -> bool {
    last_four(phone) == "0102"
}

fn last_four(phone: &str) -> &str {
    phone.get(phone.len().saturating_sub(4)..).unwrap_or_default()
}

/// One webhook to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) pause: Duration,
    pub(super) event: &'static str,
    pub(super) status: &'static str,
}

impl Step {
    fn new(pause: Duration, event: &'static str, status: &'static str) -> Self {
        Self { pause, event, status }
    }
}

/// The answer to a send request.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Answer {
    /// Accepted.
    #[default]
    Accept,
    /// 429 with code 10011.
    Throttle {
        /// The `retry-after` header, in seconds.
        retry_after: u64,
    },
    /// The same, and the `retry-after` header is a date so many seconds ahead.
    ThrottleUntil {
        /// Seconds from now.
        seconds: u64,
    },
    /// 429 from an edge before Telnyx: HTML, and headers that show a rate limit.
    Edge,
    /// Any other refusal.
    Refuse {
        /// HTTP status.
        status: u16,
        /// Telnyx's code.
        code: String,
    },
    /// Accepted, but the connection is cut before the answer.
    Lose,
    /// Not accepted, and the connection is cut.
    Drop,
    /// Accepted, but the connection is cut in the middle of the answer.
    Break,
}

/// Which requests a rule applies to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Request {
    /// `POST /v2/messages`.
    #[default]
    Send,
    /// `GET /v2/messages/{id}`.
    Retrieve,
}

/// Where a request waits until [`super::Simulator::release_requests`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Hold {
    /// Before anything is done with it: a message is not in the book yet.
    Unread,
    /// After it is done: a message is in the book, and nothing is answered.
    Unanswered,
    /// After half of the answer is sent.
    Halfway,
}

/// Changes how messages are treated. Fields that are not given change nothing.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Rule {
    /// The requests that it applies to.
    pub request: Request,
    /// The end of the recipients' numbers that it applies to; empty means all.
    pub phone: String,
    /// The end of the senders' numbers that it applies to; empty means all.
    pub from: String,
    /// Number of messages that it applies to; by default all.
    pub times: Option<u32>,
    /// The answer to the request.
    pub answer: Answer,
    /// How long that takes, in milliseconds.
    pub answer_after_ms: u64,
    /// The step at which the request waits until it is released.
    pub hold: Option<Hold>,
    /// The outcome of the message.
    pub outcome: Option<Outcome>,
    /// How much later than usual the first webhook comes, in milliseconds.
    pub delay_ms: u64,
    /// How often each webhook comes, at the same moment; 0 means once, as 1 does.
    pub copies: u32,
    /// The webhooks come in reverse order.
    pub reorder: bool,
    /// The webhooks never come; `GET /v2/messages/{id}` still tells the status.
    pub lose_webhooks: bool,
}

impl Rule {
    /// The first rule that matches request, recipient and sender. Counts its `times` down, and removes it when they are
    /// used up.
    pub(super) fn take(rules: &mut Vec<Self>, request: Request, phone: &str, from: &str) -> Self {
        let fits = |rule: &Self| {
            rule.request == request && phone.ends_with(&rule.phone) && from.ends_with(&rule.from)
        };
        let Some(index) = rules.iter().position(fits) else {
            return Self::default();
        };
        let rule = rules[index].clone();
        match &mut rules[index].times {
            None => {}
            Some(left) if *left > 1 => *left -= 1,
            Some(_) => drop(rules.remove(index)),
        }
        rule
    }

    /// The webhooks of a message to this phone, in order.
    pub(super) fn steps(&self, phone: &str, pace: &Pace) -> Vec<Step> {
        let outcome = self.outcome.unwrap_or_else(|| Outcome::of(phone));
        let mut steps = outcome.steps(pace);
        if self.reorder {
            let pauses: Vec<_> = steps.iter().map(|step| step.pause).collect();
            steps.reverse();
            for (step, pause) in steps.iter_mut().zip(pauses) {
                step.pause = pause;
            }
        }
        if let Some(first) = steps.first_mut() {
            first.pause += Duration::from_millis(self.delay_ms);
        }
        steps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statuses(rule: &Rule, phone: &str) -> Vec<&'static str> {
        rule.steps(phone, &Pace::default()).iter().map(|step| step.status).collect()
    }

    #[test]
    fn the_end_of_the_number_decides_the_outcome() {
        let usual = Rule::default();
        assert_eq!(statuses(&usual, "+12025550101"), ["sent", "delivered"]);
        assert_eq!(statuses(&usual, "+12025550103"), [""; 0]);
        assert_eq!(statuses(&usual, "+12025550104"), ["sent", "delivered", "read"]);
        assert_eq!(statuses(&usual, "+12025550105"), ["sent", "delivery_unconfirmed"]);
        assert_eq!(statuses(&usual, "+12025559999"), ["sent", "delivered"]);
        assert!(is_blocked("+12025550102") && !is_blocked("+12025550101"));
    }

    #[test]
    fn a_rule_applies_to_its_numbers_as_often_as_set() {
        let mut rules = vec![
            Rule { phone: "7".into(), times: Some(2), reorder: true, ..Rule::default() },
            Rule { outcome: Some(Outcome::Failed), ..Rule::default() },
        ];
        for _ in 0..2 {
            let rule = Rule::take(&mut rules, Request::Send, "+17", "");
            assert_eq!(statuses(&rule, "+17"), ["delivered", "sent"]);
        }
        assert_eq!(Rule::take(&mut rules, Request::Retrieve, "+17", "").outcome, None);
        let rule = Rule::take(&mut rules, Request::Send, "+17", "");
        assert_eq!(statuses(&rule, "+17"), ["sent", "delivery_failed"]);
        assert_eq!(rules.len(), 1);
    }

    #[test]
    fn a_rule_is_read_from_json_and_unknown_fields_are_refused() {
        let rule: Rule =
            serde_json::from_str(r#"{"phone":"0107","answer":{"throttle":{"retryAfter":1}}}"#).unwrap();
        assert_eq!(rule.answer, Answer::Throttle { retry_after: 1 });
        assert!(serde_json::from_str::<Rule>(r#"{"answer":"lose"}"#).is_ok());
        assert!(serde_json::from_str::<Rule>(r#"{"phones":"0107"}"#).is_err());
    }
}
