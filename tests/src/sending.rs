//! What stories of sending do with a stack besides.

use std::collections::BTreeSet;

use deploy::services::API;
use reqwest::RequestBuilder;
use serde_json::json;
use uuid::Uuid;

use crate::databases;
use crate::stack::TestStack;

impl TestStack {
    /// The recipients of what Telnyx took, as its book has them.
    ///
    /// # Panics
    /// One of them was sent a text twice.
    pub fn sent_once(&self) -> BTreeSet<Uuid> {
        let mut recipients = BTreeSet::new();
        for entry in self.telnyx().entries().iter().filter(|entry| entry.accepted) {
            let recipient = entry.recipient_id().expect("the webhook address names the recipient");
            assert!(recipients.insert(recipient), "{} was sent a text twice", entry.to);
        }
        recipients
    }

    /// The request that sends a text, with an `Idempotency-Key` or without.
    pub fn request(&self, token: &str, key: Option<&str>, phones: &[&str]) -> RequestBuilder {
        send_request(&self.http, &self.stack.file().api, (token, key), phones)
    }

    /// Starts the stack's message-api again after it has ended.
    ///
    /// # Panics
    /// It does not start.
    pub async fn restart_message_api(&mut self) {
        self.stack.start_process(API).expect("message-api starts");
        self.stack.ready(API).await.expect("message-api is ready");
    }

    /// Makes every lookup at Telnyx due now, also those that a killed process had taken.
    pub async fn make_lookups_due(&self) {
        let sql = "update recipients set ask_at = $EPOCH where ask_at is not null";
        databases::execute(&self.stack.file().database, sql).await;
    }

    /// The sum of a service's counters of a name, whatever their labels and their prefix are.
    ///
    /// # Panics
    /// It does not answer.
    pub async fn sum(&self, ops_url: &str, name: &str) -> f64 {
        let metrics = self.metrics(ops_url).await;
        let lines = metrics.lines().filter_map(|line| line.rsplit_once(' '));
        let of_name =
            lines.filter(|(series, _)| series.split('{').next().is_some_and(|it| it.ends_with(name)));
        of_name.filter_map(|(_, value)| value.parse::<f64>().ok()).sum()
    }
}

/// The request that sends a text through the message-api at a URL, with an `Idempotency-Key` or without.
pub(crate) fn send_request(
    http: &reqwest::Client,
    url: &str,
    (token, key): (&str, Option<&str>),
    phones: &[&str],
) -> RequestBuilder {
    let recipients: Vec<_> = phones.iter().map(|phone| json!({"phone": phone})).collect();
    let body = json!({"content": "Service at ten", "recipients": recipients});
    let request = http.post(format!("{url}/api/messages/send")).bearer_auth(token).json(&body);
    match key {
        Some(key) => request.header("Idempotency-Key", key),
        None => request,
    }
}
